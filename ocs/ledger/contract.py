"""The ledger's contract: what it is asked, what it answers, what it promises. `redis_ledger.RedisLedger`
holds it, and the tests have a model of it in plain Python as their oracle.

Promises (docs/ARCHITECTURE.md, invariants): 1. paid in = available + held + spent + refunded + expired; 2. nothing is
negative; 3. held = Σ open reservations; 4. a request key is applied at most once and repetitions get the same outcome;
5. Σ records = balance movement; 6. one outcome per request. Amounts are integers: micro-EUR, octets, seconds, messages,
all < 2^53.

The values of the hot path are not frozen: freezing makes an object four times as dear to build, and they are built per
request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Protocol

from ocs.values.products import LIMIT_COUNTER, USUAL_COUNTERS, CounterTerms, PackageTerms
from ocs.values.requests import Action, RequestType
from ocs.values.sessions import session_owner
from ocs.values.use import PriceTerms, Unit

MAX_SESSIONS_PER_ACCOUNT = 32
"""Open credit-control sessions of one account; one more is refused with 5006."""
MAX_SERVICES_PER_SESSION = 64
"""Rating groups with state in one session; one more is refused with 5006 in its MSCC."""
UNKNOWN_PLACE = "?"
"""`ChargeRequest.assumed` of who does not know the session; no place reads so."""
ANSWERS_KEPT_PER_SESSION = 64
"""Outcomes kept of a live session; a request number further behind the highest is refused, never applied."""
TOMBSTONE_S = 300
"""A session that has ended is known so long, for reports that its end overtook."""
EPOCH_EVENTS = 10**12
"""Sequence numbers of one epoch of a partition's journal. A new one begins when the ledger went back (failover to a
replica that was behind)."""

STATES = {"a": "active", "i": "inactive", "b": "blocked", "t": "terminated"}
"""Of an account, by their letters in documents and journal."""


class NoFunds(IntEnum):
    """What is done with a service that nothing can pay."""

    REFUSE = 0
    """4012."""
    RESTRICT_ONCE = 1
    """A restricted phase; still nothing at its end: 4012."""
    RESTRICT_REPEATEDLY = 2
    """Restricted phases until there is something to pay from."""


@dataclass(slots=True)
class Leg:
    """One of several prices that a use is paid at; a forwarded call has two (HOT-RAT-7)."""

    label: str
    price: PriceTerms
    buckets: tuple[str, ...] = ()
    counters: tuple[CounterTerms, ...] = USUAL_COUNTERS
    price_after: PriceTerms | None = None


@dataclass(slots=True)
class ServiceCharge:
    """One service of a request: settle what was used, then reserve what is wanted next."""

    key: str
    """Stable over the session: rating group and service identifiers."""
    label: str
    price: PriceTerms
    buckets: tuple[str, ...]
    used: int
    """Raw units since the last report; rated at the price the grant in force was made at."""
    want: int | None
    """Units to reserve; None = no Requested-Service-Unit, so nothing is reserved and the old reservation returns."""
    minimum: int
    """Below this a grant is not split further."""
    always: bool = False
    bars: tuple[str, ...] = ()
    detail: str = ""
    """Where and towards whom, for the record (opaque to the ledger)."""
    used_after: int = 0
    """Raw units used after the price switch of the grant in force (Tariff-Change-Usage 1); rated at its
    `price_after`.
    """
    used_either: int = 0
    """Raw units that straddle the switch (Tariff-Change-Usage 2); rated at the cheaper side."""
    switch_at: int = 0
    """Unix seconds of a price switch ahead of the new grant; 0 = none."""
    price_after: PriceTerms | None = None
    spans: bool = True
    """The grant may be used on both sides of the switch, and is reserved at the dearer one; else it ends there, and
    time that is reported beyond is rated at `price_after`."""
    unit: Unit = Unit.OCTETS
    """What the raw units are. A report that cannot be true is dropped (`ServiceOutcome.dropped`): of seconds more than
    have passed, of messages much more than was granted, of octets more than `max_rate`. Money may be used at once,
    however much it is."""
    max_rate: int = 0
    """Octets a second that are physically possible; 0 = any."""
    restrict: NoFunds = NoFunds.REFUSE
    retry_want: int = 0
    """Units to try for when a restricted phase ends and the client asks for none (RFC 8506 §5.6.2)."""
    counters: tuple[CounterTerms, ...] = USUAL_COUNTERS
    """Counters that the first leg (label, price, buckets) moves."""
    more_legs: tuple[Leg, ...] = ()
    """What the same use is paid at besides."""
    maximum_micro_eur: int = 0
    """Most money that one grant may hold, unless `minimum` costs more; 0 = any."""

    @property
    def reported(self) -> int:
        return self.used + self.used_after + self.used_either


@dataclass(slots=True)
class ChargeRequest:
    account_id: str
    identity: str
    """The subscriber id the account was found by ("m386…" or "i293…"); "" when found by session."""
    session_id: str
    origin_host: str
    context: str
    type: RequestType
    number: int
    now: int
    """Unix seconds."""
    month: int
    """Calendar month of `now` in the operator's time zone, e.g. 202611 (HOT-CC-1)."""
    deadline: int
    """Unix seconds after which the session's reservations count as released (Tcc)."""
    services: tuple[ServiceCharge, ...]
    origin_realm: str = ""
    relay: str = ""
    """Origin-Host of the connected peer when it is not `origin_host`: a relay. Where a RAR of this session is sent."""
    owner: str = ""
    """Who may go on with the session: its failover group, else its Origin-Host, in small letters. Others get 5002, and
    one-off requests of theirs are never taken for repetitions of its own."""
    origin_state_id: int = 0
    """The client's; an INITIAL with a higher one ends an open session of the same id first. 0 = says nothing."""
    action: Action = Action.DEBIT
    refund_of: tuple[str, int] | None = None
    """With REFUND: Session-Id and request number of the debit; None = the debit with this request's Session-Id."""
    place: str = ""
    """Where and how the use takes place, opaque to the ledger: kept with the session."""
    expected_location: str = ""
    """The request leaves out part of `place`, which was filled in from this one. Another is in force: nothing is done,
    code 0, reason "place". UNKNOWN_PLACE = nothing to fill in from; "" = it leaves out nothing."""
    day: int = 0
    """Calendar day of `now` in the operator's time zone, as days since 1970-01-01: for counters of a day. 0 = that of
    UTC.
    """
    pool: str = ""
    """The pool that the caller believes the account to be in; another one is answered by code 0, reason "pool"."""
    retransmitted: bool = False
    """The message has the T bit (RFC 6733 §3): it may have come before. An opening without it, of a session that has
    ended, is of a new one."""
    end_to_end: int = 0
    """End-to-End-Id: what is sent again keeps it (RFC 6733 §3). 0 = not known."""
    content: str = ""
    """Of a one-off request: a digest of what it asks and towards whom. With other content it is no repetition."""

    @property
    def session_owner(self) -> str:
        """`owner`, or who it is by default."""
        return self.owner or session_owner(self.origin_host)


@dataclass(slots=True)
class ServiceOutcome:
    key: str
    code: int
    """Result-Code of the service: 2001, 4010, 4012 or 5006."""
    granted: int
    final: bool
    """These are the last affordable units."""
    reason: str
    """Why less than wanted or nothing: "", "credit", "limit", "state", "bar", "sessions"."""
    debited_micro_eur: int
    """Taken from credit; negative = given back (a refund)."""
    debited_units: int
    """Billable units paid by buckets; negative = given back."""
    overrun_units: int
    """Billable units that were used and that nothing could pay."""
    dropped: int = 0
    """Raw units of the report that were impossible and not charged."""
    restricted: bool = False
    """Nothing is granted, and the service is not refused but in a restricted phase."""
    span_switch: bool = False
    """The grant may be used on both sides of `switch_at` (send Tariff-Time-Change)."""


@dataclass(slots=True)
class ChargeOutcome:
    code: int
    """Result-Code at command level: 2001, 4010, 4012, 5002, 5006, 5012, 5030."""
    duplicate: bool
    services: tuple[ServiceOutcome, ...]
    credit_micro_eur: int
    held_micro_eur: int
    reason: str = ""
    """Why the code is no success: "state", "session", "owner", "open", "late", "no_debit", "nothing_left", …; with 2001
    "refused": the end of a session whose opening was refused. With code 0 nothing was done, see `retry`."""
    session_cost_micro_eur: int = 0
    """Taken from credit by this session so far, without reservations (Cost-Information)."""
    period_end: int = 0
    """Unix seconds when the account's package period ends; 0 = none: a grant should not outlive it."""
    late: bool = False
    """The session had been given up (Tcc) and was settled late."""
    place: str = ""
    """With `Retry.PLACE` where the session is; with POOL the pool; with MOVED the account's new id; else where the
    request was taken to be, if it did not say."""
    at: int = 0
    """Unix seconds when it was applied: of a repetition, that of the first."""
    reused: bool = False
    """It opened a session under the Session-Id of one that had ended."""

    @property
    def retry(self) -> Retry | None:
        """Why nothing was done and the request can come again."""
        return Retry(self.reason) if self.code == 0 else None


class Retry(StrEnum):
    """Reasons of an outcome with code 0: nothing was done, and the request can come again when the caller has done
    something.
    """

    IDENTITY = "identity"
    """The subscriber id is no longer this account's: look it up again."""
    PLACE = "place"
    """The session is elsewhere (`ChargeOutcome.place`): rate the request there."""
    POOL = "pool"
    """The account is in another pool (`ChargeOutcome.place`)."""
    MOVED = "moved"
    """The account has another id (`ChargeOutcome.place`), or will have it in a moment."""
    LOOK_BACK = "look_back"
    """A one-off request of an account that was moved (`ChargeOutcome.place` = its old id): its answer may be there."""
    CLOCK = "clock"
    """The caller's clock is off Redis's by more than `LedgerSettings.max_clock_skew_s`."""
    VERSION = "version"
    """The document was written by a newer version that this one cannot read."""
    UNREADABLE = "unreadable"
    """The document cannot be read at all."""


class SubscriptionState(StrEnum):
    PLANNED = "planned"
    """Begins and is paid at `starts_at` (HOT-PKG-11)."""
    ARMED = "armed"
    """Begins and is paid at the first use that one of its buckets may pay (HOT-PKG-13)."""
    ACTIVE = "active"
    UNPAID = "unpaid"
    """The credit did not cover the fee: it begins when it does (HOT-PKG-2)."""
    ENDING = "ending"
    """Active, and not renewed (HOT-PKG-7)."""


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    instance: int
    product: str
    state: SubscriptionState
    starts_at: int
    ends_at: int
    """End of the period; 0 = none (planned, armed, unpaid)."""
    next_product: str
    """What follows at the end of the period; "" = the same."""
    price_micro_eur: int
    group: str


@dataclass(frozen=True, slots=True)
class CounterView:
    id: str
    window: str
    """A `Window`."""
    value: int
    held: int
    limit: int | None
    told: int
    """Highest threshold that was told in this window, percent; 0 = none."""


@dataclass(frozen=True, slots=True)
class BucketView:
    id: str
    unit: str
    left: int | None
    """None = unlimited. Without what is held: left = usable + held."""
    held: int
    expires_at: int
    instance: int = 0
    """Names it within the account, or within the pool."""
    subscription: int = 0
    """Instance of the subscription that it is of."""
    priority: int = 0
    starts_at: int = 0


@dataclass(frozen=True, slots=True)
class PoolHoldView:
    account_id: str
    instance: int
    units: int


@dataclass(frozen=True, slots=True)
class PoolView:
    """Units that several accounts share (HOT-PKG-14)."""

    pool_id: str
    buckets: tuple[BucketView, ...]
    holds: tuple[PoolHoldView, ...]


@dataclass(frozen=True, slots=True)
class ReservationView:
    key: str
    label: str
    held_micro_eur: int
    held_units: tuple[tuple[str, int], ...]
    """(bucket id, billable units held on it)."""
    held_counters: tuple[tuple[str, int], ...] = ()
    """(counter id, amount held on it)."""
    pool_units: tuple[tuple[int, int], ...] = ()
    """(instance of a bucket of the pool, billable units held on it)."""
    always: bool = False
    """Emergency and the like: nothing aborts it (HOT-RAT-2)."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """`released`: given up at its deadline or by us; kept without reservations for late use."""

    session_id: str
    origin_host: str
    context: str
    started_at: int
    deadline: int
    reservations: tuple[ReservationView, ...]
    origin_realm: str = ""
    relay: str = ""
    origin_state_id: int = 0
    released: bool = False

    @property
    def always(self) -> bool:
        """It has what nothing aborts, such as an emergency call (HOT-RAT-2)."""
        return any(reservation.always for reservation in self.reservations)


@dataclass(frozen=True, slots=True)
class AccountView:
    account_id: str
    msisdn: str
    imsi: str
    state: str
    """"active", "inactive", "blocked" or "terminated", as of the time asked for."""
    active_until: int
    credit_micro_eur: int
    """Credit with what is held: available = credit − held."""
    held_micro_eur: int
    paid_in_micro_eur: int
    spent_micro_eur: int
    refunded_micro_eur: int
    expired_micro_eur: int
    spent_month_micro_eur: int
    limit_micro_eur: int | None
    bars: tuple[str, ...]
    package: str
    package_pending: bool
    """The package could not be paid: its next top-up renews it (HOT-PKG-2)."""
    period_end: int
    buckets: tuple[BucketView, ...] = field(default=())
    sessions: tuple[SessionView, ...] = field(default=())
    subscriptions: tuple[SubscriptionView, ...] = field(default=())
    counters: tuple[CounterView, ...] = field(default=())
    pool: str = ""
    """Pool whose buckets it may use; "" = none."""
    version: int = 0
    """Layout that its document was last written in."""

    @property
    def live_sessions(self) -> tuple[SessionView, ...]:
        """Without those that were given up and are only kept for late use."""
        return tuple(session for session in self.sessions if not session.released)


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One journalled movement. `sequence` counts without gaps within the partition; `event_id` is unique for ever."""

    partition: int
    sequence: int
    body: dict[str, object]

    @property
    def event_id(self) -> str:
        """ "p47-1234"; after the ledger went back behind what was read (`EPOCH_EVENTS`) "p47.1-1234"."""
        epoch, number = divmod(self.sequence, EPOCH_EVENTS)
        return f"p{self.partition:02d}.{epoch}-{number}" if epoch else f"p{self.partition:02d}-{number}"


@dataclass(frozen=True, slots=True)
class NoticedSession:
    """A session whose client should hear from us, and how it is reached."""

    session_id: str
    origin_host: str
    origin_realm: str
    relay: str
    """The relay its last request came through; "" = the client is connected itself."""
    context: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Published by the script that made the change, heard by all workers; may be lost: Validity-Time leads to the same
    end.
    """

    kind: str
    """"reauthorize" (RAR) or "abort" (ASR)."""
    reason: str
    """"topup", "refund", "package", "limit", "bars", "state", "reclaim", "threshold"."""
    at: float
    """Unix seconds when the change was asked for (for the time to unblock)."""
    account_id: str
    sessions: tuple[NoticedSession, ...]


class LedgerError(Exception):
    """The operation was refused; nothing was changed. `code` is a stable word, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LedgerUnavailable(Exception):
    """Redis could not be asked in time. Whether the operation was applied is unknown: resend it by its key."""


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
