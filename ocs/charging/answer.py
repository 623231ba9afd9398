"""From the ledger's outcome to the Credit-Control-Answer (TS 32.299 §6.4.3; RFC 8506 §5.1.2 for what goes where).

A command-level code that is no success overrides every service, so then no MSCC is sent. Otherwise each service of the request
has its own Result-Code, and quota, thresholds, Validity-Time and the final unit indication stand beside it.
"""

from __future__ import annotations

from ocs.charging import units
from ocs.charging.prepare import Prepared, Service
from ocs.ledger.contract import ChargeOutcome, RequestType, ServiceOutcome
from ocs.rating.types import RatedUse, Unit
from protocol.credit_control import (
    EVENT_REQUEST,
    TERMINATION_REQUEST,
    CreditControlAnswer,
    FinalUnitIndication,
    MultipleServicesCreditControl,
)
from protocol.errors import ResultCode

FINAL_UNIT_TERMINATE = 0
_SUCCESS = int(ResultCode.SUCCESS)
_RATING_FAILED = int(ResultCode.RATING_FAILED)


def unrateable(prepared: Prepared) -> CreditControlAnswer:
    """No service of the request can be rated: 5031 at command level, with the first culprit (RFC 8506 §9.2)."""
    answer = prepared.request.answer(_RATING_FAILED)
    answer.failed_avp = prepared.services[0].failed_avp
    return answer


def answer(prepared: Prepared, outcome: ChargeOutcome) -> CreditControlAnswer:
    answer = prepared.request.answer(outcome.code)
    if outcome.code != _SUCCESS:
        return answer
    outcomes = {service.key: service for service in outcome.services}
    if not prepared.in_mscc:
        for service in prepared.services:
            _command_level(answer, service, outcomes.get(service.key))
        return answer
    for service in prepared.services:
        answer.multiple_services_credit_control.append(_mscc(prepared, service, outcomes.get(service.key)))
        if service.failed_avp and not answer.failed_avp and prepared.type is not RequestType.TERMINATION:
            answer.failed_avp = service.failed_avp
    return answer


def granted_to_anybody(prepared: Prepared) -> CreditControlAnswer:
    """Emergency and the like for whom we do not know: what is asked for is granted and nothing is booked (HOT-RAT-2)."""
    services = tuple(
        ServiceOutcome(s.key, _SUCCESS, s.charge.want or 0, False, "", 0, 0, 0) for s in prepared.services if s.charge
    )
    return answer(prepared, ChargeOutcome(_SUCCESS, False, services, 0, 0))


def _mscc(prepared: Prepared, service: Service, outcome: ServiceOutcome | None) -> MultipleServicesCreditControl:
    mscc = MultipleServicesCreditControl(
        rating_group=service.rating_group, service_identifier=list(service.service_identifiers)
    )
    if outcome is None or service.rated is None:
        # Not rated, or (a repetition under another catalogue) not known to the remembered outcome. At the end of a session its use
        # is settled all the same, at the price in force.
        mscc.result_code = _SUCCESS if outcome and prepared.type is RequestType.TERMINATION else _RATING_FAILED
        return mscc
    mscc.result_code = outcome.code
    if outcome.granted > 0:
        mscc.granted_service_unit = units.granted(outcome.granted, service.rated.unit)
        if prepared.type is not RequestType.EVENT:
            _policy(mscc, service.rated, outcome)
    return mscc


def _policy(mscc: MultipleServicesCreditControl, rated: RatedUse, outcome: ServiceOutcome) -> None:
    """Quota policy beside the grant, in each MSCC (digest §4.5)."""
    quota = rated.quota
    mscc.validity_time = quota.validity_s
    if outcome.final:
        mscc.final_unit_indication = FinalUnitIndication(final_unit_action=FINAL_UNIT_TERMINATE)
    threshold = outcome.granted * quota.threshold_percent // 100
    if threshold > 0 and not outcome.final:
        if rated.unit is Unit.OCTETS:
            mscc.volume_quota_threshold = threshold
        elif rated.unit is Unit.SECONDS:
            mscc.time_quota_threshold = threshold
        else:
            mscc.unit_quota_threshold = threshold
    if quota.holding_s:
        mscc.quota_holding_time = quota.holding_s


def _command_level(answer: CreditControlAnswer, service: Service, outcome: ServiceOutcome | None) -> None:
    """The style of RFC 8506: one service, its units beside the Result-Code."""
    if outcome is None or service.rated is None:
        if outcome is None or answer.cc_request_type != TERMINATION_REQUEST:
            answer.result_code = _RATING_FAILED
            answer.failed_avp = service.failed_avp
        return
    answer.result_code = outcome.code
    if outcome.granted > 0:
        answer.granted_service_unit = units.granted(outcome.granted, service.rated.unit)
        if answer.cc_request_type != EVENT_REQUEST:
            answer.validity_time = service.rated.quota.validity_s
            if outcome.final:
                answer.final_unit_indication = FinalUnitIndication(final_unit_action=FINAL_UNIT_TERMINATE)
