"""Makes the Credit-Control-Answer from the ledger's outcome (TS 32.299 §6.4.3, RFC 8506 §5.1.2).

If the Result-Code at command level is no success, no MSCC is sent. Otherwise each service of the request has an MSCC
with its own Result-Code, quota, thresholds, Validity-Time and Final-Unit-Indication.
"""

from __future__ import annotations

import zlib

from ocs.charging import event_requests, final_units, money, recipient_outcomes, units
from ocs.charging.members import CHECK, EVENT, INITIAL, MESSAGES, OCTETS, REFUND, SECONDS, TERMINATION
from ocs.charging.prepared import Prepared, Service, results
from ocs.charging.unrateable import unrateable_service_avp
from ocs.ledger.contract.charging import VOLUME, ChargeOutcome, ServiceOutcome
from ocs.settings.profile import Profile
from ocs.values.use import RatedUse, Unit
from protocol.credit_control import (
    DIRECT_DEBITING,
    EVENT_REQUEST,
    TERMINATION_REQUEST,
    CreditControlAnswer,
    MultipleServicesCreditControl,
    Trigger,
    UnitValue,
)
from protocol.errors import DiameterError, ResultCode
from protocol.units import AnnouncementInformation, GsuPoolReference, TimeQuotaMechanism

MIN_VALIDITY_S = 30
"""Shortest Validity-Time, even if the package's period ends earlier."""
UNIT_TYPES = {Unit.SECONDS: 0, Unit.MONEY: 1, Unit.OCTETS: 2, Unit.MESSAGES: 5}
"""CC-Unit-Type (RFC 8506 §8.32)."""
LOW, NOT_LOW = 1, 0
"""Low-Balance-Indication (TS 32.299 §7.2.84)."""
MSCC_CACHE_SIZE = 2_048
"""MSCCs cached with their encoding (about 2 kB each). Traffic needs a few tens: grants repeat."""
MAX_CACHED_IDENTIFIERS = 4
"""Service-Identifiers of a service whose MSCC is cached, at most."""
REFUSED = "refused"
"""Reason of a successful outcome: the end of a session whose opening was refused. Cost and balance are unknown."""
_CachedMscc = tuple[MultipleServicesCreditControl, RatedUse, Profile]
"""With the objects whose `id` is in the key: as long as they are referenced, their ids are not reused."""
_mscc_cache: dict[tuple[object, ...], _CachedMscc] = {}
_SUCCESS = int(ResultCode.SUCCESS)
_RATING_FAILED = int(ResultCode.RATING_FAILED)


def unrateable(prepared: Prepared) -> CreditControlAnswer:
    """5031 at command level, with the Failed-AVP of the first service that cannot be rated (RFC 8506 §9.2)."""
    answer = prepared.request.answer(_RATING_FAILED)
    answer.failed_avp = next(service.failed_avp for service in prepared.services if service.rated is None)
    return answer


def answer(prepared: Prepared, outcome: ChargeOutcome) -> CreditControlAnswer | DiameterError:
    if prepared.action is CHECK:
        return event_requests.checked(prepared, outcome)
    if prepared.several:
        prepared, outcome = recipient_outcomes.merge_parts(prepared, results(prepared, outcome), outcome)
    if prepared.action is REFUND:
        return event_requests.refunded(prepared, outcome)
    answer = prepared.request.answer(_code(prepared, outcome))
    if answer.result_code != _SUCCESS:
        return answer
    outcomes = results(prepared, outcome)
    if not prepared.in_mscc:
        for service, found in zip(prepared.services, outcomes, strict=True):
            _command_level(answer, prepared, service, found, outcome.period_end)
    else:
        for service, found in zip(prepared.services, outcomes, strict=True):
            mscc = _mscc(prepared, service, found, outcome.period_end)
            answer.multiple_services_credit_control.append(mscc)
            if mscc.result_code == _RATING_FAILED and not answer.failed_avp:
                answer.failed_avp = service.failed_avp or unrateable_service_avp("rating_group", service, in_mscc=True)
    if outcome.reason != REFUSED:
        _account(answer, prepared, outcome)
    return answer


def _code(prepared: Prepared, outcome: ChargeOutcome) -> int:
    """Result-Code at command level. An event is debited in full or not at all (RFC 8506 §6.3): if one service is
    refused, all are.
    """
    if prepared.type is EVENT and outcome.code == _SUCCESS:
        return next((line.code for line in outcome.services if line.code != _SUCCESS), _SUCCESS)
    return outcome.code


def _account(answer: CreditControlAnswer, prepared: Prepared, outcome: ChargeOutcome) -> None:
    """Add what the profile wants at command level: cost, balance, failure handling (TS 32.299 §6.4.3)."""
    profile, policy, kind = prepared.terms.profile, prepared.terms.policy, prepared.type
    if profile.cost_information and kind is not INITIAL:
        answer.cost_information = money.cost(outcome.session_cost_micro_eur, policy.currency_code)
    available = outcome.credit_micro_eur - outcome.held_micro_eur
    if profile.remaining_balance:
        answer.remaining_balance = money.balance(available, policy.currency_code)
    if profile.low_balance_indication:
        answer.low_balance_indication = LOW if available < policy.low_balance_micro_eur else NOT_LOW
    if kind is EVENT:
        answer.direct_debiting_failure_handling = profile.direct_debiting_failure_handling
    else:
        answer.cc_session_failover = profile.session_failover
        answer.credit_control_failure_handling = profile.failure_handling


def granted_unbooked(prepared: Prepared) -> CreditControlAnswer:
    """Grant everything requested, without any reservation: an emergency call without an account (HOT-RAT-2)."""
    services = tuple(
        ServiceOutcome(s.key, _SUCCESS, s.charge.want or 0, False, "", 0, 0, 0) for s in prepared.services if s.charge
    )
    outcome = ChargeOutcome(_SUCCESS, False, services, 0, 0)
    if prepared.several:
        prepared, outcome = recipient_outcomes.merge_parts(prepared, results(prepared, outcome), outcome)
    answer = prepared.request.answer(_SUCCESS)
    for service, found in zip(prepared.services, results(prepared, outcome), strict=True):
        if prepared.in_mscc:
            answer.multiple_services_credit_control.append(_mscc(prepared, service, found, 0))
        else:
            _command_level(answer, prepared, service, found, 0)
    return answer


def _mscc(
    prepared: Prepared, service: Service, outcome: ServiceOutcome | None, period_end: int
) -> MultipleServicesCreditControl:
    """The MSCC of one service, from the cache if possible. The key has all that `_make_mscc` depends on."""
    rated, identifiers = service.rated, service.service_identifiers
    if outcome is None or rated is None or prepared.type is EVENT or len(identifiers) > MAX_CACHED_IDENTIFIERS:
        return _make_mscc(prepared, service, outcome, period_end)
    profile = prepared.terms.profile
    key = (
        id(rated),
        id(profile),
        service.rating_group,
        tuple(identifiers),
        outcome.granted,
        outcome.code,
        _validity(service, prepared.terms.now, period_end),
        service.wants_time,
        outcome.final,
        outcome.restricted,
        outcome.reason == VOLUME,
        outcome.span_switch,
        prepared.type is INITIAL,
    )
    cached = _mscc_cache.get(key)
    if cached is not None:
        return cached[0]
    mscc = _make_mscc(prepared, service, outcome, period_end)
    mscc.written = None
    if len(_mscc_cache) >= MSCC_CACHE_SIZE:
        _mscc_cache.clear()
    _mscc_cache[key] = mscc, rated, profile
    return mscc


def _make_mscc(
    prepared: Prepared, service: Service, outcome: ServiceOutcome | None, period_end: int
) -> MultipleServicesCreditControl:
    mscc = MultipleServicesCreditControl(
        rating_group=service.rating_group, service_identifier=list(service.service_identifiers)
    )
    if outcome is None or service.rated is None:
        # The service is not rated, or a repetition is rated by another catalogue than the stored outcome. A termination
        # succeeds: reported use is charged at the price in force, and a refused session has no use.
        mscc.result_code = _SUCCESS if prepared.type is TERMINATION else _RATING_FAILED
        return mscc
    mscc.result_code = outcome.code
    profile = prepared.terms.profile
    if outcome.restricted:
        # No units, only the time that the restricted phase may last (RFC 8506 §5.6.2).
        mscc.validity_time = profile.restricted_validity_s
        final_units.indicate(mscc, profile, service.rated, outcome)
    if outcome.granted > 0:
        mscc.granted_service_unit = units.granted(outcome.granted, service.rated.unit)
        if prepared.type is EVENT:
            if prepared.request.requested_action == DIRECT_DEBITING:
                mscc.refund_information = event_requests.refund_information(prepared, service)
        else:
            mscc.validity_time = _validity(service, prepared.terms.now, period_end)
            _policy(mscc, service, service.rated, outcome, profile)
            if prepared.type is INITIAL and service.rated.quota.envelope_reporting:
                mscc.envelope_reporting = service.rated.quota.envelope_reporting
    return mscc


def _validity(service: Service, now: int, period_end: int) -> int:
    """Validity-Time in seconds. It ends with the package's period, so that the next grant uses the units of the next
    period (HOT-PKG-2).
    """
    if period_end and period_end - now < service.validity_s:
        return max(period_end - now, MIN_VALIDITY_S)
    return service.validity_s


def _policy(
    mscc: MultipleServicesCreditControl, service: Service, rated: RatedUse, outcome: ServiceOutcome, profile: Profile
) -> None:
    """Add thresholds, times, triggers and final-unit action to a grant (TS 32.299 §7.1.9)."""
    quota, grant = rated.quota, mscc.granted_service_unit
    assert grant is not None
    if outcome.span_switch and rated.switch_at:
        grant.tariff_time_change = rated.switch_at
    if service.wants_time:
        grant.cc_time = quota.time_s
    if outcome.final:
        final_units.indicate(mscc, profile, rated, outcome)
        if profile.announcement is not None and rated.unit is SECONDS:
            mscc.announcement_information.append(
                AnnouncementInformation(
                    profile.announcement, time_indicator=min(profile.announcement_before_s, outcome.granted)
                )
            )
    if profile.pools and quota.pool and not outcome.final and not grant.tariff_time_change:
        mscc.g_s_u_pool_reference.append(_pool(rated))
    threshold = outcome.granted * quota.threshold_percent // 100
    if threshold > 0 and not outcome.final:
        if rated.unit is OCTETS:
            mscc.volume_quota_threshold = threshold
        elif rated.unit is SECONDS:
            mscc.time_quota_threshold = threshold
        elif rated.unit is MESSAGES:
            mscc.unit_quota_threshold = threshold
    if quota.holding_s:
        mscc.quota_holding_time = quota.holding_s
    if grant.cc_time and quota.base_interval_s:
        mscc.time_quota_mechanism = TimeQuotaMechanism(quota.time_mechanism, quota.base_interval_s)
    elif grant.cc_time and quota.consumption_s:
        mscc.quota_consumption_time = quota.consumption_s
    if quota.triggers and profile.triggers:
        mscc.trigger = Trigger(list(quota.triggers))


def _pool(rated: RatedUse) -> GsuPoolReference:
    """The credit pool of the service (RFC 8506 §5.1.2). Its members have the same price and buckets, so their units are
    worth the same. The id depends on these only, so a service that is granted again alone stays in its pool.
    """
    name = f"{rated.quota.pool} {rated.price.id} {rated.buckets}"
    return GsuPoolReference(zlib.crc32(name.encode()), UNIT_TYPES[rated.unit], UnitValue(1))


def _command_level(
    answer: CreditControlAnswer,
    prepared: Prepared,
    service: Service,
    outcome: ServiceOutcome | None,
    period_end: int,
) -> None:
    """Answer a request without MSCC: the units of its one service stand at command level."""
    if outcome is None or service.rated is None:
        if answer.cc_request_type != TERMINATION_REQUEST:
            answer.result_code = _RATING_FAILED
            answer.failed_avp = service.failed_avp or unrateable_service_avp("rating_group", service, in_mscc=False)
        return
    profile = prepared.terms.profile
    answer.result_code = outcome.code
    if outcome.restricted:
        answer.validity_time = profile.restricted_validity_s
    if outcome.granted > 0:
        answer.granted_service_unit = units.granted(outcome.granted, service.rated.unit)
        if answer.cc_request_type == EVENT_REQUEST:
            answer.refund_information = event_requests.refund_information(prepared, service)
            return
        answer.validity_time = _validity(service, prepared.terms.now, period_end)
        if outcome.span_switch and service.rated.switch_at:
            answer.granted_service_unit.tariff_time_change = service.rated.switch_at
    if outcome.restricted or outcome.final:
        final_units.indicate(answer, profile, service.rated, outcome)
