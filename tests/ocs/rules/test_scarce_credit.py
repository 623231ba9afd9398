"""Several services compete for too little credit; none of them gets everything (HOT-ACC-1, HOT-CC-1, HOT-CC-3)."""

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
    """A subscriber who can spend this amount: by credit, or by what is left of the limit."""
    user = await world.subscriber(100 if limited else micro_eur / EUR)
    if limited:
        await world.ledger.set_limit(user.account_id, limit_micro_eur=micro_eur, **world.when)
    return user


@rule("HOT-RAT-5")
@WITH_LIMIT
async def test_expensive_data_leaves_credit_for_a_message_and_a_call(world: World, limited: bool) -> None:
    """HOT-RAT-5: data in Serbia costs 2.90 EUR per MB and is requested without an amount."""
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
async def test_a_refused_call_gets_a_share_after_the_datas_next_request(world: World, limited: bool) -> None:
    """The data session holds 5 of 6 EUR, too much for a minute of a call. Its next request leaves a share."""
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
async def test_services_share_without_maximum_eur_too(world: World, limited: bool) -> None:
    """HOT-CC-1: the catalogue has no `maximum_eur`. The first grant holds all 20 EUR, the next one leaves room."""
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
    # Minutes later they still leave credit for each other.
    for used_s in (60, 120, 60):
        world.now += used_s
        assert granted(await data.one("U", octets(want=0, used=1024, group=10))) > 0
        assert granted(await call.one("U", seconds(want=0, used=0))) >= 60
        assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, SMS_ABROAD)


@rule("HOT-ACC-1")
async def test_a_single_service_may_use_all_credit(world: World) -> None:
    """HOT-ACC-1: without competition one service gets all that is left."""
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
async def test_the_minimum_grant_leaves_the_share_of_a_message(
    world: World, place: str, micro_eur: int, limited: bool
) -> None:
    """HOT-ACC-1: one MB, the minimum grant of data, is expensive here. It is reduced to leave a message its share."""
    user = await _with(world, micro_eur, limited)
    data = user.data(place)
    await data.take("I", octets(want=0, group=10))
    assert sum((await data.held()).values()) <= GRANT_MAXIMUM
    await user.message(SMS, sms_to("+38631234567", place))  # if nothing is left yet, the data session gets a RAR
    again = await data.one("U", octets(want=0, used=0, group=10))
    assert (again.result_code, granted(again) > 0) == (2001, True)
    assert (await user.message(SMS, sms_to("+38631234568", place)))[0] == 2001
    assert (await data.one("U", octets(want=0, used=0, group=10))).result_code == 2001
