"""The backoffice finishes redemptions of vouchers that a crash left open (HOT-TOP-2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ocs.catalogue.versions import Catalogues
from ocs.compose import Environment
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.back_office.open_claims import LOOK_ALL_S, OpenClaims
from ocs.process.child_main import Child
from ocs.settings.schema import Settings
from ocs.telemetry.metrics import Metrics
from ocs.values.identities import Msisdn
from tests.catalogue import fixed_catalogue
from tests.conftest import RedisServer
from tests.ocs.accounts.voucher_desk import EUR, NOW, Desk
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


async def claims(desk: Desk, who: Msisdn, vouchers: int) -> None:
    """Redemptions whose process ended after the first step."""
    account_id = await desk.accounts.find(who)
    for number in await desk.sold(vouchers):
        voucher = await desk.batches.by_number(number)
        await desk.ledger.claim_voucher(voucher.voucher_id, account_id, now=desk.now)


@rule("HOT-TOP-2")
async def test_claims_are_finished_within_a_minute(
    ledger: RedisLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, desk = Clock(), Desk(ledger, tmp_path)
    settings = Settings.model_validate({"diameter": {"accept_unknown_peers": True}})
    versions = Catalogues([fixed_catalogue()], lambda: int(clock.now))
    environment = Environment(clock=clock, monotonic=clock)
    child = Child("backoffice", settings, versions, environment, Metrics(), asyncio.Event())
    first, second = await desk.opened(), await desk.opened()
    await claims(desk, first, 9)
    await claims(desk, second, 2)
    account_id = await desk.accounts.find(second)
    key = ledger._account_keys(account_id).account + account_id.encode()
    partition = int(account_id.partition("-")[0])
    document = await ledger._ask("test", partition, b"GET", key)
    await ledger._ask("test", partition, b"SET", key, b"unreadable")
    loop = OpenClaims(child, ledger)
    assert await loop.step() == 0
    clock.now += LOOK_ALL_S
    with caplog.at_level(logging.ERROR):
        assert await loop.step() == 9
    assert await desk.credit(first) == 90 * EUR
    assert child.metrics.store.counters[("ocs_voucher_claims_finished",)] == 9
    assert child.metrics.store.gauges[("ocs_voucher_claims_stuck",)] == 2
    assert "2 vouchers cannot be redeemed now" in caplog.text
    await ledger._ask("test", partition, b"SET", key, document)
    clock.now += LOOK_ALL_S
    assert await loop.step() == 2
    assert await desk.credit(second) == 20 * EUR
    assert child.metrics.store.gauges[("ocs_voucher_claims_stuck",)] == 0
