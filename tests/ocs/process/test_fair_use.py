"""The housekeeper's daily evaluation of fair use (HOT-ROA-4): several partitions, once, also after a kill."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ocs.accounts.fair_use import FairUseOperations
from ocs.catalogue.versions import Catalogues
from ocs.compose import Environment
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.outbox.files import record_files
from ocs.process.child_main import Child
from ocs.process.housekeeping import fair_use
from ocs.process.housekeeping.fair_use import FairUse
from ocs.process.housekeeping.recording import Recording
from ocs.process.housekeeping.retrying import PostponedAccounts
from ocs.settings.schema import Settings
from ocs.telemetry.metrics import Metrics
from ocs.values.presence import DayUse
from tests.catalogue import fixed_catalogue
from tests.conftest import RedisServer
from tests.ocs.ledger.books import empty_ledger, open_account
from tests.rules import rule

T0, DAY_S = 1_795_000_000, 86_400
PARTITIONS = 8
MORE = {"window_days": 120, "kept_days": 127}


class Clock:
    now = float(T0)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def ledger(redis_7: RedisServer) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_7.url, partitions=PARTITIONS) as connected:
        yield connected


@pytest.fixture
def child(tmp_path: Path) -> Child:
    clock = Clock()
    settings = Settings.model_validate(
        {"diameter": {"accept_unknown_peers": True}, "server": {"data_dir": str(tmp_path)}}
    )
    versions = Catalogues([fixed_catalogue()], lambda: int(clock.now))
    return Child("housekeeper", settings, versions, Environment(clock=clock), Metrics(), asyncio.Event())


def pass_days(child: Child, days: int) -> None:
    assert isinstance(child.environment.clock, Clock)
    child.environment.clock.now += days * DAY_S


async def abroad(child: Child, ledger: RedisLedger, count: int) -> list[str]:
    """Accounts that were abroad each day of the window."""
    today = child.catalogue.day_of(child.environment.now())
    found = [await open_account(ledger, number) for number in range(count)]
    for account_id in found:
        partition = int(account_id.partition("-")[0])
        for days in ((today - 130,), range(today - 129, today)):
            rows = {account_id: {day: DayUse(abroad=True, use={"data": (0, 1)}) for day in days}}
            position = await ledger.observed_position(partition)
            more: dict[str, Any] = {"position": position + 1, "rows": rows, **MORE}
            await ledger.observe(partition, expected=position, **more)
    return found


async def warnings(ledger: RedisLedger) -> list[str]:
    """Accounts of the events `fair_use` in state warned, each as often as it was told."""
    found = await ledger.outbox_entries([(each, 0) for each in range(PARTITIONS)], count=10_000)
    events = [ledger.outbox_event(each, entry).body for each, page in enumerate(found) for entry in page]
    return [str(body["a"]) for body in events if body["k"] == "fair_use" and body["state"] == "warned"]


@rule("HOT-ROA-4")
async def test_all_partitions_are_evaluated_once_a_day(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_use, "BATCH", 3)
    monkeypatch.setattr(fair_use, "EVALUATIONS_PER_S", 1_000_000)
    accounts = await abroad(child, ledger, 30)
    loop = FairUse(child, ledger, PostponedAccounts(child))
    evaluated = 0
    for _ in range(20):
        evaluated += await loop.evaluate(range(PARTITIONS))
    assert evaluated == 30
    assert sorted(await warnings(ledger)) == sorted(accounts)
    pass_days(child, 1)
    for _ in range(20):
        evaluated += await loop.evaluate(range(PARTITIONS))
    assert evaluated == 60
    assert len(await warnings(ledger)) == 30
    states = await ledger.fair_use_states(range(PARTITIONS))
    assert [sum(each[name] for each in states) for name in ("observed", "warned", "surcharge")] == [30, 30, 0]
    pass_days(child, 3)
    today = child.catalogue.day_of(child.environment.now())
    assert sum(await ledger.observations_overdue(range(PARTITIONS), day=today)) == 30


@rule("HOT-ROA-4")
@pytest.mark.parametrize("operation", ["step_fair_use", "observe_again"])
@pytest.mark.parametrize("applied", [True, False], ids=["the answer is lost", "it was not done"])
async def test_killed_in_the_middle_each_warning_is_told_once(
    child: Child, ledger: RedisLedger, operation: str, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_use, "EVALUATIONS_PER_S", 1_000_000)
    accounts = await abroad(child, ledger, 10)
    honest, calls = getattr(ledger, operation), 0

    async def broken(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 3:
            return await honest(*args, **more)
        if applied:
            await honest(*args, **more)
        raise LedgerUnavailable("killed")

    monkeypatch.setattr(ledger, operation, broken)
    killed = 0
    while True:
        try:
            await FairUse(child, ledger, PostponedAccounts(child)).evaluate(range(PARTITIONS))
            break
        except LedgerUnavailable:
            killed += 1
    assert killed >= 3
    assert sorted(await warnings(ledger)) == sorted(accounts)


async def test_two_processes_tell_a_warning_once(child: Child, ledger: RedisLedger) -> None:
    (account_id,) = await abroad(child, ledger, 1)
    operations = [FairUseOperations(ledger, child.catalogue, child.environment.now) for _ in range(3)]
    found = await asyncio.gather(*(each.evaluate(account_id) for each in operations))
    assert sum(each is not None and each.done for each in found) == 1
    assert await warnings(ledger) == [account_id]


async def test_an_account_that_fails_does_not_stop_the_others(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fair_use, "EVALUATIONS_PER_S", 1_000_000)
    bad, *others = await abroad(child, ledger, 5)
    honest = ledger.read

    async def broken(account_id: str, **more: Any) -> Any:
        if account_id == bad:
            raise LedgerError("unreadable", "damaged")
        return await honest(account_id, **more)

    monkeypatch.setattr(ledger, "read", broken)
    with caplog.at_level(logging.ERROR):
        await FairUse(child, ledger, PostponedAccounts(child)).evaluate(range(PARTITIONS))
    assert sorted(await warnings(ledger)) == sorted(others)
    assert f"account {bad} cannot be evaluated for fair use: damaged" in caplog.text


@rule("HOT-ROA-4")
async def test_the_warning_is_a_record(child: Child, ledger: RedisLedger, tmp_path: Path) -> None:
    await abroad(child, ledger, 1)
    await FairUse(child, ledger, PostponedAccounts(child)).evaluate(range(PARTITIONS))
    recording = Recording(child, ledger)
    child.stopping.set()  # one round, and the last ones of an end
    await recording.step()
    await recording.run()
    lines = [
        orjson.loads(line) for _, path in record_files(tmp_path / "records") for line in path.read_bytes().splitlines()
    ]
    (record,) = [line for line in lines if line["kind"] == "fair_use"]
    assert (record["state"], record["why"], record["abroad_days"]) == ("warned", "presence", 120)
    assert record["share"] == [["data", 0, 120]]
    assert record["deadline"] == "2026-12-02", "2026-11-18 and 14 days"
