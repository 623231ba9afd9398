"""A package's due fee has priority over what sessions hold (HOT-PKG-2)."""

from __future__ import annotations

import pytest

from tests.ocs.charging.ccr import MB, SERBIA, SMS, octets, sms_to
from tests.ocs.rules.world import DAY_S, EUR, Running, Subscriber, World, granted
from tests.rules import rule

GB = 1024 * MB
MINI_FEE, DATA_PER_MB = 6_990_000, 6_900
LEFT = 7_200_000


async def _mini_used_up(world: World) -> Subscriber:
    """MINI with all its data used, and 7.20 EUR, ten minutes before the end of the period."""
    user = await world.subscriber((MINI_FEE + LEFT) / EUR, "MINI")
    for _ in range(3):
        assert await user.use_data(3 * GB) == 0
    assert (await user.left("MINI.data"), await user.credit()) == (0, LEFT)
    world.now += 30 * DAY_S - 600
    return user


async def _renewed(user: Subscriber) -> None:
    view = await user.view()
    assert not view.package_pending
    assert view.period_end == user.world.now + 30 * DAY_S
    (_, fee) = await user.events("package")
    assert (fee["id"], fee["ok"], fee["debit"]) == ("MINI", True, MINI_FEE)


@pytest.mark.parametrize("swept", [True, False], ids=["by the sweeper", "by the next request"])
async def test_a_fee_is_paid_while_a_session_holds_credit(world: World, swept: bool) -> None:
    """0.345 of 7.20 EUR is held for 50 MB. 6.855 EUR would not pay the fee of 6.99 EUR."""
    user = await _mini_used_up(world)
    data = user.data()
    assert granted(await data.one("I", octets(want=50 * MB, group=10))) == 50 * MB
    assert await data.held() == {"10": 345_000}
    world.now += 600
    async with world.hearing() as heard:
        if swept:
            await world.sweep()
            await _renewed(user)
            view = await user.view()
            assert (view.credit_micro_eur, view.held_micro_eur) == (210_000, 210_000)
            (asked,) = await heard()
            assert (asked.kind, asked.reason, [s.session_id for s in asked.sessions]) == (
                *("reauthorize", "reclaim", [data.sid]),
            )
        again = await data.one("U", octets(want=50 * MB, used=0, group=10))
    await _renewed(user)
    assert granted(again) == 50 * MB
    assert await data.held() == {"10": 0}, "the new period's units pay"
    await data.take("T", octets(used=50 * MB, group=10))
    assert (await user.credit(), await user.left("MINI.data")) == (LEFT - MINI_FEE, 9 * GB - 50 * MB)


async def test_a_fee_is_paid_while_a_roaming_session_holds_all_credit(world: World) -> None:
    """Two services hold all 7.20 EUR in Serbia; after the fee 0.21 EUR is left to hold."""
    user = await _mini_used_up(world)
    data: Running = user.data(SERBIA)
    await data.take("I", octets(want=0, group=10), octets(want=0, group=1))
    assert sum((await data.held()).values()) > LEFT - 30_000
    world.now += 600
    async with world.hearing() as heard:
        await world.sweep()
        asked = {(n.kind, n.reason, s.session_id) for n in await heard() for s in n.sessions}
    assert ("reauthorize", "reclaim", data.sid) in asked
    await _renewed(user)
    view = await user.view()
    assert view.credit_micro_eur == LEFT - MINI_FEE
    assert view.held_micro_eur <= view.credit_micro_eur
    # Use before the client's next request is paid as far as the credit goes; the rest is recorded as overrun.
    await data.take("T", octets(used=MB, group=10), octets(used=0, group=1))
    assert await user.credit() < 29_000, "less than a step of 10 kB"
    (record,) = (await user.events("charge"))[-1:]
    assert sum(line["overrun"] for line in record["svc"]) > 0
    assert await user.left("MINI.data") == 9 * GB, "outside the EU included units do not pay (HOT-ROA-1)"


@rule("HOT-PKG-2", "HOT-PKG-3")
async def test_a_message_after_the_periods_end_is_paid_by_the_new_period(world: World) -> None:
    """HOT-PKG-2, HOT-PKG-3: the next request pays the due fee, although a session holds the money."""
    user = await _mini_used_up(world)
    await user.data().take("I", octets(want=50 * MB, group=10))
    world.now += 600
    assert await user.message(SMS, sms_to("+38631234567")) == (2001, MINI_FEE)
    await _renewed(user)
    assert await user.left("MINI.sms") == 1499
