"""What people and programs do with automatic top-ups, mandates and payments: the command line and the API use it.

Operations raise AccountError, or LedgerUnavailable: then it is unknown whether the operation was done, and repeating it
is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Protocol

from ocs.accounts.errors import InputError, RefusedError, UnknownError, raising_refused
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountOperations
from ocs.ledger.contract.groups import GroupView
from ocs.ledger.contract.payments import OrderKind, OrderResult, OrderState, PaymentLedger, PaymentOrder
from ocs.ledger.contract.views import AccountView
from ocs.payments.collecting import SEPA, Offer
from ocs.payments.mandates import Mandate, Mandates, provider_mandate, sepa_mandate
from ocs.payments.orders import PaymentOrders
from ocs.payments.wiring import Payments
from ocs.policy import payments as policy
from ocs.policy.payments import DEFAULT_MARK_MICRO_EUR
from ocs.values.identities import Msisdn
from ocs.values.moment import When, when_of
from ocs.values.money import CREDIT_CEILING_MICRO_EUR, format_eur


class Ledger(PaymentLedger, Protocol):
    """The part of the ledger that the operations need."""

    @property
    def partitions(self) -> int: ...
    async def read_group(self, group_id: str) -> GroupView | None: ...
    async def set_group(self, group_id: str, **fields: str) -> None: ...


@dataclass(frozen=True, slots=True)
class AutoTopUp:
    view: AccountView
    amount_micro_eur: int
    """What one of them is now (HOT-TOP-4); 0 = the account has no package."""
    payer: str
    """Whose mandate pays: "account", "group", "" = nobody's."""

    @property
    def below_micro_eur(self) -> int:
        """0 = off."""
        return self.view.auto_below_micro_eur


@dataclass(frozen=True, slots=True)
class MandateInput:
    """Either `iban`, or `token`."""

    name: str
    signed_on: date
    iban: str = ""
    bic: str = ""
    token: str = ""
    mandate_id: str = ""

    def mandate(self) -> Mandate:
        """InputError."""
        if bool(self.iban) == bool(self.token):
            raise InputError("iban", "a mandate has either an IBAN, or a token of the provider")
        if self.token:
            return provider_mandate(token=self.token, name=self.name, signed_on=self.signed_on)
        return sepa_mandate(
            iban=self.iban, bic=self.bic, name=self.name, signed_on=self.signed_on, mandate_id=self.mandate_id
        )


class PaymentOperations:
    """`payments` None: there are neither mandates nor a provider ([payments]). `now` gives Unix seconds."""

    def __init__(
        self,
        accounts: AccountOperations,
        ledger: Ledger,
        offer: Offer,
        payments: Payments | None,
        now: Callable[[], int],
    ) -> None:
        self._accounts, self._ledger, self._offer = accounts, ledger, offer
        self._payments, self._now = payments, now

    def _when(self) -> When:
        return when_of(self._offer.when(self._now()))

    @property
    def _orders(self) -> PaymentOrders:
        if self._payments is None:
            raise RefusedError("payments", "nobody collects payments: see [payments] of the settings")
        return self._payments.orders

    @property
    def _mandates(self) -> Mandates:
        if self._payments is None or self._payments.mandates is None:
            raise RefusedError("payments", "mandates need payments.mandate_key_file")
        return self._payments.mandates

    # -- automatic top-up

    async def auto_top_up(self, msisdn: Msisdn) -> AutoTopUp:
        view = (await self._accounts.read(msisdn)).view
        return AutoTopUp(view, policy.top_up_amount(view, self._offer.products), await self._payer(view))

    async def _payer(self, view: AccountView) -> str:
        payer = await self._payments.orders.payer_of(view) if self._payments is not None else ""
        return {policy.account_payer(view.account_id): "account", "": ""}.get(payer, "group")

    async def set_auto_top_up(self, msisdn: Msisdn, *, below_micro_eur: int = DEFAULT_MARK_MICRO_EUR) -> bool:
        """Top the account up when its credit falls below the mark; 0 = off, at once (HOT-TOP-5). False = it was so.
        InputError: "below". RefusedError: "payments" (nobody collects).
        """
        if below_micro_eur and not self._orders.collects:
            raise RefusedError("payments", "nobody collects automatic top-ups: see payments.automatic")
        if below_micro_eur and not policy.is_mark(below_micro_eur):
            raise InputError("below", f"the mark must be less than {format_eur(CREDIT_CEILING_MICRO_EUR)} EUR")
        account_id = await self._accounts.find(msisdn)
        with raising_refused():
            return await self._ledger.set_auto_top_up(account_id, below_micro_eur=below_micro_eur, **self._when())

    # -- mandates

    async def payer_of(self, msisdn: Msisdn) -> str:
        return policy.account_payer(await self._accounts.find(msisdn))

    async def payer_of_group(self, group_id: str) -> str:
        """UnknownError: "group"."""
        with raising_refused():
            if await self._ledger.read_group(group_id) is None:
                raise UnknownError("group", f"there is no group {group_id}")
        return policy.group_payer(group_id)

    async def mandate(self, payer: str) -> Mandate | None:
        return await self._mandates.read(payer)

    async def put_mandate(self, payer: str, given: MandateInput) -> Mandate:
        """Put a mandate in place of the one before. InputError: "signed_on" (in the future), "iban", …"""
        if (given.signed_on - date(1970, 1, 1)).days > self._when()["day"]:
            raise InputError("signed_on", f"{given.signed_on}: a mandate is signed before it is used")
        mandate = given.mandate()
        await self._mandates.put(payer, mandate)
        return mandate

    async def put_group_mandate(self, group_id: str, given: MandateInput) -> Mandate:
        """The company's mandate, which pays for every number that has none of its own (HOT-GRP-4). The group's record
        names it. UnknownError: "group".
        """
        mandate = await self.put_mandate(await self.payer_of_group(group_id), given)
        with raising_refused():
            await self._ledger.set_group(group_id, payer=mandate.id)
        return mandate

    async def revoke_group_mandate(self, group_id: str) -> bool:
        """False = there was none. UnknownError: "group"."""
        revoked = await self.revoke_mandate(await self.payer_of_group(group_id))
        if revoked:
            with raising_refused():
                await self._ledger.set_group(group_id, payer="")
        return revoked

    async def revoke_mandate(self, payer: str) -> bool:
        """False = there was none."""
        return await self._mandates.revoke(payer)

    # -- payments

    async def start(self, msisdn: Msisdn, *, amount_micro_eur: int, reference: Reference) -> tuple[PaymentOrder, bool]:
        """Begin a one-off payment, once per reference; the subscriber pays at its `redirect_url` (HOT-TOP-1). Returns
        the order, and whether it is new.

        InputError: "amount" (of parts of a cent). RefusedError: "payments", "provider", "ceiling", "orders", "state",
        "reference".
        """
        if amount_micro_eur % 10_000:
            raise InputError("amount", "a payment is of whole cents")
        account_id = await self._accounts.find(msisdn)
        orders = self._orders
        with raising_refused():
            return await orders.start(account_id, amount_micro_eur=amount_micro_eur, reference=reference)

    async def of_account(self, msisdn: Msisdn) -> list[PaymentOrder]:
        """The newest first; those that were made in an earlier partition are not among them."""
        return await self._ledger.orders_of(await self._accounts.find(msisdn))

    async def order(self, order_id: str) -> PaymentOrder:
        """UnknownError: "order"."""
        try:
            with raising_refused():
                return await self._ledger.read_order(order_id)
        except RefusedError:
            raise UnknownError("order", f"there is no payment order {order_id}") from None

    async def open_orders(self) -> list[PaymentOrder]:
        """All with something to do, the oldest first."""
        found = []
        for partition in range(self._ledger.partitions):
            for order_id in await self._ledger.due_orders(partition, now=LAST, count=MOST):
                found.append(await self._ledger.read_order(order_id))
        return sorted(found, key=lambda order: (order.at, order.id))

    async def order_now(self, msisdn: Msisdn) -> OrderResult:
        """Order the automatic top-up now, if the credit is below the mark."""
        account_id = await self._accounts.find(msisdn)
        with raising_refused():
            return await self._orders.order_top_up(account_id)

    async def paid_back(self, order_id: str) -> PaymentOrder:
        """A payment of an account that has ended was paid back by hand. RefusedError: "ended" (not `refund-due`)."""
        while True:
            order = await self.order(order_id)
            if order.state is not OrderState.REFUND_DUE:
                raise RefusedError("ended", f"the order is {order.state}: nothing is to be paid back")
            done = replace(order, state=OrderState.RETURNED, reason="paid-back", due=0)
            with raising_refused():
                stored = await self._ledger.store_order(done, told=True, **self._when())
            if stored is not None:
                return stored

    async def retry(self, order_id: str) -> PaymentOrder:
        """Take an open order up now. One that has failed stays so: its account is ordered for anew, if it is below its
        mark and HOT-TOP-5 allows it. RefusedError: "ended" (it has its outcome).
        """
        while True:
            order = await self.order(order_id)
            if order.state is OrderState.FAILED and order.kind is OrderKind.AUTOMATIC:
                account_id = await self._ledger.find_account(order.account_id.partition("-")[2], order.account_id)
                if account_id is not None:
                    await self._ledger.ask_again(account_id, now=self._now())
                return order
            waits_for_file = order.provider == SEPA and order.state is not OrderState.SUCCEEDED
            if not order.is_open or waits_for_file:
                why = "it waits for a file of the bank" if order.is_open else "it has its outcome"
                raise RefusedError("ended", f"the order is {order.state}: {why}")
            with raising_refused():
                stored = await self._ledger.store_order(replace(order, due=self._now()), told=False, **self._when())
            if stored is not None:
                return stored


LAST = 253_402_300_799
"""Later than any `due`."""
MOST = 10_000
"""Orders of a partition."""


def facts(order: PaymentOrder) -> dict[str, object]:
    """For programs."""
    return {
        "order": order.id,
        "kind": order.kind.value,
        "state": order.state.value,
        "amount_micro_eur": order.amount_micro_eur,
        "owed_micro_eur": order.owed_micro_eur,
        "reason": order.reason,
        "by": order.provider,
        "reference": order.reference,
        "provider_id": order.provider_id,
        "collect_on": order.collect_on,
        "ordered_at": order.at,
        "changed_at": order.changed_at,
        "tries": order.tries,
    }
