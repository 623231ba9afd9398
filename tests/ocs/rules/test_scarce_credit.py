"""Several services compete for too little credit: none takes everything (HOT-ACC-1, HOT-CC-1, HOT-CC-3)."""

from __future__ import annotations

import pytest

from tests.ocs.charging.ccr import IMS, SERBIA, SMS, USA, messages, octets, seconds, sms_to, towards
from tests.ocs.charging.test_core_network import Quota
from tests.ocs.rules.world import EUR, Subscriber, World, granted
from tests.rules import rule

NATIONAL = "tel:+38631234567"
SMS_ABROAD, CALL_ABROAD_PER_MIN, GRANT_MAXIMUM = 250_000, 990_000, 5_000_000
WITH_LIMIT = pytest.mark.parametrize("limited", [False, True], ids=["credit", "limit"])


async def _with(world: World, micro_eur: int, limited: bool) -> Subscriber:
    """Somebody who can spend so much: all credit, or all that the limit leaves."""
    user = await world.subscriber(100 if limited else micro_eur / EUR)
    if limited:
        await world.ledger.set_limit(user.account_id, limit_micro_eur=micro_eur, **world.when)
    return user


@rule("HOT-RAT-5")
@WITH_LIMIT
async def test_data_where_it_is_dear_leaves_something_for_a_message_and_a_call(world: World, limited: bool) -> None:
    """HOT-RAT-5: data in Serbia at 2.90 EUR a MB, asked for without an amount."""
    user = await _with(world, 20 * EUR, limited)
    data, call = user.data(SERBIA), user.running(IMS, towards(NATIONAL, SERBIA))
    first = granted(await data.one("I", octets(want=0, group=10)))
    assert first > 0
    assert sum((await data.held()).values()) <= GRANT_MAXIMUM
    assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, SMS_ABROAD)
    assert granted(await call.one("I", seconds(want=0))) >= 60
    again = await data.one("U", octets(want=0, used=first, group=10))
    assert (again.result_code, granted(again) > 0) == (2001, True)
    assert granted(await call.one("U", seconds(want=0, used=0))) >= 60
    assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, SMS_ABROAD)


@WITH_LIMIT
async def test_who_got_nothing_gets_something_when_the_others_ask_again(world: World, limited: bool) -> None:
    """The data holds 5 of 6 EUR, so a minute of a call is not to be had; once the data asks again, all of them get
    something.
    """
    user = await _with(world, 6 * EUR, limited)
    data, where = user.data(SERBIA), towards(NATIONAL, SERBIA)
    async with world.hearing() as heard:
        assert granted(await data.one("I", octets(want=0, group=10))) > 0
        assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, SMS_ABROAD)
        refused = await user.running(IMS, where).take("I", seconds(want=0))
        assert refused.result_code == 4012
        asked = [(n.kind, n.reason, [s.session_id for s in n.sessions]) for n in await heard()]
    assert asked == [("reauthorize", "reclaim", [data.sid])], "it is told at once, not when its Validity-Time is over"
    again = await data.one("U", octets(want=0, used=0, group=10))
    assert (again.result_code, granted(again) > 0) == (2001, True), "the data goes on"
    call = user.running(IMS, where)
    assert granted(await call.one("I", seconds(want=0))) >= 60, "and the call begins"
    assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, SMS_ABROAD)
    assert (await data.one("U", octets(want=0, used=0, group=10))).result_code == 2001


@rule("HOT-CC-1")
@WITH_LIMIT
async def test_without_a_bound_in_money_too(world: World, limited: bool) -> None:
    """HOT-CC-1: a catalogue that has no `maximum_eur`. The first grant takes all of the 20 EUR, and the next one leaves
    room.
    """
    world.service._rater = Quota(world.catalogue, maximum_micro_eur=0)
    user = await _with(world, 20 * EUR, limited)
    data, where = user.data(SERBIA), towards(NATIONAL, SERBIA)
    async with world.hearing() as heard:
        await data.take("I", octets(want=0, group=10))
        assert sum((await data.held()).values()) > 19.9 * EUR
        assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (4012, 0)
        (asked,) = await heard()
        assert (asked.kind, asked.reason, [s.session_id for s in asked.sessions]) == (
            *("reauthorize", "reclaim", [data.sid]),
        )
    assert granted(await data.one("U", octets(want=0, used=0, group=10))) > 0
    assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, SMS_ABROAD)
    call = user.running(IMS, where)
    assert granted(await call.one("I", seconds(want=0))) >= 60
    # Minutes later they still leave something for each other.
    for used_s in (60, 120, 60):
        world.now += used_s
        assert granted(await data.one("U", octets(want=0, used=1024, group=10))) > 0
        assert granted(await call.one("U", seconds(want=0, used=0))) >= 60
        assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, SMS_ABROAD)


@rule("HOT-ACC-1")
async def test_a_message_alone_is_not_shared_with_anybody(world: World) -> None:
    """What is enough for one is given to one: nobody competes (HOT-ACC-1)."""
    user = await world.subscriber(0.25)
    text = user.running(SMS, sms_to("+38631234567", SERBIA))
    assert granted(await text.one("I", messages(want=1))) == 1
    assert (await text.take("T", messages(used=1))).result_code == 2001
    assert await user.credit() == 0


@rule("HOT-ACC-1")
@pytest.mark.parametrize(
    ("place", "micro_eur"),
    [(SERBIA, 2 * EUR), (SERBIA, 5 * EUR), (USA, 10 * EUR)],
    ids=["little", "as much as the policy grants", "a MB costs more than the policy grants"],
)
@WITH_LIMIT
async def test_the_least_grant_does_not_take_what_others_need(
    world: World, place: str, micro_eur: int, limited: bool
) -> None:
    """HOT-ACC-1: a MB, the least that data is granted, is dear here; it gives way to the share of a message."""
    user = await _with(world, micro_eur, limited)
    data = user.data(place)
    await data.take("I", octets(want=0, group=10))
    assert sum((await data.held()).values()) <= GRANT_MAXIMUM
    await user.message(
        SMS, sms_to("+38631234567", place)
    )  # if there is nothing for it yet, the data is asked to return some
    again = await data.one("U", octets(want=0, used=0, group=10))
    assert (again.result_code, granted(again) > 0) == (2001, True)
    assert (await user.message(SMS, sms_to("+38631234568", place)))[0] == 2001
    assert (await data.one("U", octets(want=0, used=0, group=10))).result_code == 2001
