"""Durability "replicated": an answer means that a replica has the write too (WAIT); without one nothing is promised."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import redis

from ocs.ledger.contract import (
    ChargeOutcome,
    ChargeRequest,
    LedgerUnavailable,
    RequestType,
    ServiceCharge,
)
from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.rating.price import compile_price
from ocs.rating.types import Unit
from tests.conftest import SYSTEM_REDIS, RedisServer

NOW, MONTH = 1_795_000_000, 202611
PRICE = compile_price("data", unit=Unit.OCTETS, micro_eur=6_900, quantity=2**20, first=1024, next_=1024)


async def charge(ledger: RedisLedger, account_id: str, number: int) -> ChargeOutcome | LedgerUnavailable:
    future: asyncio.Future[ChargeOutcome | LedgerUnavailable] = asyncio.get_running_loop().create_future()
    kind = RequestType.UPDATE if number else RequestType.INITIAL
    used = 2**20 if number else 0
    service = ServiceCharge("100", "data.home", PRICE, (), used, 2**20, 1024)
    request = ChargeRequest(account_id, "", "pgw;1;1", "pgw", "data", kind, number, NOW, MONTH, NOW + 7200, (service,))
    ledger.charge(request, future.set_result)
    return await future


async def test_a_write_without_its_replica_is_not_confirmed(tmp_path: Path) -> None:
    assert SYSTEM_REDIS
    (tmp_path / "primary").mkdir()
    (tmp_path / "replica").mkdir()
    primary = RedisServer(SYSTEM_REDIS, tmp_path / "primary")
    primary.start()
    replica = RedisServer(SYSTEM_REDIS, tmp_path / "replica", "--replicaof", "127.0.0.1", str(primary.port))
    replica.start()
    settings = LedgerSettings(durability="replicated", replicas=1, timeout_ms=700, partitions=4)
    try:
        with redis.Redis(port=primary.port) as client:
            deadline = time.monotonic() + 10
            while client.wait(1, 200) < 1:
                assert time.monotonic() < deadline, "the replica did not come"
        ledger = await RedisLedger.connect(primary.url, settings)
        account_id = await ledger.open_account(
            msisdn="38668100000",
            imsi="293400000000000",
            credit_micro_eur=5_000_000,
            package=None,
            now=NOW,
            month=MONTH,
            entropy=1,
        )
        first = await charge(ledger, account_id, 0)
        assert isinstance(first, ChargeOutcome) and first.code == 2001
        with redis.Redis(port=replica.port) as client:
            assert client.dbsize() > 0
        await asyncio.to_thread(replica.stop, kill=True)
        assert isinstance(await charge(ledger, account_id, 1), LedgerUnavailable)
        await asyncio.to_thread(replica.start)
        repeated: ChargeOutcome | LedgerUnavailable = LedgerUnavailable()
        for _ in range(20):
            repeated = await charge(ledger, account_id, 1)
            if isinstance(repeated, ChargeOutcome):
                break
        assert isinstance(repeated, ChargeOutcome) and repeated.duplicate
        view = await ledger.read(account_id, now=NOW, month=MONTH)
        assert view is not None and view.spent_micro_eur == 6_900  # once
        await ledger.close()
    finally:
        replica.stop(kill=True)
        primary.stop(kill=True)  # asked to end, it would wait for its replica


async def test_no_replica_at_all(redis_7: RedisServer) -> None:
    ledger = await RedisLedger.connect(
        redis_7.url, LedgerSettings(durability="replicated", replicas=1, timeout_ms=300, partitions=4)
    )
    with pytest.raises(LedgerUnavailable):
        await ledger.open_account(
            msisdn="38668999001",
            imsi="293409999999001",
            credit_micro_eur=5_000_000,
            package=None,
            now=NOW,
            month=MONTH,
            entropy=2,
        )
    await ledger.close()
