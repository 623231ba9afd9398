"""Automatic top-ups from the use that takes the credit below the mark to the credit, through Diameter and a provider by
HTTP (HOT-TOP-4, HOT-TOP-5, HOT-GRP-4).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.accounts.errors import RefusedError
from ocs.ledger.contract.payments import OrderState
from ocs.payments.mandates import provider_mandate
from ocs.payments.operations import PaymentOperations
from ocs.policy.payments import account_payer, group_payer
from simulator.payment_provider import FAILED as REFUSED
from simulator.payment_provider import RETURNED
from tests.conftest import RedisServer
from tests.ocs.charging.ccr import towards
from tests.ocs.payments.till import DAY_S, EUR, Till, till_on
from tests.ocs.rules.world import Subscriber
from tests.rules import rule

CREDITED, FAILED, ORDERED = OrderState.CREDITED, OrderState.FAILED, OrderState.ORDERED
ABROAD = "tel:+381641234567"
STEPS = ("use", "on", "off", "decline", "wait")
MINI, FIVE_G = 6_990_000, 1_990_000


@pytest.fixture
async def till(redis_url: str) -> AsyncIterator[Till]:
    async with till_on(redis_url) as till:
        yield till


async def use(user: Subscriber, minutes: int = 1) -> int:
    """A call that credit pays; returns what it cost."""
    cost = await user.call(60 * minutes, towards(ABROAD))
    assert cost > 0
    return cost


async def settle(till: Till, user: Subscriber, status: str = "succeeded", reason: str = "") -> None:
    """The provider's bank has paid, or not, what is pending."""
    for order in await till.orders_of(user):
        if order.state is OrderState.SUBMITTED:
            await till.provider.settle(order.id, status, reason)


# -- HOT-TOP-4


@rule("HOT-TOP-4")
async def test_use_that_takes_the_credit_below_the_mark_tops_up_and_the_package_renews(till: Till) -> None:
    user = await till.user(6.99 + 2.1)
    await till.rounds()
    assert await till.orders_of(user) == [], "2.10 EUR is not below 2 EUR"
    cost = await use(user)
    (asked,) = [each for each in await user.events("auto_top_up") if each["state"] == "asked"]
    assert (asked["credit"], asked["below"]) == (2_100_000 - cost, 2 * EUR)

    await till.rounds()
    (order,) = await till.orders_of(user)
    assert (order.state, order.amount_micro_eur) == (OrderState.SUBMITTED, MINI)
    assert await user.credit() == 2_100_000 - cost
    await settle(till, user)
    assert await user.credit() == 2_100_000 - cost + MINI
    assert await till.states(user) == [CREDITED]
    (topup,) = await user.events("topup")
    assert (topup["channel"], topup["by"], topup["ref"]) == ("auto", "auto-top-up", f"pay-{order.id}")
    assert till.provider.taken[order.id].amount == "6.99"

    till.world.now += 30 * DAY_S
    await till.world.sweep()
    view = await user.view()
    assert not view.package_pending and view.credit_micro_eur == 2_100_000 - cost


@rule("HOT-TOP-4")
async def test_the_5g_option_is_topped_up_with_the_package_by_the_prices_in_force(till: Till) -> None:
    user = await till.user(6.99 + 1.99 + 2)
    option = till.world.catalogue.products["5G"].terms
    assert await user.buy(option, "5g")
    await use(user)
    await till.rounds()
    (order,) = await till.orders_of(user)
    assert order.amount_micro_eur == MINI + FIVE_G


@rule("HOT-TOP-4")
async def test_the_mark_can_be_changed_and_is_asked_for_once_until_the_credit_is_there_again(till: Till) -> None:
    user = await till.user(6.99 + 9, mark=8)
    await use(user)
    assert await till.ledger.asked_accounts(0, now=till.world.now, count=9) in ([], [user.account_id])
    for _ in range(4):
        await use(user)
        await till.rounds()
    assert len([each for each in await user.events("auto_top_up") if each["state"] == "asked"]) == 1
    assert len(await till.orders_of(user)) == 1, "one is under way"
    await settle(till, user)
    assert await user.credit() >= 8 * EUR
    while await user.credit() >= 8 * EUR:
        await use(user)
    await till.rounds()
    assert await till.states(user) == [OrderState.SUBMITTED, CREDITED]


@rule("HOT-TOP-4")
async def test_switching_on_below_the_mark_tops_up_at_once_and_a_fee_asks_too(till: Till) -> None:
    user = await till.user(6.99 + 1, mark=0)
    await use(user)
    await till.rounds()
    assert await till.orders_of(user) == []
    assert await till.switch(user, 2)
    await till.rounds()
    assert len(await till.orders_of(user)) == 1
    other = await till.user(6.99 + 1.99 + 1.5)  # the fee of the option takes it below
    await other.buy(till.world.catalogue.products["5G"].terms, "5g")
    await till.rounds()
    assert len(await till.orders_of(other)) == 1


@rule("HOT-TOP-4", "HOT-ACC-7")
async def test_a_top_up_never_lifts_the_credit_above_200_eur(till: Till) -> None:
    user = await till.user(199, mark=0)
    await user.top_up(4, "opening")
    await till.switch(user, 199)
    await till.rounds()
    assert await till.orders_of(user) == [], "196.01 EUR and 6.99 EUR are more than 200 EUR"
    for _ in range(8):
        await use(user)
    await till.rounds(7_200)
    assert await till.states(user) == [OrderState.SUBMITTED]
    await user.top_up(6, "by hand")  # meanwhile
    before = await user.credit()
    if before + MINI <= 200 * EUR:
        await user.top_up((200 * EUR - before) / EUR, "more")
    await settle(till, user)
    (order,) = await till.orders_of(user)
    assert (order.state, order.reason) == (OrderState.SUCCEEDED, "ceiling"), "it is paid, and waits for room"
    while await user.credit() + MINI > 200 * EUR:
        await use(user, 5)
    await till.rounds(2 * DAY_S, step_s=DAY_S // 2)
    assert (await till.states(user))[-1] is CREDITED


# -- HOT-TOP-5


@rule("HOT-TOP-5")
async def test_at_most_two_in_any_ten_days_and_the_next_when_the_first_is_ten_days_old(till: Till) -> None:
    user = await till.user(6.99 + 1)
    till.provider.behaviour.at_once = True
    began = till.world.now
    await till.rounds()
    for _ in range(2):
        while await user.credit() >= 2 * EUR:
            await use(user)
        await till.rounds(3_600)
    assert await till.states(user) == [CREDITED, CREDITED], "the third must wait"
    await till.rounds(began + 10 * DAY_S - till.world.now - 60, step_s=6 * 3_600)
    assert len(await till.orders_of(user)) == 2
    await till.rounds(3_600)
    assert await till.states(user) == [CREDITED] * 3


@rule("HOT-TOP-5")
@settings(max_examples=12)
@given(steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9)), min_size=12))
def test_no_ten_days_have_more_than_two_debits_whatever_happens(
    redis_7: RedisServer, steps: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        async with till_on(redis_7.url) as till:
            user = await till.user(6.99 + 3)
            till.provider.behaviour.at_once = True
            for what, number in steps:
                if what == "use":
                    while await user.credit() >= 2 * EUR:
                        await use(user)
                elif what in ("on", "off"):
                    await till.switch(user, (2 + number) if what == "on" else 0)
                elif what == "decline":
                    token = ("declined", "tok")[number % 2]
                    mandate = provider_mandate(token=token, name="Ana", signed_on=date(2026, 10, 1))
                    await till.mandates.put(account_payer(user.account_id), mandate)
                await till.rounds(number * DAY_S // 4, step_s=DAY_S // 8)
            await till.rounds(11 * DAY_S, step_s=DAY_S // 2)
            orders = {order.id: order.at for order in await till.orders_of(user)}
            times = sorted(orders[key] for key in till.provider.taken)
            for first, third in zip(times, times[2:], strict=False):
                assert third - first >= 10 * DAY_S
            explained = sum(order.amount_micro_eur for order in await till.orders_of(user) if order.state is CREDITED)
            assert (await user.view()).paid_in_micro_eur == round(9.99 * EUR) + explained

    asyncio.run(play())


@rule("HOT-TOP-5")
async def test_off_is_immediate_and_on_too(till: Till) -> None:
    user = await till.user(6.99 + 1)
    await till.orders.order_top_up(user.account_id)
    assert await till.states(user) == [ORDERED]
    assert await till.switch(user, 0)
    assert await till.states(user) == [FAILED], "nobody has sent it yet"
    await till.rounds(3_600)
    assert till.provider.taken == {}
    assert not await till.switch(user, 0)
    assert await till.switch(user, 2)
    await till.rounds()
    assert await till.states(user) == [OrderState.SUBMITTED, FAILED]
    assert len((await user.view()).auto_debits) == 1, "what never reached a bank does not count"


# -- what goes wrong


async def test_a_refused_debit_is_ordered_again_a_day_later_and_given_up_after_three(till: Till) -> None:
    user = await till.user(6.99 + 1, token="declined")
    await till.rounds()
    assert [(each.state, each.reason) for each in await till.orders_of(user)] == [(FAILED, "AM04")]
    await till.rounds(DAY_S - 3_600, step_s=3_600)
    assert len(await till.orders_of(user)) == 1
    await till.rounds(2 * 3_600)
    assert len(await till.orders_of(user)) == 2
    await till.rounds(30 * DAY_S, step_s=DAY_S // 2)
    assert len(await till.orders_of(user)) == 3, "two in ten days; after the third it is given up"
    given_up = [each for each in await user.events("auto_top_up") if each["state"] == "given_up"]
    assert len(given_up) == 1
    await user.top_up(20, "by hand")
    mandate = provider_mandate(token="tok", name="Ana", signed_on=date(2026, 10, 1))
    await till.mandates.put(account_payer(user.account_id), mandate)
    while await user.credit() >= 2 * EUR:
        await use(user, 5)
    await till.rounds()
    assert (await till.states(user))[0] is OrderState.SUBMITTED, "the credit has been at the mark again"


async def test_without_a_mandate_nobody_is_debited_and_an_event_says_why(till: Till) -> None:
    user = await till.user(6.99 + 1, token="")
    await till.rounds()
    assert [(each.state, each.reason) for each in await till.orders_of(user)] == [(FAILED, "no-mandate")]
    told = [(each["state"], each["reason"]) for each in await user.events("payment")]
    assert told == [("ordered", ""), ("failed", "no-mandate")]


async def test_a_blocked_account_is_not_topped_up_until_it_is_free(till: Till) -> None:
    user = await till.user(6.99 + 1)
    await till.ledger.set_state(user.account_id, state="blocked", reason="stolen", **till.world.when)
    await till.rounds(3 * 3_600)
    assert await till.orders_of(user) == []
    await till.ledger.set_state(user.account_id, state="active", **till.world.when)
    await till.rounds(2 * 3_600)
    assert len(await till.orders_of(user)) == 1


async def test_an_account_that_ends_while_its_debit_is_under_way_gets_its_money_back_by_hand(till: Till) -> None:
    user = await till.user(6.99 + 1)
    await till.rounds()
    await till.ledger.terminate_account(user.account_id, **till.world.when)
    await settle(till, user)
    assert await till.states(user) == [OrderState.REFUND_DUE]
    assert (await user.view()).credit_micro_eur == 0
    operations = PaymentOperations(None, till.ledger, till.world.catalogue, None, lambda: till.world.now)
    (listed,) = await operations.open_orders()
    assert (await operations.paid_back(listed.id)).reason == "paid-back"
    assert await operations.open_orders() == []
    with pytest.raises(RefusedError, match="nothing is to be paid back"):
        await operations.paid_back(listed.id)


async def test_an_account_that_moves_keeps_its_orders_and_what_counts(till: Till) -> None:
    user = await till.user(6.99 + 1)
    await till.rounds()
    before = user.account_id
    partition = (int(before.split("-")[0]) + 1) % till.ledger.partitions
    user.account_id = await till.ledger.move_account(before, partition=partition, **till.world.when)
    (order,) = await till.ledger.orders_of(before)
    await till.provider.settle(order.id)
    assert (await till.ledger.read_order(order.id)).state is CREDITED
    assert await user.credit() == 1 * EUR + MINI
    assert len((await user.view()).auto_debits) == 1
    while await user.credit() >= 2 * EUR:
        await use(user)
    await till.rounds()
    assert await till.states(user) == [OrderState.SUBMITTED], "the second, made where the account is now"
    await till.provider.settle(order.id, RETURNED, "MD06")
    assert (await till.ledger.read_order(order.id)).state is OrderState.RETURNED


# -- who pays


@rule("HOT-GRP-4")
async def test_the_mandate_of_the_group_pays_for_each_of_its_numbers(till: Till) -> None:
    users = [await till.user(6.99 + 1, token="") for _ in range(3)]
    for user in users[:2]:
        await till.ledger.join_group(user.account_id, group_id="firm", role="member", **till.world.when)
    mandate = provider_mandate(token="firm's", name="Firma d.o.o.", signed_on=date(2026, 10, 1))
    await till.mandates.put(group_payer("firm"), mandate)
    own = provider_mandate(token="own", name="Ana", signed_on=date(2026, 10, 1))
    await till.mandates.put(account_payer(users[1].account_id), own)
    await till.rounds()
    found = []
    for user in users:
        (order,) = await till.orders_of(user)
        taken = till.provider.taken.get(order.id)
        found.append(taken.token if taken is not None else order.reason)
    assert found == ["firm's", "own", "no-mandate"], "a member's own mandate comes first"


@rule("HOT-GRP-4")
async def test_a_mandate_that_cannot_be_collected_is_passed_over(till: Till) -> None:
    user = await till.user(6.99 + 1, token="sepa")  # an IBAN, and the provider collects
    await till.ledger.join_group(user.account_id, group_id="firm", role="member", **till.world.when)
    mandate = provider_mandate(token="firm's", name="Firma d.o.o.", signed_on=date(2026, 10, 1))
    await till.mandates.put(group_payer("firm"), mandate)
    await till.rounds()
    (order,) = await till.orders_of(user)
    assert till.provider.taken[order.id].token == "firm's"


async def test_while_nobody_collects_accounts_wait(till: Till) -> None:
    user = await till.user(6.99 + 1)
    _, driver = till.drivers(till.ledger, replace(till.collecting, automatic=""))
    await driver.look_at_all()
    assert await till.orders_of(user) == []
    await till.rounds()
    assert len(await till.orders_of(user)) == 1


# -- returned


@rule("HOT-ACC-10")
async def test_a_returned_debit_is_taken_back_as_far_as_there_is_credit_and_the_rest_is_owed(till: Till) -> None:
    user = await till.user(6.99 + 1)
    till.provider.behaviour.at_once = True
    await till.rounds()
    await asyncio.sleep(0)
    (order,) = await till.orders_of(user)
    assert order.state is CREDITED
    while await user.credit() > 3 * EUR:
        await use(user)
    left = await user.credit()
    for _ in range(2):  # it comes twice
        await till.provider.settle(order.id, RETURNED, "MD06")
    (order,) = await till.orders_of(user)
    assert (order.state, order.reason, order.owed_micro_eur) == (OrderState.RETURNED, "MD06", MINI - left)
    view = await user.view()
    assert (view.credit_micro_eur, view.refunded_micro_eur) == (0, left)
    assert (view.auto_below_micro_eur, view.blocks) == (0, ("non-payment",))
    (event,) = await user.events("payment_returned")
    assert (event["debit"], event["unpaid"]) == (left, MINI - left)
    assert sum(each.get("credit_in", 0) - each.get("debit", 0) for each in await user.journal()) == 0


async def test_promotional_credit_is_not_taken_back(till: Till) -> None:
    user = await till.user(6.99 + 1)
    till.provider.behaviour.at_once = True
    await till.rounds()
    (order,) = await till.orders_of(user)
    await till.ledger.top_up(
        user.account_id, amount_micro_eur=5 * EUR, reference="gift", promotional=True, **till.world.when
    )
    await till.ledger.pay_out(
        user.account_id, reference="all", reason="port-out", states=("active",), **till.world.when
    )
    await till.provider.settle(order.id, RETURNED, "AC04")
    view = await user.view()
    assert (view.credit_micro_eur, view.promotional_micro_eur) == (5 * EUR, 5 * EUR)


async def test_a_debit_returned_before_it_was_credited_never_is(till: Till) -> None:
    user = await till.user(6.99 + 1)
    await till.rounds()
    await settle(till, user, REFUSED, "AM04")
    (order,) = await till.orders_of(user)
    assert order.state is FAILED
    await till.provider.settle(order.id, RETURNED, "MD06")
    await till.provider.settle(order.id, "succeeded")
    assert await till.states(user) == [OrderState.RETURNED]
    assert await user.credit() == 1 * EUR
