"""Encodes arguments of the scripts as msgpack, and decodes their results.

Rows are made by writers from layout.py. Scripts outside the hot path take maps; their headers list the names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgpack

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge, ServiceOutcome
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.layout import LAYOUT
from ocs.ledger.settings import LedgerSettings
from ocs.values.exact import MAX_INTEGER
from ocs.values.life import LifeTerms
from ocs.values.measures import AccountMeasure
from ocs.values.moment import utc_day
from ocs.values.products import (
    DEFAULT_COUNTERS,
    MONTHLY_LIMIT,
    AtLimit,
    BenefitShare,
    CounterTerms,
    LastShares,
    PackageTerms,
)
from ocs.values.requests import Action, RequestType
from ocs.values.use import PriceTerms

_EVENT, _TERMINATION, _CHECK = RequestType.EVENT, RequestType.TERMINATION, Action.CHECK
"""Members as globals: each access to a member of an Enum costs a look-up."""
MAX_RATES = 8192
"""Rates kept packed. A catalogue has one per rate and time window."""
pack = msgpack.Packer(use_bin_type=False).pack
unpack = msgpack.unpackb
NO_LIMIT = -1
UNLIMITED = -1


def amount(name: str, value: int, *, least: int = 0) -> int:
    """Returns `value`. LedgerError "range": it is less than `least`, or Redis cannot compute with it exactly."""
    if not least <= value <= MAX_INTEGER:
        raise LedgerError("range", f"{name} is {value}; it must be from {least} to {MAX_INTEGER}")
    return value


# -- products


def counter_terms(terms: CounterTerms) -> list[Any]:
    limit = NO_LIMIT if terms.limit is None else terms.limit
    return LAYOUT.new(
        "counter_terms",
        id=terms.id,
        window=terms.window.value,
        measure=terms.measure.value,
        limit=limit,
        thresholds=list(terms.thresholds) or "",
        window_s=terms.window_s,
        at_limit="" if terms.at_limit is AtLimit.REFUSE else terms.at_limit.value,
    )


def package(terms: PackageTerms) -> list[Any]:
    """LedgerError "range": an amount, or the period of a product that renews, is out of bounds."""
    amount("price", terms.price_micro_eur)
    amount("period", terms.period_s, least=1 if terms.renews else 0)
    buckets = [
        LAYOUT.new(
            "included",
            id=each.id,
            unit=each.unit,
            quantity=UNLIMITED if each.quantity is None else amount(each.id, each.quantity),
            priority=each.priority,
            thresholds=",".join(map(str, each.thresholds)),
        )
        for each in terms.buckets
    ]
    return LAYOUT.new(
        "terms",
        id=terms.id,
        price=terms.price_micro_eur,
        period_s=terms.period_s,
        buckets=buckets,
        group=terms.group,
        renews=int(terms.renews),
        excludes=list(terms.excludes),
        counters=[counter_terms(each) for each in terms.counters],
        shared=int(terms.shared),
        order=terms.order,
        facts=list(terms.facts),
        counts=int(terms.counts),
        with_tariff=int(terms.with_tariff),
        voided_by_change=int(terms.voided_by_change),
        notice_s=amount("notice", terms.notice_s),
        commitment_days=terms.commitment_days,
        benefits=[LAYOUT.new("benefit", name=name, amount=amount(name, each)) for name, each in terms.benefits],
        barred_with=list(terms.conditions.barred_with),
        requires=list(terms.conditions.requires),
        running_tariff=int(terms.conditions.running_tariff),
    )


def measure(terms: AccountMeasure) -> list[Any]:
    return LAYOUT.new(
        "measure",
        kind=terms.kind.value,
        name=terms.name,
        reason=terms.reason,
        since=amount("since", terms.since),
        until=amount("until", terms.until),
    )


def shares(of_end: Iterable[BenefitShare]) -> list[tuple[str, int, int, int]]:
    return [(each.benefit, amount(each.benefit, each.micro_eur), each.days_left, each.days_agreed) for each in of_end]


def last_shares(ends: LastShares) -> dict[str, list[tuple[str, int, int, int]]]:
    return {str(instance): shares(of_end) for instance, of_end in ends.items()}


_life = LAYOUT.writer(
    "life",
    "l",
    {},
    active_s="l.active_s",
    expiring_s="l.expiring_s",
    low_credit="l.low_credit_micro_eur",
    promotional_first="1 if l.promotional_first else 0",
    inactive_s="l.inactive_s",
)


def life(terms: LifeTerms) -> list[Any]:
    return _life(terms)


# -- charging

_price = LAYOUT.writer(
    "price",
    "p",
    {},
    id="p.id",
    num="p.num",
    den="p.den",
    first_step="p.first",
    next_step="p.next",
    flat="1 if p.flat else 0",
    rounding="p.rounding",
)
_rate = LAYOUT.writer(
    "rate",
    "label, price, buckets, counters, after, beyond",
    {"row": _price, "at_price": AtLimit.PRICE, "ids_of": lambda counters: _counters_of(counters).ids},
    label="label",
    price="row(price)",
    buckets="','.join(['', *buckets, '']) if buckets else ''",
    counters="ids_of(counters)",
    price_after="row(after) if after is not None else False",
    beyond="row(beyond) if beyond is not None and beyond.id != price.id else False",
    volume="1 if any(each.at_limit is at_price for each in counters) else 0",
)
_rates: dict[tuple[object, ...], bytes] = {}


class _Counters(NamedTuple):
    """What is made once of the counters of a rate."""

    terms: tuple[CounterTerms, ...]
    ids: list[str]
    packed: bytes
    """Terms of those that an account may lack; b"" = none."""


_counters: dict[int, _Counters] = {}
"""By `id` of the tuple, which is kept here: hashing its terms would cost more than all else that is packed."""


def _counters_of(terms: tuple[CounterTerms, ...]) -> _Counters:
    found = _counters.get(id(terms))
    if found is None:
        if len(_counters) >= MAX_RATES:
            _counters.clear()
            _rates.clear()  # its keys have these ids
        lacking = [counter_terms(each) for each in terms if each is not MONTHLY_LIMIT]
        found = _Counters(terms, [each.id for each in terms], pack(lacking) if lacking else b"")
        _counters[id(terms)] = found
    return found


def _packed_rate(
    label: str,
    price: PriceTerms,
    buckets: tuple[str, ...],
    counters: tuple[CounterTerms, ...],
    after: PriceTerms | None,
    beyond: PriceTerms | None,
) -> bytes:
    """A packed rate, made once. The price's id stands for its terms."""
    more = None if counters is DEFAULT_COUNTERS else id(_counters_of(counters).terms)
    key = (label, price.id, buckets, more, after and after.id, beyond and beyond.id)
    packed = _rates.get(key)
    if packed is None:
        if len(_rates) >= MAX_RATES:
            _rates.clear()
        packed = _rates[key] = pack(_rate(label, price, buckets, counters, after, beyond))
    return packed


def _rates_of(s: ServiceCharge) -> list[bytes]:
    after = s.price_after if s.switch_at else None
    first = _packed_rate(s.label, s.price, s.buckets, s.counters, after, s.beyond)
    if not s.more_legs:
        return [first]
    more = [
        _packed_rate(
            leg.label, leg.price, leg.buckets, leg.counters, leg.price_after if s.switch_at else None, leg.beyond
        )
        for leg in s.more_legs
    ]
    return [first, *more]


def _switch_of(s: ServiceCharge) -> int:
    """Time of the price switch, 0 = no leg has another price then."""
    changes = s.price_after is not None or any(leg.price_after is not None for leg in s.more_legs)
    return s.switch_at if changes else 0


_service = LAYOUT.writer(
    "requested_service",
    "s",
    {"rates_of": _rates_of, "switch_of": _switch_of},
    key="s.key",
    detail="s.detail",
    used="s.used",
    used_after="s.used_after",
    used_either="s.used_either",
    want="-1 if s.want is None else s.want",
    minimum="s.minimum",
    always="1 if s.always else 0",
    unit="s.unit",
    max_rate="s.max_rate",
    restrict="int(s.restrict)",
    retry_want="s.retry_want",
    switch_at="switch_of(s) if s.switch_at else 0",
    spans="1 if s.spans else 0",
    maximum="s.maximum_micro_eur",
    bars="','.join(s.bars) if s.bars else ''",
    legs="rates_of(s)",
    slows="1 if s.slows else 0",
)
_request = LAYOUT.writer(
    "request",
    "r, counters, remember_s, max_skew_s, looked_back, life, owners_swept",
    {"check": _CHECK, "utc_day": utc_day},
    identity="r.identity",
    session_id="r.session_id",
    origin_host="r.origin_host",
    origin_realm="r.origin_realm",
    relay="r.relay",
    owner="r.owner",
    context="r.context",
    type="r.type",
    number="r.number",
    now="r.now",
    month="r.month",
    day="r.day or utc_day(r.now)",
    deadline="r.deadline",
    remember_s="remember_s",
    origin_state="r.origin_state_id",
    look="1 if r.action is check else 0",
    max_skew_s="max_skew_s",
    place="r.place",
    expected_location="r.expected_location",
    pool="r.pool",
    looked_back="looked_back",
    counters="counters",
    services="False",
    retransmitted="1 if r.retransmitted else 0",
    end_to_end="r.end_to_end",
    content="r.content",
    facts="r.facts",
    country="r.country",
    plmn="r.plmn",
    charging_id="r.charging_id",
    equipment="r.equipment",
    life="life",
    equipment_id="r.equipment_id",
    owners_swept="1 if owners_swept else 0",
)


_ARRAY_HEADER = 3
"""Octets before the values of an array of 16 to 65,535 elements."""
assert all(len(LAYOUT.records[each]) >= 16 for each in ("request", "requested_service"))


def charge(
    request: ChargeRequest,
    settings: LedgerSettings,
    life: bytes,
    looked_back: str = "",
    owners_swept: bool = False,
) -> list[bytes]:
    """Arguments of charge.lua: the request, and each service. `life`: a packed record."""
    if request.type is _EVENT:
        remember_s = settings.remember_events_s
    elif request.type is _TERMINATION:
        remember_s = settings.remember_sessions_s
    else:
        remember_s = max(request.deadline - request.now, 0) + settings.remember_sessions_s
    skew_s = settings.max_clock_skew_s
    row = _request(request, _more_counters(request), remember_s, skew_s, looked_back, life, owners_swept)
    packed = [pack(row)[_ARRAY_HEADER:]]
    for s in request.services:
        # Charging bounds what a peer reports, so a greater amount is a programmer's error.
        assert 0 <= s.reported <= MAX_INTEGER and (s.want or 0) <= MAX_INTEGER
        packed.append(pack(_service(s))[_ARRAY_HEADER:])
    return packed


def _more_counters(request: ChargeRequest) -> bytes:
    """Terms of the counters that an account may lack, packed. Every account has the monthly limit."""
    tuples: list[tuple[CounterTerms, ...]] = []
    for s in request.services:
        if s.counters is not DEFAULT_COUNTERS and s.counters not in tuples:
            tuples.append(s.counters)
        for leg in s.more_legs:
            if leg.counters is not DEFAULT_COUNTERS and leg.counters not in tuples:
                tuples.append(leg.counters)
    if not tuples:
        return b""
    if len(tuples) == 1:
        return _counters_of(tuples[0]).packed
    found = {each.id: each for terms in tuples for each in terms if each is not MONTHLY_LIMIT}
    several: bytes = pack([counter_terms(each) for each in found.values()])
    return several


def refund(request: ChargeRequest, settings: LedgerSettings, life: list[Any], looked_back: str = "") -> bytes:
    """Argument of refund.lua."""
    session_id, number = refunded_debit(request)
    packed: bytes = pack(
        {
            "identity": request.identity,
            "session_id": request.session_id,
            "number": request.number,
            "debit_session": "" if session_id == request.session_id else session_id,
            "debit_number": number,
            "context": request.context,
            "remember_s": settings.remember_events_s,
            "services": [(s.key, -1 if s.want is None else s.want) for s in request.services],
            "looked_back": looked_back,
            "now": request.now,
            "month": request.month,
            "day": request.day or utc_day(request.now),
            "max_skew_s": settings.max_clock_skew_s,
            "pool": request.pool,
            "life": life,
        }
    )
    return packed


def refunded_debit(request: ChargeRequest) -> tuple[str, int]:
    """Session-Id and number of the debit that a refund names."""
    return request.refund_of or (request.session_id, request.number)


DUPLICATE, JOURNALLED, PROLONGED, REUSED = 1, 2, 4, 8
"""Flags of charge.lua's result."""
_DUPLICATE_AT, _SERVICES_AT, _REUSED_AT = (
    LAYOUT.index("outcome", name) for name in ("duplicate", "services", "reused")
)


def outcome(answer: list[Any]) -> ChargeOutcome:
    """The result of charge.lua or refund.lua. Its rows have the order of the classes."""
    row = unpack(answer[1])
    flags = answer[0]
    row[_DUPLICATE_AT], row[_REUSED_AT] = flags & DUPLICATE != 0, flags & REUSED != 0
    row[_SERVICES_AT] = tuple([ServiceOutcome(*each) for each in row[_SERVICES_AT]])
    return ChargeOutcome(*row)


def customer(**fields: object) -> bytes:
    """A packed `customer` record."""
    packed: bytes = pack(LAYOUT.new("customer", **fields))
    return packed
