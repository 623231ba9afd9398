"""Credit control with a core network's requests: one-off requests, final units, price switches, locations, profiles,
dialects.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.price import compile_price
from ocs.charging import event_requests, refund_token
from ocs.charging.refund_token import Debit
from ocs.ledger.contract.charging import NoFunds
from ocs.settings.charging import ChargingPolicy
from ocs.settings.profile import Filters, FinalUnit, Profile
from ocs.values.use import QuotaPolicy, RatedUse, Unit, UseEvent
from protocol import failed_avp
from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    SubscriptionId,
    UnitValue,
    UsedServiceUnit,
    decode_ccr,
)
from protocol.header import parse_header
from protocol.units import GsuPoolReference
from tests.ocs.charging.ccr import (
    AUSTRIA,
    CS,
    HOME,
    IMS,
    MB,
    MSISDN,
    SERBIA,
    SMS,
    at,
    ccr,
    messages,
    octets,
    seconds,
    sms_to,
    towards,
)
from tests.ocs.charging.fake_ledger import EUR, NOW, FakeLedger
from tests.ocs.charging.source import Origin
from tests.ocs.charging.worker import ACCOUNT, Worker
from tests.protocol.captures import KAMAILIO, OPEN5GS, requests
from tests.rules import rule

GW = "pgw.example.net"
PARTY = "+38631234567"


def one(answer: CreditControlAnswer) -> MultipleServicesCreditControl:
    (mscc,) = answer.multiple_services_credit_control
    return mscc


def sms(action: int, number: int = 0, want: int | None = 1, **more: Any) -> CreditControlRequest:
    service = messages(want=want)
    service.refund_information = more.pop("token", None)
    information = sms_to(PARTY)
    return ccr("E", number, service, context=SMS, information=information, requested_action=action, **more)


# -- one-off requests (RFC 8506 §6)


async def test_a_price_enquiry_reads_no_account(worker: Worker, ledger: FakeLedger) -> None:
    answer = await worker.answer(sms(3, want=2, msisdn="38699999999"))
    assert answer.result_code == 2001 and not ledger.asked
    cost = answer.cost_information
    assert cost is not None and cost.currency_code == 978
    price = (await worker.answer(sms(3, want=1))).cost_information
    assert price is not None and price.unit_value.exponent == -6
    assert cost.unit_value.value_digits == 2 * price.unit_value.value_digits > 0


async def test_a_price_enquiry_for_a_service_without_a_price(worker: Worker) -> None:
    request = ccr("E", 0, octets(want=0, group=777), information=at(), requested_action=3)
    assert (await worker.answer(request)).result_code == 5031


async def test_a_balance_check_reserves_nothing(worker: Worker, ledger: FakeLedger) -> None:
    assert (await worker.answer(sms(2))).check_balance_result == 0
    many = await worker.answer(sms(2, number=1, want=10_000))
    assert (many.result_code, many.check_balance_result) == (2001, 1), "all of them or none"
    ledger.model.accounts[ACCOUNT].credit = 0
    short = await worker.answer(sms(2, number=2))
    assert (short.result_code, short.check_balance_result) == (2001, 1)
    assert short.multiple_services_credit_control == []
    ledger.model.accounts[ACCOUNT].state = "blocked"
    assert (await worker.answer(sms(2, number=3))).result_code == 4010


async def test_a_debit_returns_the_token_for_its_refund(worker: Worker, ledger: FakeLedger) -> None:
    worker.source = Origin(GW, refunds=True)
    paid = one(await worker.answer(sms(0, want=2, sid="sms;1")))
    token = paid.refund_information
    assert token is not None and MSISDN.encode() not in token
    spent = 20 * EUR - ledger.credit(ACCOUNT)
    back = one(await worker.answer(sms(1, 1, want=1, sid="sms;2", token=token)))
    assert (back.result_code, back.granted_service_unit.cc_service_specific_units) == (2001, 1)
    assert ledger.credit(ACCOUNT) == 20 * EUR - spent // 2
    again = one(await worker.answer(sms(1, 1, want=1, sid="sms;2", token=token)))
    assert again == back, "a repetition refunds nothing more"
    rest = one(await worker.answer(sms(1, 2, want=None, sid="sms;2", token=token)))
    assert rest.granted_service_unit.cc_service_specific_units == 1
    assert ledger.credit(ACCOUNT) == 20 * EUR
    assert (await worker.answer(sms(1, 3, want=1, sid="sms;2", token=token))).result_code == 4010
    assert worker.metrics.of("refunded") == [["sms", spent // 2], ["sms", spent // 2]]


async def test_a_refund_at_command_level(worker: Worker, ledger: FakeLedger) -> None:
    worker.source = Origin(GW, refunds=True)

    def event(action: int, number: int, **more: Any) -> CreditControlRequest:
        unit = RequestedServiceUnit(cc_service_specific_units=1)
        rest = {"context": SMS, "information": sms_to(PARTY), "requested_action": action, **more}
        return ccr("E", number, requested_service_unit=unit, **rest)

    paid = await worker.answer(event(0, 0))
    back = await worker.answer(event(1, 1, refund_information=paid.refund_information))
    assert (back.result_code, back.granted_service_unit.cc_service_specific_units) == (2001, 1)
    assert ledger.credit(ACCOUNT) == 20 * EUR


async def test_refunds_that_are_refused(worker: Worker, ledger: FakeLedger) -> None:
    assert (await worker.error(sms(1))).result_code == 5003, "the peer has no right to refund"
    worker.source = Origin(GW, refunds=True)
    missing = await worker.error(sms(1))
    example = failed_avp.example("refund_information", "multiple_services_credit_control")
    assert (missing.result_code, missing.failed_avp) == (5005, example)
    for token in (b"", b"\x01", b"\x02\0\0\0\0sms;1", b"\x01\0\0\0\0\xff", b"\x01\0\0\0\0nobody;1", bytes(5000)):
        wrong = await worker.error(sms(1, token=token))
        copy = failed_avp.copy("refund_information", token, "multiple_services_credit_control")
        assert (wrong.result_code, wrong.failed_avp) == (5004, copy)
    assert ledger.credit(ACCOUNT) == 20 * EUR


def test_refund_tokens_are_parsed() -> None:
    request = ccr("E", 7, sid="smsc.example.net;é;1")
    for debit in (
        Debit("smsc.example.net;é;1", 7),
        Debit("smsc.example.net;é;1", 2**32 - 1, (1, 2**32 - 1), counted_once=True),
        Debit("s", 0, tuple(range(64))),
    ):
        request.refund_information = refund_token.encode(debit)
        assert refund_token.decode(request.refund_information) == debit
        assert event_requests.refunded_debit(request) == (debit.session_id, debit.number)
        for length in range(len(request.refund_information) - len(debit.session_id.encode()) + 1):
            assert refund_token.decode(request.refund_information[:length]) is None


# -- Origin-State-Id (RFC 6733 §8.6)


async def test_a_session_has_the_origin_state_of_its_request_or_of_its_connection(
    worker: Worker, ledger: FakeLedger
) -> None:
    async def noted(source: Origin, sid: str, **more: Any) -> int:
        worker.source = source
        await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid=sid, **more))
        return ledger.charged[-1].origin_state_id

    assert await noted(Origin(GW, origin_state_id=7), "a", origin_state_id=8) == 8
    assert await noted(Origin(GW, origin_state_id=7), "b") == 7
    assert await noted(Origin("dra.example.net", origin_state_id=7), "c") == 0, (
        "the state of a relay is not the client's"
    )


# -- final units (RFC 8506 §5.6)

REDIRECT = Profile(final_unit=FinalUnit.REDIRECT, redirect_address="https://hot.example.net/top-up")


async def test_redirection_from_the_last_units_until_a_top_up(worker: Worker, ledger: FakeLedger) -> None:
    worker.source = Origin(GW, profile=REDIRECT)
    ledger.spend(ACCOUNT, left=6_900)
    last = one(await worker.answer(ccr("I", 0, octets(want=10 * MB), information=at())))
    assert last.granted_service_unit.cc_total_octets == MB
    indication = last.final_unit_indication
    assert indication is not None and indication.final_unit_action == 1 and indication.redirect_server is not None
    server = indication.redirect_server
    assert (server.redirect_address_type, server.redirect_server_address) == (2, "https://hot.example.net/top-up")
    begun = one(await worker.answer(ccr("U", 1, octets(used=MB), information=at())))
    assert (begun.result_code, begun.granted_service_unit, begun.validity_time) == (2001, None, 300)
    assert begun.final_unit_indication == indication
    still = one(await worker.answer(ccr("U", 2, octets(), information=at())))
    assert (still.result_code, still.granted_service_unit, still.validity_time) == (2001, None, 300)
    ledger.top_up(ACCOUNT, EUR)
    freed = one(await worker.answer(ccr("U", 3, octets(), information=at())))
    assert freed.granted_service_unit is not None and freed.final_unit_indication is None
    assert worker.metrics.of("restricted") == [["data"], ["data"]]
    assert worker.metrics.of("final_unit") == 3 * [["data", "redirect"]]


async def test_an_empty_account_is_redirected_at_once(worker: Worker, ledger: FakeLedger) -> None:
    worker.source = Origin(GW, profile=REDIRECT)
    ledger.spend(ACCOUNT, left=0)
    answer = await worker.answer(ccr("I", 0, octets(want=10 * MB), information=at()))
    assert (answer.result_code, one(answer).result_code, one(answer).validity_time) == (2001, 2001, 300)
    assert one(answer).final_unit_indication is not None and one(answer).granted_service_unit is None
    # Restricted once; then refused.
    worker.source = Origin(GW, profile=dataclasses.replace(REDIRECT, restricted_again=False))
    assert one(await worker.answer(ccr("U", 1, octets(), information=at()))).result_code == 4012


async def test_restriction_by_rules_by_filter_id_and_by_qos_final_unit_indication(
    worker: Worker, ledger: FakeLedger
) -> None:
    ledger.spend(ACCOUNT, left=0)
    rule = "permit out ip from 192.0.2.1 to any"
    rules = Profile(final_unit=FinalUnit.RESTRICT, filters=Filters.RULES, filter_rules=(rule,))
    names = dataclasses.replace(rules, filters=Filters.FILTER_ID, filter_ids=("walled-garden",), qos_final_unit=True)
    none = Profile(final_unit=FinalUnit.RESTRICT)
    found = []
    for number, profile in enumerate((rules, names, none)):
        worker.source = Origin(GW, profile=profile)
        found.append(one(await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid=f"s{number}"))))
    indications = [mscc.final_unit_indication for mscc in found]
    assert [i.final_unit_action for i in indications if i] == [2, 2, 2]
    assert [i.restriction_filter_rule for i in indications if i] == [[rule.encode()], [], []]
    assert [i.filter_id for i in indications if i] == [[], ["walled-garden"], []]
    assert worker.metrics.of("final_unit") == 3 * [["data", "restrict"]]
    qos = found[1].qos_final_unit_indication
    assert qos is not None and (qos.final_unit_action, qos.filter_id) == (2, ["walled-garden"])
    assert found[0].qos_final_unit_indication is None
    # RFC 8506 §5.6.3: a client that supports both ignores Final-Unit-Indication, so the other must have its rules.
    worker.source = Origin(GW, profile=dataclasses.replace(rules, qos_final_unit=True))
    both = one(await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid="both")))
    assert (both.final_unit_indication, both.qos_final_unit_indication) == (indications[0], None)


async def test_qos_final_unit_indication_redirects_to_each_kind_of_address(worker: Worker, ledger: FakeLedger) -> None:
    """RFC 8506 §8.64–8.67"""
    ledger.spend(ACCOUNT, left=0)
    for number, (kind, address) in enumerate(
        [(0, "192.0.2.7"), (1, "2001:db8::7"), (2, "https://hot.example.net"), (3, "sip:topup@hot.example.net")]
    ):
        profile = Profile(
            final_unit=FinalUnit.REDIRECT, redirect_address=address, redirect_address_type=kind, qos_final_unit=True
        )
        worker.source = Origin(GW, profile=profile)
        mscc = one(await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid=f"q{number}")))
        assert mscc.qos_final_unit_indication is not None
        server = mscc.qos_final_unit_indication.redirect_server_extension
        assert server is not None
        given = [server.redirect_address_url, server.redirect_address_sip_uri]
        if server.redirect_address_ipaddress is not None:
            given.append(server.redirect_address_ipaddress.value)
        assert [text for text in given if text] == [address]


async def test_the_action_may_differ_by_service(worker: Worker, ledger: FakeLedger) -> None:
    profile = dataclasses.replace(REDIRECT, final_unit_of=MappingProxyType({"voice": FinalUnit.TERMINATE}))
    worker.source = Origin(GW, profile=profile)
    ledger.spend(ACCOUNT, left=0)
    call = await worker.answer(ccr("I", 0, seconds(want=60), context=IMS, information=towards(f"tel:{PARTY}")))
    assert call.result_code == 4012
    asked = ledger.charged[-1].services[0]
    assert asked.restrict is NoFunds.REFUSE


async def test_final_units_of_a_termination_are_counted_and_of_a_one_off_debit_not(
    worker: Worker, ledger: FakeLedger
) -> None:
    ledger.spend(ACCOUNT, left=6_900)
    last = one(await worker.answer(ccr("I", 0, octets(want=10 * MB), information=at())))
    assert last.final_unit_indication is not None and last.final_unit_indication.final_unit_action == 0
    assert worker.metrics.of("final_unit") == [["data", "terminate"]]
    await worker.answer(ccr("T", 1, octets(used=MB), information=at()))
    ledger.spend(ACCOUNT, left=69_000)
    debited = one(await worker.answer(sms(0)))
    assert (debited.result_code, debited.final_unit_indication) == (2001, None)
    assert worker.metrics.of("final_unit") == [["data", "terminate"]]


# -- changes within a session


@rule("HOT-RAT-5")
async def test_entering_a_roaming_zone_within_a_session(worker: Worker, ledger: FakeLedger) -> None:
    """Earlier use is rated at the old location, the new grant at the current one (HOT-RAT-5, TS 32.299 §7.2.175)."""
    await worker.answer(ccr("I", 0, octets(want=10 * MB), information=at(HOME)))
    crossing = octets(want=MB, used=MB)
    crossing.reporting_reason = [6]
    await worker.answer(ccr("U", 1, crossing, information=at(SERBIA)))
    home = 20 * EUR - ledger.credit(ACCOUNT)
    assert home == 6_900
    label = ledger.model.accounts[ACCOUNT].sessions["pgw.example.net;1"].services["1"].label
    assert label != ledger.model.events[-2].get("label") and label == "data.balkan"
    await worker.answer(ccr("T", 2, octets(used=10_000), information=at(SERBIA)))
    assert 20 * EUR - ledger.credit(ACCOUNT) - home > 6_900, "a hundredth of the use, and dearer"


async def test_an_update_without_a_location_keeps_the_sessions(
    worker: Worker, ledger: FakeLedger, catalogue: Catalogue
) -> None:
    def label() -> str:
        return ledger.model.accounts[ACCOUNT].sessions["pgw.example.net;1"].services["1"].label

    await worker.answer(ccr("I", 0, octets(want=MB), information=at(SERBIA)))
    abroad = label()
    await worker.answer(ccr("U", 1, octets(want=MB, used=1000)))
    assert label() == abroad
    # Another worker, to which the session is new: the ledger keeps the price in force.
    other = Worker(ledger, catalogue)
    await other.answer(ccr("U", 2, octets(want=MB, used=1000)))
    assert label() == abroad and ledger.asked["charge"] == 4, "one question more"
    await other.answer(ccr("U", 3, octets(want=MB, used=1000)))
    assert label() == abroad and ledger.asked["charge"] == 5, "once"
    # An update with a location, after which the first worker's cache is stale.
    await other.answer(ccr("U", 4, octets(want=MB, used=1000), information=at(AUSTRIA)))
    nearer = label()
    assert nearer != abroad
    await worker.answer(ccr("U", 5, octets(want=MB, used=1000)))
    assert label() == nearer
    # A new service, and use without a grant, on a worker to which the session is new.
    third = Worker(ledger, catalogue)
    both = [octets(want=MB, used=1000), octets(want=MB, group=2)]
    await third.answer(ccr("U", 6, *both))
    assert {s.label for s in ledger.charged[-1].services} != {"unrated"}
    assert all(s.detail.startswith(AUSTRIA) for s in ledger.charged[-1].services)
    fourth = Worker(ledger, catalogue)
    await fourth.answer(ccr("T", 7, octets(used=1000)))
    assert ledger.charged[-1].services[0].detail.startswith(AUSTRIA)


async def test_a_calls_update_without_service_information_is_granted(
    worker: Worker, ledger: FakeLedger, catalogue: Catalogue
) -> None:
    await worker.answer(ccr("I", 0, seconds(want=60), context=IMS, information=towards(f"tel:{PARTY}")))
    other = Worker(ledger, catalogue)
    updated = one(await other.answer(ccr("U", 1, seconds(want=60, used=30), context=IMS)))
    assert (updated.result_code, updated.granted_service_unit.cc_time) == (2001, 60)


async def test_a_late_request_gets_a_grant_at_the_current_price(ledger: FakeLedger, catalogue: Catalogue) -> None:
    rater = Timed(catalogue, NOW - 10)
    worker = Worker(ledger, rater)
    await worker.answer(ccr("I", 0, octets(want=1000), information=at(), event_timestamp=NOW - 200))
    assert ledger.charged[-1].services[0].price == rater.night


async def test_an_enquiry_with_one_service_that_has_no_price(worker: Worker, ledger: FakeLedger) -> None:
    for action in (2, 3):
        request = ccr("E", action, octets(want=5), octets(want=5, group=777), information=at(), requested_action=action)
        answer = await worker.answer(request)
        assert (answer.result_code, answer.cost_information, answer.check_balance_result) == (5031, None, None)
        assert answer.failed_avp == failed_avp.copy("rating_group", 777, "multiple_services_credit_control")
    assert ledger.asked["charge"] == 0


class Timed:
    """A rater whose price changes at a given time."""

    def __init__(self, catalogue: Catalogue, switch_at: int, unit: Unit = Unit.OCTETS, following: int = 0) -> None:
        self._catalogue, self.switch_at, self._following = catalogue, switch_at, following
        name = {"unit": unit, "quantity": 1_000_000 if unit is Unit.OCTETS else 60}
        self.day = compile_price("day", micro_eur=1_000_000, **name)
        self.night = compile_price("night", micro_eur=100_000, **name)
        self.unit = unit
        self.quota = QuotaPolicy(1_000_000 if unit is Unit.OCTETS else 300, 1, 10_000_000, 3600, 0, 0)

    def month_of(self, unix_s: int) -> int:
        return self._catalogue.month_of(unix_s)

    def day_of(self, unix_s: int) -> int:
        return unix_s // 86_400

    def country_of(self, serving_plmn: str | None, visited_number: str | None) -> str:
        return ""

    def canonical_party(self, party: str, serving_plmn: str | None, visited_number: str | None) -> str:
        return self._catalogue.canonical_party(party, serving_plmn, visited_number)

    def rate(self, event: UseEvent) -> RatedUse:
        before = event.at < self.switch_at
        rest = (self.unit, self.quota, self.day if before else self.night, (), False, ())
        if before:
            return RatedUse("data", "timed", "home", "", *rest, switch_at=self.switch_at, price_after=self.night)
        return RatedUse("data", "timed", "home", "", *rest, switch_at=self._following, price_after=self.day)


async def test_a_tariff_change_inside_a_grant(ledger: FakeLedger, catalogue: Catalogue) -> None:
    """RFC 8506 §5.1.1, §8.20"""
    worker = Worker(ledger, catalogue)
    worker.service._rater = Timed(catalogue, NOW + 600)
    opened = one(await worker.answer(ccr("I", 0, octets(want=2_000_000), information=at())))
    assert opened.granted_service_unit.tariff_time_change == NOW + 600
    assert opened.validity_time == 3600
    assert ledger.model.accounts[ACCOUNT].held == 2 * EUR
    worker.now += 900
    both = [UsedServiceUnit(tariff_change_usage=side, cc_total_octets=1_000_000) for side in (0, 1)]
    ended = MultipleServicesCreditControl(rating_group=1, used_service_unit=both)
    await worker.answer(ccr("T", 1, ended, information=at()))
    assert 20 * EUR - ledger.credit(ACCOUNT) == EUR + 100_000


async def test_a_grant_ends_at_the_second_switch(ledger: FakeLedger, catalogue: Catalogue) -> None:
    worker = Worker(ledger, catalogue)
    worker.service._rater = Timed(catalogue, NOW + 600, following=NOW + 900)
    opened = one(await worker.answer(ccr("I", 0, octets(want=2_000_000), information=at())))
    assert opened.validity_time == 900


async def test_time_and_clients_without_tariff_change_get_no_grant_over_a_switch(
    ledger: FakeLedger, catalogue: Catalogue
) -> None:
    worker = Worker(ledger, catalogue)
    worker.service._rater = Timed(catalogue, NOW + 600, Unit.SECONDS)
    call = one(await worker.answer(ccr("I", 0, seconds(want=300), context=IMS, information=towards(f"tel:{PARTY}"))))
    assert (call.validity_time, call.granted_service_unit.tariff_time_change) == (600, None)
    worker.service._rater = Timed(catalogue, NOW + 600)
    worker.source = Origin(GW, profile=Profile(tariff_change=False))
    data = one(await worker.answer(ccr("I", 0, octets(want=300), information=at(), sid="d")))
    assert (data.validity_time, data.granted_service_unit.tariff_time_change) == (600, None)


async def test_the_clients_event_timestamp_counts_if_it_is_near_the_servers(
    ledger: FakeLedger, catalogue: Catalogue
) -> None:
    worker = Worker(ledger, catalogue)
    worker.service._rater = Timed(catalogue, NOW)
    for stamp, price in ((NOW - 10, "day"), (NOW - 10_000, "night"), (NOW + 10_000, "night"), (None, "night")):
        debit = ccr(
            "E", 0, octets(want=1), information=at(), sid=f"t{stamp}", event_timestamp=stamp, requested_action=0
        )
        await worker.answer(debit)
        assert ledger.charged[-1].services[0].price.id.startswith(price)
    late = ccr("I", 0, octets(want=1), information=at(), sid="late", event_timestamp=NOW - 10)
    await worker.answer(late)
    assert ledger.charged[-1].services[0].price.id.startswith("night"), "a grant is used from now on"
    worker.service._rater = Timed(catalogue, NOW + 100)
    await worker.answer(ccr("I", 0, octets(want=1), information=at(), sid="early", event_timestamp=NOW + 250))
    assert ledger.charged[-1].services[0].price.id.startswith("day"), "by our clock"


async def test_a_grant_does_not_outlive_the_packages_period(
    worker: Worker, ledger: FakeLedger, catalogue: Catalogue
) -> None:
    package = catalogue.packages["MAXI"]
    ledger.model.activate_package(
        ACCOUNT, package=package, reference="p", now=NOW - package.period_s + 500, month=202611
    )
    mscc = one(await worker.answer(ccr("I", 0, octets(want=MB), information=at())))
    assert mscc.validity_time == 500
    worker.now = NOW + 499
    assert one(await worker.answer(ccr("U", 1, octets(want=MB), information=at()))).validity_time == 30


# -- quota policy and profiles


class Quota:
    """The catalogue with another quota policy."""

    def __init__(self, catalogue: Catalogue, **more: Any) -> None:
        self._catalogue, self._more = catalogue, more

    def month_of(self, unix_s: int) -> int:
        return self._catalogue.month_of(unix_s)

    def day_of(self, unix_s: int) -> int:
        return unix_s // 86_400

    def country_of(self, serving_plmn: str | None, visited_number: str | None) -> str:
        return ""

    def canonical_party(self, party: str, serving_plmn: str | None, visited_number: str | None) -> str:
        return self._catalogue.canonical_party(party, serving_plmn, visited_number)

    def rate(self, event: UseEvent) -> RatedUse:
        rated = self._catalogue.rate(event)
        return dataclasses.replace(rated, quota=dataclasses.replace(rated.quota, **self._more))


async def test_quota_policy_on_the_wire(worker: Worker, catalogue: Catalogue) -> None:
    worker.service._rater = Quota(
        catalogue, consumption_s=20, envelope_reporting=2, time_s=600, triggers=(4, 30), holding_s=90
    )
    both = octets(want=MB)
    both.requested_service_unit.cc_time = 60
    data = one(await worker.answer(ccr("I", 0, both, information=at())))
    assert data.granted_service_unit is not None and data.trigger is not None
    assert (data.granted_service_unit.cc_total_octets, data.granted_service_unit.cc_time) == (MB, 600)
    assert (data.trigger.trigger_type, data.quota_holding_time, data.envelope_reporting) == ([4, 30], 90, 2)
    assert data.quota_consumption_time == 20, "time is granted too"
    update = one(await worker.answer(ccr("U", 1, octets(want=MB), information=at())))
    assert update.envelope_reporting is None and update.granted_service_unit.cc_time is None
    call = ccr("I", 0, seconds(want=60), context=IMS, information=towards(f"tel:{PARTY}"), sid="c")
    assert one(await worker.answer(call)).quota_consumption_time == 20
    worker.source = Origin(GW, profile=Profile(triggers=False))
    assert one(await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid="x"))).trigger is None


async def test_services_of_one_price_share_a_pool(worker: Worker, catalogue: Catalogue) -> None:
    """RFC 8506 §5.1.2"""
    worker.service._rater = Quota(catalogue, pool=7)
    worker.source = Origin(GW, profile=Profile(pools=True))
    two = [octets(want=MB, group=1, identifiers=(n,)) for n in (1, 2)]
    answer = await worker.answer(ccr("I", 0, *two, information=at()))
    first, second = (mscc.g_s_u_pool_reference for mscc in answer.multiple_services_credit_control)
    (reference,) = first
    assert first == second == [GsuPoolReference(reference.g_s_u_pool_identifier, 2, UnitValue(1))]
    alone = one(await worker.answer(ccr("U", 1, octets(want=MB, group=1, identifiers=(1,)), information=at())))
    assert alone.g_s_u_pool_reference == first, "granted by itself it stays in the pool"
    abroad = one(await worker.answer(ccr("U", 2, octets(want=MB, group=1, identifiers=(1,)), information=at(SERBIA))))
    assert abroad.g_s_u_pool_reference != first, "at another price a unit is not a unit"
    worker.source = Origin(GW)
    assert one(await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid="b"))).g_s_u_pool_reference == []


async def test_avps_about_money_and_failures_by_profile(worker: Worker, ledger: FakeLedger) -> None:
    worker.source = Origin(
        GW,
        profile=Profile(
            cost_information=True,
            remaining_balance=True,
            low_balance_indication=True,
            session_failover=1,
            failure_handling=2,
            direct_debiting_failure_handling=1,
        ),
    )
    opened = await worker.answer(ccr("I", 0, octets(want=10 * MB), information=at()))
    assert opened.cost_information is None and opened.remaining_balance is not None
    assert opened.remaining_balance.unit_value == UnitValue(20 * EUR - 69_000, -6)
    assert (opened.low_balance_indication, opened.cc_session_failover) == (0, 1)
    assert (opened.credit_control_failure_handling, opened.direct_debiting_failure_handling) == (2, None)
    ended = await worker.answer(ccr("T", 1, octets(used=MB), information=at()))
    assert ended.cost_information is not None and ended.cost_information.unit_value == UnitValue(6_900, -6)
    event = await worker.answer(sms(0, sid="e"))
    assert (event.direct_debiting_failure_handling, event.cc_session_failover) == (1, None)
    ledger.model.accounts[ACCOUNT].credit = ChargingPolicy().low_balance_micro_eur - 1
    assert (await worker.answer(ccr("I", 0, octets(want=1), information=at(), sid="l"))).low_balance_indication == 1


async def test_an_announcement_before_the_last_units_of_a_call_end(worker: Worker, ledger: FakeLedger) -> None:
    """TS 32.281"""
    worker.source = Origin(GW, profile=Profile(announcement=17, announcement_before_s=20))
    information = towards(f"tel:{PARTY}")
    enough = one(await worker.answer(ccr("I", 0, seconds(want=60), context=IMS, information=information)))
    assert enough.announcement_information == []
    await worker.answer(ccr("T", 1, seconds(used=0), context=IMS, information=information))
    ledger.model.accounts[ACCOUNT].credit = 150_000
    last = one(await worker.answer(ccr("I", 0, seconds(want=600), context=IMS, information=information, sid="b")))
    (played,) = last.announcement_information
    assert (played.announcement_identifier, played.time_indicator) == (17, 20)


async def test_the_target_of_a_rar_and_the_owner_of_a_session(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at(), origin_state_id=9))
    asked = ledger.charged[-1]
    assert (asked.relay, asked.origin_realm, asked.owner, asked.origin_state_id) == ("", "example.net", GW, 9)
    worker.source = Origin("dra.example.net", failover_group="pgws")
    await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid="b"))
    assert (ledger.charged[-1].relay, ledger.charged[-1].owner) == ("dra.example.net", "pgws")


async def test_subscription_ids_of_different_subscribers_are_refused(worker: Worker, ledger: FakeLedger) -> None:
    """RFC 8506 §8.46"""
    ledger.open("00-0000000000000002", "38668100001", "293400000000001")
    mixed = ccr("I", 0, octets(want=MB), information=at(), imsi="293400000000001")
    for _ in range(2):
        assert (await worker.error(mixed)).result_code == 5030
    assert ledger.asked["charge"] == 0
    # An unknown IMSI is no contradiction, since the card may be new.
    fresh = ccr("I", 0, octets(want=MB), information=at(), imsi="293409999999999")
    assert (await worker.answer(fresh)).result_code == 2001
    asked = ledger.asked["find_subscriber"]
    await worker.answer(ccr("U", 1, octets(want=MB), information=at(), imsi="293409999999999"))
    assert ledger.asked["find_subscriber"] == asked, "and is looked up once"


# -- dialects of clients


async def test_impossible_time_is_not_charged(worker: Worker, ledger: FakeLedger, caplog: Any) -> None:
    """A first CC-Time that equals the Unix time."""
    information = towards(f"tel:{PARTY}")
    await worker.answer(ccr("I", 0, seconds(want=60), context=IMS, information=information))
    await worker.answer(ccr("U", 1, seconds(want=60, used=NOW), context=IMS, information=information))
    await worker.answer(ccr("U", 2, seconds(want=60, used=NOW), context=IMS, information=information))
    assert [called[2] > 1_000_000_000 for called in worker.metrics.of("dropped")] == [True, True]
    assert ledger.credit(ACCOUNT) == 20 * EUR, "no time has passed"
    assert [r.message.startswith("peer pgw.example.net reported") for r in caplog.records] == [True], "said once"
    assert MSISDN not in caplog.text


async def test_impossible_time_beside_octets_is_counted(worker: Worker, ledger: FakeLedger, caplog: Any) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    service = octets(used=1_000)
    service.used_service_unit[0].cc_time = NOW
    await worker.answer(ccr("U", 1, service, information=at()))
    service.used_service_unit[0].cc_time = 30
    await worker.answer(ccr("T", 2, service, information=at()))
    assert worker.metrics.of("dropped") == [["data", "seconds", NOW]]
    assert [r.message.startswith("peer pgw.example.net reported") for r in caplog.records] == [True]
    assert 0 < 20 * EUR - ledger.credit(ACCOUNT) < 100


async def test_a_grant_overrun_by_a_packet(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    ended = await worker.answer(ccr("T", 1, octets(used=MB + 1500), information=at()))
    assert one(ended).result_code == 2001
    assert 20 * EUR - ledger.credit(ACCOUNT) > 6_900


async def test_a_client_without_rating_group_and_with_a_requested_action(worker: Worker) -> None:
    """One MSCC without Rating-Group, Multiple-Services-Indicator 0, Requested-Action 0 in a session, only input and
    output octets.
    """
    for number, kind in enumerate("IUT"):
        service = octets(want=MB if kind != "T" else None, group=None)
        if kind != "I":
            service.used_service_unit = [UsedServiceUnit(cc_input_octets=1000, cc_output_octets=2000)]
        request = ccr(kind, number, service, information=at(), multiple_services_indicator=0)
        request.requested_action = 0
        request.destination_host = "ocs.example.net" if number else None
        answer = await worker.answer(request)
        assert (answer.result_code, one(answer).result_code, one(answer).rating_group) == (2001, 2001, None)
    assert worker.metrics.of("used") == [["data", "octets", 3000]] * 2


async def test_multiple_services_indicator_missing_or_none(worker: Worker) -> None:
    for number, indicator in enumerate((None, 0, 1)):
        request = ccr("I", 0, octets(want=MB), information=at(), sid=f"m{number}")
        request.multiple_services_indicator = indicator
        assert one(await worker.answer(request)).granted_service_unit is not None


async def test_time_and_volume_in_separate_reports(worker: Worker) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    service = octets(want=MB)
    service.used_service_unit = [
        UsedServiceUnit(cc_time=30),
        UsedServiceUnit(cc_total_octets=5000),
        UsedServiceUnit(cc_total_octets=7000),
    ]
    assert one(await worker.answer(ccr("U", 1, service, information=at()))).result_code == 2001
    assert worker.metrics.of("used") == [["data", "octets", 12_000]]


async def test_more_updates_than_remembered_answers(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    for number in range(1, 150):
        answer = await worker.answer(ccr("U", number, octets(want=MB, used=1024), information=at()))
        assert one(answer).result_code == 2001
    # A termination with the last update's number is no repetition of it.
    ended = await worker.answer(ccr("T", 149, octets(used=1024), information=at()))
    assert (ended.result_code, one(ended).result_code) == (2001, 2001)
    assert ledger.model.accounts[ACCOUNT].sessions == {}


async def test_updates_that_overtake_each_other(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    for number in (2, 5, 1, 4):
        answer = await worker.answer(ccr("U", number, octets(want=MB, used=1024), information=at()))
        assert one(answer).result_code == 2001
    await worker.answer(ccr("T", 6, octets(used=0), information=at()))
    for number, code in ((3, 2001), (7, 5002)):
        credit = ledger.credit(ACCOUNT)
        late = await worker.answer(ccr("U", number, octets(want=MB, used=1024), information=at()))
        assert late.result_code == code
        assert credit - ledger.credit(ACCOUNT) in (6, 7), "the use is paid, whatever its number"
        assert ledger.model.accounts[ACCOUNT].held == 0, "the session is over"


async def test_a_termination_after_a_refused_opening(worker: Worker, ledger: FakeLedger) -> None:
    ledger.spend(ACCOUNT, left=0)
    information = towards(f"tel:{PARTY}")
    refused = await worker.answer(ccr("I", 0, seconds(want=60), context=IMS, information=information))
    assert refused.result_code == 4012
    for more in ({}, {"msisdn": None}):
        ended = await worker.answer(ccr("T", 1, seconds(used=0), context=IMS, information=information, **more))
        assert (ended.result_code, one(ended).result_code) == (2001, 2001)
    unit = RequestedServiceUnit(cc_service_specific_units=1)
    rest = {"context": SMS, "information": sms_to(PARTY), "sid": "rfc"}
    assert (await worker.answer(ccr("I", 0, requested_service_unit=unit, **rest))).result_code == 4012
    nothing = UsedServiceUnit(cc_service_specific_units=0)
    assert (await worker.answer(ccr("T", 1, used_service_unit=[nothing], **rest))).result_code == 2001


async def test_gy_and_ro_of_one_subscriber_over_one_connection(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at(), sid="gy"))
    for context in (IMS, CS):
        call = ccr("I", 0, seconds(want=60), context=context, information=towards(f"tel:{PARTY}"), sid=context)
        assert (await worker.answer(call)).result_code == 2001
    assert len(ledger.model.accounts[ACCOUNT].sessions) == 3


async def test_a_subscriber_named_only_inside_service_information(worker: Worker) -> None:
    information = towards(f"tel:{PARTY}")
    information.subscription_id = [SubscriptionId(2, f"sip:+{MSISDN}@ims.example.net")]
    request = ccr("I", 0, seconds(want=60), context="ext.01.001.8.32260@3gpp.org", msisdn=None, information=information)
    answer = await worker.answer(request)
    assert (answer.result_code, one(answer).result_code) == (2001, 2001)
    assert one(answer).granted_service_unit.cc_time == 60


async def test_a_forwarded_leg_by_role_of_node_or_supplementary_service(worker: Worker, ledger: FakeLedger) -> None:
    """TS 32.275; the peer's profile says what Role-Of-Node 2 means."""
    information = towards(f"tel:{PARTY}")
    information.ims_information.role_of_node = 2

    async def detail(source: Origin, sid: str) -> str:
        worker.source = source
        await worker.answer(ccr("I", 0, seconds(want=60), context=IMS, information=information, sid=sid))
        return ledger.charged[-1].services[0].detail

    assert " fw " in await detail(Origin(GW), "a")
    assert " mo " in await detail(Origin(GW, profile=Profile(forwarding_role=False)), "b")


@pytest.mark.parametrize("path", [OPEN5GS, KAMAILIO], ids=["open5gs", "kamailio"])
async def test_recorded_clients_are_served(path: Path, ledger: FakeLedger, catalogue: Catalogue) -> None:
    """Each recorded request gets an answer with which a client of its kind continues."""
    ledger.open("00-00000000000000aa", "447700900001", "001010000000001")
    worker = Worker(ledger, catalogue)
    for frame in requests(path):
        request = decode_ccr(frame, parse_header(frame))
        answer = await worker.answer(request)
        assert answer.result_code in (2001, 5002), "5002 for what the recording joins in the middle"
        for mscc in answer.multiple_services_credit_control:
            assert mscc.result_code == 2001
    assert ledger.model.accounts["00-00000000000000aa"].credit >= 0
