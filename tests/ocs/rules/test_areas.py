"""Packs apply in their area only (HOT-ROA-6), and a derogation's surcharge between its dates, whoever pays the use
(HOT-ROA-7).
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tests.ocs.charging.ccr import AUSTRIA, HOME, MB, SERBIA, SMS, USA, sms_to
from tests.ocs.rules.world import CATALOGUE, DAY_S, World
from tests.rules import rule

TEXT = CATALOGUE.read_text()
NATIONAL = "+38631234567"
SURCHARGE = 1_024
"""Micro-EUR a MB."""
DEROGATION = f"""
[price.derogation]
micro_eur = {SURCHARGE}
per = "1 MB"
first = "1 kB"

[rate."data.eu.derogation"]
service = "data"
places = ["eu"]
from = "2026-11-15"
until = "2026-11-20"
price = "data-national"
buckets = ["data", "extra-data"]
counters = ["roaming-data"]
surcharge = "derogation"
"""


@rule("HOT-ROA-6")
async def test_hot_roa_6_an_sms_pack_pays_at_home_and_not_abroad(world: World) -> None:
    user = await world.subscriber(30, "GIGA-MINI")
    pack = world.catalogue.products["SMS-200-MESEC"].terms
    await world.ledger.subscribe(user.account_id, product=pack, reference="p", **world.when)
    (bucket,) = [each.id for each in (await user.view()).buckets if each.id.startswith("SMS-200-MESEC.")]
    assert await user.message(SMS, sms_to(NATIONAL)) == (2001, 0)
    assert await user.left(bucket) == 199
    for plmn in (AUSTRIA, SERBIA):
        code, cost = await user.message(SMS, sms_to(NATIONAL, plmn))
        assert code == 2001 and cost > 0, plmn
    assert await user.left(bucket) == 199


@rule("HOT-ROA-6", "HOT-PKG-13")
async def test_hot_roa_6_a_zone_pack_waits_for_its_zone_and_pays_only_there(world: World) -> None:
    user = await world.subscriber(50)
    pack = world.catalogue.products["BALKAN-500-MB"].terms
    await world.ledger.subscribe(user.account_id, product=pack, reference="p", armed=True, **world.when)
    assert await user.use_data(MB) == 6_900, "at home"
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900, "in the EU"
    assert await user.use_data(MB, plmn=USA) > 0
    assert (await user.view()).buckets == ()
    before = await user.credit()
    assert await user.use_data(MB, plmn=SERBIA) == pack.price_micro_eur, "its price, and nothing for the use"
    assert before - await user.credit() == pack.price_micro_eur
    assert await user.use_data(MB, plmn=SERBIA) == 0
    left = 500 * MB - 2 * 1030 * 1024  # in steps of 10 kB
    assert await user.left("BALKAN-500-MB.balkan-data") == left
    assert await user.use_data(MB) == 6_900
    assert await user.left("BALKAN-500-MB.balkan-data") == left


@rule("HOT-ROA-7")
@pytest.mark.parametrize(("package", "own"), [("MAXI", 0), (None, 6_900)])
async def test_hot_roa_7_the_surcharge_is_paid_beside_units_and_beside_credit(
    world: World, package: str | None, own: int
) -> None:
    await world.price_lists(TEXT + DEROGATION)
    user = await world.subscriber(20, package)
    begins, ends = (int(datetime(2026, 11, day, tzinfo=ZoneInfo("Europe/Ljubljana")).timestamp()) for day in (15, 21))
    assert await user.use_data(10 * MB, plmn=AUSTRIA) == 10 * own
    world.now = begins
    assert await user.use_data(10 * MB, plmn=AUSTRIA) == 10 * (own + SURCHARGE)
    assert await user.use_data(10 * MB, plmn=HOME) == 10 * own
    if package:
        assert await user.left("MAXI.data") == 150 * 1024 * MB - 30 * MB
    view = await user.view()
    spent = {each.id: each.value for each in view.counters}
    assert spent["roaming-data"] == 10 * SURCHARGE + 20 * own, "it counts into the roaming cap"
    world.now = ends
    assert await user.use_data(10 * MB, plmn=AUSTRIA) == 10 * own
    assert world.now - begins == 6 * DAY_S
