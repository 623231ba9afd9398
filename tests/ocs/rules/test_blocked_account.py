"""Top-ups of a blocked account (HOT-ACC-11): credited, but no package is bought with them."""

from __future__ import annotations

from tests.ocs.charging.ccr import MB, towards
from tests.ocs.rules.world import EUR, Subscriber, World
from tests.rules import rule

MINI_FEE = 6_990_000


async def _blocked_with_a_fee_unpaid(world: World) -> Subscriber:
    user = await world.subscriber(5, "MINI")
    assert (await user.view()).package_pending
    await world.ledger.set_state(user.account_id, state="blocked", **world.when)
    return user


@rule("HOT-TOP-1", "HOT-PKG-2")
async def test_a_top_up_is_credited_and_the_package_waits(world: World) -> None:
    """HOT-TOP-1, HOT-PKG-2: whoever has lost the phone does not pay for a package that cannot be used."""
    user = await _blocked_with_a_fee_unpaid(world)
    assert await user.top_up(10, "voucher")
    view = await user.view()
    assert (view.credit_micro_eur, view.package_pending, view.buckets) == (15 * EUR, True, ())
    await world.sweep()
    assert (await user.view()).package_pending
    assert [event["ok"] for event in await user.events("package")] == [False]
    assert await user.may_call(towards("tel:+38631234567")) == 4010
    assert await user.may_call(towards("tel:112")) == 2001


@rule("HOT-PKG-2")
async def test_the_package_starts_when_the_account_is_unblocked(world: World) -> None:
    """HOT-PKG-2."""
    user = await _blocked_with_a_fee_unpaid(world)
    await user.top_up(10, "voucher")
    world.now += 86_400
    await world.ledger.set_state(user.account_id, state="active", **world.when)
    await user.use_data(MB)
    view = await user.view()
    assert (view.credit_micro_eur, view.package_pending) == (15 * EUR - MINI_FEE, False)
    assert view.period_end == world.now + 30 * 86_400, "it is not paid for the time in which it waited"


@rule("HOT-ACC-11", "HOT-PKG-2")
async def test_a_period_that_ends_during_the_block_is_not_renewed(world: World) -> None:
    """HOT-ACC-11, HOT-PKG-2."""
    user = await world.subscriber(20, "MINI")
    await world.ledger.set_state(user.account_id, state="blocked", **world.when)
    world.now += 30 * 86_400
    await world.sweep()
    view = await user.view()
    assert (view.credit_micro_eur, view.package_pending, view.buckets) == (20 * EUR - MINI_FEE, True, ())
