"""Units by which a service is not charged: every unit, context and kind of request, at both levels.

A one-off request is refused, since the amount to debit is unknown. What a session reports is counted and logged, but
not charged.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from protocol import failed_avp
from protocol.credit_control import (
    CcMoney,
    CreditControlAnswer,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    ServiceInformation,
    UnitValue,
    UsedServiceUnit,
)
from protocol.service_information import EventType
from tests.ocs.charging.ccr import CS, DATA, IMS, MB, MMS, SMS, at, ccr, mms_to, sms_to, towards
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import EUR, Subscriber, World
from tests.rules import rule

PARTY = "+38631234567"
DEBIT, REFUND, CHECK, ENQUIRY = range(4)
ACTIONS = {"debit": DEBIT, "refund": REFUND, "check": CHECK, "enquiry": ENQUIRY}
MSCC = "multiple_services_credit_control"
MONEY = CcMoney(UnitValue(50, -2), 978)
AMOUNTS: dict[str, Any] = {
    "cc_time": 30,
    "cc_money": MONEY,
    "cc_total_octets": MB,
    "cc_input_octets": MB,
    "cc_output_octets": MB,
    "cc_service_specific_units": 2,
}


@dataclass(frozen=True)
class Use:
    context: str
    group: int | None
    information: ServiceInformation
    service: str
    units: tuple[str, ...]
    """What it is charged by."""
    word: str


def sip_message() -> ServiceInformation:
    information = towards(f"tel:{PARTY}")
    assert information.ims_information is not None
    information.ims_information.event_type = EventType(sip_method="MESSAGE")
    return information


OCTETS = "cc_total_octets", "cc_input_octets", "cc_output_octets"
USES = {
    "data": Use(DATA, 10, at(), "data", OCTETS, "octets"),
    "portal": Use(DATA, 900, at(), "portal", OCTETS, "octets"),
    "call": Use(IMS, None, towards(f"tel:{PARTY}"), "voice", ("cc_time",), "seconds"),
    "cs call": Use(CS, None, towards(f"tel:{PARTY}"), "voice", ("cc_time",), "seconds"),
    "sip message": Use(IMS, None, sip_message(), "voice", ("cc_time",), "seconds"),
    "sms": Use(SMS, None, sms_to(PARTY), "sms", ("cc_service_specific_units",), "messages"),
    "mms": Use(MMS, None, mms_to(PARTY), "mms", ("cc_service_specific_units",), "messages"),
}
WORDS = {
    "cc_time": "seconds",
    "cc_money": "money",
    **dict.fromkeys(OCTETS, "octets"),
    "cc_service_specific_units": "messages",
}
numbers = count()


async def ask(
    user: Subscriber,
    use: Use,
    kind: str,
    *,
    wish: dict[str, Any] | None = None,
    used: dict[str, Any] | None = None,
    mscc: bool = True,
    **more: Any,
) -> CreditControlAnswer:
    requested = None if wish is None else RequestedServiceUnit(**wish)
    reports = [] if used is None else [UsedServiceUnit(**used)]
    rest: dict[str, Any] = {"number": 0, "sid": f"smsc.example.net;{next(numbers)}", **more}
    rest |= {"context": use.context, "information": use.information, "msisdn": user.msisdn}
    token, services = rest.pop("token", None), []
    if mscc:
        services.append(
            MultipleServicesCreditControl(
                requested_service_unit=requested,
                used_service_unit=reports,
                rating_group=use.group,
                refund_information=token,
            )
        )
    else:
        rest |= {"requested_service_unit": requested, "used_service_unit": reports, "refund_information": token}
    return await user.world.ask(ccr(kind, rest.pop("number"), *services, **rest))


def levels(use: Use) -> tuple[bool, ...]:
    """True: units in MSCC, False: at command level. A Rating-Group can only be in an MSCC."""
    return (True,) if use.group is not None else (True, False)


@pytest.mark.parametrize("action", ["debit", "check", "enquiry"])
@pytest.mark.parametrize("unit", list(AMOUNTS))
@pytest.mark.parametrize("name", [name for name in USES if name != "portal"])
async def test_one_off_requests(world: World, name: str, unit: str, action: str) -> None:
    user, use = await world.subscriber(20), USES[name]
    own = unit in use.units
    for mscc in levels(use):
        before = await user.credit()
        answer = await ask(user, use, "E", wish={unit: AMOUNTS[unit]}, mscc=mscc, requested_action=ACTIONS[action])
        assert answer.result_code == (2001 if own else 5031)
        parents = (MSCC, "requested_service_unit") if mscc else ("requested_service_unit",)
        assert answer.failed_avp == (b"" if own else failed_avp.copy(unit, AMOUNTS[unit], *parents))
        assert (before > await user.credit()) == (own and action == "debit")
        assert (answer.cost_information is not None) == (own and action == "enquiry")
    assert len(await user.events("charge")) == (len(levels(use)) if own and action == "debit" else 0)


@pytest.mark.parametrize("unit", list(AMOUNTS))
@pytest.mark.parametrize("name", [name for name in USES if name != "portal"])
async def test_one_off_debits_that_report_instead_of_asking(world: World, name: str, unit: str) -> None:
    """RFC 8506 §6.3 permits it."""
    user, use = await world.subscriber(20), USES[name]
    own = unit in use.units
    for mscc in levels(use):
        before = await user.credit()
        answer = await ask(user, use, "E", used={unit: AMOUNTS[unit]}, mscc=mscc)
        assert answer.result_code == (2001 if own else 5031)
        parents = (MSCC, "used_service_unit") if mscc else ("used_service_unit",)
        assert answer.failed_avp == (b"" if own else failed_avp.copy(unit, AMOUNTS[unit], *parents))
        assert (before > await user.credit()) == own


@pytest.mark.parametrize("name", [name for name in USES if name != "portal"])
@pytest.mark.parametrize("wish", [None, {}, {"cc_time": 0, "cc_total_octets": 0, "cc_service_specific_units": 0}])
async def test_one_off_debits_without_an_amount(world: World, name: str, wish: dict[str, Any] | None) -> None:
    """A message counts as one. A call needs its duration, and data its volume."""
    user, use = await world.subscriber(20), USES[name]
    message = use.word == "messages"
    for mscc in levels(use):
        before = await user.credit()
        answer = await ask(user, use, "E", wish=wish, mscc=mscc)
        assert answer.result_code == (2001 if message else 5031)
        parents = (MSCC, "requested_service_unit") if mscc else ("requested_service_unit",)
        assert answer.failed_avp == (b"" if message else failed_avp.example(use.units[0], *parents))
        assert (before > await user.credit()) == message


@rule("HOT-RAT-6")
async def test_a_price_per_call_needs_no_amount(world: World) -> None:
    """HOT-RAT-6: a donation of a fixed amount."""
    user = await world.subscriber(20)
    for number, wish in (("+386904123", None), ("+386904124", {}), ("+386904125", {"cc_time": 5})):
        use = Use(IMS, None, towards(f"tel:{number}"), "voice", ("cc_time",), "seconds")
        before = await user.credit()
        assert (await ask(user, use, "E", wish=wish)).result_code == 2001
        assert before - await user.credit() == 2 * EUR
        assert (await ask(user, use, "E", wish={"cc_service_specific_units": 1})).result_code == 5031


@pytest.mark.parametrize("unit", list(AMOUNTS))
@pytest.mark.parametrize("name", [name for name in USES if name != "portal"])
async def test_refunds(world: World, name: str, unit: str) -> None:
    world.source = Origin(refunds=True)
    user, use = await world.subscriber(20), USES[name]
    own = use.units[0]
    for mscc in levels(use):
        before = await user.credit()
        paid = await ask(user, use, "E", wish={own: AMOUNTS[own]}, mscc=mscc)
        token = paid.refund_information or paid.multiple_services_credit_control[0].refund_information
        spent = before - await user.credit()
        answer = await ask(
            user, use, "E", wish={unit: AMOUNTS[unit]}, mscc=mscc, requested_action=REFUND, token=token, number=1
        )
        assert answer.result_code == (2001 if unit in use.units else 5031)
        assert await user.credit() == (before if unit in use.units else before - spent)
        all_of_it = await ask(user, use, "E", mscc=mscc, requested_action=REFUND, token=token, number=2)
        assert all_of_it.result_code == (4010 if unit in use.units else 2001)
        assert await user.credit() == before


@pytest.mark.parametrize("kind", ["U", "T"])
@pytest.mark.parametrize("unit", list(AMOUNTS))
@pytest.mark.parametrize("name", list(USES))
async def test_reports_of_sessions(
    world: World, caplog: pytest.LogCaptureFixture, name: str, unit: str, kind: str
) -> None:
    user, use = await world.subscriber(20), USES[name]
    own = unit in use.units
    for mscc in levels(use):
        world.now += 3600
        world.metrics.calls.clear()
        caplog.clear()
        sid = f"pgw.example.net;{name};{mscc}"
        opened = await ask(user, use, "I", wish={}, mscc=mscc, sid=sid)
        assert opened.result_code == 2001
        before = await user.credit()
        world.now += 60
        with caplog.at_level(logging.WARNING):
            answer = await ask(user, use, kind, used={unit: AMOUNTS[unit]}, mscc=mscc, sid=sid, number=1)
        assert answer.result_code == 2001
        assert (before > await user.credit()) == (own and name != "portal")
        amount = EUR // 2 if unit == "cc_money" else AMOUNTS[unit]
        found = world.metrics.of("other_units")
        assert found == ([] if own else [[use.service, WORDS[unit], amount]])
        assert bool(world.metrics.of("used")) == own
        said = [record.getMessage() for record in caplog.records if "nothing in the unit" in record.getMessage()]
        assert bool(said) != own
        if said:
            words = "0.50 EUR" if unit == "cc_money" else f"{amount} {WORDS[unit]}"
            assert f"reported {words} of {use.service}" in said[0] and user.msisdn not in said[0]
        if kind == "U":
            await ask(user, use, "T", used={use.units[0]: 0}, mscc=mscc, sid=sid, number=2)


@pytest.mark.parametrize("unit", list(AMOUNTS))
@pytest.mark.parametrize("name", list(USES))
async def test_requests_of_sessions_are_granted_in_the_services_unit(world: World, name: str, unit: str) -> None:
    user, use = await world.subscriber(20), USES[name]
    answer = await ask(user, use, "I", wish={unit: AMOUNTS[unit]})
    (mscc,) = answer.multiple_services_credit_control
    grant = mscc.granted_service_unit
    assert grant is not None and grant.cc_money is None
    assert [bool(grant.cc_total_octets), bool(grant.cc_time), bool(grant.cc_service_specific_units)] == [
        use.word == word for word in ("octets", "seconds", "messages")
    ]


async def test_other_units_beside_the_services_own_are_ignored(world: World) -> None:
    user, data = await world.subscriber(20), USES["data"]
    sid = "pgw.example.net;beside"
    await ask(user, data, "I", wish={}, sid=sid)
    world.now += 60
    await ask(user, data, "U", used={"cc_total_octets": MB, "cc_time": 60, "cc_money": MONEY}, sid=sid, number=1)
    world.now += 60
    await ask(user, data, "T", used={"cc_total_octets": 0, "cc_time": 60}, sid=sid, number=2)
    assert world.metrics.of("other_units") == []
    assert (
        await ask(user, USES["sms"], "E", wish={"cc_service_specific_units": 1, "cc_money": MONEY})
    ).result_code == 2001


async def test_a_report_of_an_unknown_session_is_counted(world: World) -> None:
    user = await world.subscriber(20)
    answer = await ask(user, USES["data"], "U", used={"cc_time": 60}, sid="pgw.example.net;never", number=3)
    assert answer.result_code == 5002
    assert world.metrics.of("other_units") == [["data", "seconds", 60]]


async def test_one_service_of_several_in_other_units(world: World) -> None:
    """RFC 8506 §9.2: its own MSCC has the error; the others are granted."""
    user, before = await world.subscriber(20), 20 * EUR
    services = [
        MultipleServicesCreditControl(requested_service_unit=RequestedServiceUnit(**wish), rating_group=group)
        for group, wish in ((100, {"cc_service_specific_units": 1}), (300, {"cc_money": MONEY}))
    ]
    request = ccr("E", 0, *services, context=SMS, information=sms_to(PARTY), msisdn=user.msisdn)
    answer = await world.ask(request)
    assert [mscc.result_code for mscc in answer.multiple_services_credit_control] == [2001, 5031]
    assert answer.failed_avp == failed_avp.copy("cc_money", MONEY, MSCC, "requested_service_unit")
    assert before - await user.credit() == 69_000


@rule("HOT-RAT-2")
async def test_a_debit_of_several_services_is_paid_whole_or_refused_whole(world: World) -> None:
    """RFC 8506 §6.3: no service that was not debited is answered 2001."""
    user = await world.subscriber(0.15)
    services = [
        MultipleServicesCreditControl(
            requested_service_unit=RequestedServiceUnit(cc_service_specific_units=wish), rating_group=group
        )
        for group, wish in ((100, 1), (300, 2))
    ]
    request = ccr("E", 0, *services, context=SMS, information=sms_to(PARTY), msisdn=user.msisdn)
    answer = await world.ask(request)
    assert (answer.result_code, answer.multiple_services_credit_control) == (4012, [])
    assert await user.credit() == EUR * 15 // 100


@rule("HOT-RAT-2")
async def test_an_emergency_call_is_never_refused_for_its_units(world: World) -> None:
    """HOT-RAT-2"""
    user = await world.subscriber(0)
    use = Use(IMS, None, towards("tel:112"), "voice", ("cc_time",), "seconds")
    for wish in ({"cc_money": MONEY}, {"cc_service_specific_units": 1}, {}):
        assert (await ask(user, use, "E", wish=wish)).result_code == 2001
    assert await user.credit() == 0


async def test_unexpected_money_is_logged_with_its_currency(world: World, caplog: pytest.LogCaptureFixture) -> None:
    use, user = USES["data"], await world.subscriber(20)
    for number, (money, words) in enumerate(
        (
            (CcMoney(UnitValue(value_digits=1)), "1.00 EUR"),
            (CcMoney(UnitValue(value_digits=25, exponent=-1), 840), "2.50 of currency 840 (ISO 4217)"),
        )
    ):
        sid = f"pgw.example.net;money;{number}"
        await ask(user, use, "I", wish={}, sid=sid)
        world.now += 60
        caplog.clear()
        await ask(user, use, "T", used={"cc_money": money}, sid=sid, number=1)
        assert f"reported {words} of data and nothing in the unit" in caplog.text
