"""Operations of the ledger, as Protocols: charging, notices, accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, Protocol

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.views import AccountView, PoolView
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.products import (
    DEFAULT_LIMIT_MICRO_EUR,
    LIMIT_COUNTER,
    NO_SHARES,
    BenefitShare,
    CounterTerms,
    LastShares,
    PackageTerms,
)
from ocs.values.top_ups import Channel

CustomerField = Literal["language"]
"""What is known of a customer beside what charging needs."""
Saw = Callable[[AccountView], None]
"""Is given the account as an operation has left it. It is not called if the account cannot be shown."""
ChargeDone = Callable[[ChargeOutcome | LedgerUnavailable], None]


class ChargingLedger(Protocol):
    """Charging, for workers. It uses callbacks: a task per request would cost more than the request."""

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        """Apply `request` atomically in one round trip; `done` is called exactly once, never from within `charge`."""

    async def find_subscriber(self, identity: str) -> str | None:
        """Account id of "m<msisdn>" or "i<imsi>", or None."""

    async def find_session(self, session_id: str, owner: str) -> str | None:
        """Account id of an open or remembered session of `owner` (`ChargeRequest.owner`), or None."""


class NoticeLedger(Protocol):
    """Notices of changes, for workers."""

    def notices(self, subscribed: Callable[[], None] = ...) -> AsyncIterator[Notice]:
        """Notices from the call of `subscribed` on. Reconnects by itself; notices published meanwhile are lost."""

    async def announce(self, notice: Notice) -> None:
        """Publish a notice: care staff asks for a RAR or ASR."""


class AccountLedger(Protocol):
    """Accounts, for care staff, provisioning and the housekeeper. `month` and `day` are those of `now`
    (`ChargeRequest`).

    Every operation may also raise LedgerError "moved" (the account has another id), "clock", "version", "unreadable"
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
        unused: bool = False,
        puk: tuple[str, str] = ("", ""),
        limit_micro_eur: int | None = DEFAULT_LIMIT_MICRO_EUR,
    ) -> str:
        """Open an active account. The opening credit is its first top-up and pays for the package. Returns the account
        id.

        `unused`: it is sold and not used yet. Its first service activates it; its 90 days and its package begin then
        (HOT-ACC-2).

        `entropy`: a random 64-bit number, the part of the account id that nobody can guess.

        `puk`: salt and digest of the PUK1 of its SIM (`ocs.policy.puk`), "" = not known.

        `limit_micro_eur`: its spending limit (HOT-CC-1), None = none.

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
        promotional: bool = False,
        channel: Channel = Channel.CARE,
        separate: bool = False,
        saw: Saw | None = None,
    ) -> bool:
        """Credit once per reference (HOT-TOP-1); starts an unpaid package if the credit now covers it. `promotional`:
        the credit is never paid out (HOT-ACC-10). `separate`: credit the separate account of the number (HOT-GRP-5).
        False = this reference was applied before. A refused top-up does not use up its reference. Vouchers are redeemed
        by `VoucherLedger`.

        LedgerError: "ceiling" (HOT-ACC-7), "no_separate", "reference" (used for another account, balance or
        amount), "state" (terminated), "range", "unknown".
        """

    async def top_up_of(self, reference: str, *, month: int) -> tuple[str, int] | None:
        """What a reference was used for, or is being used for: account (its id without the partition) and micro-EUR;
        ("", 0) = promotional credit, or that of a separate account.
        """

    async def activate_package(
        self, account_id: str, *, package: PackageTerms, reference: str, now: int, month: int, day: int = 0
    ) -> bool:
        """`subscribe` to a product of PACKAGE_GROUP now: debit its price and replace the buckets of the previous
        package. Held money can pay the price too. False = this reference was applied before.

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
        any_state: bool = False,
        block: str = "",
        lift: str = "",
        separate: bool = False,
        saw: Saw | None = None,
    ) -> bool:
        """Buy a product once per reference: now (paid at once, or refused), at `starts_at`, or `armed` for its first
        use. When it begins it replaces a product of the same group. A fee (period 0) may be paid in `any_state`, and
        with it a reason of a block be set (`block`) or lifted (`lift`). Its conditions are looked at in the same step.
        `separate`: the separate account pays it, and its renewals (HOT-GRP-5). False = this reference was applied
        before.

        LedgerError: "credit", "limit" (the price counts to the monthly limit, which leaves no room), "state",
        "unknown", "excluded", "barred", "requires", "tariff" (the conditions), "subscriptions" (too many),
        "no_separate".
        """

    async def unsubscribe(
        self,
        account_id: str,
        instance: int,
        *,
        at_once: bool,
        now: int,
        month: int,
        day: int = 0,
        shares: Sequence[BenefitShare] = (),
    ) -> None:
        """End a subscription at the end of its period, or at once with the loss of its units. `shares` are debited, a
        transaction each, if it still has a commitment.

        LedgerError: "unknown" (account or instance), "credit" (it does not cover the shares; nothing was changed).
        """

    async def set_next(
        self, account_id: str, instance: int, *, product: PackageTerms | None, now: int, month: int, day: int = 0
    ) -> None:
        """Set the product of the next period (HOT-PKG-6); None = the same. LedgerError: "unknown"."""

    async def set_limit(
        self,
        account_id: str,
        *,
        limit_micro_eur: int | None,
        now: int,
        month: int,
        day: int = 0,
        counter: str = LIMIT_COUNTER,
        terms: CounterTerms | None = None,
        once: bool = False,
    ) -> None:
        """Set the limit of a counter, None = no limit; its thresholds are notified anew (HOT-CC-4). `terms`: an account
        that lacks the counter gets it. `once`: the limit before comes back with the counter's next window.

        LedgerError: "unknown" (account or counter).
        """

    async def set_measure(
        self, account_id: str, *, measure: AccountMeasure, now: int, month: int, day: int = 0
    ) -> None:
        """Put a measure on the account, in place of one of its kind and name. It begins and ends by the agenda. Running
        sessions are asked (RAR) when it changes their rates or bars, and aborted (ASR) when a bar leaves nothing of
        them.

        LedgerError: "unknown", "state" (terminated), "measures" (too many), "range" (its end is past).
        """

    async def lift_measure(
        self, account_id: str, *, kind: MeasureKind, name: str, now: int, month: int, day: int = 0
    ) -> bool:
        """End a measure now. False = there is none. LedgerError: "unknown", "state" (terminated)."""

    async def remind(
        self, account_id: str, *, at: int, kind: str, ref: str, now: int, month: int, day: int = 0
    ) -> None:
        """Put a reminder on the agenda: event `due` at Unix time `at`. The same `kind` and `ref` again moves it, `at` =
        0 removes it.
        """

    async def open_pool(self, account_id: str, pool_id: str, *, now: int) -> None:
        """Create an empty pool in the account's partition, if it does not exist."""

    async def join_pool(self, account_id: str, pool_id: str, *, now: int, month: int, day: int = 0) -> None:
        """Let the account use the pool's buckets; "" = leave the pool.

        LedgerError: "unknown" (account, or no such pool in its partition), "sessions" (open sessions hold units of its
        pool).
        """

    async def limit_pool(
        self,
        account_id: str,
        *,
        bucket: str,
        units: int | None,
        common: bool,
        now: int,
        month: int,
        day: int = 0,
    ) -> None:
        """Most units that the account may use of each of its pool's buckets of this id, in a period; None = no limit.
        `common`: of each member that has no limit of its own. What was used before the pool had limits does not count.

        LedgerError: "no_pool", "unknown", "range".
        """

    async def read_pool(self, account_id: str, pool_id: str) -> PoolView | None: ...

    async def move_account(self, account_id: str, *, partition: int, now: int, month: int, day: int = 0) -> str:
        """Move the account to another partition, with its sessions and their answers. Returns its new id. After a
        crash, call it again: it continues.

        LedgerError: "pool" (leave it first), "unknown", "state" (terminated).
        """

    async def set_customer(
        self, account_id: str, *, name: CustomerField, value: str, now: int, month: int, day: int = 0
    ) -> None:
        """Set what is known of the customer: the language of notices; "" = not known."""

    async def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int, day: int = 0) -> None: ...

    async def set_state(
        self, account_id: str, *, state: str, now: int, month: int, day: int = 0, reason: str = ""
    ) -> None:
        """ "blocked": for one more reason, "" = "care"; sessions but emergency calls are aborted. "active": lift the
        reason, "" = all; the account is free when the last one is lifted (HOT-ACC-11).
        """

    async def pay_out(
        self,
        account_id: str,
        *,
        reference: str,
        reason: str,
        states: tuple[str, ...],
        now: int,
        month: int,
        day: int = 0,
        shares: LastShares = NO_SHARES,
    ) -> int:
        """Pay the refundable credit that is not held out, once per reference (HOT-ACC-10). `states` in which it may be.
        `shares` of commitments are debited before, as far as there is credit (HOT-REC-4).
        Returns micro-EUR; 0 = this reference was applied before.

        LedgerError: "state", "nothing", "unknown".
        """

    async def change_imsi(self, account_id: str, *, imsi: str, now: int, month: int, day: int = 0) -> bool:
        """A new SIM for the same number: credit and products stay, loss and theft are lifted as reasons of a block, and
        running sessions are aborted (HOT-ACC-11). After a crash, call it again. False = it has this IMSI already.

        LedgerError: "exists", "opening" (somebody claims it now), "state" (terminated), "unknown".
        """

    async def change_msisdn(self, account_id: str, *, msisdn: str, now: int, month: int, day: int = 0) -> bool:
        """Another number for the account; else as `change_imsi`."""

    async def terminate_account(
        self,
        account_id: str,
        *,
        now: int,
        month: int,
        day: int = 0,
        reason: str = "care",
        pay_out: str = "",
        shares: LastShares = NO_SHARES,
    ) -> int:
        """Terminate the account: its sessions are aborted, its credit and units expire (HOT-ACC-6). `shares` of
        commitments are debited first, as far as there is credit (HOT-REC-4). `pay_out`: reference under which the
        refundable credit that is left is paid out (HOT-ACC-10). Returns the micro-EUR of the shares that stay unpaid.

        LedgerError: "unknown".
        """

    async def release_session(
        self, account_id: str, session_id: str, *, reason: str, now: int, month: int, day: int = 0
    ) -> bool:
        """Give a session up before its deadline: its reservations are released, late use can still be settled. False =
        it is not open.

        `reason`: "lost" (the client does not know it) or "restarted" (the client lost its state); it goes into the
        record.
        """

    async def upgrade_account(self, account_id: str, *, now: int, month: int, day: int = 0) -> bool:
        """Write the documents of the account and its pool in this layout. False = they were already."""

    async def read(self, account_id: str, *, now: int, month: int, day: int = 0) -> AccountView | None: ...

    async def due(self, partition: int, *, now: int, count: int) -> list[str]:
        """Accounts of the partition whose agenda has something due at `now`, at most `count`."""

    async def sweep(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        """Run the agenda of an account: give up sessions past their deadline, renew or end subscriptions, end the
        account's life.
        """

    async def outbox_lag(self, partition: int) -> int:
        """Events not yet trimmed."""
