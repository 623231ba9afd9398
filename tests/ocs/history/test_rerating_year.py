"""The paper against four months of accounts of all kinds: products, packs, roaming, versions of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.ocs.history.record_files import write_records
from tests.ocs.history.test_rerating import rerated
from tests.ocs.rules.test_rate_foretells import versions
from tests.ocs.rules.test_year import SETTINGS
from tests.ocs.rules.test_year import year_redis as year_redis
from tests.ocs.rules.world import world_on
from tests.ocs.year.year import run_year


@pytest.mark.long
async def test_the_paper_differs_from_the_records_by_less_than_a_ten_thousandth(
    year_redis: RedisServer, tmp_path: Path
) -> None:
    async with world_on(year_redis.url, **SETTINGS) as world:
        year = await run_year(world, accounts=40, days=120)
        assert not year.check.differences
        await write_records(world, tmp_path / "records")
        same = versions(world)
        found = rerated(tmp_path / "records", same, same)
    total = found.total
    assert total.uses > 500 and len(found.use) > 15 and len(found.fees) > 5
    assert found.deviation * 10_000 <= total.recorded, (found.deviation, total)
    assert set(found.left_out) <= {"a refund"}
    assert total.in_force == total.draft
