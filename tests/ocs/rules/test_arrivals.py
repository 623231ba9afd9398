"""Arrivals in a country, reported once per entry (HOT-NOT-1, inadvertent roaming near a border), and thresholds of
buckets.
"""

from __future__ import annotations

import pytest

from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.products import BucketTerms, PackageTerms
from tests.ocs.charging.ccr import AUSTRIA, HOME, IMS, MB, SERBIA, SMS, at, octets, sms_to, towards
from tests.ocs.rules.world import DAY_S, Subscriber, World
from tests.rules import rule

CROATIA, HOFER = "21901", "29341"
"""A network near the border; another one at home."""
NATIONAL = "tel:+38631234567"


async def arrivals(user: Subscriber) -> list[tuple[str, str]]:
    return [(event["country"], event["plmn"]) for event in await user.events("arrived")]


async def test_an_arrival_is_an_event_once_an_entry_and_so_is_the_way_home(world: World) -> None:
    user = await world.subscriber(100)
    await user.use_data(MB)
    assert await arrivals(user) == [], "at home from the beginning"
    await user.use_data(MB, plmn=AUSTRIA)
    await user.use_data(MB, plmn=AUSTRIA)
    assert await user.may_call(towards(NATIONAL, AUSTRIA)) == 2001
    assert await arrivals(user) == [("AT", AUSTRIA)]
    assert (await user.view()).country == "AT"
    await user.message(SMS, sms_to("+38631234567", SERBIA))
    assert await arrivals(user) == [("AT", AUSTRIA), ("RS", SERBIA)]
    world.now += 2 * DAY_S
    await user.use_data(MB, plmn=HOFER)
    assert (await arrivals(user))[2:] == [("home", HOFER)], "another network of the home country is home"
    await user.use_data(MB, plmn=AUSTRIA)
    assert (await arrivals(user))[3:] == [("AT", AUSTRIA)], "a new entry after days"


async def test_near_a_border_repeated_changes_of_network_are_one_arrival(world: World) -> None:
    user = await world.subscriber(100)
    session = user.data()
    await session.one("I", octets(want=MB))
    for n in range(40):
        world.now += 600
        place = at(CROATIA if n % 2 == 0 else HOME)
        await session.one("U", octets(want=MB, used=100), information=place)
    assert await arrivals(user) == [("HR", CROATIA)]
    world.now += DAY_S  # a day at home
    await session.one("U", octets(want=MB, used=100), information=at(HOME))
    world.now += 10
    await session.one("U", octets(want=MB, used=100), information=at(CROATIA))
    assert await arrivals(user) == [("HR", CROATIA)] * 2


async def test_a_request_without_a_location_is_no_arrival(world: World) -> None:
    user = await world.subscriber(100)
    call = user.running(IMS, towards(NATIONAL, AUSTRIA))
    await user.use_data(MB, plmn=AUSTRIA)
    await user.message(SMS, sms_to("+38631234567", None))
    assert await arrivals(user) == [("AT", AUSTRIA)]
    await call.take("I")
    assert (await user.view()).country == "AT"


async def test_an_arrival_is_reported_although_roaming_is_barred(world: World) -> None:
    user = await world.subscriber(100)
    await world.ledger.set_bars(user.account_id, bars=["roaming"], **world.when)
    assert await user.may_call(towards(NATIONAL, AUSTRIA)) == 4010
    assert await arrivals(user) == [("AT", AUSTRIA)]


# -- buckets


@rule("HOT-PKG-3")
async def test_a_bucket_reports_80_and_100_percent_once_per_period(world: World) -> None:
    user = await world.subscriber(50, "MINI")
    gb = 1024 * MB
    for _ in range(7):
        await user.use_data(gb)
    assert await user.events("bucket") == []
    await user.use_data(gb // 2)
    (event,) = await user.events("bucket")
    assert (event["id"], event["pct"], event["quantity"], event["left"]) == ("MINI.data", 80, 9 * gb, 3 * gb // 2)
    await user.use_data(gb)
    assert len(await user.events("bucket")) == 1
    await user.use_data(gb)
    assert [event["pct"] for event in await user.events("bucket")] == [80, 100]
    world.now += 30 * DAY_S
    await world.sweep()
    for _ in range(9):
        await user.use_data(gb)
    assert [(e["pct"], e["left"]) for e in await user.events("bucket")][2:] == [(80, gb), (100, 0)]


@pytest.mark.parametrize(("muted", "said"), [("PACK.data:80", [100]), ("PACK.data", []), ("limit", [80, 100])])
async def test_a_notice_of_a_bucket_can_be_muted(world: World, muted: str, said: list[int]) -> None:
    terms = PackageTerms("PACK", 0, 30 * DAY_S, (BucketTerms("MAXI.data", "octets", 10 * MB, thresholds=(80, 100)),))
    user = await world.subscriber(5, terms)
    name = muted.replace("PACK", "MAXI")
    measure = AccountMeasure(MeasureKind.MUTE, name, "asked for", world.now)
    await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    await user.use_data(8 * MB)
    await user.use_data(8 * MB)
    assert [e["pct"] for e in await user.events("bucket") if not e.get("muted")] == said


async def test_an_unlimited_bucket_has_no_thresholds(world: World) -> None:
    terms = PackageTerms("ALL", 0, 30 * DAY_S, (BucketTerms("MAXI.data", "octets", None, thresholds=(80, 100)),))
    user = await world.subscriber(5, terms)
    await user.use_data(500 * MB)
    assert await user.events("bucket") == []
