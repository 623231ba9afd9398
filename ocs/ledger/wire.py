"""Between Python values and the msgpack arrays of the scripts; the order of the fields is in the header of each .lua file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from ocs.ledger.contract import (
    ANSWERS_KEPT_PER_SESSION,
    MAX_INTEGER,
    MAX_SERVICES_PER_SESSION,
    MAX_SESSIONS_PER_ACCOUNT,
    ChargeOutcome,
    ChargeRequest,
    LedgerError,
    PackageTerms,
    RequestType,
    ServiceCharge,
    ServiceOutcome,
)
from ocs.ledger.settings import LedgerSettings
from ocs.rating.types import PriceTerms

pack = msgpack.Packer(use_bin_type=False).pack
_unpack = msgpack.unpackb


def amount(name: str, value: int, *, least: int = 0) -> int:
    """`value` if Redis can compute with it exactly; LedgerError "range" if not."""
    if not least <= value <= MAX_INTEGER:
        raise LedgerError("range", f"{name} is {value}; it must be from {least} to {MAX_INTEGER}")
    return value


def price(terms: PriceTerms) -> tuple[object, ...]:
    return (terms.id, terms.num, terms.den, terms.first, terms.next, int(terms.flat), terms.rounding)


def package(terms: PackageTerms) -> tuple[object, ...]:
    buckets = [(b.id, b.unit, -1 if b.quantity is None else b.quantity) for b in terms.buckets]
    return (terms.id, terms.price_micro_eur, terms.period_s, buckets)


def packages(terms: Sequence[PackageTerms]) -> dict[str, tuple[object, ...]]:
    return {each.id: package(each) for each in terms}


def _service(s: ServiceCharge) -> tuple[object, ...]:
    want = -1 if s.want is None else s.want
    # An amount beyond the doubles' exact range is a programmer's error: charging bounds what a peer reports.
    assert 0 <= s.used <= MAX_INTEGER and want <= MAX_INTEGER
    return (s.key, s.label, price(s.price), s.buckets, s.used, want, s.minimum, int(s.always), s.bars, s.detail)


def charge(request: ChargeRequest, settings: LedgerSettings) -> bytes:
    if request.type is RequestType.EVENT:
        remember_s = settings.remember_events_s
    else:
        remember_s = max(request.deadline - request.now, 0) + settings.remember_sessions_s
    packed: bytes = pack(
        (
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
            [_service(s) for s in request.services],
        )
    )
    return packed


def outcome(answer: list[Any]) -> ChargeOutcome:
    """From charge.lua's result."""
    code, credit, held, reason, services = _unpack(answer[1])
    return ChargeOutcome(
        code,
        answer[0] == 1,
        tuple([ServiceOutcome(s[0], s[1], s[2], s[3] == 1, s[4], s[5], s[6], s[7]) for s in services]),
        credit,
        held,
        reason,
    )
