"""The rest of a billing step is granted only if the step was paid (HOT-ACC-9, HOT-PKG-5)."""

from __future__ import annotations

from protocol.credit_control import MultipleServicesCreditControl
from tests.ocs.charging.ccr import IMS, MB, octets, seconds, towards
from tests.ocs.rules.world import EUR, World, granted
from tests.rules import rule

USA = "tel:+12025550123"
FREE = 75
"""Octets that cost less than half a micro-EUR: rounded once per session, they are paid without credit."""


def _end(mscc: MultipleServicesCreditControl) -> tuple[int | None, int]:
    return mscc.result_code, granted(mscc)


async def test_octets_of_an_unpaid_step_are_not_granted(world: World) -> None:
    """69,000 micro-EUR pay 10 MB at 6,900 per MB. The network lets 720 octets more through, which begin a step of 1 kB
    that no credit pays.
    """
    user = await world.subscriber(0.069)
    data = user.data()
    first = await data.one("I", octets(want=0, group=10))
    assert _end(first) == (2001, 10_485_760)
    assert first.final_unit_indication is not None
    assert _end(await data.one("U", octets(want=0, used=10_486_480, group=10))) == (4012, 0)
    assert await user.credit() == 0
    # Repeated requests get nothing either.
    for _ in range(3):
        assert _end(await data.one("U", octets(want=0, used=304, group=10))) == (4012, 0)
    await data.take("T", octets(used=0, group=10))
    overrun = sum(line["overrun"] for event in await user.journal() for line in event.get("svc", ()))
    assert 2 * 1024 - FREE <= overrun <= 2 * 1024, "what nobody paid is on record in whole steps"


async def test_seconds_of_an_unpaid_minute_are_not_granted(world: World) -> None:
    """500,000 micro-EUR pay one minute to the USA, billed in whole minutes. One more second begins another minute."""
    user = await world.subscriber(0.5)
    call = user.running(IMS, towards(USA))
    first = await call.one("I", seconds(want=0))
    assert _end(first) == (2001, 60)
    assert first.final_unit_indication is not None
    for used in (61, 60, 60):
        world.now += used
        assert _end(await call.one("U", seconds(want=0, used=used))) == (4012, 0)
    assert await user.credit() == 0


@rule("HOT-PKG-5")
async def test_the_rest_of_a_paid_step_is_granted(world: World) -> None:
    """HOT-PKG-5: a minute is paid once, however it is reported."""
    user = await world.subscriber(0.5)
    call = user.running(IMS, towards(USA))
    assert _end(await call.one("I", seconds(want=20))) == (2001, 20)
    for _ in range(2):
        world.now += 20
        assert _end(await call.one("U", seconds(want=20, used=20))) == (2001, 20)
    world.now += 20
    assert _end(await call.one("U", seconds(want=20, used=20))) == (4012, 0)
    assert await user.credit() == 0


@rule("HOT-ACC-9")
async def test_a_top_up_continues_the_session(world: World) -> None:
    """HOT-ACC-9: the unpaid step is not debited later."""
    user = await world.subscriber(0.069)
    data = user.data()
    await data.take("I", octets(want=0, group=10))
    await data.take("U", octets(want=0, used=10_486_480, group=10))
    await user.top_up(1, "voucher")
    assert _end(await data.one("U", octets(want=MB, group=10))) == (2001, MB)
    await data.take("T", octets(used=MB, group=10))
    spent = EUR - await user.credit()
    assert abs(spent - 6_900) <= 7
