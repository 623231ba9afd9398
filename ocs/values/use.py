"""What rating is asked and what it answers: plain values, no I/O.

Rating is a pure function: (what is used, where, towards whom) → (service policy, price, which included units may pay).
Units are octets, seconds, messages or micro-EUR; prices are micro-EUR (HOT-RAT-1, HOT-RAT-8).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, get_args


class Context(StrEnum):
    """The service context, by the 3GPP document that defines it (TS 32.299 §7.1.12)."""

    DATA = "data"  # 32251
    IMS = "ims"  # 32260
    CS = "cs"  # 32276
    SMS = "sms"  # 32274
    MMS = "mms"  # 32270
    CONTENT = "content"
    """Of no document of 3GPP: what an operator's own content services say, by a Service-Context-Id of the settings."""


ContextName = Literal["data", "ims", "cs", "sms", "mms", "content"]
"""Of a `Context`, as files write it."""


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
    """Micro-EUR: the client says what it costs (CC-Money, RFC 8506 §8.22)."""


UnitName = Literal["octets", "seconds", "messages", "money"]
BucketUnitName = Literal["octets", "seconds", "messages"]
"""Units that a product can include."""
BarName = Literal["roaming", "international", "international-sms", "premium", "data"]
BARS = tuple(sorted(get_args(BarName)))
"""HOT-CC-5: what a subscriber can bar."""


@dataclass(slots=True)
class UseEvent:
    """One use (one MSCC, or a command without MSCC) as far as its price depends on it."""

    context: Context
    direction: Direction = Direction.ORIGINATING
    rating_group: int | None = None
    service_identifier: int | None = None
    apn: str | None = None
    serving_plmn: str | None = None
    """MCC and MNC digits of the serving network, e.g. "29340"; None when the request does not say."""
    visited_number: str | None = None
    """E.164 digits of the serving MSC, VLR or SCCP address, when no PLMN is known."""
    other_party: str | None = None
    """The called (or, incoming, the calling) party as received: tel URI, SIP URI or digits."""
    at: int = 0
    """Unix seconds: when the use takes place (time-of-day prices)."""
    emergency: bool = False
    """The network marked the use as an emergency (IMS-Emergency-Indicator and the like)."""


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """A price made ready for the ledger; every product in it is < 2^53, checked when the catalogue loads.

    Use of T raw units of a session is billed as R(T) billable units: R(0) = 0, first for T ≤ first, then whole
    next-steps (HOT-PKG-5); with `flat`, R(T) = 1 for any T > 0 (a price per call). c credit-paid billable units of a
    session cost M(c) = round(c · num / den) micro-EUR, rounded once per session and price in the direction `rounding`.
    """

    id: str
    """Names the price and its terms: other terms, other id. Use is accumulated per session and id."""
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
    """Volume-, Time- or Unit-Quota-Threshold as a share of the grant; 0 = none."""
    holding_s: int
    """Quota-Holding-Time; 0 = none."""
    consumption_s: int = 0
    """Quota-Consumption-Time, for time only; 0 = none."""
    time_mechanism: int = 0
    """Time-Quota-Type: 0 discrete, 1 continuous time periods (TS 32.299 §7.2.229)."""
    base_interval_s: int = 0
    """Base-Time-Interval of Time-Quota-Mechanism, in place of Quota-Consumption-Time; 0 = none."""
    envelope_reporting: int = 0
    """Envelope-Reporting (TS 32.299 §7.2.59); 0 = none."""
    time_s: int = 0
    """Seconds granted beside octets to clients that ask for both or leave it to us; they bound the grant, they cost
    nothing. 0 = none.
    """
    pool: int = 0
    """Credit pool of services that may share their grants (RFC 8506 §5.1.2); 0 = none."""
    triggers: tuple[int, ...] = ()
    """Trigger-Types armed with a grant (TS 32.299 §7.2.236): what changes the price must be told at once. Empty = none
    is sent.
    """
    maximum_micro_eur: int = 0
    """Most money that one grant may hold, unless `minimum` costs more: a reservation is worth money, and others want
    some. 0 = any.
    """


class Schedule(Protocol):
    """Prices that depend on the time."""

    def at(self, rated: RatedUse, unix_s: int) -> RatedUse:
        """As it is rated at that moment, and what follows."""


@dataclass(frozen=True, slots=True)
class RatedUse:
    """The answer of rating for one UseEvent."""

    service: str
    """Catalogue id of the service, e.g. "data", "voice", "sms", "mms": a bounded label."""
    label: str
    """Catalogue id of the matched rate, e.g. "voice.home.national": a bounded label, and the `what` of the record."""
    place: str
    """"home", "eu" or the id of a roaming zone."""
    destination: str
    """Catalogue id of the destination class, e.g. "national-mobile", "zone2", "emergency"; "" for data."""
    unit: Unit
    quota: QuotaPolicy
    price: PriceTerms
    buckets: tuple[str, ...]
    """Ids of the package buckets that may pay for this use, in order (e.g. "MAXI.data"), before credit (HOT-PKG-3)."""
    always: bool
    """Emergency, freephone, help centre: granted whatever the state, credit, bars or limit (HOT-RAT-2, -3)."""
    bars: tuple[str, ...]
    """The subscriber's bars that forbid this use, of BARS."""
    switch_at: int = 0
    """Unix seconds of the next change of the price after `UseEvent.at`; 0 = the price does not depend on time."""
    price_after: PriceTerms | None = None
    """The price from then on."""
    schedule: Schedule | None = None
    """Only within the catalogue: the price depends on the time."""


class Unrateable(Exception):
    """No service or no price for this use: Result-Code 5031. `field` names the UseEvent field to blame (Failed-AVP)."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
