"""One-off requests that are no debit: refund, balance check, price enquiry (RFC 8506 §6)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ocs.catalogue.price import billable_units, cost_micro_eur
from ocs.charging import money, refund_token, units
from ocs.charging.prepared import Prepared, Service
from ocs.charging.refund_token import Debit
from ocs.charging.usage_context import UsageContext
from ocs.ledger.contract.charging import ChargeOutcome, ServiceCharge
from ocs.settings.charging import ChargingPolicy
from protocol import failed_avp
from protocol.credit_control import CreditControlAnswer, CreditControlRequest, MultipleServicesCreditControl
from protocol.errors import DiameterError, ResultCode

ENOUGH_CREDIT, NO_CREDIT = 0, 1
"""Check-Balance-Result (§8.6)."""
_REFUND_REFUSALS = {"nothing_left": ResultCode.END_USER_SERVICE_DENIED}


def content_of(where: UsageContext, charges: Sequence[ServiceCharge]) -> str:
    """Digest of what a one-off request asks, and towards whom: another one under the same Session-Id and number is no
    repetition.
    """
    asked = tuple((each.key, each.want, each.reported) for each in charges)
    return f"{zlib.crc32(repr((where.other_party, where.recipients, asked)).encode()):x}"


def information(prepared: Prepared, service: Service) -> bytes:
    """Refund-Information of a debit's answer."""
    request = prepared.request
    debit = Debit(request.session_id, request.cc_request_number)
    if service.divided:
        marks = tuple(refund_token.mark(recipient) for recipient in prepared.recipients)
        debit = Debit(request.session_id, request.cc_request_number, marks, service.of_each)
    return refund_token.written(debit)


def refunded_debit(request: CreditControlRequest) -> tuple[str, int]:
    """(Session-Id, number) of the debit that a refund names. DiameterError: it names none, or nothing we gave out."""
    debit = refund_token.read(refund_token.given(request) or b"")
    if debit is None:
        raise _unknown_debit(request)
    return debit.session_id, debit.number


def stranger(culprit: bytes) -> DiameterError:
    return DiameterError(
        ResultCode.INVALID_AVP_VALUE, "the debit was not for a recipient that its refund names", failed_avp=culprit
    )


def _unknown_debit(request: CreditControlRequest) -> DiameterError:
    token = refund_token.given(request)
    parents = ("multiple_services_credit_control",) if request.multiple_services_credit_control else ()
    if token is None:
        return DiameterError(
            ResultCode.MISSING_AVP,
            "a refund needs the Refund-Information of its debit",
            failed_avp=failed_avp.example("refund_information", *parents),
        )
    return DiameterError(
        ResultCode.INVALID_AVP_VALUE,
        "there is no such debit, or it was too long ago",
        failed_avp=failed_avp.copy("refund_information", token, *parents),
    )


def refunded(prepared: Prepared, outcome: ChargeOutcome) -> CreditControlAnswer | DiameterError:
    """Granted-Service-Unit says what was given back (§6.4)."""
    if outcome.code == ResultCode.UNABLE_TO_COMPLY and outcome.reason == "no_debit":
        return _unknown_debit(prepared.request)
    if outcome.code != ResultCode.SUCCESS:
        return prepared.request.answer(_REFUND_REFUSALS.get(outcome.reason, outcome.code))
    answer = prepared.request.answer(ResultCode.SUCCESS)
    outcomes = {service.key: service for service in outcome.services}
    for service in prepared.services:
        found = outcomes.get(service.key)
        unit = service.rated.unit if service.rated else prepared.unit
        given = units.granted(found.granted, unit) if found else None
        if not prepared.in_mscc:
            answer.granted_service_unit = given
            continue
        code = ResultCode.SUCCESS if given else ResultCode.END_USER_SERVICE_DENIED
        if service.charge is None:
            code, answer.failed_avp = ResultCode.RATING_FAILED, answer.failed_avp or service.failed_avp
        answer.multiple_services_credit_control.append(
            MultipleServicesCreditControl(
                rating_group=service.rating_group,
                service_identifier=list(service.service_identifiers),
                result_code=int(code),
                granted_service_unit=given,
            )
        )
    return answer


def checked(prepared: Prepared, outcome: ChargeOutcome) -> CreditControlAnswer:
    """Check-Balance-Result: would this be paid now? Nothing is reserved (§6.2)."""
    answer = prepared.request.answer(outcome.code)
    if outcome.code == ResultCode.SUCCESS:
        enough = all(service.code == ResultCode.SUCCESS for service in outcome.services)
        answer.check_balance_result = ENOUGH_CREDIT if enough else NO_CREDIT
    return answer


def priced(prepared: Prepared, policy: ChargingPolicy) -> CreditControlAnswer:
    """Cost-Information: what the units asked for cost by the price list; no account is looked at (§6.1)."""
    answer = prepared.request.answer(ResultCode.SUCCESS)
    total = 0
    for service in prepared.services:
        if service.rated is not None and service.charge is not None:
            price = service.rated.price
            total += cost_micro_eur(price, billable_units(price, service.charge.want or 0))
    answer.cost_information = money.cost(total, policy.currency_code)
    return answer
