"""Operations of the ledger, as Protocols: charging, notices, accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.views import AccountView, PoolView
from ocs.values.products import LIMIT_COUNTER, PackageTerms

ChargeDone = Callable[[ChargeOutcome | LedgerUnavailable], None]


class ChargingLedger(Protocol):
    """The hot side, for workers: callbacks, because a task per request costs more than the request."""

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        """Apply `request` atomically in one round trip; `done` is called exactly once, never from within `charge`."""

    async def find_subscriber(self, identity: str) -> str | None:
        """Account id of "m<msisdn>" or "i<imsi>", or None."""

    async def find_session(self, session_id: str, owner: str) -> str | None:
        """Account id that holds the open or remembered session of `owner` (`ChargeRequest.owner`), or None: asks all
        partitions in one batch.
        """


class NoticeLedger(Protocol):
    """What workers hear of changes that others made."""

    def notices(self, subscribed: Callable[[], None] = ...) -> AsyncIterator[Notice]:
        """Notices from when `subscribed` is called on; reconnects by itself, what is published meanwhile is lost."""

    async def announce(self, notice: Notice) -> None:
        """Publish a notice of our own (care staff asking for a RAR or ASR)."""


class AccountLedger(Protocol):
    """The rare side, for care staff, provisioning and the housekeeper. `month` and `day` are those of `now`
    (`ChargeRequest`).

    Besides what each says, LedgerError "moved" (the account has another id), "clock", "version", "unreadable"
    (`Retry`).
    """

    async def open_account(
        self,
        *,
        msisdn: str,
        imsi: str,
        credit_micro_eur: int,
        package: PackageTerms | None,
        now: int,
        month: int,
        day: int = 0,
        entropy: int,
    ) -> str:
        """New active account; the opening credit is its first top-up, the package's price is debited from it. Returns
        its id.

        `entropy` is a random 64-bit number, the account id's unguessable part.

        LedgerError: "exists" (number or IMSI taken), "ceiling" (HOT-ACC-7), "range".
        """

    async def top_up(
        self,
        account_id: str,
        *,
        amount_micro_eur: int,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
    ) -> bool:
        """Credit once per reference (HOT-TOP-1); renews a pending package that it now pays. False = this reference was
        applied before.
        What is refused uses up no reference.

        LedgerError: "ceiling" (HOT-ACC-7), "reference" (used for another account or amount), "state" (terminated),
        "range", "unknown".
        """

    async def activate_package(
        self, account_id: str, *, package: PackageTerms, reference: str, now: int, month: int, day: int = 0
    ) -> bool:
        """`subscribe` now to a product of PACKAGE_GROUP: debit the price, replace the package's buckets by fresh ones.
        What is held does not stand in the way of the price. False = this reference was applied before.

        LedgerError: "credit", "state", "unknown", "excluded".
        """

    async def subscribe(
        self,
        account_id: str,
        *,
        product: PackageTerms,
        reference: str,
        now: int,
        month: int,
        day: int = 0,
        starts_at: int = 0,
        armed: bool = False,
    ) -> bool:
        """Buy a product once per reference: now (paid at once, or refused whole), at `starts_at`, or `armed` for its
        first use.

        One of the same group is replaced when the new one begins. LedgerError: "credit", "state", "unknown",
        "excluded".
        """

    async def unsubscribe(
        self, account_id: str, instance: int, *, at_once: bool, now: int, month: int, day: int = 0
    ) -> None:
        """End a subscription at the end of its period, or at once: its units are gone. LedgerError: "unknown" (account
        or instance).
        """

    async def set_next(
        self, account_id: str, instance: int, *, product: PackageTerms | None, now: int, month: int, day: int = 0
    ) -> None:
        """What follows at the end of the period (HOT-PKG-6); None = the same again. LedgerError: "unknown"."""

    async def set_limit(
        self,
        account_id: str,
        *,
        limit_micro_eur: int | None,
        now: int,
        month: int,
        day: int = 0,
        counter: str = LIMIT_COUNTER,
    ) -> None:
        """The limit of a counter; its thresholds are told anew (HOT-CC-4). LedgerError: "unknown" (account, or it has
        no such counter).
        """

    async def remind(
        self, account_id: str, *, at: int, kind: str, ref: str, now: int, month: int, day: int = 0
    ) -> None:
        """An agenda entry of the policy: the event `due` when its time has come; the same `kind` and `ref` again moves
        it, `at` 0 takes it back.
        """

    async def open_pool(self, account_id: str, pool_id: str, *, now: int) -> None:
        """An empty pool in the account's partition; nothing if it exists."""

    async def join_pool(self, account_id: str, pool_id: str, *, now: int, month: int, day: int = 0) -> None:
        """Let the account use the pool's buckets, "" = no pool any more. LedgerError: "unknown" (account, or there is
        no such pool in its partition), "sessions" (it has open sessions that hold units of its pool).
        """

    async def read_pool(self, account_id: str, pool_id: str) -> PoolView | None: ...

    async def move_account(self, account_id: str, *, partition: int, now: int, month: int, day: int = 0) -> str:
        """Move it to another partition, with its sessions and their answers; returns its new id. Called again after a
        crash it goes on.

        LedgerError: "pool" (leave it first), "unknown", "state" (terminated).
        """

    async def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int, day: int = 0) -> None: ...

    async def set_state(self, account_id: str, *, state: str, now: int, month: int, day: int = 0) -> None:
        """ "active" or "blocked" (HOT-ACC-11)."""

    async def terminate_account(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        """End the account for ever: sessions are aborted, its credit and units expire (HOT-ACC-6). LedgerError:
        "unknown".
        """

    async def release_session(
        self, account_id: str, session_id: str, *, reason: str, now: int, month: int, day: int = 0
    ) -> bool:
        """Give a session up as its deadline would: reservations return, late use can still be settled. False = it is
        not open.

        `reason`: "lost" (the client does not know it) or "restarted" (the client lost its state); a word of the record.
        """

    async def upgrade_account(self, account_id: str, *, now: int, month: int, day: int = 0) -> bool:
        """Write its document, and its pool's, in this version's layout. False = they were."""

    async def read(self, account_id: str, *, now: int, month: int, day: int = 0) -> AccountView | None: ...

    async def due(self, partition: int, *, now: int, count: int) -> list[str]:
        """Accounts of the partition with a deadline, renewal or expiry at or before now, at most `count`."""

    async def sweep(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        """Close sessions past their deadline (their reservations return), renew or end a package whose period is
        over.
        """

    async def outbox_lag(self, partition: int) -> int:
        """Events not yet trimmed."""
