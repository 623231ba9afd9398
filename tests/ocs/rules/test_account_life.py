"""An account's life (HOT-ACC-2 to HOT-ACC-9): sold, used for the first time, active, inactive, terminated."""

from __future__ import annotations

import pytest

from ocs.ledger.contract.errors import LedgerError
from tests.catalogue import CATALOGUE
from tests.ocs.charging.ccr import AUSTRIA, IMS, MB, SERBIA, SMS, called_by, octets, seconds, sms_from, sms_to, towards
from tests.ocs.rules.world import DAY_S, EUR, Subscriber, World
from tests.rules import rule

FRIEND = towards("tel:+38631234567")
SMS_PRICE = 69_000


async def changes(user: Subscriber) -> list[tuple[str, str, int]]:
    """(state before, state, end of it) of each change of state."""
    return [(each["was"], each["state"], each["ends"]) for each in await user.events("state")]


# -- the first use


@rule("HOT-ACC-2")
async def test_the_first_service_activates_and_the_package_begins_then(world: World) -> None:
    user = await world.subscriber(20, "MINI", unused=True)
    view = await user.view()
    assert (view.state, view.active_until, view.credit_micro_eur, view.buckets) == ("new", 0, 20 * EUR, ())
    world.now += 400 * DAY_S
    await world.sweep()
    assert (await user.view()).state == "new", "an account that was not used yet does not grow old"
    assert await user.call(60, FRIEND) == 6_990_000, "the fee; the package pays the call"
    view = await user.view()
    begun = world.now - 60
    assert (view.state, view.active_until) == ("active", begun + 90 * DAY_S)
    assert (view.credit_micro_eur, view.period_end) == (20 * EUR - 6_990_000, begun + 30 * DAY_S)
    assert await changes(user) == [("n", "a", begun + 90 * DAY_S)]
    assert [(each["t"], each["ok"]) for each in await user.events("package")] == [(begun, True)]


@rule("HOT-ACC-2")
@pytest.mark.parametrize("kind", ["call", "message", "data", "incoming"])
async def test_each_kind_of_service_activates(world: World, kind: str) -> None:
    user = await world.subscriber(5, unused=True)
    if kind == "call":
        await user.call(60, FRIEND)
    elif kind == "message":
        assert await user.message(SMS, sms_to("38631234567")) == (2001, SMS_PRICE)
    elif kind == "data":
        await user.use_data(MB)
    else:
        await user.call(60, called_by("tel:+38631234567"))
    assert (await user.view()).state == "active"


@rule("HOT-ACC-2")
async def test_a_refused_first_request_activates_nothing(world: World) -> None:
    user = await world.subscriber(7, "MINI", unused=True)
    await world.ledger.set_bars(user.account_id, bars=["premium"], **world.when)
    assert await user.may_call(towards("tel:+38690123456")) == 4010
    view = await user.view()
    assert (view.state, view.credit_micro_eur, view.buckets) == ("new", 7 * EUR, ())
    assert [event["k"] for event in await user.journal() if event["k"] in ("state", "package")] == []
    assert await user.may_call(FRIEND) == 2001
    assert (await user.view()).credit_micro_eur == 10_000


@rule("HOT-ACC-2", "HOT-RAT-2")
async def test_an_emergency_call_is_allowed_and_activates_nothing(world: World) -> None:
    user = await world.subscriber(20, "MINI", unused=True)
    assert await user.may_call(towards("tel:112")) == 2001
    assert (await user.view()).state == "new"


@rule("HOT-ACC-2", "HOT-PKG-2")
async def test_a_package_that_the_credit_does_not_cover_waits_for_a_top_up(world: World) -> None:
    user = await world.subscriber(1, "MINI", unused=True)
    assert await user.call(60, FRIEND) > 0
    view = await user.view()
    assert (view.state, view.package_pending) == ("active", True)
    assert [event["ok"] for event in await user.events("package")] == [False]
    await user.top_up(10, "R1")
    assert not (await user.view()).package_pending


@rule("HOT-ACC-2", "HOT-ACC-11")
async def test_an_account_blocked_before_its_first_use_is_new_again_after_it(world: World) -> None:
    user = await world.subscriber(20, unused=True)
    await world.ledger.set_state(user.account_id, state="blocked", **world.when)
    assert await user.may_call(FRIEND) == 4010
    await world.ledger.set_state(user.account_id, state="active", **world.when)
    assert (await user.view()).state == "new"
    await user.top_up(5, "R1")
    assert (await user.view()).state == "new", "a top-up is no use"
    await user.call(60, FRIEND)
    assert (await user.view()).active_until == world.now - 60 + 90 * DAY_S


# -- by time


@rule("HOT-ACC-3", "HOT-ACC-4", "HOT-ACC-5", "HOT-ACC-6")
async def test_each_transition_by_time_is_announced_and_told_once(world: World) -> None:
    """90 days active, 270 inactive; each end is announced 7 days before (`expiring_days`)."""
    user = await world.subscriber(20)
    opened = world.now
    ends, over = opened + 90 * DAY_S, opened + 360 * DAY_S
    for day in range(365):
        world.now = opened + day * DAY_S
        await world.sweep()
    journal = [event for event in await user.journal() if event["k"] in ("expiring", "state", "terminated")]
    assert [(each["k"], each["t"] - opened, each.get("ends")) for each in journal] == [
        ("expiring", 83 * DAY_S, ends),
        ("state", 90 * DAY_S, over),
        ("expiring", 353 * DAY_S, over),
        ("terminated", 360 * DAY_S, None),
    ]
    assert [each["state"] for each in journal[:3]] == ["i", "i", "t"]
    assert (journal[3]["debit"], journal[3]["was"], journal[3]["reason"]) == (20 * EUR, "i", "life")


@rule("HOT-ACC-3", "HOT-ACC-4", "HOT-ACC-6")
async def test_the_catalogue_says_how_long_an_account_is_active_and_inactive(world: World) -> None:
    """60 days active and 30 inactive, each end announced 7 days before. A top-up in time gives 60 days more."""
    shipped = CATALOGUE.read_text("utf-8")
    shorter = shipped.replace("inactive_days = 270", "inactive_days = 30").replace(
        "active_days = 90", "active_days = 60"
    )
    await world.price_lists(shorter)
    world.ledger.follow_life(world.catalogue.life_at)
    user, late = await world.subscriber(20), await world.subscriber(20)
    opened = world.now
    for day in range(92):
        world.now = opened + day * DAY_S
        await world.sweep()
        if day == 59:
            await late.top_up(5, "R1")
    journal = [event for event in await user.journal() if event["k"] in ("expiring", "state", "terminated")]
    assert [(each["k"], (each["t"] - opened) // DAY_S) for each in journal] == [
        ("expiring", 53),
        ("state", 60),
        ("expiring", 83),
        ("terminated", 90),
    ]
    assert journal[1]["ends"] == opened + 90 * DAY_S
    assert (await late.view()).active_until == opened + (59 + 60) * DAY_S


@rule("HOT-ACC-3", "HOT-ACC-5")
async def test_a_top_up_reactivates_and_what_was_announced_is_announced_anew(world: World) -> None:
    user = await world.subscriber(20)
    for days in (84, 7):
        world.now += days * DAY_S
        await world.sweep()
    assert (await user.view()).state == "inactive"
    await user.top_up(5, "R1")
    assert (await changes(user))[-1] == ("i", "a", world.now + 90 * DAY_S)
    assert (await user.view()).credit_micro_eur == 25 * EUR
    world.now += 84 * DAY_S
    await world.sweep()
    assert [each["state"] for each in await user.events("expiring")] == ["i", "i"]


@rule("HOT-ACC-4", "HOT-RAT-2")
async def test_the_end_of_the_active_period_ends_sessions_but_no_emergency_call(world: World) -> None:
    user = await world.subscriber(20)
    world.now += 90 * DAY_S - 1_000
    call, emergency = user.running(IMS, FRIEND), user.running(IMS, towards("tel:112"))
    await call.take("I", seconds(want=600))
    await emergency.take("I", seconds(want=600))
    world.now += 1_000
    async with world.hearing() as heard:
        await world.sweep()
        notices = await heard()
    assert [(each.kind, [s.session_id for s in each.sessions]) for each in notices] == [("abort", [call.sid])]
    assert await user.may_call(FRIEND) == 4010
    assert await user.may_call(called_by("tel:+38631234567")) == 4010
    assert await user.may_call(towards("tel:112")) == 2001


@rule("HOT-ACC-9")
async def test_with_nothing_left_incoming_use_is_allowed_until_the_account_expires(world: World) -> None:
    user = await world.subscriber(0)
    incoming = called_by("tel:+38631234567")
    assert await user.may_call(FRIEND) == 4012
    assert (await user.message(SMS, sms_to("38631234567")))[0] == 4012
    assert (await user.data().take("I", octets(want=MB))).result_code == 4012
    assert await user.may_call(incoming) == 2001
    assert await user.may_call(called_by("tel:+38631234567", plmn=AUSTRIA)) == 2001
    assert (await user.message(SMS, sms_from("38631234567")))[0] == 2001
    assert await user.may_call(called_by("tel:+38631234567", plmn=SERBIA)) == 4012
    world.now += 90 * DAY_S
    assert await user.may_call(incoming) == 4010
    assert await user.may_call(towards("tel:112")) == 2001


# -- low credit


@rule("HOT-ACC-8")
async def test_low_credit_is_told_once_a_crossing(world: World) -> None:
    """From 1.05 EUR: an SMS costs 0.069 EUR. Told at 0.981, not at 0.912; again after a top-up, at 0.974."""
    user = await world.subscriber(1.05)
    for _ in range(2):
        await user.message(SMS, sms_to("38631234567"))
    assert [(each["credit"], each["below"]) for each in await user.events("low_credit")] == [(981_000, EUR)]
    await user.top_up(0.05, "R1")  # 0.962: still below
    await user.message(SMS, sms_to("38631234567"))
    assert len(await user.events("low_credit")) == 1
    await user.top_up(0.15, "R2")  # 1.043
    await user.message(SMS, sms_to("38631234567"))
    assert [each["credit"] for each in await user.events("low_credit")] == [981_000, 974_000]


@rule("HOT-ACC-8")
async def test_the_fee_of_a_package_is_no_such_crossing(world: World) -> None:
    user = await world.subscriber(7.5, "MINI")
    assert await user.credit() == 510_000
    await user.message(SMS, sms_to("38631234567"))  # paid by the package
    await user.use_data(MB)
    world.now += 30 * DAY_S
    await user.top_up(7, "R1")  # renews: 7.51 - 6.99
    await user.message(SMS, sms_to("38631234567"))
    assert await user.events("low_credit") == []


@rule("HOT-ACC-8")
async def test_a_crossing_within_a_session_is_told_when_it_happens(world: World) -> None:
    user = await world.subscriber(1.2)
    call = user.running(IMS, FRIEND)
    await call.take("I", seconds(want=60))
    told = []
    for _ in range(6):
        world.now += 60
        await call.take("U", seconds(want=60, used=60))
        told.append(len(await user.events("low_credit")))
    assert told == [0, 0, 1, 1, 1, 1]


# -- terminal


@rule("HOT-ACC-6")
async def test_a_terminated_account_takes_no_money(world: World) -> None:
    user = await world.subscriber(20)
    await world.ledger.terminate_account(user.account_id, **world.when)
    with pytest.raises(LedgerError) as refused:
        await user.top_up(5, "R1")
    assert refused.value.code == "state"


@rule("HOT-ACC-2", "HOT-CC-4")
async def test_notices_of_a_refused_first_request_are_told_once(world: World) -> None:
    """The refusal activates nothing, but what it told stays told: here that nothing may be spent."""
    user = await world.subscriber(5, unused=True)
    await world.ledger.set_limit(user.account_id, limit_micro_eur=0, **world.when)
    for _ in range(2):
        assert (await user.message(SMS, sms_to("+38631234567")))[0] == 4012
        world.now += 3_600
    assert [event["pct"] for event in await user.events("threshold")] == [80, 100]
    assert (await user.view()).state == "new"
