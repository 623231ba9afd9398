"""Products as the ledger needs them to activate, count and renew them: terms of packages, of their buckets and of
counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ocs.values.money import MICRO

DEFAULT_LIMIT_MICRO_EUR = 100 * MICRO
"""HOT-CC-1: the default spending limit per calendar month."""

LIMIT_COUNTER = "limit"
"""Id of the counter that is the account's monthly spending limit (HOT-CC-1)."""

PACKAGE_GROUP = "package"
"""Group of the tariffs: an account has one of them."""


class Window(StrEnum):
    """When a counter begins anew."""

    MONTH = "month"
    """Calendar month of the operator's time zone (`ChargeRequest.month`)."""
    DAY = "day"
    """Calendar day (`ChargeRequest.day`)."""
    PERIOD = "period"
    """Period of the subscription whose terms have the counter."""
    ROLLING = "rolling"
    """The last `CounterTerms.window_s` seconds, counted in sixteenths: what is older than that goes."""


class Measure(StrEnum):
    """By what a use moves a counter."""

    MONEY = "money"
    """Micro-EUR debited from credit."""
    CREDIT_UNITS = "credit_units"
    """Billable units paid by credit."""
    UNITS = "units"
    """Billable units paid by buckets or by credit."""


@dataclass(frozen=True, slots=True)
class CounterTerms:
    """A counter that a use moves. An account that lacks it gets it with these terms; later its own limit counts."""

    id: str
    window: Window
    measure: Measure
    limit: int | None = None
    """In the measure's unit; `reserve` never goes beyond it. None = it only counts."""
    thresholds: tuple[int, ...] = ()
    """Percent of the limit, rising; each is an event once a window."""
    window_s: int = 0
    """Of a rolling window."""


MONTHLY_LIMIT = CounterTerms(LIMIT_COUNTER, Window.MONTH, Measure.MONEY, DEFAULT_LIMIT_MICRO_EUR, (80, 100))
"""HOT-CC-1, HOT-CC-4: every chargeable use moves it."""

USUAL_COUNTERS = (MONTHLY_LIMIT,)


@dataclass(frozen=True, slots=True)
class BucketTerms:
    """An included quantity of a product. quantity None = unlimited."""

    id: str
    unit: str
    quantity: int | None
    priority: int = 0
    """Lower is used first (HOT-PKG-10)."""


@dataclass(frozen=True, slots=True)
class PackageTerms:
    """A product as the ledger needs it to activate and to renew it: tariff, pack, option, zone pack (HOT-PKG-1, -2, -7,
    -8, -13).
    """

    id: str
    price_micro_eur: int
    period_s: int
    buckets: tuple[BucketTerms, ...]
    group: str = PACKAGE_GROUP
    """A subscription of a group replaces the one that the account has of it; "" = there may be several."""
    renews: bool = True
    """At the end of a period the next one is paid and begins; else the subscription ends (HOT-PKG-8)."""
    excludes: tuple[str, ...] = ()
    """Product ids beside which this one cannot be bought (HOT-PKG-9)."""
    counters: tuple[CounterTerms, ...] = ()
    """Counters of the subscription's period."""
    shared: bool = False
    """Its buckets are laid out in the account's pool, if it is in one (HOT-PKG-14)."""
    order: int = 0
    """Of subscriptions due at the same time the lower is paid first."""
