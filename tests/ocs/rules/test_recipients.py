"""A message to several recipients: each has its own price and buckets; all are paid, or none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.catalogue.catalogue import load_catalogue
from ocs.charging.prepare import prepare
from ocs.charging.prepared import Prepared, Terms
from ocs.charging.recipients import MAX_RECIPIENTS
from ocs.charging.service import ChargingService
from ocs.charging.usage_context import UsageContext, usage_context_of
from ocs.values.service_context import context_of
from ocs.values.use import Context, Direction
from protocol import failed_avp
from protocol.credit_control import (
    CcMoney,
    CreditControlAnswer,
    CreditControlRequest,
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
from tests.ocs.charging.source import Origin
from tests.ocs.rules.recipients import (
    BOTH_CONTEXTS,
    BOTH_LEVELS,
    CHECK,
    DE,
    DEBIT,
    ENQUIRY,
    FIXED_CATALOGUE,
    MSCC,
    NO_ACCOUNT,
    OF_SMS,
    PRICES,
    REFUND,
    SI,
    SPELLINGS,
    UA,
    US,
    granted,
    numbers,
    send,
    to,
    token_of,
)
from tests.ocs.rules.test_content import SERVICE, money_unit
from tests.ocs.rules.world import CATALOGUE, EUR, START, World
from tests.rules import rule

# -- one-off debits


@BOTH_LEVELS
@BOTH_CONTEXTS
@pytest.mark.parametrize(("units", "each"), [(3, 1), (None, 1), (1, 1), (2, 2), (6, 2)])
async def test_each_recipient_at_its_own_price(
    world: World, context: str, units: int | None, each: int, mscc: bool
) -> None:
    """Units: as many as recipients, none, one for the message, its two parts, two parts per recipient."""
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


async def test_the_remainder_of_a_division_goes_to_the_first_recipient(world: World) -> None:
    user = await world.subscriber(20)
    assert granted(await send(user, UA, SI, DE, units=5)) == 5
    assert 20 * EUR - await user.credit() == 2 * OF_SMS[UA] + 2 * OF_SMS[SI] + OF_SMS[DE]


async def test_included_messages_pay_where_they_may(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    before = await user.credit()
    await send(user, UA, SI, US, SI.replace("4567", "4568"), units=4)
    assert before - await user.credit() == OF_SMS[UA] + OF_SMS[US]
    assert await user.left("MINI.sms") == 1_498


async def test_used_units_instead_of_requested_units(world: World) -> None:
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
@BOTH_CONTEXTS
@pytest.mark.parametrize("units", [1, None, 2])
@pytest.mark.parametrize("spellings", SPELLINGS)
async def test_one_recipient_in_several_spellings(
    world: World, spellings: Sequence[str], units: int | None, context: str, mscc: bool
) -> None:
    user = await world.subscriber(20)
    answer = await send(user, *spellings, units=units, context=context, mscc=mscc)
    assert (answer.result_code, granted(answer)) == (2001, units or 1)
    assert 20 * EUR - await user.credit() == (units or 1) * PRICES[context][SI]
    (record,) = await user.events("charge")
    assert [line["detail"] for line in record["svc"]] == [f"{HOME} mo {spellings[0]}"]


@pytest.mark.parametrize("context", [SMS, MMS])
@pytest.mark.parametrize("spellings", SPELLINGS)
async def test_one_recipient_in_several_spellings_beside_others(
    world: World, spellings: Sequence[str], context: str
) -> None:
    user = await world.subscriber(20)
    answer = await send(user, *spellings, US, units=2, context=context)
    assert (answer.result_code, granted(answer)) == (2001, 2)
    assert 20 * EUR - await user.credit() == PRICES[context][SI] + PRICES[context][US]


@BOTH_LEVELS
@pytest.mark.parametrize(("reported", "cost"), [(1, 369_000), (2, 219_000), (3, 369_000), (4, 438_000), (6, 738_000)])
async def test_a_debit_that_reports_its_units(world: World, reported: int, cost: int, mscc: bool) -> None:
    """One unit is the message, and counts for each recipient; more units are the sum over all recipients."""
    user = await world.subscriber(20)
    if mscc:
        more: dict[str, Any] = {}
        services = [messages(used=reported)]
    else:
        more, services = {"used_service_unit": [UsedServiceUnit(cc_service_specific_units=reported)]}, []
    answer = await user.charged(SMS, "E", 0, *services, sid="s;1", information=to(SI, UA, US), **more)
    assert (answer.result_code, granted(answer)) == (2001, reported)
    assert 20 * EUR - await user.credit() == cost


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


async def test_other_units_are_refused_for_several_recipients(world: World) -> None:
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


FREE, EMERGENCY, OF_USA = "38680123456", "112", "12025550123"
NINE_EUR = CcMoney(UnitValue(9), 978)


@pytest.mark.parametrize("mscc", [True, False])
@pytest.mark.parametrize("action", [DEBIT, CHECK, ENQUIRY])
@pytest.mark.parametrize("group", ["requested_service_unit", "used_service_unit"])
@pytest.mark.parametrize("unit", [{"cc_money": NINE_EUR}, {"cc_time": 60}, {"cc_total_octets": 1000}])
@pytest.mark.parametrize("free", [FREE, EMERGENCY])
async def test_other_units_are_refused_in_any_order_of_recipients(
    world: World, free: str, unit: dict[str, Any], group: str, action: int, mscc: bool
) -> None:
    """That one recipient is always granted does not matter for the others."""
    user = await world.subscriber(20)
    amount = RequestedServiceUnit(**unit) if group == "requested_service_unit" else [UsedServiceUnit(**unit)]
    for order in permutations((free, OF_USA, SI)):
        service, more = messages(), {"information": to(*order), "sid": f"s;{next(numbers)}", "requested_action": action}
        setattr(service, group, amount)
        if mscc:
            answer = await user.charged(SMS, "E", 0, service, **more)
        else:
            answer = await user.charged(SMS, "E", 0, **more, **{group: amount})
        parents = (MSCC, group) if mscc else (group,)
        ((avp, value),) = unit.items()
        assert (answer.result_code, answer.failed_avp) == (5031, failed_avp.copy(avp, value, *parents))
    assert await user.credit() == 20 * EUR


@rule("HOT-RAT-2")
async def test_other_units_to_recipients_that_are_always_granted(world: World) -> None:
    """HOT-RAT-2"""
    user = await world.subscriber(0)
    wish = RequestedServiceUnit(cc_time=60)
    for order in permutations((FREE, EMERGENCY)):
        more: dict[str, Any] = {"sid": f"s;{next(numbers)}", "information": to(*order), "requested_service_unit": wish}
        assert (await user.charged(SMS, "E", 0, **more)).result_code == 2001


async def test_a_price_enquiry_and_a_balance_check_cover_all_recipients(world: World) -> None:
    user = await world.subscriber(0.30)
    priced = await send(user, SI, UA, US, units=3, requested_action=ENQUIRY)
    assert priced.cost_information is not None and priced.cost_information.unit_value.value_digits == 369_000
    assert (await send(user, SI, UA, US, units=3, requested_action=CHECK)).check_balance_result == 1
    assert (await send(user, SI, UA, requested_action=CHECK)).check_balance_result == 0
    assert (await send(user, SI, NO_ACCOUNT, requested_action=ENQUIRY)).result_code == 5031
    assert await user.credit() == 300_000


async def test_the_number_of_recipients_is_bounded(world: World) -> None:
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
async def test_messages_to_emergency_services_are_always_granted(world: World) -> None:
    """HOT-RAT-2"""
    request = ccr("E", 0, messages(want=2), context=SMS, information=to("112", "113"), msisdn="38699999999")
    answer = await world.ask(request)
    assert (answer.result_code, granted(answer)) == (2001, 2)


async def test_a_money_amount_is_charged_once_for_all_recipients(world: World, tmp_path: Any) -> None:
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


# -- recipients of a request


def seen(context: Context, information: ServiceInformation) -> UsageContext:
    return usage_context_of(context, CreditControlRequest(service_information=information))


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


def test_a_single_recipient_is_a_plain_called_party() -> None:
    for context, information in ((Context.SMS, to(SI, SI)), (Context.MMS, to(SI, context=MMS))):
        found = seen(context, information)
        assert (found.other_party, found.recipients) == (SI, ())
    two_forms = RecipientInfo(recipient_address=[address("293400000000001", 7), address(SI)])
    found = seen(Context.SMS, ServiceInformation(sms_information=SmsInformation(recipient_info=[two_forms])))
    assert (found.other_party, found.recipients) == (SI, ())


texts = st.text(min_size=1, max_size=40).filter(lambda text: not {"\x1e", "\x1f"} & set(text))


@given(st.lists(texts, min_size=2, max_size=MAX_RECIPIENTS, unique=True), st.integers(0, MAX_RECIPIENTS - 1))
def test_the_place_of_a_session_keeps_its_recipients(recipients: list[str], once: int) -> None:
    where = UsageContext(Context.SMS, Direction.ORIGINATING, serving_plmn=HOME, other_party=recipients[0])
    where.recipients, where.counted_once = tuple(recipients), once
    found = UsageContext.decode(Context.SMS, where.encode())
    assert found == where and found.encode() == where.encode()


@given(st.text(max_size=300))
def test_a_single_party_is_never_read_as_several(party: str) -> None:
    where = UsageContext(Context.SMS, other_party=party)
    assert UsageContext.decode(Context.SMS, where.encode()).recipients == ()


@given(
    st.lists(
        st.sampled_from([SI, DE, UA, US, "+919812345678", "1918", "080 1234"]), min_size=2, max_size=7, unique=True
    ),
    st.none() | st.integers(1, 40),
    st.sampled_from([HOME, SERBIA]),
    st.sampled_from("EI"),
)
def test_each_recipients_share_is_rated_as_a_single_message(
    recipients: list[str], units: int | None, plmn: str, kind: str
) -> None:
    def asked(*parties: str, want: int | None) -> Prepared:
        request = ccr(kind, 0, messages(want=want or 0), context=SMS, information=to(*parties, plmn=plmn))
        context = context_of(SMS)
        assert context is not None
        return prepare(request, usage_context_of(context, request), FIXED_CATALOGUE, Terms(START))

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
