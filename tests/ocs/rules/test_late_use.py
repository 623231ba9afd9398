"""Late use is paid by the units that were granted for it, else by available ones. The rest is recorded as overrun
(HOT-ACC-1, HOT-PKG-3).
"""

from __future__ import annotations

import pytest

from ocs.charging.service import ChargingService
from tests.conftest import RedisServer
from tests.ocs.charging.ccr import MB, SERBIA, octets
from tests.ocs.ledger.books import nodes
from tests.ocs.rules.world import DAY_S, EUR, World, granted, world_on
from tests.rules import rule

GB = 1024 * MB
DATA_PER_MB, MINI_FEE = 6_900, 6_990_000
TCC_S = 2 * 3600
FREE = 75
"""Octets that cost less than half a micro-EUR: rounded once per session, they are paid without credit."""


async def test_an_update_that_its_termination_has_overtaken_is_paid(world: World) -> None:
    """RFC 8506 §5.3, §5.4: request 2 arrives before request 1."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    assert (await data.take("T", octets(used=10 * MB, group=10), number=2)).result_code == 2001
    late = await data.take("U", octets(want=0, used=40 * MB, group=10), number=1)
    assert late.result_code == 2001
    assert granted(late.multiple_services_credit_control[0]) == 0, "the session is over"
    assert await user.credit() == 20 * EUR - 50 * DATA_PER_MB
    assert (await user.view()).held_micro_eur == 0
    assert world.metrics.of("late") == [["U"]]
    lines = [line for event in await user.events("charge") for line in event["svc"]]
    assert [(line["used"], line["debit"]) for line in lines] == [(10 * MB, 69_000), (40 * MB, 276_000)]


@rule("HOT-RAT-1")
@pytest.mark.parametrize("identified", [True, False])
async def test_another_worker_settles_late_use_too(world: World, identified: bool) -> None:
    """HOT-RAT-1: this worker knows neither the session's account nor its location, and the report lacks both."""
    user = await world.subscriber(20)
    data = user.data(SERBIA)
    await data.take("I", octets(want=MB, group=10), number=0)
    await data.take("T", octets(used=0, group=10), number=2)
    world.service = ChargingService(world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn)
    data.information = None
    who = {} if identified else {"msisdn": None}
    assert (await data.take("U", octets(want=0, used=MB, group=10), number=1, **who)).result_code == 2001
    assert 20 * EUR - await user.credit() == pytest.approx(2_900_000, abs=30_000), "the price of Serbia"


async def test_a_second_termination_with_more_use_is_paid_too(world: World) -> None:
    """RFC 8506 §5.4, §8.2: it has another number and reports more."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10))
    for _ in range(2):
        assert (await data.take("T", octets(used=10 * MB, group=10))).result_code == 2001
    assert await user.credit() == 20 * EUR - 20 * DATA_PER_MB
    again = await data.take("T", octets(used=10 * MB, group=10), number=2)
    assert again.result_code == 2001
    assert await user.credit() == 20 * EUR - 20 * DATA_PER_MB, "and a repetition is not"


@pytest.mark.parametrize(("number", "code"), [(1, 2001), (3, 5002)])
async def test_a_late_report_that_is_repeated_is_paid_once(world: World, number: int, code: int) -> None:
    """RFC 8506 §8.2: whatever the first answer was."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    await data.take("T", octets(used=10 * MB, group=10), number=2)
    answers = [await data.take("U", octets(want=0, used=40 * MB, group=10), number=number) for _ in range(3)]
    assert [answer.result_code for answer in answers] == [code] * 3
    assert answers[1] == answers[0]
    assert await user.credit() == 20 * EUR - 50 * DATA_PER_MB
    assert world.metrics.of("duplicate") == [["U"], ["U"]]


@rule("HOT-ACC-1")
async def test_late_use_of_many_ended_sessions_is_paid(world: World) -> None:
    """HOT-ACC-1: twenty sessions within five minutes."""
    user = await world.subscriber(20)
    sessions = [user.data() for _ in range(20)]
    for data in sessions:
        await data.take("I", octets(want=MB, group=10), number=0)
        await data.take("T", octets(used=0, group=10), number=2)
    for data in sessions:
        assert (await data.take("U", octets(want=0, used=MB, group=10), number=1)).result_code == 2001
    assert await user.credit() == 20 * EUR - 20 * DATA_PER_MB


@rule("HOT-ACC-1")
async def test_late_use_of_a_service_new_to_the_session_is_paid(world: World) -> None:
    """HOT-ACC-1."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    await data.take("T", octets(used=10 * MB, group=10), number=2)
    await data.take("U", octets(want=0, used=MB, group=10), octets(want=0, used=MB, group=1), number=1)
    assert await user.credit() == 20 * EUR - 12 * DATA_PER_MB


@rule("HOT-PKG-3")
async def test_late_use_is_paid_by_included_units(world: World) -> None:
    """HOT-PKG-3: an account with a package."""
    user = await world.subscriber(20, "MINI")
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    await data.take("T", octets(used=10 * MB, group=10), number=2)
    assert (await data.take("U", octets(want=0, used=40 * MB, group=10), number=1)).result_code == 2001
    assert (await user.credit(), await user.left("MINI.data")) == (20 * EUR - MINI_FEE, 9 * GB - 50 * MB)


async def test_use_more_than_five_minutes_late_is_refused_and_counted(world: World) -> None:
    """RFC 8506 §9.1: DIAMETER_UNKNOWN_SESSION_ID."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    await data.take("T", octets(used=10 * MB, group=10), number=2)
    world.now += 301
    assert (await data.take("U", octets(want=0, used=40 * MB, group=10), number=1)).result_code == 5002
    assert await user.credit() == 20 * EUR - 10 * DATA_PER_MB
    assert world.metrics.of("dropped") == [["data", "octets", 40 * MB]]


@rule("HOT-ACC-1")
async def test_use_within_five_minutes_is_paid_however_short_answers_are_kept(redis_7: RedisServer) -> None:
    """HOT-ACC-1: `remember_sessions_s` may be as little as 60."""
    async with world_on(redis_7.url, remember_sessions_s=60) as world:
        user = await world.subscriber(20)
        data = user.data()
        await data.take("I", octets(want=0, group=10), number=0)
        await data.take("T", octets(used=10 * MB, group=10), number=2)
        # As after 60 s of the real clock: keys that expire by then are deleted.
        for client in nodes(world.ledger):
            with client:
                for key in list(client.scan_iter()):
                    if 0 <= client.ttl(key) <= 60:
                        client.delete(key)
        late = await data.take("U", octets(want=0, used=40 * MB, group=10), number=1)
        assert late.result_code == 2001
        assert await user.credit() == 20 * EUR - 50 * DATA_PER_MB


@rule("HOT-ACC-1")
async def test_use_of_a_session_whose_opening_was_refused_is_paid(world: World) -> None:
    """RFC 8506 §5.4: the client lets 50 MB through nevertheless, and ends the session. HOT-ACC-1: all chargeable use is
    debited.
    """
    user = await world.subscriber(20)
    await world.ledger.set_state(user.account_id, state="blocked", **world.when)
    data = user.data()
    assert (await data.take("I", octets(want=0, group=10))).result_code == 4010
    ended = await data.take("T", octets(used=50 * MB, group=10))
    assert ended.result_code == 2001
    assert await user.credit() == 20 * EUR - 50 * DATA_PER_MB
    assert world.metrics.of("used") == [["data", "octets", 50 * MB]]
    (line,) = (await user.events("charge"))[-1]["svc"]
    assert (line["used"], line["debit"]) == (50 * MB, 345_000)


async def test_use_after_an_opening_refused_for_too_many_sessions_is_counted(world: World) -> None:
    """5006: the account has its maximum of sessions, and the ledger knows no other."""
    user = await world.subscriber(20)
    for _ in range(32):
        assert (await user.data().take("I", octets(want=0, group=900))).result_code == 2001
    data = user.data()
    assert (await data.take("I", octets(want=0, group=10))).result_code == 5006
    assert (await data.take("T", octets(used=50 * MB, group=10))).result_code == 5002
    assert await user.credit() == 20 * EUR
    assert world.metrics.of("dropped") == [["data", "octets", 50 * MB]]


@rule("HOT-ACC-1", "HOT-REC-2")
async def test_late_use_that_no_credit_can_pay_is_recorded(world: World) -> None:
    """HOT-ACC-1 (credit is never negative), HOT-REC-2."""
    user = await world.subscriber(0)
    data = user.data()
    assert (await data.take("I", octets(want=0, group=10))).result_code == 4012
    assert (await data.take("T", octets(used=50 * MB, group=10))).result_code == 2001
    (line,) = (await user.events("charge"))[-1]["svc"]
    assert (line["used"], line["debit"]) == (50 * MB, 0)
    assert 50 * MB - FREE <= line["overrun"] <= 50 * MB
    assert world.metrics.of("overrun") == [["data", "octets", line["overrun"]]]


@rule("HOT-PKG-2", "HOT-PKG-3")
@pytest.mark.parametrize("credit", [0.21, 20.0], ids=["not renewed", "renewed"])
@pytest.mark.parametrize("kind", ["U", "T"])
async def test_units_that_a_package_granted_pay_after_its_period(world: World, credit: float, kind: str) -> None:
    """HOT-PKG-2, HOT-PKG-3: the session is given up 50 s before the end of the period, and reports 10 s after it."""
    user = await world.subscriber(MINI_FEE / EUR + credit, "MINI")
    world.now += 30 * DAY_S - TCC_S - 50
    data = user.data()
    assert granted(await data.one("I", octets(want=100 * MB, group=10))) == 100 * MB
    world.now += TCC_S
    await world.sweep()
    assert [(session.released, session.reservations[0].held_units) for session in (await user.view()).sessions] == [
        (True, ())
    ]
    world.now += 60
    await world.sweep()
    renewed = credit > 7
    left = round(credit * EUR) - (MINI_FEE if renewed else 0)
    assert await user.credit() == left
    await data.take(kind, octets(used=60 * MB, group=10))
    assert await user.credit() == left, "nothing of it is charged to credit"
    fresh = {bucket.id: bucket.left for bucket in (await user.view()).buckets if bucket.expires_at > world.now}
    assert fresh.get("MINI.data") == (9 * GB if renewed else None), "nor to the new period's units"
    if kind == "T":
        (line,) = (await user.events("charge"))[-1]["svc"]
        assert (line["units"], line["debit"], line["overrun"]) == ([["MINI.data", 60 * MB]], 0, 0)


@rule("HOT-PKG-2")
async def test_late_use_beyond_the_grant_is_paid_by_credit(world: World) -> None:
    """HOT-PKG-2: 100 MB were granted in the old period and 130 MB used; the package was not renewed."""
    user = await world.subscriber(MINI_FEE / EUR + 0.21, "MINI")
    world.now += 30 * DAY_S - TCC_S - 50
    data = user.data()
    await data.take("I", octets(want=100 * MB, group=10))
    world.now += TCC_S
    await world.sweep()
    world.now += 60
    await data.take("T", octets(used=130 * MB, group=10))
    assert await user.credit() == 210_000 - 30 * DATA_PER_MB
