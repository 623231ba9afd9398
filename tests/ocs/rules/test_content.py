"""Content services: the request says what it costs (CC-Money), and that is debited as money (RFC 8506 §8.22,
HOT-RAT-6).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.catalogue.catalogue import load_catalogue
from ocs.charging import money, units
from ocs.charging.service import ChargingService
from ocs.values.service_context import ServiceContexts
from ocs.values.use import Context, Unit, UseEvent
from protocol import failed_avp
from protocol.credit_control import (
    CcMoney,
    CreditControlAnswer,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    UnitValue,
    UsedServiceUnit,
)
from tests.ocs.charging.ccr import SMS, at, sms_to
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import CATALOGUE, EUR, Subscriber, World
from tests.rules import rule

CONTENT = 500
SERVICE = """
[service.ringtone]
contexts = ["sms", "data"]
unit = "money"
bars = ["premium"]
match = [{ rating_group = 500 }]
[service.ringtone.quota]
default = "1 EUR"
minimum = "1 cent"
maximum = "20 EUR"
validity_s = 600
threshold_percent = 50
holding_s = 0

[rate.ringtone]
service = "ringtone"
places = ["*"]
price = "face-value"
"""
MSCC, REQUESTED = "multiple_services_credit_control", "requested_service_unit"


@pytest.fixture
async def shop(world: World, tmp_path: Any) -> World:
    """A catalogue with a content service beside messages and data."""
    path = tmp_path / "catalogue.toml"
    path.write_text(CATALOGUE.read_text("utf-8") + SERVICE, "utf-8")
    world.catalogue = load_catalogue(path)
    world.service = ChargingService(world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn)
    return world


def cc_money(digits: int, exponent: int | None = None, currency: int | None = 978) -> CcMoney:
    return CcMoney(UnitValue(digits, exponent), currency)


def mscc(wish: CcMoney | None = None, used: CcMoney | None = None, **more: Any) -> MultipleServicesCreditControl:
    return MultipleServicesCreditControl(
        rating_group=CONTENT,
        requested_service_unit=None if wish is None else RequestedServiceUnit(cc_money=wish),
        used_service_unit=[] if used is None else [UsedServiceUnit(cc_money=used)],
        **more,
    )


async def buy(user: Subscriber, price: CcMoney, **more: Any) -> CreditControlAnswer:
    rest = {"sid": user.world.new_session(), "information": sms_to("+38631234567"), **more}
    return await user.charged(SMS, "E", 0, mscc(price), **rest)


@pytest.mark.parametrize(
    ("price", "micro_eur"),
    [
        (cc_money(99, -2), 990_000),
        (cc_money(1), EUR),
        (cc_money(2, 0, None), 2 * EUR),
        (cc_money(1, 1), 10 * EUR),
        (cc_money(123_456, -6), 123_456),
        (cc_money(1_234_560_000, -10), 123_456),
        (cc_money(0, -2), 0),
        (cc_money(0, 2**31 - 1), 0),
    ],
)
async def test_the_requested_money_is_debited(shop: World, price: CcMoney, micro_eur: int) -> None:
    user = await shop.subscriber(20)
    answer = await buy(user, price)
    (found,) = answer.multiple_services_credit_control
    assert (answer.result_code, found.result_code) == (2001, 2001)
    assert found.granted_service_unit == (money_unit(micro_eur) if micro_eur else None)
    assert await user.credit() == 20 * EUR - micro_eur
    (record,) = await user.events("charge")
    lines = [(line["label"], line["used"], line["debit"]) for line in record["svc"]]
    assert lines == ([("ringtone", micro_eur, micro_eur)] if micro_eur else [])


def money_unit(micro_eur: int) -> Any:
    found = units.granted(micro_eur, Unit.MONEY)
    assert found.cc_money == CcMoney(UnitValue(micro_eur, -6), 978)
    return found


@pytest.mark.parametrize(
    "price",
    [
        cc_money(1, 0, 840),
        cc_money(-1, -2),
        cc_money(1, -7),
        cc_money(1, -(2**31)),
        cc_money(15, -7),
    ],
)
async def test_amounts_in_other_currencies_or_below_a_micro_eur_are_refused(shop: World, price: CcMoney) -> None:
    user = await shop.subscriber(20)
    answer = await buy(user, price)
    assert answer.result_code == 5031
    assert answer.failed_avp == failed_avp.copy("cc_money", price, MSCC, REQUESTED)
    assert await user.credit() == 20 * EUR


@pytest.mark.parametrize("price", [cc_money(2001, -2), cc_money(2**63 - 1), cc_money(1, 2**31 - 1)])
async def test_an_amount_above_the_credit_is_refused_entirely(shop: World, price: CcMoney) -> None:
    user = await shop.subscriber(20)
    assert (await buy(user, price)).result_code == 4012
    assert await user.credit() == 20 * EUR


async def test_content_requests_with_other_units_or_none_are_refused(shop: World) -> None:
    user = await shop.subscriber(20)
    for wish, avp in (
        (
            RequestedServiceUnit(cc_service_specific_units=1),
            failed_avp.copy("cc_service_specific_units", 1, MSCC, REQUESTED),
        ),
        (RequestedServiceUnit(), failed_avp.example("cc_money", MSCC, REQUESTED)),
    ):
        service = MultipleServicesCreditControl(rating_group=CONTENT, requested_service_unit=wish)
        answer = await user.charged(SMS, "E", 0, service, sid=shop.new_session(), information=sms_to("+38631234567"))
        assert (answer.result_code, answer.failed_avp) == (5031, avp)


async def test_content_is_refunded(shop: World) -> None:
    shop.source = Origin(refunds=True)
    user = await shop.subscriber(20)
    (paid,) = (await buy(user, cc_money(5))).multiple_services_credit_control
    for number, (part, left) in enumerate([(cc_money(2), 17 * EUR), (None, 20 * EUR)]):
        service = mscc(part, refund_information=paid.refund_information)
        answer = await user.charged(
            SMS, "E", number, service, sid="refund;1", information=sms_to("+38631234567"), requested_action=1
        )
        assert answer.result_code == 2001
        assert await user.credit() == left
    (given,) = answer.multiple_services_credit_control
    assert given.granted_service_unit == money_unit(3 * EUR)


@rule("HOT-CC-1", "HOT-CC-5")
async def test_bars_limit_and_price_enquiry_hold_for_content_too(shop: World) -> None:
    """HOT-CC-1, HOT-CC-5"""
    user = await shop.subscriber(20)
    priced = await buy(user, cc_money(150, -2), requested_action=3)
    assert priced.cost_information is not None
    assert priced.cost_information.unit_value == UnitValue(1_500_000, -6)
    assert [(await buy(user, cc_money(n), requested_action=2)).check_balance_result for n in (20, 21)] == [0, 1]
    await shop.ledger.set_limit(user.account_id, limit_micro_eur=EUR, **shop.when)
    assert (await buy(user, cc_money(101, -2))).result_code == 4012
    await shop.ledger.set_bars(user.account_id, bars=["premium"], **shop.when)
    assert (await buy(user, cc_money(1, -2))).result_code == 4010
    assert await user.credit() == 20 * EUR


async def test_a_session_of_content(shop: World) -> None:
    """Money is reserved, and debited as far as it was used (RFC 8506 §5)."""
    user = await shop.subscriber(20)
    game = user.running(SMS, at())
    opened = await game.one("I", mscc(cc_money(5)))
    assert opened.granted_service_unit == money_unit(5 * EUR)
    assert (opened.unit_quota_threshold, opened.volume_quota_threshold, opened.time_quota_threshold) == (None,) * 3
    assert await game.held() == {"500": 5 * EUR}
    await game.one("U", mscc(cc_money(100), cc_money(3)))
    assert (await user.credit(), await game.held()) == (17 * EUR, {"500": 17 * EUR})
    await game.one("T", mscc(None, cc_money(25, -2)))
    assert await user.credit() == 16_750_000
    foreign = user.running(SMS, at())
    await foreign.one("I", mscc(cc_money(5)))
    await foreign.one("T", mscc(None, cc_money(5, 0, 840)))
    assert await user.credit() == 16_750_000
    assert shop.metrics.of("other_units") == [["ringtone", "money", 5 * EUR]]


ONE_EUR, DOLLARS = cc_money(1), cc_money(2, 0, 840)


@pytest.mark.parametrize(
    ("steps", "paid"),
    [
        ([(5, None), (2, ONE_EUR), (None, ONE_EUR), (None, ONE_EUR)], 3),
        ([(5, None), (None, DOLLARS), (None, cc_money(3))], 3),
        ([(5, None), (2, DOLLARS), (None, cc_money(3))], 3),
        ([(1, None), (None, cc_money(4))], 4),
        ([(5, None), (None, None), (None, cc_money(5))], 5),
        ([(5, None), (1, cc_money(5)), (1, cc_money(3)), (None, cc_money(2))], 10),
        ([(5, None), (None, cc_money(5)), (None, cc_money(30))], 20),  # as far as the credit goes
        ([(5, None), (None, cc_money(0))], 0),
    ],
)
async def test_reported_money_is_charged_whatever_was_granted(
    shop: World, steps: list[tuple[int | None, CcMoney | None]], paid: int
) -> None:
    """The report says what was sold, so it counts and not the grant."""
    user = await shop.subscriber(20)
    game = user.running(SMS, at())
    for number, (wish, used) in enumerate(steps):
        kind = "I" if number == 0 else "T" if number == len(steps) - 1 else "U"
        await game.one(kind, mscc(None if wish is None else cc_money(wish), used))
    view = await user.view()
    assert (20 * EUR - view.credit_micro_eur, view.held_micro_eur) == (paid * EUR, 0)
    assert shop.metrics.of("dropped") == []


async def test_uncharged_money_is_logged_in_eur(shop: World, caplog: pytest.LogCaptureFixture) -> None:
    user = await shop.subscriber(20)
    answer = await user.charged(SMS, "T", 1, mscc(None, cc_money(1)), sid="pgw.example.net;never", information=at())
    assert answer.result_code == 5002
    assert "reported 1.00 EUR of ringtone in a session that is not open" in caplog.text


amounts = st.builds(cc_money, st.integers(-(2**63), 2**63 - 1), st.none() | st.integers(-(2**31), 2**31 - 1))


@given(amounts | st.builds(cc_money, st.integers(0, 10**9), st.integers(-12, 3)))
def test_money_is_read_exactly(price: CcMoney) -> None:
    found = money.micro_eur_of(price)
    digits, exponent = price.unit_value.value_digits, (price.unit_value.exponent or 0) + 6
    if digits < 0:
        assert found is None
    elif -25 < exponent < 18:
        whole = digits * 10 ** max(exponent, 0)
        below = 10 ** max(-exponent, 0)
        assert found == (None if whole % below else whole // below)
    else:
        assert found is None or found >= 0
    assert (money.rounded_millionths(price) > 0) == (digits != 0)


async def test_content_under_a_vendors_service_context(world: World) -> None:
    """The settings map the vendor's context; the shipped catalogue has a service for it."""
    world.source = Origin(service_contexts=ServiceContexts({"Comverse.DCI": Context.CONTENT}))
    user = await world.subscriber(20)
    unit = RequestedServiceUnit(cc_money=cc_money(99, -2))
    for information, left in ((None, 19_010_000), (at(), 18_020_000)):
        more: dict[str, Any] = {"sid": world.new_session(), "information": information, "requested_service_unit": unit}
        answer = await user.charged("Comverse.DCI", "E", 0, **more)
        assert (answer.result_code, answer.granted_service_unit) == (2001, money_unit(990_000))
        assert await user.credit() == left
    rated = world.catalogue.rate(UseEvent(Context.CONTENT))
    assert (rated.service, rated.label, rated.unit, rated.price.num, rated.price.den) == (
        "content",
        "content",
        "money",
        1,
        1,
    )
