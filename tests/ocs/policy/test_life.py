"""The table of an account's life against the ledger: each state and happening (`ocs.policy.life`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView
from ocs.policy.life import TRANSITIONS, Happening, Kept, Sessions, State, is_data_only
from ocs.values.life import LifeTerms
from ocs.values.products import BucketTerms, PackageTerms
from tests.ocs.charging.ccr import IMS, called_by, seconds, towards
from tests.ocs.rules.world import DAY_S, EUR, Subscriber, World, world_on
from tests.rules import rule

H = Happening
FEE = PackageTerms("FEE", EUR, 0, (), "", renews=False)
PACK = PackageTerms("PACK", EUR, 720 * DAY_S, (BucketTerms("PACK.sms", "messages", 10),), "pack")


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    async with world_on(redis_url) as world:
        yield world


async def in_state(world: World, state: State) -> Subscriber:
    """Credit 20 EUR and a gift of 3 EUR, a pack, and an open session where the state allows one."""
    user = await world.subscriber(21, unused=state is State.NEW)
    reference = f"gift {user.account_id}"
    await world.ledger.top_up(
        user.account_id, amount_micro_eur=3 * EUR, reference=reference, promotional=True, **world.when
    )
    if state is not State.NEW:
        await world.ledger.subscribe(user.account_id, product=PACK, reference=user.account_id, **world.when)
        world.now += 90 * DAY_S - 60
        await user.running(IMS, called_by("tel:+38631234567")).take("I", seconds(want=3000))
    if state is State.BLOCKED:
        await world.ledger.set_state(user.account_id, state="blocked", reason="care", **world.when)
    elif state is State.INACTIVE:
        world.now += 60
        await world.ledger.sweep(user.account_id, **world.when)
    elif state is State.TERMINATED:
        await world.ledger.terminate_account(user.account_id, **world.when)
    assert (await user.view()).state == state
    return user


async def _time(world: World, user: Subscriber, seconds_: int) -> None:
    world.now += seconds_
    await world.ledger.sweep(user.account_id, **world.when)


DOES: dict[Happening, Callable[[World, Subscriber], Awaitable[object]]] = {
    H.FIRST_USE: lambda w, u: u.may_call(towards("tel:+38631234567")),
    H.TOP_UP: lambda w, u: u.top_up(1, f"again {u.account_id}"),
    H.PERIOD_OVER: lambda w, u: _time(w, u, 60),
    H.LIFE_OVER: lambda w, u: _time(w, u, 271 * DAY_S),
    H.BLOCK: lambda w, u: w.ledger.set_state(u.account_id, state="blocked", reason="imei", **w.when),
    H.UNBLOCK: lambda w, u: w.ledger.set_state(u.account_id, state="active", reason="care", **w.when),
    H.CHANGE_SIM: lambda w, u: w.ledger.change_imsi(u.account_id, imsi="2934055" + u.msisdn[-8:], **w.when),
    H.CHANGE_NUMBER: lambda w, u: w.ledger.change_msisdn(u.account_id, msisdn="38655" + u.msisdn[-6:], **w.when),
    H.FEE: lambda w, u: w.ledger.subscribe(
        u.account_id, product=FEE, reference=f"fee {u.account_id}", any_state=True, **w.when
    ),
    H.PAY_OUT: lambda w, u: w.ledger.pay_out(
        u.account_id, reference=f"out {u.account_id}", reason="inactive", states=("inactive",), **w.when
    ),
    H.PORT_OUT: lambda w, u: w.ledger.terminate_account(
        u.account_id, reason="port-out", pay_out=f"out {u.account_id}", **w.when
    ),
    H.END: lambda w, u: w.ledger.terminate_account(u.account_id, **w.when),
}
NOTHING_HAPPENS = {H.FIRST_USE, H.PERIOD_OVER, H.LIFE_OVER, H.UNBLOCK, H.END, H.PORT_OUT}
"""Where the table has no row for it, the ledger does not refuse it: there is nothing to do."""


def money(before: AccountView, happening: Happening) -> int:
    return before.credit_micro_eur + {H.TOP_UP: EUR, H.FEE: -EUR}.get(happening, 0)


@rule("HOT-ACC-2", "HOT-ACC-3", "HOT-ACC-4", "HOT-ACC-5", "HOT-ACC-6", "HOT-ACC-10", "HOT-ACC-11")
@pytest.mark.parametrize("happening", Happening)
@pytest.mark.parametrize("state", State)
async def test_the_ledger_does_what_the_table_says(world: World, state: State, happening: Happening) -> None:
    user = await in_state(world, state)
    before, expected = await user.view(), TRANSITIONS.get((state, happening))
    async with world.hearing() as heard:
        refused = happening not in NOTHING_HAPPENS or (state is State.TERMINATED and happening is H.UNBLOCK)
        if expected is None and refused:
            with pytest.raises(LedgerError):
                await DOES[happening](world, user)
            after = await user.view()
            assert after.state == state
            return
        await DOES[happening](world, user)
        notices = {each.kind for each in await heard()}
    after = await user.view()
    if expected is None:
        assert after.state == state or (state, happening) == (State.ACTIVE, H.LIFE_OVER), "the period ends on the way"
        return
    assert after.state == expected.state
    had_session = any(each.deadline > world.now for each in before.sessions)
    if expected.sessions is Sessions.ABORT and had_session:
        assert "abort" in notices
    elif expected.sessions is not Sessions.ABORT:
        assert "abort" not in notices
    if happening is not H.FIRST_USE:
        assert bool(after.buckets) == (expected.units is Kept.KEPT and bool(before.buckets))
    if expected.credit is Kept.KEPT and happening is not H.FIRST_USE:
        assert after.credit_micro_eur == money(before, happening)
        assert after.promotional_micro_eur == before.promotional_micro_eur - (EUR if happening is H.FEE else 0)
    elif expected.credit is Kept.LOST:
        assert (after.credit_micro_eur, after.expired_micro_eur) == (0, before.credit_micro_eur)
    elif expected.credit is Kept.PAID_OUT:
        assert after.refunded_micro_eur == before.credit_micro_eur - before.promotional_micro_eur
        left = before.promotional_micro_eur if expected.state is State.INACTIVE else 0
        assert (after.credit_micro_eur, after.promotional_micro_eur) == (left, left)


def test_every_state_but_the_last_has_an_end() -> None:
    for state in State:
        ends = [each for (was, _), each in TRANSITIONS.items() if was is state and each.state is State.TERMINATED]
        assert bool(ends) == (state is not State.TERMINATED)
    assert not [was for was, _ in TRANSITIONS if was is State.TERMINATED]


@rule("HOT-ACC-10")
def test_what_a_data_only_package_is() -> None:
    assert is_data_only(["octets", "octets"])
    assert not is_data_only(["octets", "seconds"])
    assert not is_data_only([])


@rule("HOT-ACC-3")
def test_the_terms_of_the_rules() -> None:
    assert LifeTerms() == LifeTerms(90 * DAY_S, 7 * DAY_S, EUR, True, 270 * DAY_S)
