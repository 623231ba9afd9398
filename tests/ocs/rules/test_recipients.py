"""A message to several recipients: each at its own price and from the buckets that may pay it; all of them or none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.catalogue.catalogue import load_catalogue
from ocs.charging.prepare import prepare
from ocs.charging.prepared import Prepared, Terms
from ocs.charging.recipients import MAX_RECIPIENTS
from ocs.charging.service import ChargingService
from ocs.charging.source import Origin
from ocs.charging.usage_context import UsageContext, circumstances
from ocs.values.service_context import context_of
from ocs.values.use import Context, Direction
from protocol import failed_avp
from protocol.credit_control import (
    CcMoney,
    CreditControlAnswer,
    CreditControlRequest,
    MmsInformation,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    RequestedServiceUnit,
    ServiceInformation,
    SmsInformation,
    UnitValue,
    UsedServiceUnit,
)
from protocol.errors import DiameterError
from tests.ocs.charging.ccr import HOME, MMS, SERBIA, SMS, ccr, messages
from tests.ocs.rules.test_content import SERVICE, money_unit
from tests.ocs.rules.world import CATALOGUE, EUR, START, Subscriber, World
from tests.rules import rule

SI, DE, UA, US = "+38631234567", "+4915112345678", "+380501234567", "+12125551234"
OF_SMS = {SI: 69_000, DE: 73_200, UA: 150_000, US: 150_000}
OF_MMS = {SI: 250_000, DE: 490_000, UA: 490_000, US: 490_000}
PRICES = {SMS: OF_SMS, MMS: OF_MMS}
NO_ACCOUNT = "+99912345678"
"""Of no country, so of no price."""
DEBIT, REFUND, CHECK, ENQUIRY = range(4)
MSCC = "multiple_services_credit_control"
numbers = count()


def to(*recipients: str, context: str = SMS, plmn: str = HOME) -> ServiceInformation:
    addresses = [RecipientAddress(address_type=1, address_data=recipient) for recipient in recipients]
    ps = PsInformation(tgpp_sgsn_mcc_mnc=plmn)
    if context == MMS:
        return ServiceInformation(
            mms_information=MmsInformation(message_type=1, recipient_address=addresses), ps_information=ps
        )
    infos = [RecipientInfo(recipient_address=[address]) for address in addresses]
    return ServiceInformation(
        sms_information=SmsInformation(sm_message_type=0, recipient_info=infos), ps_information=ps
    )


async def send(
    user: Subscriber,
    *recipients: str,
    units: int | None = None,
    context: str = SMS,
    mscc: bool = True,
    kind: str = "E",
    number: int = 0,
    **more: Any,
) -> CreditControlAnswer:
    """`units` None = none are stated."""
    rest = {"information": to(*recipients, context=context), "sid": f"smsc.example.net;{next(numbers)}", **more}
    token, used = rest.pop("token", None), rest.pop("used", None)
    if mscc:
        service = messages(want=None if kind == "T" else units or 0, used=used)
        service.refund_information = token
        return await user.charged(context, kind, number, service, **rest)
    if kind != "T":
        rest["requested_service_unit"] = RequestedServiceUnit(cc_service_specific_units=units)
    if used is not None:
        rest["used_service_unit"] = [UsedServiceUnit(cc_service_specific_units=used)]
    return await user.charged(context, kind, number, refund_information=token, **rest)


def granted(answer: CreditControlAnswer) -> int | None:
    found: Any = answer
    if answer.multiple_services_credit_control:
        (found,) = answer.multiple_services_credit_control
    unit = found.granted_service_unit
    return None if unit is None else unit.cc_service_specific_units


def token_of(answer: CreditControlAnswer) -> bytes | None:
    return answer.refund_information or answer.multiple_services_credit_control[0].refund_information


# -- one-off debits

BOTH_LEVELS = pytest.mark.parametrize("mscc", [True, False], ids=["mscc", "command level"])
BOTH_CONTEXTS = pytest.mark.parametrize("context", [SMS, MMS], ids=["sms", "mms"])


@BOTH_LEVELS
@BOTH_CONTEXTS
@pytest.mark.parametrize(("units", "each"), [(3, 1), (None, 1), (1, 1), (2, 2), (6, 2)])
async def test_each_recipient_at_its_own_price(
    world: World, context: str, units: int | None, each: int, mscc: bool
) -> None:
    """As many units as recipients, none, one for the message, its two parts, two parts for each."""
    prices = PRICES[context]
    for recipients in permutations((SI, UA, US)):
        user = await world.subscriber(20)
        answer = await send(user, *recipients, units=units, context=context, mscc=mscc)
        assert (answer.result_code, granted(answer)) == (2001, units or 3)
        assert len(answer.multiple_services_credit_control) == mscc
        assert 20 * EUR - await user.credit() == each * sum(prices[recipient] for recipient in recipients)
        (record,) = await user.events("charge")
        lines = [(line["detail"], line["used"], line["debit"]) for line in record["svc"]]
        assert sorted(lines) == sorted((f"{HOME} mo {one}", each, each * prices[one]) for one in recipients)


async def test_what_cannot_be_divided_evenly_goes_to_the_first(world: World) -> None:
    user = await world.subscriber(20)
    assert granted(await send(user, UA, SI, DE, units=5)) == 5
    assert 20 * EUR - await user.credit() == 2 * OF_SMS[UA] + 2 * OF_SMS[SI] + OF_SMS[DE]


async def test_included_messages_pay_for_whom_they_may(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    before = await user.credit()
    await send(user, UA, SI, US, SI.replace("4567", "4568"), units=4)
    assert before - await user.credit() == OF_SMS[UA] + OF_SMS[US]
    assert await user.left("MINI.sms") == 1_498


async def test_one_used_instead_of_asked_for(world: World) -> None:
    """RFC 8506 §6.3"""
    user = await world.subscriber(20)
    service = messages(used=3)
    answer = await user.charged(SMS, "E", 0, service, sid="s;1", information=to(SI, UA, US))
    assert (answer.result_code, granted(answer)) == (2001, 3)
    assert 20 * EUR - await user.credit() == 369_000


async def test_a_repetition_is_answered_the_same(world: World) -> None:
    user = await world.subscriber(20)
    first = await send(user, SI, UA, US, units=3, sid="again;1")
    assert await send(user, SI, UA, US, units=3, sid="again;1") == first
    assert 20 * EUR - await user.credit() == 369_000
    assert world.metrics.of("duplicate") == [["E"]]


@BOTH_LEVELS
@pytest.mark.parametrize("order", list(permutations((SI, UA, US))))
async def test_all_are_paid_or_none(world: World, order: tuple[str, ...], mscc: bool) -> None:
    user = await world.subscriber(0.30)
    answer = await send(user, *order, units=3, mscc=mscc)
    assert (answer.result_code, granted_or_none(answer)) == (4012, None)
    assert await user.credit() == 300_000
    results = {result for _, result in world.metrics.of("mscc_result")}
    assert results == {4012}, "what is not paid is not counted as served"
    assert all(not record["svc"] and not record["debit"] for record in await user.events("charge"))
    await user.top_up(1, "r1")
    assert (await send(user, *order, units=3, mscc=mscc)).result_code == 2001
    assert await user.credit() == 1_300_000 - 369_000


def granted_or_none(answer: CreditControlAnswer) -> int | None:
    return granted(answer) if answer.multiple_services_credit_control else None


@rule("HOT-CC-5")
@BOTH_LEVELS
async def test_a_recipient_that_is_barred_bars_the_message(world: World, mscc: bool) -> None:
    """HOT-CC-5"""
    user = await world.subscriber(20)
    await world.ledger.set_bars(user.account_id, bars=["international-sms"], **world.when)
    assert (await send(user, SI, UA, units=2, mscc=mscc)).result_code == 4010
    assert (await send(user, SI, SI.replace("4567", "4568"), units=2, mscc=mscc)).result_code == 2001
    assert 20 * EUR - await user.credit() == 2 * OF_SMS[SI]


@BOTH_LEVELS
@BOTH_CONTEXTS
@pytest.mark.parametrize("order", [(SI, NO_ACCOUNT, US), (NO_ACCOUNT, SI, US), (SI, US, NO_ACCOUNT)])
async def test_a_recipient_without_a_price_is_named(
    world: World, context: str, order: Sequence[str], mscc: bool
) -> None:
    user = await world.subscriber(20)
    answer = await send(user, *order, units=3, context=context, mscc=mscc)
    assert answer.result_code == 5031
    sms = ("sms_information", "recipient_info") if context == SMS else ("mms_information",)
    path = ("service_information", *sms, "recipient_address")
    assert answer.failed_avp == failed_avp.copy("address_data", NO_ACCOUNT, *path)
    assert await user.credit() == 20 * EUR


async def test_other_units_are_refused_for_several_too(world: World) -> None:
    user = await world.subscriber(20)
    wish = CcMoney(UnitValue(1), 978)
    answer = await user.charged(
        SMS, "E", 0, sid="s;1", information=to(SI, US), requested_service_unit=RequestedServiceUnit(cc_money=wish)
    )
    assert (answer.result_code, answer.failed_avp) == (
        5031,
        failed_avp.copy("cc_money", wish, "requested_service_unit"),
    )
    assert await user.credit() == 20 * EUR


async def test_a_price_enquiry_and_a_balance_check_are_of_all_of_them(world: World) -> None:
    user = await world.subscriber(0.30)
    priced = await send(user, SI, UA, US, units=3, requested_action=ENQUIRY)
    assert priced.cost_information is not None and priced.cost_information.unit_value.value_digits == 369_000
    assert (await send(user, SI, UA, US, units=3, requested_action=CHECK)).check_balance_result == 1
    assert (await send(user, SI, UA, requested_action=CHECK)).check_balance_result == 0
    assert (await send(user, SI, NO_ACCOUNT, requested_action=ENQUIRY)).result_code == 5031
    assert await user.credit() == 300_000


async def test_as_many_as_a_session_may_have_services(world: World) -> None:
    user = await world.subscriber(20)
    many = [f"+386312{number:05}" for number in range(MAX_RECIPIENTS)]
    assert (await send(user, *many)).result_code == 2001
    assert 20 * EUR - await user.credit() == MAX_RECIPIENTS * OF_SMS[SI]
    for kind in "EI":
        request = ccr(kind, 0, messages(want=0), context=SMS, information=to(*many, UA), msisdn=user.msisdn, sid="m")
        error = await world.reply(request)
        assert isinstance(error, DiameterError) and error.result_code == 5006
    assert 20 * EUR - await user.credit() == MAX_RECIPIENTS * OF_SMS[SI]
    assert world.metrics.of("blocked") == [["unknown", "recipients"]] * 2


@rule("HOT-RAT-2")
async def test_messages_to_emergency_services_are_granted_to_anybody(world: World) -> None:
    """HOT-RAT-2"""
    request = ccr("E", 0, messages(want=2), context=SMS, information=to("112", "113"), msisdn="38699999999")
    answer = await world.ask(request)
    assert (answer.result_code, granted(answer)) == (2001, 2)


async def test_what_is_charged_as_money_is_charged_once(world: World, tmp_path: Any) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text(CATALOGUE.read_text("utf-8") + SERVICE, "utf-8")
    world.service = ChargingService(load_catalogue(path), world.ledger, world.metrics, lambda: world.now, world._spawn)
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    service = messages(group=500)
    service.requested_service_unit = RequestedServiceUnit(cc_money=CcMoney(UnitValue(2), 978))
    answer = await user.charged(SMS, "E", 0, service, sid="s;1", information=to(SI, US))
    assert answer.multiple_services_credit_control[0].granted_service_unit == money_unit(2 * EUR)
    assert await user.credit() == 18 * EUR
    service.refund_information = token_of(answer)
    await user.charged(SMS, "E", 1, service, sid="s;2", information=to(SI, US), requested_action=REFUND)
    assert await user.credit() == 20 * EUR


# -- refunds (RFC 8506 §6.4)


@BOTH_LEVELS
@pytest.mark.parametrize(
    ("asked", "units", "recipients", "back"),
    [
        (3, None, (), 369_000),
        (3, None, (SI, UA, US), 369_000),
        (3, 3, (SI, UA, US), 369_000),
        (3, 3, (), 369_000),
        (None, 3, (), 369_000),
        (1, 1, (), 369_000),
        (1, 1, (SI, UA, US), 369_000),
        (3, 1, (UA,), 150_000),
        (3, None, (UA,), 150_000),
        (1, 1, (UA,), 150_000),
        (3, 2, (SI, US), 219_000),
        (3, 1, (), 69_000),
        (3, 2, (), 219_000),
        (6, 2, (US,), 300_000),
        (6, 1, (US,), 150_000),
        (3, 1, (DE,), 69_000),  # whom the debit does not know says nothing
    ],
)
async def test_a_refund_is_of_whom_it_names_or_of_all(
    world: World, asked: int | None, units: int | None, recipients: Sequence[str], back: int, mscc: bool
) -> None:
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, SI, UA, US, units=asked, mscc=mscc))
    assert token is not None and b"386" not in token
    paid = await user.credit()
    more: dict[str, Any] = {"requested_action": REFUND, "token": token, "mscc": mscc, "sid": "refund;1"}
    if not units:
        more["information"] = to(*recipients)
        answer = await send_refund(user, *recipients, **more)
    else:
        answer = await send(user, *recipients, units=units, **more)
    assert answer.result_code == 2001
    assert await user.credit() - paid == back
    assert granted(answer) == (units or {None: 3}.get(units if not recipients or len(recipients) == 3 else 0, 1))


async def send_refund(user: Subscriber, *recipients: str, mscc: bool, token: bytes, **more: Any) -> CreditControlAnswer:
    """Without units: of everything."""
    if not mscc:
        return await user.charged(SMS, "E", 0, refund_information=token, **more)
    service = messages()
    service.refund_information = token
    return await user.charged(SMS, "E", 0, service, **more)


async def test_refunds_one_after_the_other_until_nothing_is_left(world: World) -> None:
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, SI, UA, US, units=3))
    left = [await user.credit()]
    codes = []
    for number in range(4):
        answer = await send(user, units=1, requested_action=REFUND, token=token, sid="r", number=number)
        codes.append(answer.result_code)
        left.append(await user.credit())
    assert codes == [2001, 2001, 2001, 4010]
    assert [after - before for before, after in pairwise(left)] == [69_000, 150_000, 150_000, 0]
    events = await user.events("refund")
    assert [line["key"] for event in events for line in event["svc"]] == ["-#1", "-#2", "-#3"]
    assert world.metrics.of("refunded") == [["unknown", 69_000], ["unknown", 150_000], ["unknown", 150_000]]


async def test_a_recipient_is_refunded_once(world: World) -> None:
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, SI, UA, US, units=3))
    more: dict[str, Any] = {"requested_action": REFUND, "token": token, "sid": "r"}
    assert (await send(user, UA, units=1, number=0, **more)).result_code == 2001
    assert (await send(user, UA, units=1, number=1, **more)).result_code == 4010
    assert (await send(user, SI, UA, US, units=3, number=2, **more)).result_code == 2001
    assert await user.credit() == 20 * EUR


# -- sessions


@BOTH_LEVELS
@BOTH_CONTEXTS
@pytest.mark.parametrize(
    ("wish", "used", "shares"),
    [
        (3, 3, (1, 1, 1)),
        (None, 3, (1, 1, 1)),
        (1, 1, (1, 1, 1)),
        (2, 2, (2, 2, 2)),
        (6, 6, (2, 2, 2)),
        (3, 2, (1, 1, 0)),
        (3, 0, (0, 0, 0)),
        (1, 0, (0, 0, 0)),
    ],
)
@pytest.mark.parametrize("said", ["all again", "nothing", "the first", "to another worker"])
async def test_sessions(
    world: World, context: str, wish: int | None, used: int, shares: tuple[int, ...], mscc: bool, said: str
) -> None:
    """Whom the message is for is what its opening said, whatever the end says and whichever worker hears it."""
    user = await world.subscriber(20)
    prices = [PRICES[context][recipient] for recipient in (SI, UA, US)]
    rest: dict[str, Any] = {"context": context, "mscc": mscc, "sid": "mmsc;1"}
    opened = await send(user, SI, UA, US, units=wish, kind="I", **rest)
    assert (opened.result_code, granted(opened)) == (2001, wish or 3)
    held = (await user.view()).held_micro_eur
    assert held == sum(prices) * (2 if wish in (2, 6) else 1)
    if said == "nothing":
        rest["information"] = None
    elif said == "the first":
        rest["information"] = to(SI, context=context)
    elif said == "to another worker":
        world.service = ChargingService(world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn)
    ended = await send(user, SI, UA, US, kind="T", used=used, number=1, **rest)
    assert ended.result_code == 2001
    assert [mscc.result_code for mscc in ended.multiple_services_credit_control] == [2001] * mscc
    cost = sum(share * price for share, price in zip(shares, prices, strict=True))
    assert 20 * EUR - await user.credit() == cost
    assert (await user.view()).held_micro_eur == 0
    (record,) = await user.events("charge")
    lines = {line["detail"]: line["used"] for line in record["svc"]}
    parties = [f"{HOME} mo {one}" for one in (SI, UA, US)]
    assert lines == {party: share for party, share in zip(parties, shares, strict=True) if share or party in lines}


async def test_a_session_whose_message_cannot_be_paid_whole_gets_nothing(world: World) -> None:
    user = await world.subscriber(0.30)
    opened = await send(user, SI, UA, US, units=3, kind="I", sid="s;1")
    (mscc,) = opened.multiple_services_credit_control
    assert (opened.result_code, mscc.result_code, mscc.granted_service_unit) == (2001, 4012, None)
    ended = await send(user, SI, UA, US, kind="T", used=0, number=1, sid="s;1")
    assert ended.result_code == 2001
    view = await user.view()
    assert (view.credit_micro_eur, view.held_micro_eur) == (300_000, 0)


async def test_a_session_with_nothing_to_pay_from_is_not_opened(world: World) -> None:
    user = await world.subscriber(0)
    assert (await send(user, SI, UA, units=2, kind="I", sid="s;1")).result_code == 4012
    assert (await user.view()).sessions == ()


async def test_other_units_that_a_session_reports_are_counted_once(world: World) -> None:
    user = await world.subscriber(20)
    await send(user, SI, UA, units=2, kind="I", sid="s;1")
    report = messages()
    report.used_service_unit = [UsedServiceUnit(cc_time=60)]
    await user.charged(SMS, "T", 1, report, sid="s;1", information=to(SI, UA))
    assert world.metrics.of("other_units") == [["sms", "seconds", 60]]


# -- what a request says of its recipients


def seen(context: Context, information: ServiceInformation) -> UsageContext:
    return circumstances(context, CreditControlRequest(service_information=information))


def address(data: str | None, kind: int | None = 1) -> RecipientAddress:
    return RecipientAddress(address_type=kind, address_data=data)


@pytest.mark.parametrize(
    ("infos", "recipients"),
    [
        ([[SI], [UA]], (SI, UA)),
        ([[SI, UA, US]], (SI, UA, US)),  # several of one type in one Recipient-Info
        ([[SI], [SI], [UA]], (SI, UA)),
        ([[], [SI], [], [UA]], (SI, UA)),
        ([[("", 1), (SI, 1)], [UA]], (SI, UA)),
        (
            [[("293400000000001", 7), (SI, 1)], [("who@example.net", 0), (UA, 1)]],
            (SI, UA),
        ),  # one recipient in two forms
        ([[(SI, None)], [(UA, None)]], (SI, UA)),
        ([[(SI, 1)], [("1918", 4)], [("shop", 5)]], (SI, "1918", "shop")),
    ],
)
def test_recipients_of_an_sms(infos: Sequence[Sequence[Any]], recipients: tuple[str, ...]) -> None:
    given = [
        RecipientInfo(recipient_address=[address(each) if isinstance(each, str) else address(*each) for each in info])
        for info in infos
    ]
    found = seen(Context.SMS, ServiceInformation(sms_information=SmsInformation(recipient_info=given)))
    assert (found.other_party, found.recipients) == (recipients[0], recipients)


def test_one_recipient_is_no_list() -> None:
    for context, information in ((Context.SMS, to(SI, SI)), (Context.MMS, to(SI, context=MMS))):
        found = seen(context, information)
        assert (found.other_party, found.recipients) == (SI, ())
    two_forms = RecipientInfo(recipient_address=[address("293400000000001", 7), address(SI)])
    found = seen(Context.SMS, ServiceInformation(sms_information=SmsInformation(recipient_info=[two_forms])))
    assert (found.other_party, found.recipients) == (SI, ())


texts = st.text(min_size=1, max_size=40).filter(lambda text: not {"\x1e", "\x1f"} & set(text))


@given(st.lists(texts, min_size=2, max_size=MAX_RECIPIENTS, unique=True), st.booleans())
def test_the_place_of_a_session_keeps_its_recipients(recipients: list[str], once: bool) -> None:
    where = UsageContext(Context.SMS, Direction.ORIGINATING, serving_plmn=HOME, other_party=recipients[0])
    where.recipients, where.counted_once = tuple(recipients), once
    found = UsageContext.decode(Context.SMS, where.encode())
    assert found == where and found.encode() == where.encode()


@given(st.text(max_size=300))
def test_one_party_is_never_read_as_several(party: str) -> None:
    where = UsageContext(Context.SMS, other_party=party)
    assert UsageContext.decode(Context.SMS, where.encode()).recipients == ()


CATALOGUE_SHIPPED = load_catalogue(CATALOGUE)


@given(
    st.lists(
        st.sampled_from([SI, DE, UA, US, "+919812345678", "1918", "080 1234"]), min_size=2, max_size=7, unique=True
    ),
    st.none() | st.integers(1, 40),
    st.sampled_from([HOME, SERBIA]),
    st.sampled_from("EI"),
)
def test_each_share_is_rated_as_a_message_to_its_recipient_alone(
    recipients: list[str], units: int | None, plmn: str, kind: str
) -> None:
    def asked(*parties: str, want: int | None) -> Prepared:
        request = ccr(kind, 0, messages(want=want or 0), context=SMS, information=to(*parties, plmn=plmn))
        context = context_of(SMS)
        assert context is not None
        return prepare(request, circumstances(context, request), CATALOGUE_SHIPPED, Terms(START))

    found = asked(*recipients, want=units)
    wants = [service.charge.want for service in found.services if service.charge is not None]
    if units is None or units < len(recipients):
        assert wants == [units or 1] * len(recipients)
    else:
        assert sum(wants) == units and max(wants) - min(wants) <= 1  # type: ignore[type-var, operator]
    for recipient, service in zip(recipients, found.services, strict=True):
        (alone,) = asked(recipient, want=1).services
        assert service.charge is not None and alone.charge is not None
        assert (service.charge.price, service.charge.buckets, service.charge.detail) == (
            alone.charge.price,
            alone.charge.buckets,
            alone.charge.detail,
        )
    assert len({service.key for service in found.services}) == len(recipients)
