"""From a request to the ledger request: services merged and named, units read and bounded, AVPs for a 5031's
Failed-AVP.
"""

from __future__ import annotations

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.charging import units
from ocs.charging.prepare import prepare
from ocs.charging.prepared import COMMAND_LEVEL, Prepared, Terms
from ocs.charging.usage_context import usage_context_of
from ocs.values.exact import MAX_INTEGER
from ocs.values.requests import RequestType
from ocs.values.service_context import context_of
from ocs.values.use import QuotaPolicy, Unit
from protocol import failed_avp
from protocol.credit_control import CreditControlRequest, RequestedServiceUnit, UsedServiceUnit
from tests.ocs.charging.ccr import DATA, IMS, MB, SMS, at, ccr, messages, octets, seconds, sms_to, towards

QUOTA = QuotaPolicy(default=300, minimum=10, maximum=1800, validity_s=3600, threshold_percent=0, holding_s=0)


def prepared(request: CreditControlRequest, catalogue: Catalogue) -> Prepared:
    context = context_of(request.service_context_id)
    assert context is not None
    return prepare(request, usage_context_of(context, request), catalogue, Terms(1_795_000_000))


# -- units


@pytest.mark.parametrize(
    ("unit", "report", "amount"),
    [
        (Unit.OCTETS, UsedServiceUnit(cc_total_octets=7, cc_input_octets=3, cc_output_octets=3), 7),
        (Unit.OCTETS, UsedServiceUnit(cc_input_octets=3, cc_output_octets=4), 7),
        (Unit.OCTETS, UsedServiceUnit(cc_output_octets=4), 4),
        (Unit.OCTETS, UsedServiceUnit(cc_time=9), 0),
        (Unit.SECONDS, UsedServiceUnit(cc_time=9, cc_total_octets=4), 9),
        (Unit.MESSAGES, UsedServiceUnit(cc_service_specific_units=2), 2),
        (Unit.MESSAGES, UsedServiceUnit(), 0),
    ],
)
def test_used_units(unit: Unit, report: UsedServiceUnit, amount: int) -> None:
    assert units.used_by_tariff([report], unit) == (amount, 0, 0)
    assert units.used_by_tariff([report, report], unit) == (2 * amount, 0, 0)
    assert units.used_by_tariff([], unit) == (0, 0, 0)


def test_what_a_peer_reports_is_bounded() -> None:
    """The ledger's arithmetic stays exact for any report."""
    most = UsedServiceUnit(cc_total_octets=2**64 - 1)
    assert 0 < sum(units.used_by_tariff([most] * 100, Unit.OCTETS)) <= MAX_INTEGER


@pytest.mark.parametrize(
    ("request_", "amount"),
    [
        (None, None),
        (RequestedServiceUnit(), 300),
        (RequestedServiceUnit(cc_time=0), 300),
        (RequestedServiceUnit(cc_time=5), 5),
        (RequestedServiceUnit(cc_time=1800), 1800),
        (RequestedServiceUnit(cc_time=2**32 - 1), 1800),
        (RequestedServiceUnit(cc_total_octets=5), 300),
    ],
)
def test_wanted_units(request_: RequestedServiceUnit | None, amount: int | None) -> None:
    assert units.wanted(request_, Unit.SECONDS, QUOTA) == amount


def test_granted_units() -> None:
    assert units.granted(5, Unit.OCTETS).cc_total_octets == 5
    assert units.granted(5, Unit.SECONDS).cc_time == 5
    assert units.granted(5, Unit.MESSAGES).cc_service_specific_units == 5


# -- services


def test_a_service_is_named_by_group_and_identifiers(catalogue: Catalogue) -> None:
    request = ccr(
        *("I", 0, octets(want=0, group=1), octets(want=0, group=1, identifiers=[7, 3]), octets(want=0, group=None)),
        octets(want=0, group=None, identifiers=[5]),
        information=at(),
    )
    assert [service.key for service in prepared(request, catalogue).services] == ["1", "1:3,7", COMMAND_LEVEL, ":5"]


def test_several_mscc_of_one_service_are_one(catalogue: Catalogue) -> None:
    """A P-GW reports use before and after a change of conditions in separate MSCC."""
    parts = (octets(used=3), octets(want=5 * MB, used=4), octets(used=2))
    (service,) = prepared(ccr("U", 1, *parts, information=at()), catalogue).services
    assert service.charge is not None
    assert (service.charge.used, service.charge.want) == (9, 5 * MB)


def test_services_are_asked_for_by_request_type(catalogue: Catalogue) -> None:
    def charge(kind: str, service: object, context: str, information: object) -> tuple[int, int | None]:
        (found,) = prepared(ccr(kind, 0, service, context=context, information=information), catalogue).services
        assert found.charge is not None
        return found.charge.used, found.charge.want

    assert charge("I", octets(want=0), DATA, at()) == (0, 50 * MB)
    assert charge("U", octets(used=5), DATA, at()) == (5, None)
    assert charge("T", octets(want=9, used=5), DATA, at()) == (5, None)
    assert charge("I", seconds(want=60), IMS, towards("tel:+38631234567")) == (0, 60)
    # A one-off event debits its requested units, else its used units, else one.
    assert charge("E", messages(want=3), SMS, sms_to("+38631234567")) == (0, 3)
    assert charge("E", messages(used=2), SMS, sms_to("+38631234567")) == (0, 2)
    assert charge("E", messages(), SMS, sms_to("+38631234567")) == (0, 1)


def test_units_at_command_level(catalogue: Catalogue) -> None:
    request = ccr("I", information=at(), requested_service_unit=RequestedServiceUnit(cc_total_octets=MB))
    found = prepared(request, catalogue)
    assert (found.in_mscc, found.type) == (False, RequestType.INITIAL)
    (service,) = found.services
    assert service.key == COMMAND_LEVEL and service.charge is not None and service.charge.want == MB
    used = ccr("T", 1, information=at(), used_service_unit=[UsedServiceUnit(cc_total_octets=7)] * 2)
    (service,) = prepared(used, catalogue).services
    assert service.charge is not None and (service.charge.used, service.charge.want) == (14, None)
    # No units: a session that requests no quota yet; an event counts as one.
    assert prepared(ccr("I", information=at()), catalogue).services == []
    (service,) = prepared(ccr("E", context=SMS, information=sms_to("+38631234567")), catalogue).services
    assert service.charge is not None and service.charge.want == 1


def test_services_that_are_always_granted(catalogue: Catalogue) -> None:
    assert prepared(ccr("I", 0, seconds(want=0), context=IMS, information=towards("tel:112")), catalogue).always
    assert not prepared(ccr("I", 0, octets(want=0), information=at()), catalogue).always
    assert not prepared(ccr("I", information=at()), catalogue).always


# -- unrateable services


def test_an_unknown_rating_group(catalogue: Catalogue) -> None:
    found = prepared(ccr("I", 0, octets(want=0, group=777), octets(want=0), information=at()), catalogue)
    first, second = found.services
    assert (first.rated, first.charge) == (None, None) and second.rated is not None
    assert first.failed_avp == failed_avp.copy("rating_group", 777, "multiple_services_credit_control")
    assert not found.unrateable
    assert prepared(ccr("I", 0, octets(want=0, group=777), information=at()), catalogue).unrateable


def test_an_unknown_network_and_a_missing_party(catalogue: Catalogue) -> None:
    (service,) = prepared(ccr("I", 0, octets(want=0), information=at("99999")), catalogue).services
    assert service.failed_avp == failed_avp.copy("tgpp_sgsn_mcc_mnc", "99999", "service_information", "ps_information")
    (service,) = prepared(ccr("I", 0, seconds(want=0), context=IMS), catalogue).services
    assert service.failed_avp == failed_avp.example("called_party_address", "service_information", "ims_information")


@pytest.mark.parametrize("kind", ["U", "T"])
def test_reported_use_is_settled_if_its_service_cannot_be_rated_again(catalogue: Catalogue, kind: str) -> None:
    """The report counts, although the request lacks the data for a price of its own."""
    (service,) = prepared(ccr(kind, 1, octets(want=0, used=5, group=777), information=at()), catalogue).services
    assert service.rated is None and service.charge is not None
    assert (service.charge.used, service.charge.want) == (5, None)
