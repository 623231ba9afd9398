"""A silent service returns its hold at its own deadline (RFC 8506 §8.33, §5.7)."""

from __future__ import annotations

import pytest

from tests.ocs.charging.ccr import MB, octets
from tests.ocs.rules.world import EUR, Running, Subscriber, World
from tests.rules import rule

TCC_S = 2 * 3600
HELD = 345_000


async def _one_goes_on(world: World, user: Subscriber) -> Running:
    """Two services, of which only one sends reports for longer than the supervision of the other."""
    data = user.data()
    await data.take("I", octets(want=50 * MB, group=10), octets(want=50 * MB, group=1))
    assert await data.held() == {"1": HELD, "10": HELD}
    for _ in range(3):
        world.now += TCC_S // 3 + 1
        await data.take("U", octets(want=50 * MB, used=0, group=1))
    return data


@rule("HOT-ACC-1")
@pytest.mark.parametrize("swept", [True, False], ids=["by the sweeper", "by the session's next request"])
async def test_a_silent_service_returns_its_hold_while_another_continues(world: World, swept: bool) -> None:
    """HOT-ACC-1: held credit is not available for other use."""
    user = await world.subscriber(20)
    data = await _one_goes_on(world, user)
    if swept:
        await world.sweep()
    else:
        await data.take("U", octets(want=50 * MB, used=0, group=1))
    assert await data.held() == {"1": HELD, "10": 0}
    assert (await user.view()).held_micro_eur == HELD


@rule("HOT-ACC-1", "HOT-PKG-3")
async def test_a_late_report_of_a_silent_service_is_paid(world: World) -> None:
    """HOT-ACC-1, HOT-PKG-3: by the units that were granted to it."""
    user = await world.subscriber(20, "MINI")
    data = user.data()
    await data.take("I", octets(want=50 * MB, group=10), octets(want=50 * MB, group=1))
    for _ in range(3):
        world.now += TCC_S // 3 + 1
        await data.take("U", octets(want=50 * MB, used=0, group=1))
    await world.sweep()
    left = await user.left("MINI.data")
    await data.take("T", octets(used=40 * MB, group=10), octets(used=0, group=1))
    assert (left or 0) - (await user.left("MINI.data") or 0) == 40 * MB
    assert await user.credit() == 20 * EUR - 6_990_000


async def test_a_silent_service_continues_with_its_next_request(world: World) -> None:
    """RFC 8506 §5.3: the session stayed open."""
    user = await world.subscriber(20)
    data = await _one_goes_on(world, user)
    await world.sweep()
    again = await data.one("U", octets(want=50 * MB, used=10 * MB, group=10))
    assert again.result_code == 2001
    assert await data.held() == {"1": HELD, "10": HELD}
    assert await user.credit() == 20 * EUR - 69_000
