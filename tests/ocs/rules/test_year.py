"""A year in a minute: three hundred accounts of all products, and every cent explained.

Each day the ledger must agree with its records and with the account on paper (`simulator/paper_account.py`), which
computes from the price sheet (tests/ocs/year/sheet.py), from what the network reported and what was bought. Each
difference names account, moment and record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.ocs.rules.world import world_on
from tests.ocs.year.outside import audited
from tests.ocs.year.sheet import sheet
from tests.ocs.year.year import Year, run_year, states
from tests.rules import rule

SETTINGS: dict[str, Any] = {"partitions": 2, "durability": "everysec", "timeout_ms": 20_000}


@pytest.fixture
def year_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of its own. What a power cut would do to it is not looked at here."""
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    server = RedisServer(SYSTEM_REDIS, tmp_path, "--appendfsync", "everysec")
    server.start()
    yield server
    server.stop()


def differences(year: Year) -> str:
    year.check.year()
    return "\n".join([f"{len(year.check.differences)} differences", *year.check.differences[:20]])


@pytest.mark.long
@rule(
    "HOT-ROA-4",
    "HOT-PKG-14",
    "HOT-RAT-1",
    "HOT-ACC-1",
    "HOT-ACC-3",
    "HOT-ACC-6",
    "HOT-PKG-2",
    "HOT-PKG-3",
    "HOT-PKG-5",
    "HOT-RAT-8",
    "HOT-REC-2",
)
async def test_a_year_of_three_hundred_accounts_is_explained_to_the_cent(
    year_redis: RedisServer, tmp_path: Path
) -> None:
    async with world_on(year_redis.url, **SETTINGS) as world:
        year = await run_year(world)
    found = differences(year)
    assert not year.check.differences, found
    _has_met_everything(year)
    _is_right_from_outside(year, tmp_path)


def _is_right_from_outside(year: Year, folder: Path) -> None:
    """The audit of the simulator, which knows only requests, records and the catalogue, finds the same."""
    reports = [report for line in year.lines for report in line.network.reports.values()]
    (folder / "records").mkdir()
    found = audited(reports, year.check.records, folder / "records")
    assert [difference.text() for difference in found.differences] == []
    assert (len(found.accounts) > 290, dict(found.left_out)) == (True, {})


def _has_met_everything(year: Year) -> None:
    """The year has what it is for: fewer would prove less."""
    charges = [each for line in year.lines for each in line.paper.charges]
    met = {each.what for each in charges}
    assert year.requests > 20_000
    assert {id_ for version in sheet().articles for id_ in version} <= met, "every product is bought"
    assert {row.label for row in sheet().rows()} <= met, "every row of the price sheet is used"
    assert {each.version for each in charges if each.session} == {"1", "2", "3"}
    found = states(year)
    assert min(found["active"], found["inactive"], found["terminated"], found["new"]) > 0, found
    told = {(what, percent) for line in year.lines for _, what, percent in line.paper.notices}
    assert {("limit", 80), ("limit", 100), ("roaming-data", 80), ("low credit", 0)} <= told
    assert {("MINI.data", 80), ("MINI.data", 100), ("eu-data", 80), ("eu-data", 100), ("arrived HR", 0)} <= told
    presence = [[state for _, state in line.presence.told][:3] for line in year.lines]
    assert ["warned", "surcharge", ""] in presence, "who lives abroad is warned, pays the surcharge, and comes home"
    reached = {id_ for line in year.lines if line.paper.pool for id_ in line.paper.pool.reached}
    assert {"FAMILY.sms", "FAMILY.data"} <= reached, "members reach their limits of the pool"
    refused = {code for line in year.lines for code in line.refusals}
    assert {4010, 4012, "credit", "barred"} <= refused, refused


async def test_a_wrong_price_is_found(year_redis: RedisServer) -> None:
    """One micro-EUR a minute more on the sheet: a difference of one account, with its record."""
    async with world_on(year_redis.url, **SETTINGS) as world:
        wrong = sheet(voice=69_001)
        year = await run_year(world, accounts=170, days=20, on_paper=wrong)
    found = differences(year)
    assert "voice.home.national" in found and "on paper" in found, found
