"""One MSCC with several Service-Identifiers is one grant (RFC 8506 §8.16). The order of the identifiers must not change
the price.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from ocs.catalogue.catalogue import load_catalogue
from ocs.charging.service import ChargingService
from protocol import failed_avp
from tests.ocs.charging.ccr import MB, octets
from tests.ocs.rules.world import CATALOGUE, EUR, World

VIDEO = """
[service.video]
contexts = ["data"]
unit = "octets"
match = [{ service_identifier = 7 }, { service_identifier = 8 }]
quota = { default = "5 MB", minimum = "1 MB", maximum = "9 MB", validity_s = 600, threshold_percent = 0, holding_s = 0 }

[rate.video]
service = "video"
places = ["*"]
price = "video"

[price.video]
micro_eur = 50_000
per = "1 MB"
first = "1 kB"
"""
MSCC = "multiple_services_credit_control"


@pytest.fixture
def market(world: World, tmp_path: Any) -> World:
    path = tmp_path / "catalogue.toml"
    path.write_text(CATALOGUE.read_text("utf-8") + VIDEO, "utf-8")
    world.service = ChargingService(load_catalogue(path), world.ledger, world.metrics, lambda: world.now, world._spawn)
    return world


@pytest.mark.parametrize("identifiers", list(permutations((1, 7, 8))))
async def test_different_prices_are_refused_in_any_order(market: World, identifiers: tuple[int, ...]) -> None:
    user = await market.subscriber(20)
    opened = await user.data().take("I", octets(want=MB, group=None, identifiers=identifiers))
    assert opened.result_code == 5031
    assert opened.failed_avp == failed_avp.copy("service_identifier", identifiers[0], MSCC)
    assert await user.credit() == 20 * EUR


@pytest.mark.parametrize(
    ("identifiers", "price"), [((7, 8), 50_000), ((8, 7), 50_000), ((7, 7), 50_000), ((1, 2, 3), 6_900)]
)
async def test_one_price_is_charged_in_any_order(market: World, identifiers: tuple[int, ...], price: int) -> None:
    user = await market.subscriber(20)
    data = user.data()
    assert (await data.one("I", octets(want=MB, group=None, identifiers=identifiers))).result_code == 2001
    market.now += 60
    await data.one("T", octets(used=MB, group=None, identifiers=identifiers[::-1]))
    assert 20 * EUR - await user.credit() == price


async def test_use_is_charged_though_its_report_mixes_prices(market: World) -> None:
    user = await market.subscriber(20)
    data = user.data()
    await data.one("I", octets(want=MB, group=None, identifiers=(7, 8)))
    market.now += 60
    await data.one("U", octets(used=MB, group=None, identifiers=(7, 1)))
    assert 20 * EUR - await user.credit() == 50_000
    assert (await data.one("U", octets(want=MB, group=None, identifiers=(7, 1)))).result_code == 5031
    assert (await data.take("T", octets(used=MB, group=None, identifiers=(7, 8)))).result_code == 2001
    assert 20 * EUR - await user.credit() == 2 * 50_000
