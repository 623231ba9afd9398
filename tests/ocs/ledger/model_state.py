"""What the model ledger is made of: accounts, buckets, sessions and their services, one-off debits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocs.ledger.contract import (
    DEFAULT_LIMIT_MICRO_EUR,
    ChargeRequest,
    ReservationView,
    SessionView,
)
from ocs.rating.types import PriceTerms

Event = dict[str, object]


@dataclass(slots=True)
class Debit:
    """What is left of a one-off debit to give back."""

    account_id: str
    month: int
    lines: list[DebitLine]


@dataclass(slots=True)
class DebitLine:
    key: str
    price: PriceTerms
    raw: int
    before: int
    """Credit units that had been paid before it, of the same session and price."""
    credit: int
    paid_by: list[tuple[str, int, int]]
    """Bucket, units, expiry."""


@dataclass(slots=True)
class Bucket:
    id: str
    unit: str
    left: int | None
    expires: int
    held: int = 0

    def free(self) -> int | None:
        return None if self.left is None else self.left - self.held


@dataclass(slots=True)
class Service:
    label: str
    price: PriceTerms
    buckets: tuple[str, ...]
    detail: str
    granted: int = 0
    held_units: list[tuple[Bucket, int]] = field(default_factory=list)
    held_money: int = 0
    phase: str = "normal"
    """"normal", "final", "restricted" or "refused"."""
    reported: int = 0
    """Last report; of time, how far the time reported reaches."""
    switch_at: int = 0
    price_after: PriceTerms | None = None
    spans: bool = True
    deadline: int = 0
    highest: int = 0
    """Number of an update with it."""


@dataclass(slots=True)
class Session:
    origin_host: str
    context: str
    started: int
    deadline: int
    highest: int
    origin_realm: str = ""
    via: str = ""
    binding: str = ""
    origin_state_id: int = 0
    cost: int = 0
    released: bool = False
    place: str = ""
    raw_used: dict[str, int] = field(default_factory=dict)
    """Raw units by price id; use is rounded once per session and rate."""
    credit_units: dict[str, int] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)

    def raw(self, terms: PriceTerms) -> int:
        """Used so far at all prices of this rate."""
        return sum(used for price, used in self.raw_used.items() if rate_of(price) == rate_of(terms.id))


@dataclass(slots=True)
class Account:
    msisdn: str
    imsi: str
    credit: int
    active_until: int
    month: int
    state: str = "active"
    held: int = 0
    paid_in: int = 0
    spent: int = 0
    expired: int = 0
    limit: int | None = DEFAULT_LIMIT_MICRO_EUR
    spent_month: int = 0
    notified: int = 0
    bars: tuple[str, ...] = ()
    package: str = ""
    pending: bool = False
    period_end: int = 0
    buckets: list[Bucket] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)

    def state_at(self, now: int) -> str:
        return "inactive" if self.state == "active" and now >= self.active_until else self.state

    def is_current(self, bucket: Bucket, now: int) -> bool:
        """Of the running period, whose end another clock may have seen."""
        return now < bucket.expires == self.period_end

    def usable(self, ids: Sequence[str], now: int) -> list[Bucket]:
        by_id = {bucket.id: bucket for bucket in self.buckets if self.is_current(bucket, now)}
        return [by_id[each] for each in ids if each in by_id]

    def live(self) -> dict[str, Session]:
        return {sid: session for sid, session in self.sessions.items() if not session.released}


def release(account: Account, service: Service, now: int) -> list[list[object]]:
    """What it held returns, but for units of a period that is over: those are the result."""
    old: list[list[object]] = []
    for bucket, units in service.held_units:
        if bucket not in account.buckets:
            continue
        bucket.held -= units
        if not account.is_current(bucket, now):
            old.append([bucket.id, units])
            if bucket.left is not None:
                bucket.left -= units
            if not bucket.held and not bucket.left:
                account.buckets = [each for each in account.buckets if each is not bucket]
    account.held -= service.held_money
    service.held_units, service.held_money, service.granted = [], 0, 0
    return old


def owner_of(request: ChargeRequest) -> str:
    return request.binding or request.origin_host.lower()


def in_need(place: str) -> bool:
    """An emergency (`Circumstances.place`)."""
    return place.split("\x1f")[1:2] == ["1"]


def rate_of(price_id: str) -> str:
    return price_id.partition("@")[0]


def session_view(session_id: str, session: Session) -> SessionView:
    return SessionView(
        session_id,
        session.origin_host,
        session.context,
        session.started,
        session.deadline,
        tuple(
            ReservationView(key, s.label, s.held_money, tuple((b.id, units) for b, units in s.held_units))
            for key, s in sorted(session.services.items())
        ),
        session.origin_realm,
        session.via,
        session.origin_state_id,
        session.released,
    )
