"""A request and its answer as a rung of the ladder (`ocs.values.rung`)."""

from __future__ import annotations

from ocs.charging.source import Source
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge, ServiceOutcome
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.values.requests import REQUEST_TYPES
from ocs.values.rung import Rung, RungService
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from protocol.errors import DiameterError

MAX_SERVICES = 32
"""Services of a rung; further ones are left out."""


def rung_of(
    time: float,
    request: CreditControlRequest | None,
    answer: CreditControlAnswer | DiameterError | None,
    charge: ChargeRequest | None,
    outcome: ChargeOutcome | LedgerUnavailable | None,
    source: Source | None = None,
    took_ms: float | None = None,
) -> Rung:
    """`charge`, `outcome`: what the ledger was asked, and said; None = it was not asked. `request`, `answer`: None =
    only the ledger's part is known. `source`: the peer of the connection.
    """
    settled = outcome if isinstance(outcome, ChargeOutcome) else None
    rung = Rung(time, "", took_ms=took_ms)
    if request is not None:
        rung.kind, rung.number = f"CCR-{REQUEST_TYPES[request.cc_request_type].value}", request.cc_request_number
        rung.session_id, rung.peer = request.session_id, request.origin_host
        rung.retransmitted = request.header.is_retransmission
        relay = source.origin_host if source is not None else ""
        rung.relay = relay if relay.lower() != request.origin_host.lower() else ""
    elif charge is not None:
        rung.kind, rung.number, rung.relay = f"CCR-{charge.type.value}", charge.number, charge.relay
        rung.session_id, rung.peer, rung.retransmitted = charge.session_id, charge.origin_host, charge.retransmitted
    if charge is not None:
        rung.context = charge.context
        rung.services = _charged(charge, settled)
    elif request is not None:
        rung.services = _asked(request, answer)
    if settled is not None:
        rung.result_code, rung.reason = settled.code, settled.reason
        rung.duplicate, rung.late = settled.duplicate, settled.late
        rung.debited_micro_eur = sum(each.debited_micro_eur for each in settled.services)
        rung.held_micro_eur, rung.credit_micro_eur = settled.held_micro_eur, settled.credit_micro_eur
    _answered(rung, answer, outcome)
    return rung


def _answered(
    rung: Rung,
    answer: CreditControlAnswer | DiameterError | None,
    outcome: ChargeOutcome | LedgerUnavailable | None,
) -> None:
    """What was sent goes before what the ledger said."""
    if isinstance(answer, DiameterError):
        rung.result_code, rung.reason = answer.result_code, answer.message or rung.reason
    elif answer is not None:
        rung.result_code = answer.result_code
    elif isinstance(outcome, LedgerUnavailable):
        rung.reason = "the ledger cannot be reached"


def _charged(charge: ChargeRequest, outcome: ChargeOutcome | None) -> tuple[RungService, ...]:
    found = {each.key: each for each in outcome.services} if outcome is not None else {}
    return tuple(_service(each, found.get(each.key)) for each in charge.services[:MAX_SERVICES])


def _service(asked: ServiceCharge, found: ServiceOutcome | None) -> RungService:
    told = RungService(asked.key, asked.label, asked.unit.value, asked.reported, asked.want, detail=asked.detail)
    if found is not None:
        told.granted, told.final, told.result_code, told.reason = found.granted, found.final, found.code, found.reason
        told.debited_micro_eur, told.debited_units = found.debited_micro_eur, found.debited_units
        if found.restricted:
            told.reason = f"{found.reason}, restricted" if found.reason else "restricted"
    return told


def _asked(
    request: CreditControlRequest, answer: CreditControlAnswer | DiameterError | None
) -> tuple[RungService, ...]:
    """Of a request that the ledger was not asked for."""
    codes = {}
    if isinstance(answer, CreditControlAnswer):
        codes = {each.rating_group: each.result_code for each in answer.multiple_services_credit_control}
    return tuple(
        RungService(
            "-" if each.rating_group is None else str(each.rating_group), result_code=codes.get(each.rating_group)
        )
        for each in request.multiple_services_credit_control[:MAX_SERVICES]
    )
