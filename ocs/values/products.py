"""Products as the ledger activates, counts and renews them: terms of packages, buckets and counters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ocs.values.money import MICRO

DEFAULT_LIMIT_MICRO_EUR = 100 * MICRO
"""The default spending limit of a calendar month (HOT-CC-1)."""

LIMIT_COUNTER = "limit"
"""Id of the counter of the monthly spending limit (HOT-CC-1)."""

PACKAGE_GROUP = "package"
"""Group of the tariffs: an account has one tariff."""


class Window(StrEnum):
    """When a counter is reset."""

    MONTH = "month"
    """Each calendar month of the operator's time zone (`ChargeRequest.month`)."""
    DAY = "day"
    """Each calendar day of the operator's time zone (`ChargeRequest.day`)."""
    PERIOD = "period"
    """Each period of the subscription that the counter belongs to."""
    ROLLING = "rolling"
    """Never: it counts the last `CounterTerms.window_s` seconds, in sixteen steps; the oldest step is dropped."""


class Measure(StrEnum):
    """What a counter adds up."""

    MONEY = "money"
    """Micro-EUR debited from credit."""
    CREDIT_UNITS = "credit_units"
    """Billable units paid from credit."""
    UNITS = "units"
    """Billable units paid from buckets or from credit."""
    BUCKET_UNITS = "bucket_units"
    """Billable units paid from buckets: a fair-use volume (HOT-ROA-2)."""


class AtLimit(StrEnum):
    """What happens to a use when a counter has reached its limit."""

    REFUSE = "refuse"
    """4012."""
    RESTRICT = "restrict"
    """Nothing is granted, and the service goes on restricted or slowed down (RFC 8506 §5.6.2)."""
    PRICE = "price"
    """Of BUCKET_UNITS: buckets pay up to the limit; credit pays the rest at the rate's `beyond` price."""


@dataclass(frozen=True, slots=True)
class CounterTerms:
    """A counter that usage moves. An account without it gets it with these terms; from then on the account's own limit
    applies.
    """

    id: str
    window: Window
    measure: Measure
    limit: int | None = None
    """In the measure's unit; no reservation exceeds it. None = the counter has no limit."""
    thresholds: tuple[int, ...] = ()
    """Percentages of the limit, ascending; reaching one is an event, once a window."""
    window_s: int = 0
    """Length of a rolling window."""
    at_limit: AtLimit = AtLimit.REFUSE


MONTHLY_LIMIT = CounterTerms(LIMIT_COUNTER, Window.MONTH, Measure.MONEY, DEFAULT_LIMIT_MICRO_EUR, (80, 100))
"""HOT-CC-1, HOT-CC-4: all use that costs money moves it."""

DEFAULT_COUNTERS = (MONTHLY_LIMIT,)
"""Counters of a new account, which all use that costs money moves."""


@dataclass(frozen=True, slots=True)
class BucketTerms:
    """An included quantity of a product."""

    id: str
    unit: str
    quantity: int | None
    """None = unlimited."""
    priority: int = 0
    """The bucket with the lower number is used first (HOT-PKG-10)."""
    thresholds: tuple[int, ...] = ()
    """Percentages of the quantity, ascending; using up one is an event, once a period (HOT-NOT-1)."""


@dataclass(frozen=True, slots=True)
class PackageTerms:
    """A product as the ledger activates and renews it: tariff, pack, option or zone pack (HOT-PKG-1, -2, -7, -8,
    -13).
    """

    id: str
    price_micro_eur: int
    period_s: int
    buckets: tuple[BucketTerms, ...]
    group: str = PACKAGE_GROUP
    """An account has one subscription of a group; a new one replaces it. "" = no group, several are allowed."""
    renews: bool = True
    """True = at the end of a period the next one is debited and begins; False = the subscription ends (HOT-PKG-8)."""
    excludes: tuple[str, ...] = ()
    """Ids of products; an account that has one of them cannot buy this one (HOT-PKG-9)."""
    counters: tuple[CounterTerms, ...] = ()
    """Counters of a running period. Those with the window PERIOD have the limit of these terms as long as it runs."""
    shared: bool = False
    """Its buckets are put into the account's pool, if the account is in one (HOT-PKG-14)."""
    order: int = 0
    """Of subscriptions due at the same time, the one with the lower number is debited first."""
    facts: tuple[str, ...] = ()
    """Facts that the account has while a period runs; a rate may depend on them (`UseEvent.facts`)."""
