"""Views of accounts and pools, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ocs.ledger.contract.limits import MAX_WRONG_VOUCHERS
from ocs.values.measures import AccountMeasure

STATES = {"n": "new", "a": "active", "i": "inactive", "b": "blocked", "t": "terminated"}
"""Letter in documents and journal → state of an account."""


class SubscriptionState(StrEnum):
    PLANNED = "planned"
    """Begins and is paid at `starts_at` (HOT-PKG-11)."""
    ARMED = "armed"
    """Begins and is paid at the first use that one of its buckets may pay (HOT-PKG-13)."""
    ACTIVE = "active"
    UNPAID = "unpaid"
    """The credit did not cover the fee; begins when it does (HOT-PKG-2)."""
    ENDING = "ending"
    """Active, and not renewed at the end of the period (HOT-PKG-7)."""


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    instance: int
    product: str
    state: SubscriptionState
    starts_at: int
    ends_at: int
    """End of the period; 0 = none (planned, armed, unpaid)."""
    next_product: str
    """Product of the next period; "" = the same."""
    price_micro_eur: int
    group: str
    committed_until: int = 0
    """Unix seconds at which its commitment ends; 0 = it has none (HOT-PKG-17)."""
    committed_days: int = 0
    reference: str = ""
    """Of its purchase."""
    benefits: tuple[tuple[str, int], ...] = ()
    """Name and micro-EUR of each benefit given for the commitment."""
    separate: bool = False
    """The separate account of the member pays it (HOT-GRP-5)."""


@dataclass(frozen=True, slots=True, order=True)
class ReminderView:
    """An entry of the policy on the agenda."""

    at: int
    kind: str
    ref: str


@dataclass(frozen=True, slots=True)
class CounterView:
    id: str
    window: str
    """A `Window`."""
    value: int
    held: int
    limit: int | None
    told: int
    """Highest threshold notified in this window, percent; 0 = none."""


@dataclass(frozen=True, slots=True)
class BucketView:
    id: str
    unit: str
    left: int | None
    """Units with what is held: left = usable + held. None = unlimited."""
    held: int
    expires_at: int
    instance: int = 0
    """Unique within the account, or within the pool."""
    subscription: int = 0
    """Instance of its subscription."""
    priority: int = 0
    starts_at: int = 0


@dataclass(frozen=True, slots=True)
class MeasureView:
    terms: AccountMeasure
    begun: bool
    """False = it is planned."""


@dataclass(frozen=True, slots=True)
class PoolHoldView:
    account_id: str
    instance: int
    units: int


@dataclass(frozen=True, slots=True, order=True)
class PoolLimitView:
    account_id: str
    """"" = each member that has no limit of its own."""
    bucket: str
    units: int


@dataclass(frozen=True, slots=True)
class PoolView:
    """Units that several accounts share (HOT-PKG-14)."""

    pool_id: str
    buckets: tuple[BucketView, ...]
    holds: tuple[PoolHoldView, ...]
    limits: tuple[PoolLimitView, ...] = ()
    usage: tuple[PoolHoldView, ...] = ()
    """What members have used of a bucket, since the pool has limits."""


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
    """Never aborted: emergency calls (HOT-RAT-2)."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """`released`: the session was given up and is kept without reservations for late use."""

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
        """A service of it is never aborted (HOT-RAT-2)."""
        return any(reservation.always for reservation in self.reservations)


@dataclass(frozen=True, slots=True, order=True)
class TransferView:
    """Credit that has left the account and is not with the receiver yet, or not known to be (HOT-GRP-2)."""

    instance: int
    to: str
    """Account id of the receiver when it began."""
    amount_micro_eur: int
    promotional_micro_eur: int
    """Part of the amount."""
    reference: str
    group: str
    role: str
    """That the receiver must have in the group."""
    at: int
    """Unix seconds at which it began."""


@dataclass(frozen=True, slots=True)
class AccountView:
    account_id: str
    msisdn: str
    imsi: str
    state: str
    """"new" (sold, not yet used), "active", "inactive", "blocked" or "terminated", as of the time asked for."""
    active_until: int
    """0 = the account was not used yet (HOT-ACC-2)."""
    credit_micro_eur: int
    """With what is held: available = credit − held."""
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
    """The credit did not cover the package; the next sufficient top-up renews it (HOT-PKG-2)."""
    period_end: int
    buckets: tuple[BucketView, ...] = field(default=())
    sessions: tuple[SessionView, ...] = field(default=())
    subscriptions: tuple[SubscriptionView, ...] = field(default=())
    counters: tuple[CounterView, ...] = field(default=())
    pool: str = ""
    """Pool whose buckets the account may use; "" = none."""
    facts: str = ""
    """Words by which some rates differ, sorted, joined by commas (`UseEvent.facts`)."""
    measures: tuple[MeasureView, ...] = ()
    reminders: tuple[ReminderView, ...] = ()
    country: str = "home"
    """Of the network that served it last; "home" at home."""
    promotional_micro_eur: int = 0
    """Part of the credit that is never paid out (HOT-ACC-10)."""
    blocks: tuple[str, ...] = ()
    """Reasons for which it is blocked (`ocs.policy.life.BlockReason`)."""
    language: str = ""
    """Of the notices, ISO 639-1; "" = the operator's."""
    group: str = ""
    """Id of its business group (HOT-GRP-1)."""
    wrong_vouchers: int = 0
    """Wrong voucher entries that customer care has not forgiven (HOT-TOP-3)."""
    role: str = ""
    """In its group: "administrator" or "member"."""
    puk_known: bool = False
    """The PUK1 of its SIM is known: it can be added to a group."""
    puk_tries: int = 0
    """Wrong entries since the last right one (`limits.MAX_PUK_TRIES`)."""
    has_separate: bool = False
    """It has a separate account, which pays what the member orders itself (HOT-GRP-5)."""
    separate_micro_eur: int = 0
    """Credit of the separate account; not part of `credit_micro_eur`."""
    sent_micro_eur: int = 0
    """Transferred to others, with what is in transit (HOT-GRP-2)."""
    received_micro_eur: int = 0
    """Transferred from others."""
    transfers: tuple[TransferView, ...] = ()
    """In transit."""
    auto_below_micro_eur: int = 0
    """Mark of the automatic top-up; 0 = it is off (HOT-TOP-4)."""
    auto_asked: bool = False
    """The automatic top-up was asked for since the credit was last at the mark."""
    auto_failures: int = 0
    """How often it failed since then."""
    auto_debits: tuple[tuple[str, int], ...] = ()
    """Id and Unix time of its last orders, as HOT-TOP-5 counts them."""
    earlier_ids: tuple[str, ...] = ()
    """Ids that it had in other partitions, newest first, as far as charging still looks under them."""
    version: int = 0
    """Layout in which the document was last written."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Its id and the earlier ones, newest first: the history has rows of each."""
        return self.account_id, *self.earlier_ids

    @property
    def live_sessions(self) -> tuple[SessionView, ...]:
        """Sessions that have not been given up."""
        return tuple(session for session in self.sessions if not session.released)

    @property
    def vouchers_blocked(self) -> bool:
        """It takes no voucher until customer care lifts it (HOT-TOP-3)."""
        return self.wrong_vouchers >= MAX_WRONG_VOUCHERS
