"""`ocs fair-use`: what care staff sees of volume and presence, and a dry run (HOT-ROA-2 to -4)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from ocs.catalogue.catalogue import EPOCH_ORDINAL
from ocs.ledger.contract.observations import FairUseStep
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.values.presence import DayUse
from tests.ocs.cli.conftest import Ocs
from tests.rules import rule
from tests.waiting import today

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]
ONE, TWO = "38668100000", "38668100001"
MB = 1024 * 1024


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("fair-use"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def day() -> int:
    """Today, as a number of the ledger."""
    return today().toordinal() - EPOCH_ORDINAL


@pytest.fixture
def observed_days(day: int) -> dict[int, DayUse]:
    """130 days abroad, of which the 20 before the last 30 were at home."""
    found = {each: DayUse(abroad=True, use={"data": (0, MB)}) for each in range(day - 130, day)}
    found.update({each: DayUse(at_home=True, use={"data": (MB, 0)}) for each in range(day - 50, day - 30)})
    return found


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("OCS_REDIS_URL", url)
    for msisdn, package in ((ONE, "MAXI"), (TWO, "MINI")):
        create = ("account", "create", "--msisdn", msisdn, "--imsi", "2934" + msisdn, "--credit", "20")
        ocs_in(*create, "--package", package, cwd=ROOT)
    return lambda *words: ocs_in(*words, cwd=ROOT)


def put(url: str, msisdn: str, days: dict[int, DayUse]) -> str:
    """Observe these days; the account's id."""

    async def work() -> str:
        ledger = await RedisLedger.connect(url, LedgerSettings())
        account_id = await ledger.find_subscriber("m" + msisdn)
        assert account_id is not None
        partition = int(account_id.partition("-")[0])
        position = await ledger.observed_position(partition)
        first, *others = sorted(days)
        for rows in ({first: days[first]}, {day: days[day] for day in others}):
            position = await ledger.observe(
                partition, expected=position, position=position + 1, rows={account_id: rows}, window_days=120,
                kept_days=200,
            )  # fmt: skip
        await ledger.close()
        return account_id

    return asyncio.run(work())


def warn(url: str, account_id: str, day: int) -> None:
    async def work() -> None:
        ledger = await RedisLedger.connect(url, LedgerSettings(max_clock_skew_s=0))
        step = FairUseStep("", "warned", day, {})
        assert await ledger.step_fair_use(account_id, step=step, now=1_800_000_000, month=202701)
        await ledger.close()

    asyncio.run(work())


@rule("HOT-ROA-2")
def test_the_volume_of_each_tariff(ocs: Call) -> None:
    status, out, error = ocs("fair-use", "show", ONE)
    assert status == 0, error
    volume = "14.9 GB" if today().year == 2026 else "16.4 GB"
    assert out.splitlines()[0].startswith(f"volume in the EU: {volume} a period, 0 B used, {volume} left")
    assert out.splitlines()[1:] == ["presence: not observed, as it was not in the EU lately"]
    assert ocs("fair-use", "show", TWO)[1].splitlines()[0] == "volume in the EU: not limited"
    shown = json.loads(ocs("fair-use", "show", TWO, "--json")[1])
    assert (shown["volume"], shown["state"], shown["days"]) == (None, "", [])


@rule("HOT-ROA-4")
def test_observation_state_and_dry_run(ocs: Call, url: str, day: int, observed_days: dict[int, DayUse]) -> None:
    def day_of(offset: int) -> str:
        return date.fromordinal(day + offset + EPOCH_ORDINAL).isoformat()

    account_id = put(url, ONE, observed_days)
    status, out, error = ocs("fair-use", "show", ONE)
    assert status == 0, error
    lines = out.splitlines()
    assert lines[1:] == [
        f"presence: observed since {day_of(-130)}, 120 whole days",
        "state: none",
        f"the surcharge begins on {day_of(14)} unless the pattern changes",
        "window: 20 days at home, 100 days abroad (83 %)",
        "  data: 20.0 MB at home, 100.0 MB abroad",
        "last days: 0 days at home, 14 days abroad (100 %)",
        "today's decision: warning (presence)",
    ]
    status, out, error = ocs("fair-use", "evaluate")
    assert (status, out.splitlines()) == (
        0,
        [f"{ONE}: warning; 20 days at home, 100 days abroad (83 %)", "1 account observed, 1 step"],
    ), error
    warn(url, account_id, day)
    assert ocs("fair-use", "evaluate")[1] == "1 account observed, 0 steps\n"
    found = json.loads(ocs("fair-use", "evaluate", "--at", day_of(14), "--json")[1])
    assert [(row["msisdn"], row["action"]) for row in found["steps"]] == [(ONE, "stop")], "no use on those days"
    shown = json.loads(ocs("fair-use", "show", ONE, "--json")[1])
    assert (shown["state"], shown["since"], shown["decision"]["deadline"]) == ("warned", day_of(0), day_of(14))
    assert len(shown["days"]) == 130
    assert shown["days"][0] == {
        "day": day_of(-130),
        "home": False,
        "abroad": True,
        "use": {"data": {"home": 0, "abroad": MB}},
    }


def test_wrong_calls(ocs: Call) -> None:
    status, _, error = ocs("fair-use", "show", "123456")
    assert status in (1, 2) and len(error.splitlines()) == 1
    status, _, error = ocs("fair-use", "evaluate", "--at", "soon")
    assert status == 2 and "must be a date or a time" in error
