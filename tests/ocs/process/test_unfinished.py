"""The backoffice finishes transfers and steps of groups that a crash left, and takes ended accounts out of groups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ocs.catalogue.versions import Catalogues
from ocs.compose import Environment
from ocs.ledger.contract.groups import GroupStep, StepKind
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.back_office.unfinished import LOOK_ALL_S, TIDY_ALL_S, Unfinished
from ocs.process.child_main import Child
from ocs.settings.schema import Settings
from ocs.telemetry.metrics import Metrics
from tests.catalogue import fixed_catalogue
from tests.conftest import RedisServer
from tests.ocs.accounts.group_desk import EUR, NOW, GroupDesk
from tests.ocs.ledger.books import empty_ledger
from tests.rules import rule


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def ledger(redis_7: RedisServer) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_7.url, partitions=8) as connected:
        yield connected


@rule("HOT-GRP-1", "HOT-GRP-2")
async def test_what_a_crash_left_is_finished(ledger: RedisLedger) -> None:
    clock, desk = Clock(), GroupDesk(ledger)
    settings = Settings.model_validate({"diameter": {"accept_unknown_peers": True}})
    versions = Catalogues([fixed_catalogue()], lambda: int(clock.now))
    metrics = Metrics()
    child = Child("backoffice", settings, versions, Environment(clock=clock, monotonic=clock), metrics, asyncio.Event())
    group, (boss, member, gone) = await desk.group(2)
    joining = await desk.opened()
    terms = {"to": (await desk.view(member)).account_id, "group_id": group, "amount_micro_eur": 3 * EUR}
    await ledger.begin_transfer((await desk.view(boss)).account_id, reference="r", **terms, **desk.when)
    await ledger.post_step(group, GroupStep(StepKind.JOIN, (await desk.view(joining)).account_id), now=desk.now)
    await desk.accounts.terminate(gone)
    loop = Unfinished(child, ledger)
    report = await desk.audited()
    assert (report.in_transit_micro_eur, report.transfers) == (3 * EUR, 1)
    await loop.finish(range(8))
    assert (await desk.audited()).transfers == 1, "whoever began it may still be at it"
    clock.now += LOOK_ALL_S
    await loop.step()
    assert (await desk.audited()).transfers == 0
    assert await desk.credit(member) == 23 * EUR
    assert (await desk.view(joining)).group == group
    clock.now += TIDY_ALL_S
    await loop.step()
    found = await ledger.read_group(group)
    assert found is not None and len(found.numbers) == 3 and found.steps == ()
