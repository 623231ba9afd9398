"""Services of one session that may use each other's grants (RFC 8506 §5.1.2): included units before credit
(HOT-PKG-3).
"""

from __future__ import annotations

import pytest

from ocs.settings.profile import Profile
from ocs.values.products import BucketTerms, PackageTerms
from tests.ocs.charging.ccr import MB, octets
from tests.ocs.charging.source import Origin
from tests.ocs.charging.test_core_network import Quota
from tests.ocs.rules.world import DAY_S, EUR, World, granted
from tests.rules import rule

HUNDRED_MB = PackageTerms("MINI", EUR, 30 * DAY_S, (BucketTerms("MINI.data", "octets", 100 * MB),))


@pytest.mark.parametrize("kind", ["U", "T"])
async def test_units_granted_to_the_pool_pay_before_credit(world: World, kind: str) -> None:
    """A bucket of 100 MB is granted to two services of one credit pool, 50 MB each; one of them reports 100 MB."""
    world.service._rater = Quota(world.catalogue, pool=1)
    world.source = Origin(profile=Profile(pools=True))
    user = await world.subscriber(20, HUNDRED_MB)
    data = user.data()
    opened = await data.take("I", octets(want=50 * MB, group=10), octets(want=50 * MB, group=1))
    services = opened.multiple_services_credit_control
    assert [granted(each) for each in services] == [50 * MB, 50 * MB]
    pools = [each.g_s_u_pool_reference[0].g_s_u_pool_identifier for each in services]
    assert pools[0] == pools[1]
    assert (await data.take(kind, octets(used=100 * MB, group=10))).result_code == 2001
    assert await user.credit() == 20 * EUR - EUR, "nothing from credit"
    assert await user.left("MINI.data") == 0
    if kind == "U":
        await data.take("T", octets(used=0, group=10), octets(used=0, group=1))
    (record,) = await user.events("charge")
    lines = [(line["key"], line["units"], line["debit"]) for line in record["svc"]]
    assert lines == [("10", [["MINI.data", 100 * MB]], 0)]


@rule("HOT-PKG-3")
async def test_beyond_the_pool_the_use_is_paid_by_credit(world: World) -> None:
    """HOT-PKG-3: after the included units are used up."""
    user = await world.subscriber(20, HUNDRED_MB)
    data = user.data()
    await data.take("I", octets(want=50 * MB, group=10), octets(want=50 * MB, group=1))
    await data.take("T", octets(used=100 * MB, group=10), octets(used=10 * MB, group=1))
    assert await user.credit() == 20 * EUR - EUR - 69_000


async def test_units_granted_to_another_session_are_not_used(world: World) -> None:
    """RFC 8506 §5.1.2: a credit pool belongs to one session."""
    user = await world.subscriber(20, HUNDRED_MB)
    one, other = user.data(), user.data()
    await one.take("I", octets(want=50 * MB, group=10))
    await other.take("I", octets(want=50 * MB, group=10))
    await one.take("T", octets(used=60 * MB, group=10))
    assert await user.credit() == 20 * EUR - EUR - 69_000
    await other.take("T", octets(used=50 * MB, group=10))
    assert await user.credit() == 20 * EUR - EUR - 69_000
