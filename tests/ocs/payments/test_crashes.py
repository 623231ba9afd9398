"""A crash before or after each call to the ledger and to the provider: no order is debited twice, credited twice or
lost. A crash is an exception that nothing handles; then a new process goes on with what the ledger has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ocs.ledger.contract.payments import OrderKind, OrderState, PaymentOrder
from ocs.payments.collecting import Collecting
from ocs.payments.provider import Answer
from ocs.policy.payments import Outcome
from tests.conftest import RedisServer
from tests.ocs.payments.till import DAY_S, EUR, Till, till_on
from tests.ocs.rules.world import Subscriber
from tests.rules import rule

MINI = 6_990_000
RETURN = Answer(Outcome.RETURNED, reason="MD06")
MOST_CALLS = 60
"""Of one story; far more than any makes."""


class Crash(BaseException):
    pass


class Crashing:
    """Another object whose n-th call, of all that share the counter, crashes before or after it is done."""

    def __init__(self, of: Any, counter: Counter) -> None:
        self._of, self._counter = of, counter

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            self._counter.calls += 1
            here = self._counter.calls == self._counter.at
            if here and not self._counter.after:
                raise Crash
            result = await found(*args, **more)
            if here:
                raise Crash
            return result

        return call


class Counter:
    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.calls = at, after, 0


Story = Callable[[Till, Subscriber, Any], Awaitable[None]]


async def ordered_and_paid(till: Till, user: Subscriber, driver: Any) -> None:
    """The answer says that it is paid."""
    till.provider.behaviour.at_once = True
    till.provider.behaviour.notifications = 0
    await driver.look_at_all()


async def pending_and_asked_for(till: Till, user: Subscriber, driver: Any) -> None:
    """No notification comes: the loop asks for the outcome."""
    till.provider.behaviour.notifications = 0
    await driver.look_at_all()
    for order in await till.orders_of(user):
        if order.id in till.provider.taken:
            await till.provider.settle(order.id)
    till.world.now += 300
    await driver.look_at_all()


async def declined(till: Till, user: Subscriber, driver: Any) -> None:
    till.provider.behaviour.notifications = 0
    await driver.look_at_all()
    for order in await till.orders_of(user):
        if order.id in till.provider.taken:
            await till.provider.settle(order.id, "failed", "AM04")
    till.world.now += 300
    await driver.look_at_all()


async def no_answers(till: Till, user: Subscriber, driver: Any) -> None:
    """The provider does what is asked, and its first answers are lost."""
    till.provider.behaviour.at_once = True
    till.provider.behaviour.notifications = 0
    till.provider.behaviour.fail_after = [0, 502]
    till.provider.behaviour.fail_looking = [503]
    for _ in range(4):
        await driver.look_at_all()
        till.world.now += 400


STORIES = {each.__name__: each for each in (ordered_and_paid, pending_and_asked_for, declined, no_answers)}


@pytest.mark.long
@rule("HOT-TOP-1", "HOT-TOP-4", "HOT-TOP-5")
@pytest.mark.parametrize("after", [False, True], ids=["before a call", "after a call"])
@pytest.mark.parametrize("name", STORIES)
async def test_a_crash_at_any_call_neither_doubles_nor_loses_anything(
    redis_7: RedisServer, name: str, after: bool
) -> None:
    for at in range(1, MOST_CALLS):
        async with till_on(redis_7.url, partitions=1) as till:
            user = await till.user(6.99 + 1)
            counter = Counter(at, after=after)
            crashing = Collecting("http", Crashing(till.http, counter), Crashing(till.mandates, counter))
            _, driver = till.drivers(Crashing(till.ledger, counter), crashing)
            with contextlib.suppress(Crash):
                await STORIES[name](till, user, driver)
            if counter.calls < at:
                return
            await goes_on(till, user, declined=name == "declined")
    raise AssertionError("a story makes more calls than we crash at")


async def goes_on(till: Till, user: Subscriber, *, declined: bool) -> None:
    """The process starts again, and all that is pending at the provider is paid, or refused."""
    for _ in range(4):
        await till.rounds(1_800)
        for order in await till.orders_of(user):
            if order.id in till.provider.taken and till.provider.taken[order.id].status == "pending":
                await till.provider.settle(order.id, *(("failed", "AM04") if declined else ()))
    orders = await till.orders_of(user)
    assert not any(order.is_open for order in orders)
    assert sorted(till.provider.taken) == sorted(order.id for order in orders), "each is known to both sides"
    credited = [order for order in orders if order.state is OrderState.CREDITED]
    paid = [each for each in till.provider.taken.values() if each.status == "succeeded"]
    assert {each.key for each in paid} == {order.id for order in credited}
    assert len(orders) == 1
    assert len(credited) == (0 if declined else 1)
    assert await user.credit() == 1 * EUR + len(credited) * MINI
    if declined:
        await till.rounds(DAY_S, step_s=DAY_S // 4)
        assert len(await till.orders_of(user)) == 2, "it is ordered again"


@pytest.mark.long
@rule("HOT-TOP-1")
@pytest.mark.parametrize("after", [False, True], ids=["before a call", "after a call"])
async def test_a_crash_while_a_debit_is_returned_takes_back_once(redis_7: RedisServer, after: bool) -> None:
    for at in range(1, MOST_CALLS):
        async with till_on(redis_7.url, partitions=1) as till:
            user = await till.user(6.99 + 1)
            till.provider.behaviour.at_once = True
            await till.rounds()
            (order,) = await till.orders_of(user)
            till.provider.webhook_url = ""
            counter = Counter(at, after=after)
            orders, _ = till.drivers(Crashing(till.ledger, counter))
            try:
                await orders.learn_of(order.id, RETURN)
                crashed = False
            except Crash:
                crashed = True
            await till.orders.learn_of(order.id, RETURN)  # the bank's file is imported again
            (order,) = await till.orders_of(user)
            assert (order.state, order.owed_micro_eur) == (OrderState.RETURNED, 0)
            view = await user.view()
            assert (view.credit_micro_eur, view.refunded_micro_eur) == (1 * EUR, MINI)
            if not crashed:
                return
    raise AssertionError("a return makes more calls than we crash at")


@pytest.mark.long
@rule("HOT-TOP-1")
@pytest.mark.parametrize("after", [False, True], ids=["before a call", "after a call"])
async def test_a_crash_in_a_one_off_payment_is_repeated_with_its_reference(redis_7: RedisServer, after: bool) -> None:
    for at in range(1, MOST_CALLS):
        async with till_on(redis_7.url, partitions=1) as till:
            user = await till.user(9, mark=0)
            counter = Counter(at, after=after)
            crashing = Collecting("http", Crashing(till.http, counter), till.mandates)
            orders, _ = till.drivers(Crashing(till.ledger, counter), crashing)
            amount: dict[str, Any] = {"amount_micro_eur": 10 * EUR, "reference": "shop-1"}
            order: PaymentOrder | None = None
            with contextlib.suppress(Crash):
                order = await orders.start_payment(user.account_id, **amount)
            again = await till.orders.start_payment(user.account_id, **amount)
            assert again.kind is OrderKind.ONE_OFF
            assert again.redirect_url.endswith(f"/pay/{till.provider.taken[again.id].id}")
            assert list(till.provider.taken) == [again.id]
            await till.provider.settle(again.id)
            await till.rounds(600)
            assert await till.states(user) == [OrderState.CREDITED]
            assert await user.credit() == 2_010_000 + 10 * EUR
            if order is not None:
                return
    raise AssertionError("a payment makes more calls than we crash at")
