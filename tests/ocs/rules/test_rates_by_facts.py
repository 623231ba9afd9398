"""Rates for accounts with certain facts, or between dates (HOT-ROA-3, -7, -8)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ocs.catalogue.catalogue import CatalogueError
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, Retry
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.operations import ChargeDone
from ocs.values.measures import MAX_MEASURES_PER_ACCOUNT, AccountMeasure, MeasureKind
from protocol.errors import DiameterError, ResultCode
from tests.ocs.charging.ccr import AUSTRIA, DATA, IMS, MB, SERBIA, at, ccr, octets, seconds, towards
from tests.ocs.rules.world import CATALOGUE, DAY_S, EUR, Subscriber, World, granted
from tests.rules import rule

TEXT = CATALOGUE.read_text()
NATIONAL = "tel:+38631234567"
SURCHARGE = """
[price.data-surcharge]
micro_eur = 8_192
per = "1 MB"
first = "1 kB"

[price.voice-surcharge]
micro_eur = 90_000
per = "1 min"
first = "60 s"
next = "1 s"

[rate."data.eu.surcharge"]
service = "data"
places = ["eu"]
price = "data-surcharge"
counters = ["roaming-data"]
CONDITION

[rate."voice.eu.surcharge"]
service = "voice"
places = ["eu"]
directions = ["mo", "fw"]
destinations = ["national-mobile"]
price = "voice-surcharge"
CONDITION
"""


def surcharged(condition: str) -> str:
    return TEXT + SURCHARGE.replace("CONDITION", condition)


def fact(world: World, name: str, *, since: int = 0, until: int = 0) -> AccountMeasure:
    return AccountMeasure(MeasureKind.FACT, name, "use mostly abroad", since or world.now, until)


async def put(user: Subscriber, measure: AccountMeasure) -> None:
    await user.world.ledger.set_measure(user.account_id, measure=measure, **user.world.when)


@rule("HOT-ROA-8")
async def test_a_surcharge_on_an_account_changes_its_price_at_once_and_until_its_end(world: World) -> None:
    await world.price_lists(surcharged('when = ["fair-use"]'))
    user, other = await world.subscriber(10), await world.subscriber(10)
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900
    await put(user, fact(world, "fair-use", until=world.now + DAY_S))
    assert (await user.view()).facts == "fair-use"
    assert await user.use_data(MB, plmn=AUSTRIA) == 8_192
    assert await user.call(60, towards(NATIONAL, AUSTRIA)) == 90_000
    assert await user.call(60, towards("tel:+38614714711", AUSTRIA)) == 69_000, "the rate names mobile numbers only"
    assert await user.use_data(MB) == 6_900, "at home nothing has changed"
    assert await other.use_data(MB, plmn=AUSTRIA) == 6_900
    assert [event["svc"][0]["label"] for event in await user.events("charge")][1] == "data.eu.surcharge"
    world.now += DAY_S
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900, "it has ended, though nobody has swept"
    told = [(event["state"], event["name"], event["reason"]) for event in await user.events("measure")]
    assert told == [("begun", "fair-use", "use mostly abroad"), ("ended", "fair-use", "use mostly abroad")]


@rule("HOT-ROA-8")
async def test_a_running_session_gets_a_rar_and_pays_its_grant_at_the_old_price(world: World) -> None:
    await world.price_lists(surcharged('when = ["fair-use"]'))
    user = await world.subscriber(10)
    session = user.data(AUSTRIA)
    async with world.hearing() as heard:
        await session.one("I", octets(want=10 * MB))
        await put(user, fact(world, "fair-use"))
        ((kind, reason, asked),) = [(n.kind, n.reason, [s.session_id for s in n.sessions]) for n in await heard()]
        assert (kind, reason, asked) == ("reauthorize", "measure", [session.sid])
        before = await user.credit()
        await session.one("U", octets(want=10 * MB, used=4 * MB))
        assert before - await user.credit() == 4 * 6_900
        await session.one("U", octets(want=10 * MB, used=4 * MB))
        assert before - await user.credit() == 4 * 6_900 + 4 * 8_192
        await world.ledger.lift_measure(user.account_id, kind=MeasureKind.FACT, name="fair-use", **world.when)
        assert [n.reason for n in await heard()] == ["measure"]
    await session.one("U", octets(want=10 * MB, used=MB))
    before = await user.credit()
    await session.take("T", octets(used=MB))
    assert before - await user.credit() == 6_900


async def test_the_facts_of_a_product_hold_while_it_runs(world: World) -> None:
    """An unpaid renewal removes its facts, and the account's sessions get a RAR."""
    text = surcharged('when = ["roamer"]').replace("[package.MINI]\n", '[package.MINI]\nfacts = ["roamer"]\n')
    await world.price_lists(text)
    user = await world.subscriber(10, "MINI")
    assert (await user.view()).facts == "roamer"
    assert await user.call(60, towards(NATIONAL, AUSTRIA)) == 90_000
    session = user.data()
    await session.one("I", octets(want=MB))
    async with world.hearing() as heard:
        world.now += 30 * DAY_S
        await world.sweep()
        assert "facts" in [n.reason for n in await heard()] or not (await user.view()).live_sessions
    assert ((await user.view()).package_pending, (await user.view()).facts) == (True, "")
    assert await user.call(60, towards(NATIONAL, AUSTRIA)) == 69_000


@pytest.mark.parametrize(
    ("facts", "cost"),
    [((), 6_900), (("fair-use",), 8_192), (("resale",), 6_900), (("fair-use", "resale"), 6_900)],
)
async def test_when_and_unless(world: World, facts: tuple[str, ...], cost: int) -> None:
    await world.price_lists(surcharged('when = ["fair-use"]\nunless = ["resale"]'))
    user = await world.subscriber(10)
    for name in facts:
        await put(user, fact(world, name))
    assert await user.use_data(MB, plmn=AUSTRIA) == cost


async def test_a_planned_measure_begins_by_itself(world: World) -> None:
    await world.price_lists(surcharged('when = ["fair-use"]'))
    user = await world.subscriber(10)
    await put(user, fact(world, "fair-use", since=world.now + 14 * DAY_S))
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900
    assert [(m.begun, m.terms.name) for m in (await user.view()).measures] == [(False, "fair-use")]
    world.now += 14 * DAY_S
    assert await user.use_data(MB, plmn=AUSTRIA) == 8_192
    assert [event["state"] for event in await user.events("measure")] == ["planned", "begun"]


async def test_a_worker_with_stale_facts_rates_again_once(world: World) -> None:
    """Another worker, or the same one after a restart. The ledger's facts count, and nothing is charged twice."""
    await world.price_lists(surcharged('when = ["fair-use"]'))
    user = await world.subscriber(10)
    await put(user, fact(world, "fair-use"))
    assert await user.use_data(MB, plmn=AUSTRIA) == 8_192
    await world.price_lists(surcharged('when = ["fair-use"]'))  # a worker with empty caches
    session = user.data(AUSTRIA)
    await session.one("I", octets(want=MB))
    await world.ledger.lift_measure(user.account_id, kind=MeasureKind.FACT, name="fair-use", **world.when)
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900
    await session.take("T", octets(used=MB))
    assert 10 * EUR - await user.credit() == 8_192 + 6_900 + 8_192


async def test_a_worker_that_knows_the_facts_asks_the_ledger_once(world: World) -> None:
    await world.price_lists(surcharged('when = ["fair-use"]'))
    user = await world.subscriber(10)
    await put(user, fact(world, "fair-use"))
    asked: list[str] = []
    charge = world.ledger.charge

    def counted(request: ChargeRequest, done: ChargeDone) -> None:
        asked.append(request.facts)
        charge(request, done)

    world.ledger.charge = counted  # type: ignore[method-assign]
    session = user.data(AUSTRIA)
    await session.one("I", octets(want=MB))
    assert asked == ["", "fair-use"], "the first time it is told"
    await session.one("U", octets(want=MB, used=MB))
    await session.take("T", octets(used=MB))
    await world.ledger.lift_measure(user.account_id, kind=MeasureKind.FACT, name="fair-use", **world.when)
    assert asked == ["", *["fair-use"] * 3]
    await user.use_data(MB, plmn=AUSTRIA)
    assert asked[4:] == ["fair-use", "", ""]


async def test_facts_that_change_all_the_time_end_in_an_answer(world: World) -> None:
    """Others change the account between every two requests: the client is told to try elsewhere, nothing is charged."""
    user = await world.subscriber(10)
    asked: list[str] = []

    def restless(request: ChargeRequest, done: ChargeDone) -> None:
        asked.append(request.facts)
        outcome = ChargeOutcome(0, False, (), 0, 0, Retry.FACTS, place=f"fact{len(asked)}")
        asyncio.get_running_loop().call_soon(done, outcome)

    world.ledger.charge = restless  # type: ignore[method-assign]
    session = user.data()
    request = ccr("I", 0, octets(want=MB), context=DATA, sid=session.sid, msisdn=user.msisdn, information=at())
    answer = await world.reply(request)
    assert isinstance(answer, DiameterError) and answer.result_code == ResultCode.UNABLE_TO_DELIVER
    assert asked == ["", "fact1", "fact2"]


@rule("HOT-ROA-7")
async def test_hot_roa_7_a_surcharge_holds_between_its_dates_and_grants_end_there(world: World) -> None:
    """From 15 November (it is the 10th) to the end of 20 November, in Ljubljana."""
    await world.price_lists(surcharged('from = "2026-11-15"\nuntil = "2026-11-20"'))
    user = await world.subscriber(20)
    zone = ZoneInfo("Europe/Ljubljana")
    begins, ends = (int(datetime(2026, 11, day, tzinfo=zone).timestamp()) for day in (15, 21))
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900
    world.now = begins - 600
    session = user.data(AUSTRIA)
    first = await session.one("I", octets(want=10 * MB))
    assert (granted(first), first.validity_time) == (10 * MB, 600)
    world.now = begins
    await session.one("U", octets(want=10 * MB, used=10 * MB))
    before = await user.credit()
    await session.take("T", octets(used=MB))
    assert before - await user.credit() == 8_192
    world.now = ends - 1
    assert await user.use_data(MB, plmn=AUSTRIA) == 8_192
    assert await user.use_data(MB) == 6_900, "it is a surcharge on roaming"
    world.now = ends
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900


@rule("HOT-ROA-8", "HOT-CC-5")
async def test_hot_roa_8_a_bar_with_an_end_beside_the_subscribers_own(world: World) -> None:
    user = await world.subscriber(20)
    bar = AccountMeasure(MeasureKind.BAR, "roaming", "resale of SIMs", world.now, world.now + DAY_S)
    session = user.data(AUSTRIA)
    await session.one("I", octets(want=MB))
    async with world.hearing() as heard:
        await put(user, bar)
        assert [(n.kind, n.reason) for n in await heard()] == [("abort", "measure")], "nothing of it is left"
    barred = await session.one("U", octets(want=MB, used=MB))
    assert barred.result_code == 4010
    assert await user.may_call(towards(NATIONAL, SERBIA)) == 4010
    assert await user.may_call(towards("tel:112", SERBIA)) == 2001
    assert await user.may_call(towards(NATIONAL)) == 2001
    await world.ledger.set_bars(user.account_id, bars=["premium"], **world.when)
    await world.ledger.set_bars(user.account_id, bars=[], **world.when)
    assert await user.may_call(towards(NATIONAL, SERBIA)) == 4010, "the subscriber cannot lift it"
    async with world.hearing() as heard:
        world.now += DAY_S
        await world.sweep()
        assert await user.may_call(towards(NATIONAL, SERBIA)) == 2001
    assert [event["state"] for event in await user.events("measure")] == ["begun", "ended"]


@rule("HOT-ROA-8", "HOT-RAT-2")
async def test_a_bar_aborts_what_it_leaves_nothing_of_and_asks_the_others(world: World) -> None:
    """Data and the free portal in one session, data alone, a call, and an emergency call."""
    user = await world.subscriber(20)
    mixed, alone = user.data(), user.data()
    call, emergency = user.running(IMS, towards(NATIONAL)), user.running(IMS, towards("tel:112"))
    await mixed.take("I", octets(want=MB), octets(want=MB, group=900))
    await alone.one("I", octets(want=MB))
    await call.one("I", seconds(want=60))
    await emergency.one("I", seconds(want=60))
    async with world.hearing() as heard:
        bar = AccountMeasure(MeasureKind.BAR, "data", "misuse", world.now + 60)
        await put(user, bar)
        world.now += 60
        await world.sweep()
        told = {(n.kind, s.session_id) for n in await heard() if n.reason == "measure" for s in n.sessions}
    assert ("abort", alone.sid) in told
    others = {("reauthorize", each.sid) for each in (mixed, call, emergency)}
    assert told - others == {("abort", alone.sid)} and others <= told
    both = (await mixed.take("U", octets(want=MB), octets(want=MB, group=900))).multiple_services_credit_control
    assert [each.result_code for each in both] == [4010, 2001]


async def test_measures_are_bounded_and_replaced_by_kind_and_name(world: World) -> None:
    user = await world.subscriber(1)
    for n in range(MAX_MEASURES_PER_ACCOUNT):
        await put(user, fact(world, f"word{n}"))
    with pytest.raises(LedgerError) as refused:
        await put(user, fact(world, "one-more"))
    assert refused.value.code == "measures"
    await put(user, fact(world, "word0", until=world.now + 60))
    (first,) = [m.terms.until for m in (await user.view()).measures if m.terms.name == "word0"]
    assert first == world.now + 60
    with pytest.raises(LedgerError) as refused:
        await put(user, replace(fact(world, "word1"), until=world.now))
    assert refused.value.code == "range"
    again = {"kind": MeasureKind.FACT, "name": "word0", **world.when}
    assert await world.ledger.lift_measure(user.account_id, **again)
    assert not await world.ledger.lift_measure(user.account_id, **again)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('when = ["UPPER"]', "must be words of small letters"),
        ('from = "2026-13-01"', "must be a date such as"),
        ('until = "soon"', "must be a date such as"),
        ('when = ["fair-use"]\nbeyond = "data-surcharge"', 'needs a counter with at_limit = "price"'),
        ('when = ["fair-use"]\ncounters = ["nothing"]', "is not a counter of this catalogue"),
    ],
)
async def test_errors_in_conditional_rates_are_named(world: World, text: str, said: str) -> None:
    added = SURCHARGE.replace('counters = ["roaming-data"]\n', "") if "counters" in text else SURCHARGE
    with pytest.raises(CatalogueError) as mistakes:
        await world.price_lists(TEXT + added.replace("CONDITION", text))
    assert said in str(mistakes.value)


async def test_an_emergency_call_depends_on_no_fact(world: World) -> None:
    added = """
[rate."voice.sos"]
service = "voice"
places = ["home"]
directions = ["mo"]
destinations = ["emergency"]
price = "voice-national"
when = ["fair-use"]
"""
    with pytest.raises(CatalogueError, match="is always free: it cannot depend on anything"):
        await world.price_lists(TEXT + added)


async def test_a_call_keeps_the_price_of_its_grant_when_a_fact_begins(world: World) -> None:
    await world.price_lists(surcharged('when = ["fair-use"]'))
    user = await world.subscriber(10)
    call = user.running(IMS, towards(NATIONAL, AUSTRIA))
    await call.one("I", seconds(want=300))
    await put(user, fact(world, "fair-use"))
    world.now += 120
    before = await user.credit()
    await call.take("T", seconds(used=120))
    assert before - await user.credit() == 2 * 69_000
