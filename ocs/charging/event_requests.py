"""EVENT_REQUESTs other than debits: refund, balance check and price enquiry (RFC 8506 §6)."""

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


def content_digest(where: UsageContext, charges: Sequence[ServiceCharge]) -> str:
    """Digest of an event's units and recipients. A request of the same Session-Id and number with another digest is no
    repetition.
    """
    wanted = tuple((each.key, each.want, each.reported) for each in charges)
    return f"{zlib.crc32(repr((where.other_party, where.recipients, wanted)).encode()):x}"


def refund_information(prepared: Prepared, service: Service) -> bytes:
    """The Refund-Information that the answer to a debit carries."""
    request = prepared.request
    debit = Debit(request.session_id, request.cc_request_number)
    if service.divided:
        checksums = tuple(refund_token.checksum(recipient) for recipient in prepared.recipients)
        debit = Debit(request.session_id, request.cc_request_number, checksums, service.of_each)
    return refund_token.encode(debit)


def refunded_debit(request: CreditControlRequest) -> tuple[str, int]:
    """(Session-Id, CC-Request-Number) of the debit that a refund names. DiameterError = no valid Refund-Information."""
    debit = refund_token.decode(refund_token.from_request(request) or b"")
    if debit is None:
        raise _unknown_debit(request)
    return debit.session_id, debit.number


def wrong_recipient(failed: bytes) -> DiameterError:
    """A refund names a recipient that its debit did not have. `failed`: Failed-AVP."""
    return DiameterError(
        ResultCode.INVALID_AVP_VALUE, "the refund names a recipient that its debit did not have", failed_avp=failed
    )


def _unknown_debit(request: CreditControlRequest) -> DiameterError:
    token = refund_token.from_request(request)
    parents = ("multiple_services_credit_control",) if request.multiple_services_credit_control else ()
    if token is None:
        return DiameterError(
            ResultCode.MISSING_AVP,
            "a refund needs the Refund-Information of its debit",
            failed_avp=failed_avp.example("refund_information", *parents),
        )
    return DiameterError(
        ResultCode.INVALID_AVP_VALUE,
        "there is no such debit, or it is too old",
        failed_avp=failed_avp.copy("refund_information", token, *parents),
    )


def refunded(prepared: Prepared, outcome: ChargeOutcome) -> CreditControlAnswer | DiameterError:
    """The answer to a refund; Granted-Service-Unit has the units refunded (§6.4)."""
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
    """The answer to a balance check: whether the units could be paid now (§6.2)."""
    answer = prepared.request.answer(outcome.code)
    if outcome.code == ResultCode.SUCCESS:
        enough = all(service.code == ResultCode.SUCCESS for service in outcome.services)
        answer.check_balance_result = ENOUGH_CREDIT if enough else NO_CREDIT
    return answer


def priced(prepared: Prepared, policy: ChargingPolicy) -> CreditControlAnswer:
    """The answer to a price enquiry: cost of the requested units by the price list, without any account (§6.1)."""
    answer = prepared.request.answer(ResultCode.SUCCESS)
    total = 0
    for service in prepared.services:
        if service.rated is not None and service.charge is not None:
            price = service.rated.price
            total += cost_micro_eur(price, billable_units(price, service.charge.want or 0))
    answer.cost_information = money.cost(total, policy.currency_code)
    return answer
