"""What can be done with an account, whoever asks: the command line, an API, a keyword of a message.

The operations take values of `inputs` and raise AccountError. LedgerUnavailable: whether it was done is not known;
repeat it with the same reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ocs.accounts.errors import InputError, UnknownError, refusals
from ocs.accounts.inputs import Reference
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import AccountView, PoolView
from ocs.values.identities import Imsi, Msisdn, SubscriberId, by_imsi, by_msisdn
from ocs.values.products import PackageTerms
from ocs.values.use import BarName

BLOCKED, ACTIVE = "blocked", "active"
"""States that somebody sets."""


class Ledger(AccountLedger, Protocol):
    """What the operations need of the ledger."""

    @property
    def partitions(self) -> int: ...

    async def find_subscriber(self, identity: str) -> str | None: ...


class Offer(Protocol):
    """What they need of the catalogue."""

    @property
    def packages(self) -> Mapping[str, PackageTerms]: ...

    def when(self, unix_s: int) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Seen:
    view: AccountView
    pool: PoolView | None
    """The pool that it is in."""


@dataclass(frozen=True, slots=True)
class ToppedUp:
    applied: bool
    """False = the reference was applied before; nothing was changed."""
    credit_micro_eur: int


@dataclass(frozen=True, slots=True)
class StateSet:
    changed: bool
    """False = it was so before."""
    state: str
    """Of the account now: one that is no longer blocked may be inactive."""


@dataclass(frozen=True, slots=True)
class Moved:
    account_id: str
    changed: bool
    """False = it is there already."""


class AccountOperations:
    """`now`: Unix seconds. `entropy`: 64 random bits."""

    def __init__(self, ledger: Ledger, offer: Offer, now: Callable[[], int], entropy: Callable[[], int]) -> None:
        self._ledger = ledger
        self._offer = offer
        self._now = now
        self._entropy = entropy

    def _when(self) -> dict[str, int]:
        return self._offer.when(self._now())

    # -- looking

    async def find(self, msisdn: Msisdn) -> str:
        """Account id. UnknownError: "account"."""
        with refusals():
            account_id = await self._ledger.find_subscriber(by_msisdn(msisdn))
        if account_id is None:
            raise _no_account(msisdn)
        return account_id

    async def look(self, msisdn: Msisdn) -> Seen:
        """UnknownError: "account"."""
        account_id = await self.find(msisdn)
        view = await self._view(msisdn, account_id)
        with refusals():
            pool = await self._ledger.read_pool(account_id, view.pool) if view.pool else None
        return Seen(view, pool)

    async def is_taken(self, msisdn: Msisdn, imsi: Imsi) -> list[SubscriberId]:
        """Those of the two that belong to an account."""
        taken = []
        with refusals():
            for name in (by_msisdn(msisdn), by_imsi(imsi)):
                holder = await self._ledger.find_subscriber(name)
                if holder is not None and await self._ledger.read(holder, **self._when()) is not None:
                    taken.append(name)
        return taken

    async def _view(self, msisdn: Msisdn, account_id: str) -> AccountView:
        with refusals():
            view = await self._ledger.read(account_id, **self._when())
        if view is None:
            raise _no_account(msisdn)
        return view

    # -- the account

    async def open(
        self, *, msisdn: Msisdn, imsi: Imsi, credit_micro_eur: int, package: PackageTerms | None
    ) -> AccountView:
        """A new active account; the package's price is debited from the opening credit, or waits for a top-up.

        RefusedError: "exists", "opening", "ceiling".
        """
        account_id = await self.open_unseen(
            msisdn=msisdn, imsi=imsi, credit_micro_eur=credit_micro_eur, package=package
        )
        return await self._view(msisdn, account_id)

    async def open_unseen(
        self, *, msisdn: Msisdn, imsi: Imsi, credit_micro_eur: int, package: PackageTerms | None
    ) -> str:
        """As `open`, for many: only its id, without another look at the ledger."""
        with refusals():
            return await self._ledger.open_account(
                msisdn=msisdn,
                imsi=imsi,
                credit_micro_eur=credit_micro_eur,
                package=package,
                entropy=self._entropy(),
                **self._when(),
            )

    async def block(self, msisdn: Msisdn) -> StateSet:
        """All but emergency calls (HOT-ACC-11). RefusedError: "state"."""
        return await self._set_state(msisdn, BLOCKED)

    async def unblock(self, msisdn: Msisdn) -> StateSet:
        """RefusedError: "state"."""
        return await self._set_state(msisdn, ACTIVE)

    async def _set_state(self, msisdn: Msisdn, state: str) -> StateSet:
        account_id = await self.find(msisdn)
        before = await self._view(msisdn, account_id)
        with refusals():
            await self._ledger.set_state(account_id, state=state, **self._when())
        after = await self._view(msisdn, account_id)
        return StateSet((before.state == BLOCKED) != (state == BLOCKED), after.state)

    async def terminate(self, msisdn: Msisdn) -> None:
        """For ever: sessions are aborted, credit and units lost, the number free (HOT-ACC-6)."""
        account_id = await self.find(msisdn)
        with refusals():
            await self._ledger.terminate_account(account_id, **self._when())

    async def move(self, msisdn: Msisdn, *, partition: int) -> Moved:
        """To another partition, while it is charged; after a crash the same again goes on with it.

        InputError: "partition". RefusedError: "pool", "state".
        """
        if not 0 <= partition < self._ledger.partitions:
            raise InputError("partition", f"partition {partition}: the ledger's are 0 to {self._ledger.partitions - 1}")
        account_id = await self.find(msisdn)
        with refusals():
            moved = await self._ledger.move_account(account_id, partition=partition, **self._when())
        return Moved(moved, moved != account_id)

    # -- money and products

    async def top_up(self, msisdn: Msisdn, *, amount_micro_eur: int, reference: Reference) -> ToppedUp:
        """Once per reference (HOT-TOP-1). RefusedError: "ceiling" (HOT-ACC-7), "reference", "state"."""
        account_id = await self.find(msisdn)
        with refusals():
            applied = await self._ledger.top_up(
                account_id, amount_micro_eur=amount_micro_eur, reference=reference, **self._when()
            )
        view = await self._view(msisdn, account_id)
        return ToppedUp(applied, view.credit_micro_eur)

    async def activate(self, msisdn: Msisdn, *, package: PackageTerms, reference: Reference) -> bool:
        """A package now: its price is debited, its units replace the old ones (HOT-PKG-2). False = the reference was
        applied before.

        RefusedError: "credit", "state", "excluded".
        """
        account_id = await self.find(msisdn)
        with refusals():
            return await self._ledger.activate_package(account_id, package=package, reference=reference, **self._when())

    # -- what the subscriber sets

    async def set_limit(self, msisdn: Msisdn, *, micro_eur: int | None) -> None:
        """The spending limit of a calendar month (HOT-CC-1); None = off."""
        account_id = await self.find(msisdn)
        when = self._when()
        with refusals():
            await self._ledger.set_limit(
                account_id, limit_micro_eur=micro_eur, now=when["now"], month=when["month"], day=when["day"]
            )

    async def set_bars(self, msisdn: Msisdn, *, bars: Sequence[BarName]) -> None:
        """Instead of those that were set (HOT-CC-5)."""
        account_id = await self.find(msisdn)
        with refusals():
            await self._ledger.set_bars(account_id, bars=bars, **self._when())


def _no_account(msisdn: Msisdn) -> UnknownError:
    return UnknownError("account", f"there is no account with MSISDN {msisdn}")
