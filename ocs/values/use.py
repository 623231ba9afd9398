"""The input and the result of rating.

Rating is a pure function: what is used, where and towards whom → service, quota, price and the buckets that may pay.
Units are octets, seconds, messages or micro-EUR; prices are in micro-EUR (HOT-RAT-1, HOT-RAT-8).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, get_args

from ocs.values.products import DEFAULT_COUNTERS, CounterTerms


class Context(StrEnum):
    """The service context; the number is that of the 3GPP document (TS 32.299 §7.1.12)."""

    DATA = "data"  # 32251
    IMS = "ims"  # 32260
    CS = "cs"  # 32276
    SMS = "sms"  # 32274
    MMS = "mms"  # 32270
    CONTENT = "content"
    """The operator's own content services, by a Service-Context-Id of the settings. 3GPP has no document for them."""


ContextName = Literal["data", "ims", "cs", "sms", "mms", "content"]
"""Name of a `Context` in files."""


class Direction(StrEnum):
    ORIGINATING = "mo"
    TERMINATING = "mt"
    FORWARDED = "fw"


DirectionName = Literal["mo", "mt", "fw"]


class Unit(StrEnum):
    OCTETS = "octets"
    SECONDS = "seconds"
    MESSAGES = "messages"
    MONEY = "money"
    """Micro-EUR: the client states the price (CC-Money, RFC 8506 §8.22)."""


UnitName = Literal["octets", "seconds", "messages", "money"]
BucketUnitName = Literal["octets", "seconds", "messages"]
"""Units of a bucket."""
BarName = Literal["roaming", "international", "international-sms", "premium", "data", "mms", "content", "forwarding"]
BARS = tuple(sorted(get_args(BarName)))
"""The bars that a subscriber can set (HOT-CC-5)."""


ITEMISED = "\x1f"
"""In the detail of a charge, between place and parties and `RatedUse.itemised`."""


@dataclass(slots=True)
class UseEvent:
    """Everything that the price of one use depends on. A use is one MSCC, or a request without MSCC."""

    context: Context
    direction: Direction = Direction.ORIGINATING
    rating_group: int | None = None
    service_identifier: int | None = None
    apn: str | None = None
    serving_plmn: str | None = None
    """MCC and MNC digits of the serving network, such as "29340"; None = unknown."""
    visited_number: str | None = None
    """E.164 digits of the serving MSC, VLR or SCCP address, used when no PLMN is known."""
    other_party: str | None = None
    """The called party, or of an incoming use the calling party, as received: tel URI, SIP URI or digits."""
    at: int = 0
    """When the use takes place, in Unix seconds."""
    emergency: bool = False
    """The network marked it as an emergency, for example by IMS-Emergency-Indicator."""
    facts: str = ""
    """Facts of the account that pays: words, sorted, joined by commas. Some rates depend on them."""
    at_home: bool = False
    """The use counts as one at home, wherever the subscriber is: a call that the home network forwarded (HOT-RAT-7)."""


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """A price as the ledger computes with it.

    T raw units of a session are R(T) billable units: R(0) = 0; `first` for 0 < T ≤ `first`; beyond that, rounded up to
    whole steps of `next` (HOT-PKG-5). With `flat`, R(T) = 1 for any T > 0: a price per call. c billable units paid from
    credit cost M(c) = round(c · num / den) micro-EUR, rounded once per session and price in the direction `rounding`.
    The catalogue checks at load that every product stays below 2^53.
    """

    id: str
    """Price and terms: different terms have different ids. Usage is accumulated per session and id."""
    num: int
    den: int
    first: int
    next: int
    flat: bool
    rounding: str
    """"up", "down" or "half_up"."""


@dataclass(frozen=True, slots=True)
class QuotaPolicy:
    """How much of a service is granted at a time, in the service's unit."""

    default: int
    minimum: int
    maximum: int
    validity_s: int
    threshold_percent: int
    """Volume-, Time- or Unit-Quota-Threshold, in percent of the grant; 0 = none."""
    holding_s: int
    """Quota-Holding-Time; 0 = none."""
    consumption_s: int = 0
    """Quota-Consumption-Time, of services in seconds only; 0 = none."""
    time_mechanism: int = 0
    """Time-Quota-Type: 0 discrete, 1 continuous time periods (TS 32.299 §7.2.229)."""
    base_interval_s: int = 0
    """Base-Time-Interval of Time-Quota-Mechanism, sent instead of Quota-Consumption-Time; 0 = none."""
    envelope_reporting: int = 0
    """Envelope-Reporting (TS 32.299 §7.2.59); 0 = none."""
    time_s: int = 0
    """Seconds granted together with octets, to clients that ask for both or for no unit. They limit the grant and are
    not charged. 0 = none.
    """
    pool: int = 0
    """G-S-U-Pool-Identifier of services that share their grants (RFC 8506 §5.1.2); 0 = none."""
    triggers: tuple[int, ...] = ()
    """Trigger-Types sent with a grant (TS 32.299 §7.2.236): changes that the client must report at once. () = none."""
    maximum_micro_eur: int = 0
    """Most money that one grant may reserve, so that other services find some left; `minimum` is granted even if it
    costs more. 0 = no limit.
    """


class Schedule(Protocol):
    """A price that depends on the time of day."""

    def at(self, rated: RatedUse, unix_s: int) -> RatedUse:
        """`rated` with the price of that moment, the next change and the price after it."""


class Variants(Protocol):
    """Rates that replace another one, for accounts with certain facts or between dates."""

    def at(self, rated: RatedUse, facts: str, unix_s: int) -> RatedUse:
        """The rate that applies at that moment to an account with these facts; `rated` if none of them does."""


@dataclass(frozen=True, slots=True)
class Slow:
    """How a service goes on when a counter with `AtLimit.RESTRICT` has reached its limit."""

    filter_ids: tuple[str, ...] = ()
    """Filter-Ids of Final-Unit-Indication and QoS-Final-Unit-Indication; () = those of the peer's profile."""


@dataclass(frozen=True, slots=True)
class RatedUse:
    """The result of rating one UseEvent."""

    service: str
    """Catalogue id of the service, such as "data" or "voice"; a metric label."""
    label: str
    """Catalogue id of the matched rate, such as "voice.home.national"; a metric label, and `what` in the charging
    record.
    """
    place: str
    """"home", "eu" or the id of a roaming zone."""
    destination: str
    """Catalogue id of the destination, such as "national-mobile", "zone2" or "emergency"; "" for data."""
    unit: Unit
    quota: QuotaPolicy
    price: PriceTerms
    buckets: tuple[str, ...]
    """Ids of the buckets that may pay, in order, before credit (HOT-PKG-3); such as "MAXI.data"."""
    always: bool
    """Granted whatever the state, credit, bars or limit: emergency, freephone, help centre (HOT-RAT-2, -3)."""
    bars: tuple[str, ...]
    """The bars, of BARS, that forbid this use."""
    switch_at: int = 0
    """Unix seconds of the next price change after `UseEvent.at`; 0 = the price does not change."""
    price_after: PriceTerms | None = None
    """The price from `switch_at` on; None: more than the price changes then, so a grant ends there."""
    schedule: Schedule | None = None
    """Set inside the catalogue only, for a price that depends on the time of day."""
    counters: tuple[CounterTerms, ...] = DEFAULT_COUNTERS
    """Counters that the use moves and that limit it."""
    beyond: PriceTerms | None = None
    """Price of credit when a counter with `AtLimit.PRICE` has reached its limit; None = `price`. It has the steps of
    `price`.
    """
    slow: Slow | None = None
    """Set if one of the counters restricts the service at its limit."""
    ends_at: int = 0
    """Unix seconds when another rate replaces this one; no grant is valid beyond. 0 = no end."""
    itemised: str = ""
    """Word under which records and statements itemise the use apart, such as "premium" (HOT-RAT-6)."""
    variants: Variants | None = None
    """Set inside the catalogue only, if the rate depends on facts or dates."""
    surcharge: RatedUse | None = None
    """What is paid for the same use besides (HOT-ROA-4, HOT-ROA-7)."""


class Unrateable(Exception):
    """The catalogue has no service or no price for the use: Result-Code 5031.

    `field`: the field of UseEvent that is the cause; it leads to the Failed-AVP.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
