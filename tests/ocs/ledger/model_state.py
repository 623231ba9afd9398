"""The parts of an account's document and of a pool's, in the model ledger (docs/LEDGER.md, "The account").

Buckets and counters are referred to by name only (instance, id), so an account can be copied without its pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ocs.ledger.contract.charging import ChargeRequest, Leg, ServiceCharge
from ocs.ledger.contract.limits import ANSWERS_KEPT_PER_SESSION
from ocs.ledger.contract.views import TransferView
from ocs.values.measures import AccountMeasure
from ocs.values.products import AtLimit, CounterTerms, Measure, PackageTerms, Window
from ocs.values.use import PriceTerms

Event = dict[str, object]
FAR_AHEAD = 1_024
"""A number further ahead of the highest does not move it."""
MAX_APART = 8
SLOTS = 16
"""Parts of a rolling window."""


@dataclass(slots=True)
class Bucket:
    instance: int
    id: str
    unit: str
    left: int | None
    """With what is held; None = unlimited."""
    starts: int
    expires: int
    priority: int
    subscription: int
    held: int = 0
    ended: bool = False
    """Its period is over: what is left is for those to whom it was granted."""
    owner: str = ""
    """In a pool: the account whose subscription laid it out."""
    by: dict[str, int] = field(default_factory=dict)
    """In a pool: what each account holds."""
    quantity: int | None = None
    thresholds: tuple[int, ...] = ()
    told: int = 0
    """Highest threshold that was told, percent."""

    def free(self) -> int | None:
        return None if self.left is None else self.left - self.held


@dataclass(slots=True)
class Pool:
    id: str
    buckets: list[Bucket] = field(default_factory=list)
    last_instance: int = 0
    limits: dict[tuple[str, str], int] = field(default_factory=dict)
    """Most units by account ("" = any other) and bucket id."""
    used: dict[tuple[str, int], int] = field(default_factory=dict)
    """Units that an account has used of an instance, since there are limits."""


@dataclass(slots=True)
class Hold:
    """Units of one bucket, held or once granted. `pool` "" = the account's own bucket."""

    pool: str
    instance: int
    units: int


@dataclass(slots=True)
class Counter:
    terms: CounterTerms
    limit: int | None
    since: int = 0
    """Month, day, or start of the period in which the value was counted."""
    amount: int = 0
    held: int = 0
    told: int = 0
    lasting: tuple[int | None] | None = None
    """The lasting limit, if the present one holds for this window only."""
    slots: dict[int, int] = field(default_factory=dict)
    """Amounts by sixteenth of a rolling window."""

    @property
    def id(self) -> str:
        return self.terms.id

    @property
    def value(self) -> int:
        return sum(self.slots.values()) if self.terms.window is Window.ROLLING else self.amount

    def room(self) -> int | None:
        return None if self.limit is None else max(self.limit - self.value - self.held, 0)

    def slot(self, now: int) -> int:
        return now * SLOTS // self.terms.window_s

    def anew(self, since: int) -> None:
        self.since, self.amount, self.told = since, 0, 0
        self.slots = {}
        if self.lasting is not None:
            (self.limit,), self.lasting = self.lasting, None

    def roll(self, now: int, month: int, day: int) -> None:
        """Begins a new window if the last one is over."""
        window = self.terms.window
        if (window is Window.MONTH and month > self.since) or (window is Window.DAY and day > self.since):
            self.anew(month if window is Window.MONTH else day)
        elif window is Window.ROLLING:
            oldest = self.slot(now) - SLOTS
            if any(slot <= oldest for slot in self.slots):
                self.slots = {slot: amount for slot, amount in self.slots.items() if slot > oldest}
                self.told = max(
                    (pct for pct in self.terms.thresholds if pct <= self.told and self.reaches(pct)), default=0
                )

    def reaches(self, percent: int) -> bool:
        return self.limit is not None and self.value * 100 >= self.limit * percent

    def add(self, amount: int, now: int) -> int:
        """Adds to the current window and returns it, for `take_back`."""
        if self.terms.window is not Window.ROLLING:
            self.amount += amount
            return self.since
        slot = self.slot(now)
        if amount:
            self.slots[slot] = self.slots.get(slot, 0) + amount
        return slot

    def take_back(self, amount: int, window: int) -> None:
        if self.terms.window is Window.ROLLING:
            if window in self.slots:
                self.slots[window] = max(self.slots[window] - amount, 0)
        elif window == self.since:
            self.amount = max(self.amount - amount, 0)


@dataclass(slots=True)
class Subscription:
    instance: int
    terms: PackageTerms
    state: str
    """A SubscriptionState."""
    reference: str
    starts: int = 0
    until: int = 0
    due: int = 0
    """When its fee was, or will be, due (planned, unpaid)."""
    next: PackageTerms | None = None
    notice_at: int = 0
    """When the end of its period is announced."""
    committed_until: int = 0
    committed_days: int = 0
    committed_to: str = ""
    benefits: tuple[tuple[str, int], ...] = ()
    separate: bool = False
    """The separate account pays it."""


@dataclass(slots=True)
class LegState:
    """A leg of a service as of its last grant."""

    label: str
    price: PriceTerms
    buckets: tuple[str, ...]
    counters: tuple[CounterTerms, ...]
    price_after: PriceTerms | None = None
    held_units: list[Hold] = field(default_factory=list)
    held_money: int = 0
    held_counters: dict[str, int] = field(default_factory=dict)
    granted_by: list[Hold] = field(default_factory=list)
    """What it held when it was given up."""
    beyond: PriceTerms | None = None

    def volumes(self) -> list[str]:
        """Counters that bound what buckets pay."""
        return [terms.id for terms in self.counters if terms.at_limit is AtLimit.PRICE]

    def for_credit(self, price: PriceTerms, volume: int | None) -> PriceTerms:
        """The price for credit, when buckets may still pay `volume` units. `beyond` is for prices of its own rate."""
        own = self.beyond is not None and rate_of(self.beyond.id) == rate_of(price.id)
        return self.beyond if self.beyond is not None and own and volume == 0 else price


@dataclass(slots=True)
class Service:
    label: str
    detail: str
    legs: list[LegState]
    always: bool
    granted: int = 0
    phase: str = "normal"
    """"normal", "final", "restricted", "refused" or "slowed" (its volume is used up, or the last of it granted)."""
    reported: int = 0
    """Last report; of time, how far the time reported reaches."""
    switch_at: int = 0
    spans: bool = True
    deadline: int = 0
    highest: int = 0
    """Number of an update with it."""

    @property
    def held_money(self) -> int:
        return sum(leg.held_money for leg in self.legs)

    @property
    def price(self) -> PriceTerms:
        return self.legs[0].price

    @property
    def price_after(self) -> PriceTerms | None:
        return self.legs[0].price_after


@dataclass(slots=True)
class Tally:
    label: str
    detail: str
    used: int = 0
    debit: int = 0
    promotional: int = 0
    units: dict[str, int] = field(default_factory=dict)
    overrun: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Numbers:
    """CC-Request-Numbers of a session's applied updates."""

    highest: int
    applied: set[int] = field(default_factory=set)
    apart: list[int] = field(default_factory=list)

    def seen(self, number: int) -> bool:
        return number in self.apart or (number in self.applied and not self.too_old(number))

    def too_old(self, number: int) -> bool:
        return number <= self.highest - ANSWERS_KEPT_PER_SESSION

    def far(self, number: int) -> bool:
        return number > self.highest + FAR_AHEAD and number - 1 not in self.apart

    def add(self, number: int) -> None:
        if self.far(number):
            self.apart = [*self.apart, number][-MAX_APART:]
            return
        self.highest = max(self.highest, number)
        self.applied |= {number, *(each for each in self.apart if each <= self.highest)}
        self.applied = {each for each in self.applied if not self.too_old(each)}
        self.apart = [each for each in self.apart if each > self.highest]


@dataclass(slots=True)
class Session:
    origin_host: str
    context: str
    started: int
    deadline: int
    opening: int
    """Number of its opening."""
    numbers: Numbers
    owner: str
    origin_realm: str = ""
    relay: str = ""
    origin_state_id: int = 0
    cost: int = 0
    released: bool = False
    place: str = ""
    charging_id: str = ""
    recorded: int = 0
    """When it last was in a charging record."""
    raw_used: dict[str, int] = field(default_factory=dict)
    """Raw units by price id; use is rounded once per session and rate."""
    credit_units: dict[str, int] = field(default_factory=dict)
    unpaid: set[str] = field(default_factory=set)
    """Rates whose step begun last was not paid."""
    services: dict[str, Service] = field(default_factory=dict)
    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    """By service and price, since the last charging record."""
    # Set in a tombstone:
    closed_at: int = 0
    closed_by: int | None = None
    """Number of the termination; None = its opening was refused."""
    terminations: set[int] = field(default_factory=set)

    @property
    def bearer(self) -> dict[str, str]:
        """What its records say besides."""
        return {"chg": self.charging_id} if self.charging_id else {}

    @property
    def highest(self) -> int:
        return self.numbers.highest

    @property
    def has_gone_on(self) -> bool:
        """An update followed the opening, so the client has received its answer."""
        first = self.opening if self.opening <= FAR_AHEAD else -1
        return self.numbers.highest != first or bool(self.numbers.apart)

    def raw(self, terms: PriceTerms) -> int:
        """Raw units used so far, over all prices of this rate."""
        return sum(used for price, used in self.raw_used.items() if rate_of(price) == rate_of(terms.id))

    def legs(self) -> Iterator[LegState]:
        for service in self.services.values():
            yield from service.legs


@dataclass(slots=True)
class Entry:
    at: int
    kind: str
    ref: str


@dataclass(slots=True)
class MeasureState:
    terms: AccountMeasure
    begun: bool = False


@dataclass(slots=True)
class Account:
    msisdn: str
    imsi: str
    credit: int
    active_until: int
    uid: str
    """Its first id: what is remembered of it goes by this one."""
    state: str = "active"
    held: int = 0
    paid_in: int = 0
    spent: int = 0
    expired: int = 0
    bars: tuple[str, ...] = ()
    pool: str = ""
    last_instance: int = 0
    starved_at: int = 0
    told_inactive: bool = False
    country: str = "home"
    seen: dict[str, int] = field(default_factory=dict)
    """Countries that it has left, and when."""
    measures: list[MeasureState] = field(default_factory=list)
    fair_use: str | None = None
    """State of the fair-use observation; None = the account is not observed."""
    promotional: int = 0
    """Of the credit."""
    refunded: int = 0
    blocks: tuple[str, ...] = ()
    """Why it is blocked."""
    language: str = ""
    group: str = ""
    auto_below: int = 0
    auto_asked: bool = False
    auto_failures: int = 0
    auto_debits: list[tuple[str, int, bool]] = field(default_factory=list)
    """Order id, time, whether its failure was counted."""
    role: str = ""
    has_separate: bool = False
    separate: int = 0
    """Credit of the separate account."""
    sent: int = 0
    received: int = 0
    transfers: list[TransferView] = field(default_factory=list)
    """In transit."""
    """Why it is blocked."""
    barred_equipment: tuple[str, ...] = ()
    """That was told, the newest last."""
    announced: str = ""
    """The state that was announced last: "inactive" or "terminated"."""
    subscriptions: list[Subscription] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    closed: dict[tuple[str, str], Session] = field(default_factory=dict)
    """By Session-Id and owner."""
    entries: list[Entry] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    """Its ids before moves, the newest first."""

    @property
    def facts(self) -> str:
        """Facts of running products and of measures in force."""
        words = {word for each in self.subscriptions if each.state in ("active", "ending") for word in each.terms.facts}
        words |= {each.terms.name for each in self.measures if each.begun and each.terms.kind == "fact"}
        return ",".join(sorted(words))

    @property
    def all_bars(self) -> set[str]:
        return {*self.bars, *(each.terms.name for each in self.measures if each.begun and each.terms.kind == "bar")}

    def is_mute(self, *notices: str) -> bool:
        return any(each.begun and each.terms.kind == "mute" and each.terms.name in notices for each in self.measures)

    def state_at(self, now: int) -> str:
        return "inactive" if self.state == "active" and now >= self.active_until else self.state

    def live(self) -> dict[str, Session]:
        return {sid: session for sid, session in self.sessions.items() if not session.released}

    def counter(self, counter_id: str) -> Counter | None:
        return next((each for each in self.counters if each.id == counter_id), None)

    def counter_of_id(self, counter_id: str) -> Counter:
        found = self.counter(counter_id)
        assert found is not None
        return found

    def counter_of(self, terms: CounterTerms, month: int, day: int) -> Counter:
        """The counter of these terms; added if the account lacks it."""
        found = self.counter(terms.id)
        if found is None:
            since = {Window.MONTH: month, Window.DAY: day}.get(terms.window, 0)
            found = Counter(terms, terms.limit, since)
            self.counters.append(found)
        return found


@dataclass(slots=True)
class DebitLine:
    """One leg of one service of a one-off debit, and what is left of it to refund."""

    key: str
    price: PriceTerms
    raw: int
    before: int
    """Credit units of the same session and price that were paid before it."""
    credit: int
    paid_by: list[tuple[str, Hold]]
    """Bucket id, and its instance with the units."""
    counted: list[tuple[str, Measure, int]]
    """Counter, what it measures, and the window."""
    credit_price: PriceTerms
    promotional: int = 0
    """Of the money."""


def owner_of(request: ChargeRequest) -> str:
    return request.owner or request.origin_host.lower()


def in_need(place: str) -> bool:
    """The location says that it is an emergency (`UsageContext.place`)."""
    return place.split("\x1f")[1:2] == ["1"]


def utc_day(now: int) -> int:
    """The day of an operation that does not state one."""
    return now // 86_400


def rate_of(price_id: str) -> str:
    return price_id.partition("@")[0]


def partition_of(account_id: str) -> str:
    return account_id.partition("-")[0]


def legs_of(asked: ServiceCharge) -> list[LegState]:
    """Legs by the terms of the request."""
    first = Leg(asked.label, asked.price, asked.buckets, asked.counters, asked.price_after, asked.beyond)
    return [
        LegState(
            *(leg.label, leg.price, leg.buckets, leg.counters, leg.price_after if asked.switch_at else None),
            beyond=leg.beyond,
        )
        for leg in (first, *asked.more_legs)
    ]


def measured(measure: Measure, money: int, credit_units: int, units: int) -> int:
    """The amount that a counter of this measure counts. `units`: paid by buckets and by credit together."""
    return {
        Measure.MONEY: money,
        Measure.CREDIT_UNITS: credit_units,
        Measure.UNITS: units,
        Measure.BUCKET_UNITS: units - credit_units,
    }[measure]
