"""No operation on an account ends an emergency call (HOT-RAT-2) or other use that is always allowed."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.ledger.contract.notices import Notice
from tests.ocs.charging.ccr import CS, DATA, HOME, IMS, at, octets, seconds, towards
from tests.ocs.rules.world import Running, Subscriber, World, granted
from tests.rules import rule

KEPT: dict[str, tuple[str, Any, Any]] = {
    "112": (IMS, towards("tel:112"), seconds),
    "112 of the circuit-switched core": (CS, towards("tel:112"), seconds),
    "the emergency APN": (DATA, at(HOME, "sos"), octets),
    "the help centre": (IMS, towards("tel:1990"), seconds),
}


async def _block(world: World, user: Subscriber) -> None:
    await world.ledger.set_state(user.account_id, state="blocked", **world.when)


async def _terminate(world: World, user: Subscriber) -> None:
    await world.ledger.terminate_account(user.account_id, **world.when)


def _aborted(notices: list[Notice]) -> list[str]:
    return [s.session_id for notice in notices if notice.kind == "abort" for s in notice.sessions]


@rule("HOT-RAT-2", "HOT-ACC-11")
@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("end", [_block, _terminate])
async def test_an_emergency_call_is_not_aborted(world: World, what: str, end: Any) -> None:
    """HOT-RAT-2, HOT-ACC-11 ("all but emergency calls"): there is no ASR, and the next request is granted."""
    context, information, units = KEPT[what]
    user = await world.subscriber(5)
    call = user.running(context, information)
    assert granted(await call.one("I", units(want=0))) > 0
    async with world.hearing() as heard:
        await end(world, user)
        assert await heard() == []
    if what != "the help centre":  # after the end of the account only emergencies continue
        assert granted(await call.one("U", units(want=0, used=10))) > 0
        assert (await call.take("T", units(used=10))).result_code == 2001


@rule("HOT-ACC-11")
@pytest.mark.parametrize("end", [_block, _terminate])
async def test_other_sessions_are_aborted(world: World, end: Any) -> None:
    """HOT-ACC-11."""
    user = await world.subscriber(5)
    help_call, data = user.running(IMS, towards("tel:112")), user.data()
    await help_call.take("I", seconds(want=0))
    await data.take("I", octets(want=0, group=10))
    async with world.hearing() as heard:
        await end(world, user)
        assert _aborted(await heard()) == [data.sid]


@rule("HOT-ACC-11")
async def test_a_session_with_data_and_the_portal_keeps_the_portal_only(world: World) -> None:
    """HOT-ACC-11: one Gy session has data (RG 10) and the portal (RG 900, always allowed). It gets a RAR instead of an
    ASR, and then only the portal is granted.
    """
    user = await world.subscriber(5)
    both = user.data()
    await both.take("I", octets(want=0, group=10), octets(want=0, group=900))
    async with world.hearing() as heard:
        await _block(world, user)
        told = [(notice.kind, s.session_id) for notice in await heard() for s in notice.sessions]
    again = await both.take("U", octets(want=0, used=0, group=10), octets(want=0, used=0, group=900))
    results = {each.rating_group: each.result_code for each in again.multiple_services_credit_control}
    assert results == {10: 4010, 900: 2001}
    assert told == [("reauthorize", both.sid)]


@rule("HOT-ACC-6")
async def test_an_emergency_call_outlives_the_account(world: World) -> None:
    """HOT-ACC-6: 90 + 270 days after the last top-up the account ends during a call to 112."""
    user = await world.subscriber(5)
    world.now += 360 * 86_400 - 10
    await world.sweep()
    call: Running = user.running(IMS, towards("tel:112"))
    assert granted(await call.one("I", seconds(want=0))) > 0
    world.now += 20
    async with world.hearing() as heard:
        await world.sweep()
        assert (await user.view()).state == "terminated"
        assert await heard() == []
    assert granted(await call.one("U", seconds(want=0, used=20))) > 0
