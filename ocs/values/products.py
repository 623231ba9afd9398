"""What is sold: products, and their terms as the ledger activates, counts and renews them (buckets, counters)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

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
class Conditions:
    """What an account must have, or not have, when a period of a product begins: when it is sold, when a plan's day has
    come, and at each renewal. The ledger looks in the step that begins the period, so that an order at the same time
    cannot slip through (HOT-PKG-9, HOT-PKG-16).
    """

    barred_with: tuple[str, ...] = ()
    """Tariffs with which there is no period of it."""
    requires: tuple[str, ...] = ()
    """Products of which the account must have another; () = none."""
    running_tariff: bool = False
    """A tariff must run: a further quantity is bought for its period (HOT-PKG-3)."""


NO_CONDITIONS = Conditions()


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
    counts: bool = False
    """The price moves the monthly limit, which can refuse the purchase: a bought extra quantity (HOT-CC-2)."""
    with_tariff: bool = False
    """A period ends with that of the tariff, if one runs: "for the current period" (HOT-PKG-8)."""
    voided_by_change: bool = False
    """A planned activation is void when the tariff changes (HOT-PKG-11)."""
    notice_s: int = 0
    """Seconds before the end of a period at which an event says that it ends; 0 = never (HOT-NOT-1)."""
    commitment_days: int = 0
    """Days that the subscriber agrees to keep it; 0 = no commitment (HOT-PKG-17)."""
    benefits: tuple[tuple[str, int], ...] = ()
    """Name and micro-EUR of each benefit given for the commitment; an early end costs a share (HOT-REC-4)."""
    conditions: Conditions = NO_CONDITIONS
    """Of each period. While a commitment runs they are not looked at."""


@dataclass(frozen=True, slots=True)
class BenefitShare:
    """What the early end of a commitment costs of one benefit (HOT-REC-4)."""

    benefit: str
    micro_eur: int
    days_left: int
    days_agreed: int


LastShares = Mapping[int, Sequence[BenefitShare]]
"""By instance of the subscription: what the end of its commitment costs."""
NO_SHARES: LastShares = MappingProxyType({})


class ProductKind(StrEnum):
    """What a product is to the one who sells it."""

    TARIFF = "tariff"
    PACK = "pack"
    OPTION = "option"
    ZONE = "zone"
    """Its units pay at some places only (HOT-PKG-13)."""
    EXTRA = "extra"
    """A further quantity for the running period of the tariff (HOT-PKG-3)."""
    FEE = "fee"
    """Paid once, nothing stays (HOT-PKG-16, HOT-REC-3)."""
    RECURRING_FEE = "recurring-fee"
    """Paid each period, without units (HOT-PKG-16)."""


class Change(StrEnum):
    """When a change to a tariff takes effect (HOT-PKG-6)."""

    NOW = "now"
    PERIOD_END = "period-end"


@dataclass(frozen=True, slots=True)
class Product:
    """What the operator sells: terms for the ledger, and the rules of the sale (`ocs/policy`)."""

    kind: ProductKind
    terms: PackageTerms
    name: str
    """For people."""
    net_micro_eur: int
    """Price less VAT, to the cent (HOT-RAT-8)."""
    change: Change = Change.NOW
    """Of a tariff: when a change to it takes effect."""
    first_use: bool = False
    """A purchase is armed: it begins, and is paid, at its first use (HOT-PKG-13)."""
    keyword: str = ""
    """Text of the SMS that orders it, in capitals (HOT-PKG-12); "" = it is not ordered by SMS."""
    sold_from: int = 0
    """Unix seconds from which it is sold."""
    sold_until: int = 0
    """Unix seconds from which it is sold no more; 0 = no end."""

    @property
    def id(self) -> str:
        return self.terms.id

    def is_sold(self, at: int) -> bool:
        """Whether it can be bought then, Unix seconds. Who has it keeps it, and it renews as its terms say."""
        return self.sold_from <= at and (not self.sold_until or at < self.sold_until)

    @property
    def barred_with(self) -> tuple[str, ...]:
        """Tariffs with which it is not sold, nor renewed (HOT-PKG-9)."""
        return self.terms.conditions.barred_with

    @property
    def requires(self) -> tuple[str, ...]:
        """Products of which the account must have one, also at a renewal (HOT-PKG-16)."""
        return self.terms.conditions.requires
