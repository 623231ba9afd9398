"""What the ledger shows of an account and of a pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

STATES = {"a": "active", "i": "inactive", "b": "blocked", "t": "terminated"}
"""Of an account, by their letters in documents and journal."""


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
