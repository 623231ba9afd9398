"""Operations on the life of an account: blocks with a reason, another SIM or number, freeze, pay-out, port-out, one-off
fees. `ocs.policy.life` decides, the ledger applies the decision.

Operations raise AccountError, or LedgerUnavailable: then it is unknown whether the operation was done, and repeating it
with the same arguments is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ocs.accounts.errors import InputError, RefusedError, raising_refused
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountOperations, Ended
from ocs.accounts.tries import Tries, begun, begun_before
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import AccountView
from ocs.policy import life
from ocs.policy.commitments import last_shares
from ocs.policy.life import BlockReason, By, Fee, Happening, PayOut
from ocs.values.identities import Imsi, Msisdn
from ocs.values.moment import When, when_of
from ocs.values.products import Product, ProductKind


class Sold(Protocol):
    """The part of the catalogue that the operations need."""

    @property
    def products(self) -> Mapping[str, Product]: ...
    def when(self, unix_s: int) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class FeeResult:
    applied: bool
    """False = the reference was applied before; nothing was debited again."""
    price_micro_eur: int


@dataclass(frozen=True, slots=True)
class Unblocked:
    view: AccountView
    applied: bool
    """False = the reason did not hold."""


@dataclass(frozen=True, slots=True)
class Swapped:
    applied: bool
    """False = the account has this IMSI already."""
    changed: bool
    """Since the first try of the request."""


@dataclass(frozen=True, slots=True)
class PaidOut:
    applied: bool
    """False = the reference was applied before; nothing was paid again."""
    micro_eur: int
    """By this request or an earlier try of it; 0 = by another request."""


class LifeOperations:
    """`now` gives Unix seconds."""

    def __init__(self, accounts: AccountOperations, ledger: AccountLedger, sold: Sold, now: Callable[[], int]) -> None:
        self._accounts, self._ledger, self._sold, self._now = accounts, ledger, sold, now

    def _when(self) -> When:
        return when_of(self._sold.when(self._now()))

    async def _may(self, msisdn: Msisdn, happening: Happening) -> AccountView:
        """The account. RefusedError "state": its state does not allow it."""
        view = (await self._accounts.read(msisdn)).view
        if life.transition(view.state, happening) is None:
            raise RefusedError("state", f"the account is {view.state}: {happening} is not possible")
        return view

    # -- blocks

    async def block(self, msisdn: Msisdn, *, reason: BlockReason) -> AccountView:
        """Block all use but emergency calls, for one more reason (HOT-ACC-11)."""
        view = await self._may(msisdn, Happening.BLOCK)
        with raising_refused():
            await self._ledger.set_state(view.account_id, state="blocked", reason=reason.value, **self._when())
        return (await self._accounts.read(msisdn)).view

    async def unblock(
        self, msisdn: Msisdn, *, reason: BlockReason, by: By, reference: Reference | None = None
    ) -> Unblocked:
        """Lift a reason of a block; the account is free when the last one is lifted. With a `reference`, the fee for it
        is debited in the same step, if it has one (HOT-REC-3).

        RefusedError: "by" (this one may not lift it), "credit".
        """
        if not life.may_lift(reason, by):
            allowed = ", ".join(sorted(life.LIFTED_BY[reason]))
            raise RefusedError("by", f"a block for the reason {reason} is lifted by {allowed}")
        view = (await self._accounts.read(msisdn)).view
        if reason not in view.blocks:
            return Unblocked(view, False)
        fee = life.fee_of_lifting(reason)
        if fee is not None and reference is not None:
            await self._pay(view, fee, reference, lift=reason.value)
        else:
            with raising_refused():
                await self._ledger.set_state(view.account_id, state="active", reason=reason.value, **self._when())
        return Unblocked((await self._accounts.read(msisdn)).view, True)

    async def freeze(self, msisdn: Msisdn, *, reference: Reference) -> FeeResult:
        """Freeze the number: the fee is debited and the account is blocked in one step (HOT-REC-3)."""
        view = await self._may(msisdn, Happening.BLOCK)
        return await self._pay(view, Fee.FREEZE, reference, block=BlockReason.FROZEN.value)

    async def unfreeze(self, msisdn: Msisdn, *, reference: Reference) -> FeeResult:
        """Undo `freeze`: the fee is debited and the block is lifted in one step (HOT-REC-3)."""
        view = await self._may(msisdn, Happening.FEE)
        return await self._pay(view, Fee.UNFREEZE, reference, lift=BlockReason.FROZEN.value)

    # -- who has the account

    async def swap_sim(
        self, msisdn: Msisdn, *, imsi: Imsi, reference: Reference | None = None, tries: Tries | None = None
    ) -> Swapped:
        """A new SIM of the same number; credit and products stay, blocks for loss and theft are lifted (HOT-ACC-11).
        With a `reference` the fee is debited first.

        RefusedError: "exists", "opening", "credit".
        """
        view = await self._may(msisdn, Happening.CHANGE_SIM)
        before = await begun(tries, lambda: {"imsi": view.imsi})
        if reference is not None:
            await self._pay(view, Fee.SIM_REPLACEMENT, reference)
        with raising_refused():
            applied = await self._ledger.change_imsi(view.account_id, imsi=imsi, **self._when())
        return Swapped(applied, changed=before["imsi"] != imsi)

    async def change_number(self, msisdn: Msisdn, *, new: Msisdn) -> bool:
        """Another number for the account. Called again after a crash, also when the old number is gone: it finishes.
        False = the account has this number already. RefusedError: "exists", "opening".
        """
        found = await self._accounts.find_or_none(msisdn) or await self._accounts.find(new)
        with raising_refused():
            return await self._ledger.change_msisdn(found, msisdn=new, **self._when())

    async def transfer_ownership(self, msisdn: Msisdn, *, reference: Reference) -> FeeResult:
        """Another owner of the number: its fee is debited (HOT-REC-3). Who it is, the ledger does not know."""
        return await self.fee(msisdn, fee=Fee.OWNERSHIP_CHANGE, reference=reference)

    async def port_out(self, msisdn: Msisdn, *, reference: Reference, tries: Tries | None = None) -> Ended:
        """The number goes to another operator: what commitments cost is debited as far as there is credit (HOT-REC-4),
        refundable credit is paid out and the account ends, in one step; the number is free (HOT-ACC-10).
        """
        return await self._accounts.terminate(msisdn, reason=PayOut.PORT_OUT.value, pay_out=reference, tries=tries)

    # -- money

    async def pay_out(
        self, msisdn: Msisdn, *, reason: PayOut, reference: Reference, tries: Tries | None = None
    ) -> PaidOut:
        """Pay the refundable credit out, once per reference (HOT-ACC-10). A data-only tariff ends with it, and what its
        commitment costs is debited first (HOT-REC-4).

        RefusedError: "state", "nothing", "reason" (the rule does not allow it).
        """
        view = (await self._accounts.read(msisdn)).view
        tariff = await self._ends_with_pay_out(view, reason, tries)
        ends = last_shares(view, self._now(), (tariff["package"],)) if reason is PayOut.DATA_ONLY else {}
        with raising_refused():
            amount = await self._ledger.pay_out(
                view.account_id,
                reference=reference,
                reason=reason.value,
                states=tuple(tariff["states"]),
                shares=ends,
                **self._when(),
            )
            if reason is PayOut.DATA_ONLY:
                for each in view.subscriptions:
                    if each.instance in tariff["instances"]:
                        when = self._when()
                        await self._ledger.unsubscribe(view.account_id, each.instance, at_once=True, **when)
        return PaidOut(bool(amount), amount or view.refunded_micro_eur - tariff["refunded"])

    async def _ends_with_pay_out(self, view: AccountView, reason: PayOut, tries: Tries | None) -> dict[str, Any]:
        """What the first try found: states in which it is paid, and the tariff that ends. RefusedError "reason"."""
        if (kept := await begun_before(tries)) is not None:
            return kept
        tariff = self._sold.products.get(view.package)
        units = [each.unit for each in tariff.terms.buckets] if tariff is not None else []
        states = life.pay_out_states(reason, units)
        if not states:
            raise RefusedError("reason", "the account has no data-only package that could end (HOT-ACC-10)")
        facts = {
            "states": [state.value for state in states],
            "package": view.package,
            "instances": [each.instance for each in view.subscriptions if each.product == view.package],
            "refunded": view.refunded_micro_eur,
        }
        return await begun(tries, lambda: facts)

    async def fee(self, msisdn: Msisdn, *, fee: str, reference: Reference) -> FeeResult:
        """Debit a one-off fee of the catalogue once per reference, in any state of the account (HOT-REC-3).

        InputError: "package" (there is no such fee). RefusedError: "credit", "state" (terminated).
        """
        return await self._pay(await self._may(msisdn, Happening.FEE), fee, reference)

    async def _pay(
        self, view: AccountView, fee: str, reference: Reference, *, block: str = "", lift: str = ""
    ) -> FeeResult:
        product = self._sold.products.get(fee)
        if product is None or product.kind is not ProductKind.FEE:
            fees = ", ".join(sorted(id_ for id_, each in self._sold.products.items() if each.kind is ProductKind.FEE))
            raise InputError("package", f"{fee!r} is no one-off fee; the catalogue has {fees}")
        with raising_refused():
            applied = await self._ledger.subscribe(
                view.account_id,
                product=product.terms,
                reference=reference,
                any_state=True,
                block=block,
                lift=lift,
                **self._when(),
            )
        return FeeResult(applied, product.terms.price_micro_eur)
