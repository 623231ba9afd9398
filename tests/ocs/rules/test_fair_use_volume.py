"""The fair-use volume in the EU (HOT-ROA-1 to -3), from the CCR to balance and record."""

from __future__ import annotations

from datetime import UTC, datetime

from ocs.values.measures import AccountMeasure, MeasureKind
from tests.ocs.charging.ccr import AUSTRIA, HOME, IMS, MB, SMS, called_by, octets, sms_to, towards
from tests.ocs.rules.world import CATALOGUE, Subscriber, World, granted
from tests.rules import rule

GB = 1024 * MB
MAXI_2026 = 15_988_991_889
"""Octets: 2 × 8.19 / 1.10 GB, rounded up. That is 15,248 MB, 237 kB and 721 octets."""
MAXI_2027 = 17_587_891_078
BEYOND_2026 = 1_310
"""Micro-EUR a MB: 1.10 EUR a GB and 22 % VAT, rounded down."""
BEYOND_2027 = 1_191
DOMESTIC = 6_900
SURCHARGE = "fair-use-surcharge"


async def shipped(world: World) -> None:
    await world.price_lists(CATALOGUE.read_text())


@rule("HOT-ROA-2", "HOT-ROA-3")
async def test_maxi_pays_the_wholesale_cap_beyond_its_volume_in_mid_session(world: World) -> None:
    await shipped(world)
    user = await world.subscriber(20, "MAXI")
    for _ in range(15):
        assert await user.use_data(*[250 * MB] * 4, plmn=AUSTRIA) == 0
    # 15,000 MB are used; the volume has 248 MB and some left.
    session = user.data(AUSTRIA)
    assert granted(await session.one("I", octets(want=300 * MB))) == 300 * MB
    before = await user.credit()
    await session.take("T", octets(used=300 * MB))
    beyond = 15_300 * MB - MAXI_2026  # 15,300 MB are 16,043,212,800 octets
    assert beyond == 54_220_911
    # 54,220,911 × 1,310 / 1,048,576 = 67,738.9
    assert before - await user.credit() == 67_739
    (within, after) = sorted((await user.events("charge"))[-1]["svc"], key=lambda line: line["debit"])
    assert (within["units"], within["debit"]) == ([["MAXI.data", 300 * MB - beyond]], 0)
    assert (after["units"], after["debit"], after["label"]) == ([], 67_739, "data.eu")
    told = [(each["pct"], each["limit"]) for each in await user.events("threshold") if each["counter"] == "eu-data"]
    assert told == [(80, MAXI_2026), (100, MAXI_2026)]
    assert await user.use_data(10 * MB, plmn=HOME) == 0, "at home the units go on paying"
    assert await user.use_data(10 * MB, plmn=AUSTRIA) == 10 * BEYOND_2026


@rule("HOT-ROA-2")
async def test_mini_has_no_volume_and_pays_the_domestic_price_after_its_units(world: World) -> None:
    await shipped(world)
    user = await world.subscriber(20, "MINI")
    for _ in range(9):
        assert await user.use_data(*[256 * MB] * 4, plmn=AUSTRIA) == 0
    assert await user.use_data(10 * MB, plmn=AUSTRIA) == 10 * DOMESTIC
    assert [each for each in await user.events("threshold") if each["counter"] == "eu-data"] == []


@rule("HOT-ROA-1", "HOT-ROA-3")
async def test_without_a_package_data_costs_the_domestic_price_and_has_no_volume(world: World) -> None:
    await shipped(world)
    user = await world.subscriber(20)
    assert await user.use_data(100 * MB, plmn=AUSTRIA) == 100 * DOMESTIC
    assert await user.use_data(100 * MB, plmn=HOME) == 100 * DOMESTIC


@rule("HOT-ROA-3")
async def test_the_price_beyond_the_volume_follows_the_year(world: World) -> None:
    text = CATALOGUE.read_text()
    limited = '[package.MAXI]\ncounter.eu-data = { limit = "20 MB" }\n'
    await world.price_lists(text.replace("[package.MAXI]\n", limited))
    world.now = int(datetime(2026, 12, 31, 22, 59, tzinfo=UTC).timestamp())  # 23:59 in Ljubljana
    user = await world.subscriber(30, "MAXI")
    assert await user.use_data(30 * MB, plmn=AUSTRIA) == 10 * BEYOND_2026
    world.now += 60
    assert await user.use_data(10 * MB, plmn=AUSTRIA) == 10 * BEYOND_2027


@rule("HOT-ROA-2")
async def test_a_tariff_bought_in_2027_has_the_volume_of_2027(world: World) -> None:
    await shipped(world)
    user = await world.subscriber(60, "MAXI")
    world.now = int(datetime(2026, 12, 31, 23, 0, tzinfo=UTC).timestamp())
    await world.ledger.activate_package(
        user.account_id, package=world.catalogue.packages["MAXI"], reference="2027", **world.when
    )
    (counter,) = [each for each in (await user.view()).counters if each.id == "eu-data"]
    assert (counter.limit, counter.value) == (MAXI_2027, 0)


@rule("HOT-ROA-4")
async def test_a_surcharge_is_paid_beside_what_units_or_credit_pay(world: World) -> None:
    await shipped(world)
    user = await world.subscriber(20, "MAXI")
    bare = await world.subscriber(20)
    for each in (user, bare):
        await surcharged(world, each.account_id)
    assert await user.use_data(100 * MB, plmn=AUSTRIA) == 100 * BEYOND_2026
    assert await user.left("MAXI.data") == 150 * GB - 100 * MB, "included units pay their part"
    assert await bare.use_data(100 * MB, plmn=AUSTRIA) == 100 * (DOMESTIC + BEYOND_2026)
    assert await user.use_data(100 * MB) == 0, "no surcharge at home"
    # 0.02318 EUR a minute: 30 s, then by the second. 90 s: 34,770.
    assert await user.call(90, towards("tel:+38631234567", AUSTRIA), IMS) == 34_770
    assert await bare.call(90, towards("tel:+38631234567", AUSTRIA), IMS) == 103_500 + 34_770
    # 0.00244 EUR a minute by the second: 90 s: 3,660.
    assert await user.call(90, called_by("tel:+38631234567", AUSTRIA), IMS) == 3_660
    assert await user.message(SMS, sms_to("+38631234567", AUSTRIA)) == (2001, 3_660)
    assert await user.message(SMS, sms_to("+38631234567", HOME)) == (2001, 0)


@rule("HOT-ROA-4")
async def test_a_surcharge_has_its_own_line_in_the_record_and_moves_the_monthly_limit(world: World) -> None:
    await shipped(world)
    user = await world.subscriber(20, "MAXI")
    await surcharged(world, user.account_id)
    await user.use_data(100 * MB, plmn=AUSTRIA)
    lines = {line["label"]: line for line in (await user.events("charge"))[-1]["svc"]}
    assert lines["data.eu-surcharged"]["debit"] == 0
    assert lines["data.eu-surcharged.surcharge"]["debit"] == 131_000
    view = await user.view()
    assert view.spent_month_micro_eur == 131_000
    assert [each.value for each in view.counters if each.id == "eu-data"] == [0]


@rule("HOT-ROA-4")
async def test_no_grant_exceeds_what_credit_pays_of_the_surcharge(world: World) -> None:
    await shipped(world)
    user = await world.subscriber(10, "MAXI")  # 0.01 EUR is left: 7 MB and 830 micro-EUR
    await surcharged(world, user.account_id)
    session = user.data(AUSTRIA)
    first = await session.one("I", octets(want=50 * MB))
    assert 7 * MB < granted(first) < 8 * MB and first.final_unit_indication is not None
    last = await session.one("U", octets(want=50 * MB, used=granted(first)))
    assert last.result_code == 4012
    assert await user.credit() <= 1
    assert await user.use_data(MB) == 0


async def surcharged(world: World, account_id: str) -> None:
    measure = AccountMeasure(MeasureKind.FACT, SURCHARGE, "test", world.now)
    await world.ledger.set_measure(account_id, measure=measure, **world.when)


@rule("HOT-ROA-2")
async def test_a_period_that_begins_in_2027_has_the_volume_of_2027(world: World) -> None:
    """By renewal, without any new version of the catalogue; a period that runs keeps its volume."""
    await shipped(world)
    user = await world.subscriber(60, "MAXI")
    for at, volume in (("2026-12-09", MAXI_2026), ("2026-12-11", MAXI_2026), ("2027-01-08", MAXI_2026)):
        world.now = int(datetime.fromisoformat(f"{at}T12:00+01:00").timestamp())
        await world.sweep()
        assert await volume_of(user) == volume, at
    world.now = int(datetime.fromisoformat("2027-01-09T13:01+01:00").timestamp())
    await world.sweep()
    assert await volume_of(user) == MAXI_2027


async def volume_of(user: Subscriber) -> int | None:
    (counter,) = [each for each in (await user.view()).counters if each.id == "eu-data"]
    return counter.limit
