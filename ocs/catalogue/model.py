"""Schema of the catalogue file: one strict model per kind of table.

`compile_parts` and `compile_rates` check references between tables.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ocs.catalogue.ported_numbers import NETWORK_PATTERN
from ocs.catalogue.price import MAX_MONEY_MICRO_EUR
from ocs.values.identities import PLMN_PATTERN
from ocs.values.moment import DATE_PATTERN
from ocs.values.money import PRICE_PATTERN
from ocs.values.use import BarName, BucketUnitName, ContextName, DirectionName, UnitName

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$"
"""Identifiers are labels in records and metrics: short, and without characters that need escaping."""
WORD_PATTERN = r"^[a-z0-9][a-z0-9-]{0,23}$"
"""Of the facts of an account: short, as each document and request carries them."""
MAX_PERIOD_DAYS = 366
MAX_COMMITMENT_DAYS = 3_660
MAX_VALIDITY_S = 604_800
"""One week."""
MAX_NOTICE_H = 168
"""One week."""

Country = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}|001)$")]
CountryOrAny = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}|001|\*)$")]
Plmn = Annotated[str, StringConstraints(pattern=PLMN_PATTERN)]
Rounding = Literal["up", "down", "half_up"]
Kind = Literal[
    "mobile",
    "fixed",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal",
    "pager",
    "uan",
    "voicemail",
]
Amount = Annotated[str, StringConstraints(pattern=PRICE_PATTERN)]
MicroEur = Annotated[int, Field(ge=0, le=MAX_MONEY_MICRO_EUR)]
Unsigned32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
Number = Annotated[str, StringConstraints(pattern=r"^(\+[0-9]{3,15}|[0-9]{2,6}|[a-z0-9._@-]*[a-z@][a-z0-9._@-]*)$")]
BucketName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,24}$")]
Date = Annotated[str, StringConstraints(pattern=DATE_PATTERN)]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
LocalTime = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]([+-][0-9]{2}:[0-9]{2})?)?$"),
]
VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,23}$")]
CountryCode = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2})?$")]
DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"]
TriggerName = Literal["qos", "location", "rat", "timezone", "mcc", "mnc", "serving-node"]
Word = Annotated[str, StringConstraints(pattern=WORD_PATTERN)]
FilterId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,64}$")]
ProductKindName = Literal["tariff", "pack", "option", "zone", "extra", "fee", "recurring-fee"]
Keyword = Annotated[str, StringConstraints(pattern=r"^([A-Z0-9]+( [A-Z0-9]+)*)?$", max_length=32)]
Network = Annotated[str, StringConstraints(pattern=NETWORK_PATTERN)]
NoticeText = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Prefix = Annotated[str, StringConstraints(pattern=r"^\+[0-9]{1,15}$")]


class Table(BaseModel):
    """Base of all tables: unknown keys are refused, types are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    illustrative: bool = False
    """The values are examples: replace them before going live."""


class General(Table):
    """[catalogue]"""

    version: VersionName = "1"
    """Stands in the id of every price, and so in the records (HOT-REC-2)."""
    valid_from: LocalTime = ""
    """Local time of the operator at which this version comes into force; "" = there is none before it. In the hour that
    occurs twice it has an offset, such as 2026-10-25T02:30+01:00."""
    currency: Literal["EUR"]
    vat_percent: Annotated[int, Field(ge=0, le=100)]
    time_zone: str
    kilo: Literal[1000, 1024]
    rounding: Rounding
    home_country: Country
    home_plmns: Annotated[list[Plmn], Field(min_length=1)]
    default_plmn: Plmn
    holidays_country: CountryCode = ""
    """ISO 3166-1 code of the country whose public holidays count; "" = only those in `holidays`."""
    holidays_subdivision: str = ""
    """Part of that country with holidays of its own, as in ISO 3166-2 without the country."""
    holidays: list[Date] = []
    """More holidays."""
    no_holidays: list[Date] = []
    """Public holidays that do not count."""
    credit_order: list[Literal["promotional", "refundable"]] = ["promotional", "refundable"]
    """Which part of the credit pays first (HOT-ACC-10)."""
    transfer_promotional: bool = False
    """Promotional credit may be transferred within a business group, and stays promotional (HOT-GRP-2)."""
    low_credit_eur: Amount = "1"
    """A use after which the credit is below this is an event (HOT-ACC-8); "0" = none."""
    active_days: Annotated[int, Field(ge=1, le=MAX_PERIOD_DAYS)] = 90
    """How long an account is active after a top-up or its first use (HOT-ACC-2, HOT-ACC-3)."""
    inactive_days: Annotated[int, Field(ge=1, le=MAX_PERIOD_DAYS)] = 270
    """How long it is inactive then, before it is terminated (HOT-ACC-5, HOT-ACC-6)."""
    returned_payment_blocks: bool = True
    """A payment that the payer's bank takes back blocks the account for non-payment (HOT-REC-3 has the fee)."""
    expiring_days: Annotated[int, Field(ge=0, le=90)] = 7
    """How long before an account becomes inactive or is terminated an event says so; 0 = not at all."""


class PlaceTable(Table):
    """[place.ID]"""

    countries: list[CountryOrAny] = []
    plmns: list[Plmn] = []
    bars: list[BarName] = []


class DestinationTable(Table):
    """[destination.ID]"""

    numbers: list[Number] = []
    prefixes: list[Prefix] = []
    kinds: list[Kind] = []
    countries: list[CountryOrAny] = []
    networks: list[Network] = []
    emergency: bool = False
    short: bool = False
    alphanumeric: bool = False
    call_bars: list[BarName] = []
    message_bars: list[BarName] = []


class QuotaTable(Table):
    """[service.ID.quota]"""

    default: str
    minimum: str
    maximum: str
    validity_s: Annotated[int, Field(ge=10, le=MAX_VALIDITY_S)]
    threshold_percent: Annotated[int, Field(ge=0, le=90)]
    holding_s: Annotated[int, Field(ge=0, le=MAX_VALIDITY_S)]
    consumption_s: Annotated[int, Field(ge=0, le=MAX_VALIDITY_S)] = 0
    time_mechanism: Literal["discrete", "continuous"] = "discrete"
    base_interval_s: Annotated[int, Field(ge=0, le=MAX_VALIDITY_S)] = 0
    envelope_reporting: Literal["none", "envelopes", "volume", "events", "both"] = "none"
    time_s: Annotated[int, Field(ge=0, le=MAX_VALIDITY_S)] = 0
    pool: Unsigned32 = 0
    triggers: list[TriggerName] = []
    maximum_eur: Amount = "0"


class MatchTable(Table):
    """One entry of service.ID.match"""

    rating_group: Unsigned32 | None = None
    service_identifier: Unsigned32 | None = None
    apn: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{1,100}$")] | None = None


class ServiceTable(Table):
    """[service.ID]"""

    contexts: Annotated[list[ContextName], Field(min_length=1)]
    unit: UnitName
    default: bool = False
    bars: list[BarName] = []
    match: list[MatchTable] = []
    quota: QuotaTable


class WindowTable(Table):
    """One entry of price.ID.window. The key `from` is a Python keyword, hence `since`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, defer_build=True)

    days: Annotated[list[DayName], Field(min_length=1)]
    since: Annotated[TimeOfDay, Field(alias="from")]
    to: TimeOfDay
    micro_eur: MicroEur


class PriceTable(Table):
    """[price.ID]"""

    micro_eur: MicroEur
    per: str
    first: str | None = None
    next: str | None = None
    rounding: Rounding | None = None
    window: list[WindowTable] = []


class CounterTable(Table):
    """[counter.ID]"""

    window: Literal["day", "month", "period", "rolling"]
    days: Annotated[int, Field(ge=1, le=MAX_PERIOD_DAYS)] | None = None
    measure: Literal["money", "credit-units", "units", "bucket-units"]
    limit: str | None = None
    thresholds: list[Annotated[int, Field(ge=1, le=1000)]] = []
    at_limit: Literal["refuse", "restrict", "price"] = "refuse"
    filter_ids: list[FilterId] = []


class RateTable(Table):
    """[rate.ID]. The key `from` is a Python keyword, hence `since`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    service: str
    places: Annotated[list[str], Field(min_length=1)]
    directions: list[DirectionName] = []
    destinations: list[str] = []
    price: str
    buckets: list[str] = []
    always: bool = False
    bars: list[BarName] = []
    counters: list[str] = []
    beyond: str | None = None
    surcharge: str | None = None
    when: list[Word] = []
    unless: list[Word] = []
    since: Annotated[Date | None, Field(alias="from")] = None
    until: Date | None = None
    itemised: Word | None = None
    vat_percent: Annotated[int, Field(ge=0, le=100)] | None = None

    @property
    def conditional(self) -> bool:
        """The rate replaces another one for some accounts, or for some time."""
        return bool(self.when or self.unless or self.since or self.until)


class BucketTable(Table):
    """[package.ID.bucket.NAME]"""

    unit: BucketUnitName
    quantity: str
    priority: Annotated[int, Field(ge=-99, le=99)] | None = None
    thresholds: list[Annotated[int, Field(ge=1, le=100)]] = []


class IncludedCounterTable(Table):
    """[package.ID.counter.NAME]: the limit of a catalogue counter while a period runs."""

    limit: str


class CommitmentTable(Table):
    """[package.ID.commitment]"""

    days: Annotated[int, Field(ge=1, le=MAX_COMMITMENT_DAYS)]
    benefits: Annotated[dict[BucketName, Amount], Field(min_length=1)]


class PackageTable(Table):
    """[package.ID]: a product of any kind."""

    kind: ProductKindName = "tariff"
    name: str = ""
    price_eur: Amount
    net_eur: Amount
    period_days: Annotated[int, Field(ge=1, le=MAX_PERIOD_DAYS)] | None = None
    recurring: bool | None = None
    ends_with_tariff: bool | None = None
    notice_days: Annotated[int, Field(ge=0, le=MAX_PERIOD_DAYS)] = 0
    order: Annotated[int, Field(ge=-99, le=99)] | None = None
    shared: bool = False
    counts: bool | None = None
    first_use: bool | None = None
    change: Literal["now", "period-end"] | None = None
    voided_by_change: bool | None = None
    excludes: list[str] = []
    barred_with: list[str] = []
    requires: list[str] = []
    keyword: Keyword = ""
    sold_from: Date | None = None
    sold_until: Date | None = None
    bucket: dict[BucketName, BucketTable] = {}
    counter: dict[str, IncludedCounterTable] = {}
    facts: list[Word] = []
    commitment: CommitmentTable | None = None


class NoticesTable(Table):
    """[notices]: what holds for all notices (HOT-NOT-1)."""

    language: Literal["sl", "en"] = "sl"
    """Of subscribers that chose none."""
    quiet_from: TimeOfDay = "21:00"
    quiet_until: TimeOfDay = "08:00"
    """Local times between which notices wait, unless they have `quiet = false`; equal = no quiet hours."""
    expires_h: Annotated[int, Field(ge=1, le=MAX_NOTICE_H)] = 24
    """Hours after its event from which a notice is not sent any more."""
    plain: bool = False
    """Letters outside the GSM 7-bit alphabet are replaced (č by c): twice as many characters fit into an SMS."""


class NoticeTable(Table):
    """[notice.ID]: a text for an event (HOT-NOT-1). `ocs.notices` has the events, their fields and the filters."""

    event: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{1,23}$")]
    when: Annotated[str, StringConstraints(max_length=200)] = ""
    """Condition on the event's fields; "" = always."""
    priority: Annotated[int, Field(ge=1, le=9)] = 5
    """Of those that wait, 1 is sent first."""
    quiet: bool = True
    """It waits for the end of the quiet hours."""
    expires_h: Annotated[int, Field(ge=1, le=MAX_NOTICE_H)] | None = None
    sl: NoticeText
    en: NoticeText


class AnswerTable(Table):
    """[answer.KEY]: an answer to a keyword, in place of the text that comes with ocs (HOT-PKG-12, HOT-ACC-12)."""

    sl: NoticeText
    en: NoticeText


SECTIONS: dict[str, type[Table]] = {
    "place": PlaceTable,
    "destination": DestinationTable,
    "service": ServiceTable,
    "price": PriceTable,
    "counter": CounterTable,
    "rate": RateTable,
    "package": PackageTable,
    "notice": NoticeTable,
    "answer": AnswerTable,
}
"""Section name → model of its tables."""
REQUIRED_SECTIONS = ("place", "service", "rate", "package")
