"""The operations on an account. The command line uses them; so can any other interface.

Arguments are made by `inputs`. Operations raise AccountError, or LedgerUnavailable: then it is unknown whether the
operation was done, and repeating it with the same reference is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ocs.accounts.errors import InputError, UnknownError, raising_refused
from ocs.accounts.first_look import FirstLook
from ocs.accounts.inputs import Reference
from ocs.accounts.tries import Tries, begun, begun_before
from ocs.ledger.contract.groups import TransferLedger
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import STATES, AccountView, PoolView
from ocs.policy import puk as puks
from ocs.policy.commitments import last_shares
from ocs.values.identities import Imsi, Msisdn, SubscriberId, by_imsi, by_msisdn
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.moment import When, when_of
from ocs.values.products import (
    DEFAULT_LIMIT_MICRO_EUR,
    LIMIT_COUNTER,
    MONTHLY_LIMIT,
    BenefitShare,
    CounterTerms,
    PackageTerms,
)
from ocs.values.top_ups import Channel
from ocs.values.use import BARS, BarName

BLOCKED, ACTIVE = "blocked", "active"
"""The account states that an operation sets."""


class Ledger(AccountLedger, TransferLedger, Protocol):
    """The part of the ledger that the operations need."""

    @property
    def partitions(self) -> int: ...

    async def find_subscriber(self, identity: str) -> str | None: ...
    async def locate(self, account_id: str) -> str | None: ...


class Offer(Protocol):
    """The part of the catalogue that the operations need."""

    @property
    def packages(self) -> Mapping[str, PackageTerms]: ...

    @property
    def counters(self) -> Mapping[str, CounterTerms]: ...

    @property
    def facts(self) -> frozenset[str]: ...

    @property
    def notices(self) -> tuple[str, ...]:
        """Names of the texts for subscribers."""

    def when(self, unix_s: int) -> dict[str, int]:
        """The arguments `now` (Unix seconds), `month` and `day` of the ledger's operations."""


@dataclass(frozen=True, slots=True)
class AccountAndPool:
    view: AccountView
    pool: PoolView | None
    """The pool that the account is in."""


@dataclass(frozen=True, slots=True)
class TopUpResult:
    applied: bool
    """False = the reference was applied before; nothing was changed."""
    credit_micro_eur: int
    view: AccountView
    """The account afterwards."""


@dataclass(frozen=True, slots=True)
class BlockResult:
    changed: bool
    """False = the account was in that state before."""
    state: str
    """The state now. An unblocked account may be inactive."""


@dataclass(frozen=True, slots=True)
class Ended:
    shares: tuple[BenefitShare, ...]
    """What the early ends of commitments cost (HOT-REC-4)."""
    unpaid_micro_eur: int
    """Part of it that the credit did not cover."""
    paid_out_micro_eur: int
    account_id: str
    applied: bool = True
    """False = an earlier try of the request did it; nothing was changed."""


@dataclass(frozen=True, slots=True)
class MoveResult:
    account_id: str
    changed: bool
    """False = the account was in that partition before."""


class AccountOperations:
    """`now` gives Unix seconds, `entropy` 64 random bits. `first`: what was read before."""

    def __init__(
        self,
        ledger: Ledger,
        offer: Offer,
        now: Callable[[], int],
        entropy: Callable[[], int],
        first: FirstLook | None = None,
    ) -> None:
        self._ledger = ledger
        self._offer = offer
        self._now = now
        self._entropy = entropy
        self._first = first

    def _when(self) -> When:
        return when_of(self._offer.when(self._now()))

    # -- reading

    async def find(self, msisdn: Msisdn) -> str:
        """Id of the account. UnknownError: "account"."""
        account_id = await self.find_or_none(msisdn)
        if account_id is None:
            raise _no_account(msisdn)
        return account_id

    async def find_or_none(self, msisdn: Msisdn) -> str | None:
        if self._first is not None and (known := self._first.take_id(msisdn)):
            return known
        with raising_refused():
            return await self._ledger.find_subscriber(by_msisdn(msisdn))

    async def read(self, msisdn: Msisdn) -> AccountAndPool:
        """The account and its pool. UnknownError: "account"."""
        with raising_refused():
            view = self._first.take_view(msisdn, self._when()) if self._first is not None else None
        if view is None:
            view = await self._view(msisdn, await self.find(msisdn))
        return await self._with_pool(view)

    async def read_by_id(self, account_id: str) -> AccountAndPool:
        """The account that a log or an audit names. UnknownError: "account"; RefusedError: "moved", "unreadable"."""
        with raising_refused():
            view = await self._ledger.read(account_id, **self._when())
        if view is None:
            raise UnknownError("account", f"there is no account {account_id}")
        return await self._with_pool(view)

    async def _with_pool(self, view: AccountView) -> AccountAndPool:
        with raising_refused():
            pool = await self._ledger.read_pool(view.account_id, view.pool) if view.pool else None
        return AccountAndPool(view, pool)

    async def taken_ids(self, msisdn: Msisdn, imsi: Imsi) -> list[SubscriberId]:
        """Those of the two ids that belong to an account."""
        taken = []
        with raising_refused():
            for subscriber_id in (by_msisdn(msisdn), by_imsi(imsi)):
                account_id = await self._ledger.find_subscriber(subscriber_id)
                if account_id is not None and await self._ledger.read(account_id, **self._when()) is not None:
                    taken.append(subscriber_id)
        return taken

    async def _view(self, msisdn: Msisdn, account_id: str) -> AccountView:
        with raising_refused():
            view = await self._ledger.read(account_id, **self._when())
        if view is None:
            raise _no_account(msisdn)
        return view

    # -- the account

    async def open(
        self,
        *,
        msisdn: Msisdn,
        imsi: Imsi,
        credit_micro_eur: int,
        package: PackageTerms | None,
        unused: bool = False,
        puk: str = "",
    ) -> AccountView:
        """Open an active account. The package's price is debited from the opening credit; if that does not cover it,
        the package waits for a top-up. `unused`: life and package begin with its first use (HOT-ACC-2). `puk`: PUK1 of
        its SIM, stored hashed; "" = not known.

        RefusedError: "exists", "opening", "ceiling".
        """
        account_id = await self.open_without_reading(
            msisdn=msisdn, imsi=imsi, credit_micro_eur=credit_micro_eur, package=package, unused=unused, puk=puk
        )
        return await self._view(msisdn, account_id)

    async def open_without_reading(
        self,
        *,
        msisdn: Msisdn,
        imsi: Imsi,
        credit_micro_eur: int,
        package: PackageTerms | None,
        unused: bool = False,
        puk: str = "",
        limit_micro_eur: int | None = DEFAULT_LIMIT_MICRO_EUR,
    ) -> str:
        """Open an account as `open` does, and return only its id. Saves a round trip, for imports.
        `limit_micro_eur`: its spending limit (HOT-CC-1), None = none.
        """
        stored = await self.hashed(puk) if puk else ("", "")
        with raising_refused():
            return await self._ledger.open_account(
                msisdn=msisdn,
                imsi=imsi,
                credit_micro_eur=credit_micro_eur,
                package=package,
                entropy=self._entropy(),
                unused=unused,
                puk=stored,
                limit_micro_eur=limit_micro_eur,
                **self._when(),
            )

    async def hashed(self, puk: str) -> tuple[str, str]:
        """A new salt, and the digest of a PUK1 with it (HOT-GRP-1)."""
        salt = f"{self._entropy():016x}{self._entropy():016x}"
        return salt, await asyncio.to_thread(puks.digest, puk, salt)

    async def block(self, msisdn: Msisdn) -> BlockResult:
        """Block all use but emergency calls (HOT-ACC-11). RefusedError: "state"."""
        return await self._set_state(msisdn, BLOCKED)

    async def unblock(self, msisdn: Msisdn) -> BlockResult:
        """Undo `block`. RefusedError: "state"."""
        return await self._set_state(msisdn, ACTIVE)

    async def _set_state(self, msisdn: Msisdn, state: str) -> BlockResult:
        account_id = await self.find(msisdn)
        before = await self._view(msisdn, account_id)
        with raising_refused():
            await self._ledger.set_state(account_id, state=state, **self._when())
        after = await self._view(msisdn, account_id)
        return BlockResult((before.state == BLOCKED) != (state == BLOCKED), after.state)

    async def terminate(
        self, msisdn: Msisdn, *, reason: str = "care", pay_out: str = "", tries: Tries | None = None
    ) -> Ended:
        """End the account for good: sessions are aborted, credit and units are lost, the number is free (HOT-ACC-6).
        What commitments cost is debited first, as far as there is credit (HOT-REC-4). `pay_out`: reference under which
        refundable credit is paid out (HOT-ACC-10). What it has in transit arrives, or returns, before (HOT-GRP-2).

        `tries`: a repetition ends the account of the first try, never one that has the number since.
        """
        account_id, before = await self._ending(msisdn, tries)
        with raising_refused():
            await self._ledger.continue_transfers(account_id, before=self._now(), **self._when())
        view = await self._view(msisdn, account_id)
        if view.state == STATES["t"]:
            return _ended_before(view, before)
        shares = last_shares(view, self._now())
        with raising_refused():
            unpaid = await self._ledger.terminate_account(
                account_id, reason=reason, pay_out=pay_out, shares=shares, **self._when()
            )
        after = await self._view(msisdn, account_id)
        paid_out = after.refunded_micro_eur - before["refunded"]
        return Ended(tuple(share for each in shares.values() for share in each), unpaid, paid_out, account_id)

    async def _ending(self, msisdn: Msisdn, tries: Tries | None) -> tuple[str, dict[str, Any]]:
        """Id of the account that the request ends, and what it was before the first try."""
        kept = await begun_before(tries)
        if kept is None:
            view = (await self.read(msisdn)).view
            kept = await begun(tries, lambda: _before_the_end(view, self._now()))
        with raising_refused():
            return await self._ledger.locate(kept["account_id"]) or kept["account_id"], kept

    async def move(self, msisdn: Msisdn, *, partition: int) -> MoveResult:
        """Move the account to another partition; charging goes on meanwhile. After a crash, the same call resumes.

        InputError: "partition". RefusedError: "pool", "state".
        """
        if not 0 <= partition < self._ledger.partitions:
            raise InputError("partition", f"partition {partition}: the ledger's are 0 to {self._ledger.partitions - 1}")
        account_id = await self.find(msisdn)
        with raising_refused():
            moved_id = await self._ledger.move_account(account_id, partition=partition, **self._when())
        return MoveResult(moved_id, moved_id != account_id)

    # -- money and products

    async def top_up(
        self,
        msisdn: Msisdn,
        *,
        amount_micro_eur: int,
        reference: Reference,
        promotional: bool = False,
        channel: Channel = Channel.CARE,
        separate: bool = False,
    ) -> TopUpResult:
        """Add credit, once per reference (HOT-TOP-1); promotional credit is never paid out (HOT-ACC-10). `separate`: to
        the separate account of the number (HOT-GRP-5); the result has its credit. Vouchers are redeemed by
        `RedeemOperations`.

        InputError: "separate" (it takes no promotional credit). RefusedError: "ceiling" (HOT-ACC-7), "reference",
        "state", "no_separate".
        """
        if separate and promotional:
            raise InputError("separate", "a separate account takes no promotional credit")
        account_id, seen = await self.find(msisdn), list[AccountView]()
        with raising_refused():
            applied = await self._ledger.top_up(
                account_id,
                amount_micro_eur=amount_micro_eur,
                reference=reference,
                promotional=promotional,
                channel=channel,
                separate=separate,
                saw=seen.append,
                **self._when(),
            )
        view = seen[0] if seen else await self._view(msisdn, account_id)
        return TopUpResult(applied, view.separate_micro_eur if separate else view.credit_micro_eur, view)

    async def activate(self, msisdn: Msisdn, *, package: PackageTerms, reference: Reference) -> bool:
        """Activate a package now. Its price is debited, its units replace those of the previous one (HOT-PKG-2).
        False = the reference was applied before.

        RefusedError: "credit", "state", "excluded".
        """
        account_id = await self.find(msisdn)
        with raising_refused():
            return await self._ledger.activate_package(account_id, package=package, reference=reference, **self._when())

    # -- the subscriber's settings

    async def set_limit(
        self, msisdn: Msisdn, *, micro_eur: int | None, counter: CounterTerms | None = None, once: bool = False
    ) -> None:
        """Set the spending limit of a calendar month (HOT-CC-1), or the limit of a counter such as the roaming cap
        (HOT-ROA-5), in its own unit; None = no limit. `once`: only for the counter's present window.
        """
        account_id = await self.find(msisdn)
        when = self._when()
        with raising_refused():
            await self._ledger.set_limit(
                account_id,
                limit_micro_eur=micro_eur,
                counter=LIMIT_COUNTER if counter is None else counter.id,
                terms=counter,
                once=once,
                now=when["now"],
                month=when["month"],
                day=when["day"],
            )

    async def set_bars(self, msisdn: Msisdn, *, bars: Sequence[BarName]) -> None:
        """Replace the bars of the account (HOT-CC-5)."""
        account_id = await self.find(msisdn)
        with raising_refused():
            await self._ledger.set_bars(account_id, bars=bars, **self._when())

    async def set_language(self, msisdn: Msisdn, *, language: str) -> None:
        """Language of the texts that the subscriber gets (HOT-NOT-1)."""
        account_id = await self.find(msisdn)
        with raising_refused():
            await self._ledger.set_customer(account_id, name="language", value=language, **self._when())

    # -- measures

    def measure_names(self, kind: MeasureKind) -> tuple[str, ...]:
        """What a measure of this kind can be named: facts that rates ask for, bars, or notices."""
        if kind is MeasureKind.FACT:
            return tuple(self._offer.facts)
        if kind is MeasureKind.BAR:
            return BARS
        told = {terms.id: terms.thresholds for terms in (MONTHLY_LIMIT, *self._offer.counters.values())}
        for package in self._offer.packages.values():
            told.update({bucket.id: bucket.thresholds for bucket in package.buckets})
        thresholds = (
            name
            for id_, percents in told.items()
            if percents
            for name in (id_, *(f"{id_}:{percent}" for percent in percents))
        )
        return (*thresholds, *self._offer.notices)

    async def set_measure(self, msisdn: Msisdn, *, measure: AccountMeasure) -> None:
        """Put a measure on the account; it replaces one of its kind and name (HOT-ROA-8). Running sessions are asked.

        RefusedError: "measures" (too many), "state", "range" (its end is past).
        """
        account_id = await self.find(msisdn)
        with raising_refused():
            await self._ledger.set_measure(account_id, measure=measure, **self._when())

    async def lift_measure(self, msisdn: Msisdn, *, kind: MeasureKind, name: str) -> bool:
        """End a measure now. False = there was none."""
        account_id = await self.find(msisdn)
        with raising_refused():
            return await self._ledger.lift_measure(account_id, kind=kind, name=name, **self._when())


def _before_the_end(view: AccountView, now: int) -> dict[str, Any]:
    shares = [share for each in last_shares(view, now).values() for share in each]
    return {
        "account_id": view.account_id,
        "spent": view.spent_micro_eur,
        "refunded": view.refunded_micro_eur,
        "shares": [asdict(share) for share in shares],
    }


def _ended_before(view: AccountView, before: dict[str, Any]) -> Ended:
    """What an earlier try of the request did."""
    shares = tuple(BenefitShare(**each) for each in before["shares"])
    debited = view.spent_micro_eur - before["spent"]
    return Ended(
        shares,
        unpaid_micro_eur=max(sum([each.micro_eur for each in shares]) - debited, 0),
        paid_out_micro_eur=view.refunded_micro_eur - before["refunded"],
        account_id=view.account_id,
        applied=False,
    )


def _no_account(msisdn: Msisdn) -> UnknownError:
    return UnknownError("account", f"there is no account with MSISDN {msisdn}")
