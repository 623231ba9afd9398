"""From the ledger's outcome to the answer: codes and units at each level (RFC 8506 §5.1.2, TS 32.299 §6.4.3)."""

from __future__ import annotations

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.charging.answer import answer, granted_unbooked, unrateable
from ocs.charging.prepared import Prepared
from ocs.ledger.contract.charging import ChargeOutcome, ServiceOutcome
from protocol import failed_avp
from protocol.credit_control import CreditControlRequest, RequestedServiceUnit
from tests.ocs.charging.ccr import IMS, MB, SMS, at, ccr, messages, octets, seconds, sms_to, towards
from tests.ocs.charging.test_prepare import prepared


def outcome(*services: ServiceOutcome, code: int = 2001, reason: str = "") -> ChargeOutcome:
    return ChargeOutcome(code, False, services, 0, 0, reason)


def granted(key: str, amount: int, *, final: bool = False, code: int = 2001) -> ServiceOutcome:
    return ServiceOutcome(key, code, amount, final, "credit" if final else "", 0, 0, 0)


@pytest.fixture
def data(catalogue: Catalogue) -> Prepared:
    return prepared(ccr("I", 3, octets(want=0), octets(want=0, group=10), information=at(), sid="s;1"), catalogue)


def test_echoed_avps(data: Prepared) -> None:
    found = answer(data, outcome(granted("1", 5), granted("10", 5)))
    assert (found.session_id, found.cc_request_type, found.cc_request_number) == ("s;1", 1, 3)
    assert found.result_code == 2001 and found.granted_service_unit is None


def test_each_mscc_has_the_quota_policy(data: Prepared) -> None:
    found = answer(data, outcome(granted("1", 40 * MB), granted("10", 5)))
    first, second = found.multiple_services_credit_control
    assert (first.rating_group, first.result_code) == (1, 2001)
    assert first.granted_service_unit is not None and first.granted_service_unit.cc_total_octets == 40 * MB
    assert (first.validity_time, first.quota_holding_time, first.volume_quota_threshold) == (3600, 600, 4 * MB)
    assert first.final_unit_indication is None
    # A tenth of it is 0, and a threshold of 0 would mean "request at once", so there is none.
    assert (second.rating_group, second.volume_quota_threshold, second.validity_time) == (10, None, 3600)


def test_the_command_succeeds_if_one_service_does(data: Prepared) -> None:
    found = answer(data, outcome(granted("1", 0, code=4012), granted("10", 5)))
    assert found.result_code == 2001
    first, second = found.multiple_services_credit_control
    assert (first.result_code, first.granted_service_unit, first.validity_time) == (4012, None, None)
    assert second.result_code == 2001


def test_a_code_at_command_level_overrides_all(data: Prepared) -> None:
    found = answer(data, outcome(granted("1", 0, code=4010), code=4010, reason="state"))
    assert (found.result_code, found.multiple_services_credit_control) == (4010, [])


def test_final_units_have_no_threshold(data: Prepared) -> None:
    found = answer(data, outcome(granted("1", 40 * MB, final=True), granted("10", 5)))
    first = found.multiple_services_credit_control[0]
    assert first.final_unit_indication is not None and first.final_unit_indication.final_unit_action == 0
    assert first.volume_quota_threshold is None


def test_thresholds_are_in_the_services_unit(catalogue: Catalogue) -> None:
    call = prepared(ccr("I", 0, seconds(want=0), context=IMS, information=towards("tel:+38631234567")), catalogue)
    (mscc,) = answer(call, outcome(granted("-", 300))).multiple_services_credit_control
    assert mscc.granted_service_unit is not None and mscc.granted_service_unit.cc_time == 300
    assert (mscc.time_quota_threshold, mscc.volume_quota_threshold, mscc.quota_holding_time) == (30, None, None)


def test_an_event_has_units_and_no_policy(catalogue: Catalogue) -> None:
    event = prepared(ccr("E", 0, messages(want=1), context=SMS, information=sms_to("+38631234567")), catalogue)
    (mscc,) = answer(event, outcome(granted("-", 1))).multiple_services_credit_control
    assert mscc.granted_service_unit is not None and mscc.granted_service_unit.cc_service_specific_units == 1
    assert (mscc.validity_time, mscc.unit_quota_threshold, mscc.final_unit_indication) == (None, None, None)


# -- units at command level


def at_command_level(catalogue: Catalogue, kind: str = "I") -> Prepared:
    asked = RequestedServiceUnit(cc_total_octets=MB) if kind != "T" else None
    request: CreditControlRequest = ccr(kind, information=at(), requested_service_unit=asked)
    return prepared(request, catalogue)


def test_units_at_command_level_are_answered_there(catalogue: Catalogue) -> None:
    found = answer(at_command_level(catalogue), outcome(granted("-", MB, final=True)))
    assert (found.result_code, found.multiple_services_credit_control) == (2001, [])
    assert found.granted_service_unit is not None and found.granted_service_unit.cc_total_octets == MB
    assert found.validity_time == 3600
    assert found.final_unit_indication is not None


def test_a_refused_update_with_units_at_command_level(catalogue: Catalogue) -> None:
    found = answer(at_command_level(catalogue, "U"), outcome(granted("-", 0, code=4012)))
    assert (found.result_code, found.granted_service_unit, found.validity_time) == (4012, None, None)


def test_a_session_without_services(catalogue: Catalogue) -> None:
    found = answer(prepared(ccr("T", 1, information=at()), catalogue), outcome())
    assert (found.result_code, found.multiple_services_credit_control) == (2001, [])


# -- not rated


def test_one_service_that_cannot_be_rated_beside_one_that_can(catalogue: Catalogue) -> None:
    both = prepared(ccr("I", 0, octets(want=0, group=777), octets(want=0), information=at()), catalogue)
    found = answer(both, outcome(granted("1", 5)))
    assert found.result_code == 2001
    assert [m.result_code for m in found.multiple_services_credit_control] == [5031, 2001]
    assert found.failed_avp == failed_avp.copy("rating_group", 777, "multiple_services_credit_control")


def test_no_service_can_be_rated(catalogue: Catalogue) -> None:
    nothing = prepared(ccr("I", 0, octets(want=0, group=777), information=at()), catalogue)
    found = unrateable(nothing)
    assert (found.result_code, found.multiple_services_credit_control) == (5031, [])
    assert found.failed_avp == failed_avp.copy("rating_group", 777, "multiple_services_credit_control")


def test_the_answer_to_an_emergency_of_an_unknown_subscriber(catalogue: Catalogue) -> None:
    call = prepared(ccr("I", 0, seconds(want=120), context=IMS, information=towards("tel:112")), catalogue)
    found = granted_unbooked(call)
    (mscc,) = found.multiple_services_credit_control
    assert (found.result_code, mscc.result_code) == (2001, 2001)
    assert mscc.granted_service_unit is not None and mscc.granted_service_unit.cc_time == 120
    end = prepared(ccr("T", 1, seconds(used=60), context=IMS, information=towards("tel:112")), catalogue)
    (mscc,) = granted_unbooked(end).multiple_services_credit_control
    assert (mscc.result_code, mscc.granted_service_unit) == (2001, None)
