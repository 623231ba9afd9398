"""Between Python values and the msgpack arrays of the scripts; the order of the fields is in the header of each .lua file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgpack

from ocs.ledger.contract import (
    ANSWERS_KEPT_PER_SESSION,
    MAX_INTEGER,
    MAX_SERVICES_PER_SESSION,
    MAX_SESSIONS_PER_ACCOUNT,
    Action,
    ChargeOutcome,
    ChargeRequest,
    LedgerError,
    PackageTerms,
    RequestType,
    ServiceOutcome,
)
from ocs.ledger.settings import LedgerSettings
from ocs.rating.types import PriceTerms

MAX_BUCKET_LISTS = 4096
"""Lists of bucket ids kept as text; a catalogue has one a rate."""
pack = msgpack.Packer(use_bin_type=False).pack
_unpack = msgpack.unpackb


def amount(name: str, value: int, *, least: int = 0) -> int:
    """`value` if Redis can compute with it exactly; LedgerError "range" if not."""
    if not least <= value <= MAX_INTEGER:
        raise LedgerError("range", f"{name} is {value}; it must be from {least} to {MAX_INTEGER}")
    return value


def package(terms: PackageTerms) -> tuple[object, ...]:
    buckets = [(b.id, b.unit, -1 if b.quantity is None else b.quantity) for b in terms.buckets]
    return (terms.id, terms.price_micro_eur, terms.period_s, buckets)


def packages(terms: Sequence[PackageTerms]) -> dict[str, tuple[object, ...]]:
    return {each.id: package(each) for each in terms}


@lru_cache(maxsize=MAX_BUCKET_LISTS)
def _ids(buckets: tuple[str, ...]) -> str:
    """ ",A,B,": the script looks an id up with the commas around it."""
    return f",{','.join(buckets)},"


def charge(request: ChargeRequest, settings: LedgerSettings) -> bytes:
    if request.type is RequestType.EVENT:
        remember_s = settings.remember_events_s
    elif request.type is RequestType.TERMINATION:
        remember_s = settings.remember_sessions_s
    else:
        remember_s = max(request.deadline - request.now, 0) + settings.remember_sessions_s
    values: list[object] = [
        request.identity,
        request.session_id,
        request.origin_host,
        request.context,
        request.type.value,
        request.number,
        request.now,
        request.month,
        request.deadline,
        remember_s,
        ANSWERS_KEPT_PER_SESSION,
        MAX_SESSIONS_PER_ACCOUNT,
        MAX_SERVICES_PER_SESSION,
        request.origin_realm,
        request.via,
        "" if request.binding == request.origin_host.lower() else request.binding,
        request.origin_state_id,
        1 if request.action is Action.CHECK else 0,
        request.place,
        request.assumed,
    ]
    for s in request.services:
        want = -1 if s.want is None else s.want
        # An amount beyond the doubles' exact range is a programmer's error: charging bounds what a peer reports.
        assert 0 <= s.used <= MAX_INTEGER and want <= MAX_INTEGER
        after = s.price_after
        switch_at = 0 if after is None else s.switch_at if s.spans else -s.switch_at
        values += (s.key, s.label, *_terms(s.price), _ids(s.buckets), s.used, want, s.minimum)
        more = s.used_after or s.used_either or s.restrict or switch_at
        values += (
            (1 if s.always else 0) + (2 if more else 0),
            ",".join(s.bars),
            s.detail,
            s.max_rate,
        )
        if more:
            assert s.used_after <= MAX_INTEGER and s.used_either <= MAX_INTEGER
            values += (s.used_after, s.used_either, int(s.restrict), s.retry_want, switch_at)
            if after is not None and switch_at:
                values += _terms(after)
    packed: bytes = pack(values)
    return packed


def _terms(p: PriceTerms) -> tuple[object, ...]:
    return (p.id, p.num, p.den, p.first, p.next, 1 if p.flat else 0, p.rounding)


def refund(request: ChargeRequest, settings: LedgerSettings) -> bytes:
    """refund.lua's argument."""
    _, number = refunded_debit(request)
    values: list[object] = [request.identity, request.session_id, request.number, number, request.now, request.month]
    values += (settings.remember_events_s, request.context)
    for s in request.services:
        values += (s.key, -1 if s.want is None else s.want)
    packed: bytes = pack(values)
    return packed


def refunded_debit(request: ChargeRequest) -> tuple[str, int]:
    """Session-Id and number of the debit that a refund is of."""
    return request.refund_of or (request.session_id, request.number)


def outcome(answer: list[Any]) -> ChargeOutcome:
    """From charge.lua's or refund.lua's result."""
    o = _unpack(answer[1])
    services = [
        ServiceOutcome(
            *(o[n], o[n + 1], o[n + 2], o[n + 3] == 1, o[n + 4], o[n + 5], o[n + 6], o[n + 7]),
            *(o[n + 8], o[n + 9] == 1, o[n + 10] == 1),
        )
        for n in range(9, len(o), 11)
    ]
    place = answer[2].decode() if len(answer) > 2 else o[8]
    return ChargeOutcome(o[0], answer[0] == 1, tuple(services), o[1], o[2], o[3], o[4], o[5], o[6] == 1, place, o[7])
