"""Counters that bound what included units pay: fair-use volumes, at whose limit use is priced, restricted or refused
(HOT-ROA-2, -3; unlimited products with a fair-use step). The numbers are worked out by hand.
"""

from __future__ import annotations

import pytest

from ocs.settings.profile import Filters, FinalUnit, Profile
from protocol.credit_control import REFUND_ACCOUNT
from tests.ocs.charging.ccr import AUSTRIA, DATA, MB, SMS, at, messages, octets, sms_to
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import CATALOGUE, DAY_S, EUR, World, granted
from tests.rules import rule

TEXT = CATALOGUE.read_text()
GB = 1024 * MB
BEYOND = 2_048
"""Micro-EUR a MB."""


def with_volume(at_limit: str, *, limit: str = "20 MB", rate: str = "data.eu", more: str = "") -> str:
    """MAXI, whose units pay this volume there."""
    beyond = 'beyond = "data-beyond"\n' if at_limit == "price" else ""
    text = (
        TEXT
        + f"""
[price.data-beyond]
micro_eur = {BEYOND}
per = "1 MB"
first = "1 kB"

[counter.volume]
window = "period"
measure = "bucket-units"
thresholds = [80, 100]
at_limit = "{at_limit}"
{more}
"""
    )
    text = text.replace("[package.MAXI]\n", f'[package.MAXI]\ncounter.volume = {{ limit = "{limit}" }}\n')
    head, rest = text.split(f'[rate."{rate}"]')
    if rate == "data.eu":
        rest = rest.replace('counters = ["roaming-data", "eu-data"]\nbeyond = "data-eu-beyond"\n', "", 1)
    rest = rest.replace("buckets = [", f'counters = ["volume"]\n{beyond}buckets = [', 1)
    return f'{head}[rate."{rate}"]{rest}'


@rule("HOT-ROA-3")
async def test_beyond_the_volume_credit_pays_at_the_price_beyond(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(20, "MAXI")  # 10.01 EUR stay
    assert await user.use_data(15 * MB, plmn=AUSTRIA) == 0
    session = user.data(AUSTRIA)
    first = await session.one("I", octets(want=50 * MB))
    # 5 MB of the volume, and 45 MB on credit.
    assert (granted(first), await session.held()) == (50 * MB, {"1": 45 * BEYOND})
    before = await user.credit()
    await session.one("U", octets(want=50 * MB, used=25 * MB))
    assert before - await user.credit() == 20 * BEYOND
    assert await user.left("MAXI.data") == 150 * GB - 20 * MB
    await session.take("T", octets(used=MB))
    assert before - await user.credit() == 21 * BEYOND
    assert await user.use_data(10 * MB) == 0, "at home the units go on paying"
    told = [(e["counter"], e["pct"], e["value"]) for e in await user.events("threshold") if e["counter"] == "volume"]
    assert told == [("volume", 80, 20 * MB), ("volume", 100, 20 * MB)]


async def test_a_record_has_a_line_for_each_side_of_the_volume(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(20, "MAXI")
    await user.use_data(30 * MB, plmn=AUSTRIA)
    (within, beyond) = sorted((await user.events("charge"))[-1]["svc"], key=lambda line: line["debit"])
    assert (within["used"], within["units"], within["debit"]) == (20 * MB, [["MAXI.data", 20 * MB]], 0)
    assert (beyond["used"], beyond["units"], beyond["debit"]) == (10 * MB, [], 10 * BEYOND)
    assert within["label"] == beyond["label"] == "data.eu" and within["price"] != beyond["price"]


async def test_a_grant_spans_the_volume_only_as_far_as_both_sides_are_reserved(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(10, "MAXI")  # 0.01 EUR stays: 4 MB beyond, and 1,808 micro-EUR
    session = user.data(AUSTRIA)
    first = await session.one("I", octets(want=50 * MB))
    # 10,000 micro-EUR at 2 micro-EUR a kB: 5,000 kB.
    assert granted(first) == 20 * MB + 5_000 * 1024
    assert first.final_unit_indication is not None
    before = await user.credit()
    last = await session.one("U", octets(want=50 * MB, used=20 * MB + 5_000 * 1024))
    assert (last.result_code, before - await user.credit(), await user.credit()) == (4012, 10_000, 0)
    # The client lets more through: nothing pays it, and the units for home are not used.
    await session.take("T", octets(used=MB))
    assert await user.left("MAXI.data") == 150 * GB - 20 * MB
    lost = sum(line["overrun"] for event in await user.events("charge") for line in event["svc"])
    assert MB - 1024 < lost <= MB, "less than half a micro-EUR is rounded down"


async def test_two_sessions_never_share_a_volume_twice(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(20, "MAXI")
    one, two = user.data(AUSTRIA), user.data(AUSTRIA)
    await one.one("I", octets(want=12 * MB))
    await two.one("I", octets(want=12 * MB))
    assert (await one.held(), await two.held()) == ({"1": 0}, {"1": 4 * BEYOND})
    before = await user.credit()
    await one.take("T", octets(used=12 * MB))
    await two.take("T", octets(used=12 * MB))
    assert before - await user.credit() == 4 * BEYOND
    assert await user.left("MAXI.data") == 150 * GB - 20 * MB


async def test_a_returned_volume_is_available_to_the_other_session(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(20, "MAXI")
    one, two = user.data(AUSTRIA), user.data(AUSTRIA)
    await one.one("I", octets(want=12 * MB))
    await two.one("I", octets(want=12 * MB))
    await one.take("T", octets(used=2 * MB))
    before = await user.credit()
    await two.take("T", octets(used=12 * MB))
    assert before == await user.credit(), "14 MB of 20 are used"


async def test_the_volume_is_renewed_with_the_period_and_changes_with_the_tariff(world: World) -> None:
    text = with_volume("price").replace("[package.EXTRA]\n", '[package.EXTRA]\ncounter.volume = { limit = "40 MB" }\n')
    await world.price_lists(text)
    user = await world.subscriber(60, "MAXI")
    assert await user.use_data(25 * MB, plmn=AUSTRIA) == 5 * BEYOND
    world.now += 30 * DAY_S
    await world.sweep()
    assert await user.use_data(20 * MB, plmn=AUSTRIA) == 0
    await world.ledger.activate_package(
        user.account_id, package=world.catalogue.packages["EXTRA"], reference="up", **world.when
    )
    assert await user.use_data(45 * MB, plmn=AUSTRIA) == 5 * BEYOND
    mini = world.catalogue.packages["MINI"]
    await world.ledger.activate_package(user.account_id, package=mini, reference="down", **world.when)
    assert await user.use_data(100 * MB, plmn=AUSTRIA) == 0, "MINI has no volume of its own"


async def test_a_refund_gives_back_units_volume_and_money_as_they_were_paid(world: World) -> None:
    text = with_volume("price", limit="20 MB")
    text += """
[counter.texts]
window = "period"
measure = "bucket-units"
at_limit = "price"

[price.sms-beyond]
micro_eur = 50_000
per = "1 message"
"""
    text = text.replace("[package.MINI]\n", '[package.MINI]\ncounter.texts = { limit = "2 messages" }\n')
    head, rest = text.split('[rate."sms.home.national"]')
    rest = rest.replace("buckets = [", 'counters = ["texts"]\nbeyond = "sms-beyond"\nbuckets = [', 1)
    await world.price_lists(f'{head}[rate."sms.home.national"]{rest}')
    world.source = Origin(refunds=True)
    user = await world.subscriber(20, "MINI")
    before = await user.credit()
    sid, where = world.new_session(), sms_to("+38631234567")
    answer = await user.charged(SMS, "E", 0, messages(want=5), sid=sid, information=where)
    token = answer.multiple_services_credit_control[0].refund_information
    assert (before - await user.credit(), await user.left("MINI.sms")) == (3 * 50_000, 1498)

    async def refund(number: int, units: int) -> None:
        back = messages(want=units)
        back.refund_information = token
        await user.charged(SMS, "E", number, back, sid=sid, information=where, requested_action=REFUND_ACCOUNT)

    await refund(1, 2)  # money first
    assert (before - await user.credit(), await user.left("MINI.sms")) == (50_000, 1498)
    await refund(2, 3)
    assert (before - await user.credit(), await user.left("MINI.sms")) == (0, 1500)
    assert [await user.message(SMS, where) for _ in range(3)] == [(2001, 0), (2001, 0), (2001, 50_000)]


# -- restricted, and refused


@pytest.mark.parametrize("qos", [False, True])
async def test_an_unlimited_product_is_slowed_down_beyond_its_volume(world: World, qos: bool) -> None:
    """RFC 8506 §5.6.2: RESTRICT_ACCESS with the counter's Filter-Id, whatever the profile does without credit."""
    more = 'filter_ids = ["slow-64k"]'
    text = with_volume("restrict", limit="10 MB", rate="data.home", more=more)
    await world.price_lists(text.replace('quantity = "150 GB"', 'quantity = "unlimited"'))
    world.source = Origin(profile=Profile(final_unit=FinalUnit.TERMINATE, qos_final_unit=qos))
    user = await world.subscriber(20, "MAXI")
    before = await user.credit()
    session = user.data()
    first = await session.one("I", octets(want=50 * MB))
    assert granted(first) == 10 * MB
    indication = first.final_unit_indication
    assert indication is not None and (indication.final_unit_action, indication.filter_id) == (2, ["slow-64k"])
    slow = await session.one("U", octets(want=50 * MB, used=10 * MB))
    assert (slow.result_code, granted(slow), slow.validity_time) == (2001, 0, 300)
    indication = slow.final_unit_indication
    assert indication is not None and (indication.final_unit_action, indication.filter_id) == (2, ["slow-64k"])
    if qos:
        assert slow.qos_final_unit_indication is not None
        assert slow.qos_final_unit_indication.filter_id == ["slow-64k"]
    # A later request without an amount: the restriction continues.
    again = await session.one("U", octets())
    assert (again.result_code, granted(again)) == (2001, 0) and again.final_unit_indication is not None
    # Use meanwhile is paid by the unlimited units.
    await session.one("U", octets(used=3 * MB))
    assert await user.credit() == before
    async with world.hearing() as heard:
        world.now += 30 * DAY_S
        await world.sweep()
        await heard()
    fresh = user.data()
    assert granted(await fresh.one("I", octets(want=5 * MB))) in (5 * MB, 0)


async def test_a_slowed_session_gets_a_rar_when_its_volume_is_renewed(world: World) -> None:
    text = with_volume("restrict", limit="10 MB", rate="data.home")
    await world.price_lists(text)
    profile = Profile(filters=Filters.FILTER_ID, filter_ids=("walled",), restricted_validity_s=40 * DAY_S)
    world.source = Origin(profile=profile)
    user = await world.subscriber(40, "MAXI")
    world.now += 30 * DAY_S - 60
    session = user.data()
    await session.one("I", octets(want=10 * MB))
    slow = await session.one("U", octets(want=10 * MB, used=10 * MB))
    assert slow.final_unit_indication is not None and slow.final_unit_indication.filter_id == ["walled"]
    async with world.hearing() as heard:
        world.now += 60
        await world.sweep()
        assert ("package", [session.sid]) in [(n.reason, [s.session_id for s in n.sessions]) for n in await heard()]
    assert granted(await session.one("U", octets(want=5 * MB))) == 5 * MB


async def test_at_a_volume_that_refuses_nothing_is_granted_though_there_is_credit(world: World) -> None:
    await world.price_lists(with_volume("refuse", limit="10 MB", rate="data.home"))
    user = await world.subscriber(20, "MAXI")
    session = user.data()
    first = await session.one("I", octets(want=50 * MB))
    assert granted(first) == 10 * MB and first.final_unit_indication is not None
    assert first.final_unit_indication.final_unit_action == 0
    assert (await session.one("U", octets(want=50 * MB, used=10 * MB))).result_code == 4012
    await world.ledger.set_limit(user.account_id, limit_micro_eur=15 * MB, counter="volume", **world.when)
    assert granted(await session.one("U", octets(want=50 * MB))) == 5 * MB


async def test_without_a_product_no_volume_bounds_the_use(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(20)
    assert await user.use_data(30 * MB, plmn=AUSTRIA) == 30 * 6_900
    assert 20 * EUR - await user.credit() == 30 * 6_900
    (opened,) = (
        await user.charged(DATA, "I", 0, octets(want=MB), sid=world.new_session(), information=at(AUSTRIA))
    ).multiple_services_credit_control
    assert granted(opened) == MB
