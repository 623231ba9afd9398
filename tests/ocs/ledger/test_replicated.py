"""Durability "replicated": an answer means that a replica has the write too (WAIT). Without a replica no answer is
confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
import redis

from ocs.catalogue.price import compile_price
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.outbox.pump import Pump
from ocs.outbox.writer import RecordWriter
from ocs.values.requests import RequestType
from ocs.values.use import Unit
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.ocs.ledger.books import empty_ledger
from tests.rules import rule
from tests.waiting import PATIENCE_S

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


@contextmanager
def primary_and_replica(folder: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    assert SYSTEM_REDIS
    (folder / "primary").mkdir()
    (folder / "replica").mkdir()
    primary = RedisServer(SYSTEM_REDIS, folder / "primary", "--repl-diskless-sync-delay", "0")
    primary.start()
    replica = RedisServer(SYSTEM_REDIS, folder / "replica", "--replicaof", "127.0.0.1", str(primary.port))
    replica.start()
    try:
        with redis.Redis(port=primary.port) as client:
            deadline = time.monotonic() + PATIENCE_S
            client.set("written", "before")  # so that WAIT asks for an acknowledgement
            while client.wait(1, 200) < 1:
                assert time.monotonic() < deadline, "the replica did not come"
            client.delete("written")
        yield primary, replica
    finally:
        replica.stop(kill=True)
        primary.stop(kill=True)  # at SHUTDOWN it would wait for its replica


async def open_account(ledger: RedisLedger, number: int = 0) -> str:
    return await ledger.open_account(
        msisdn=str(38668100000 + number),
        imsi=str(293400000000000 + number),
        credit_micro_eur=5_000_000,
        package=None,
        now=NOW,
        month=MONTH,
        entropy=number + 1,
    )


async def eventually_connected(primary: RedisServer, settings: LedgerSettings) -> RedisLedger:
    """A short timeout may be too short for the first write."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await RedisLedger.connect(primary.url, settings)
        except LedgerUnavailable:
            assert time.monotonic() < deadline


async def eventually_open(ledger: RedisLedger) -> str:
    """Tries again: on a busy machine the replica may miss the first attempts."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await open_account(ledger)
        except LedgerUnavailable:
            assert time.monotonic() < end


async def test_one_wait_confirms_all_writes_of_a_flush(tmp_path: Path) -> None:
    settings = LedgerSettings(max_clock_skew_s=0, durability="replicated", replicas=1, partitions=4)
    with primary_and_replica(tmp_path) as (primary, _):
        ledger = await RedisLedger.connect(primary.url, settings)
        account_ids = [await open_account(ledger, number) for number in range(200)]
        with redis.Redis(port=primary.port) as client:
            client.config_resetstat()
            answers = await asyncio.gather(*(charge(ledger, account_id, 0) for account_id in account_ids))
            waits = client.info("commandstats")["cmdstat_wait"]["calls"]
        assert all(isinstance(answer, ChargeOutcome) and answer.code == 2001 for answer in answers)
        assert waits <= 2, "200 requests of one turn of the loop are one flush, or two with those that came late"
        await ledger.close()


async def test_requests_during_a_wait_are_sent_together(tmp_path: Path) -> None:
    settings = LedgerSettings(max_clock_skew_s=0, durability="replicated", replicas=1, partitions=4)
    with primary_and_replica(tmp_path) as (primary, replica):
        ledger = await RedisLedger.connect(primary.url, settings)
        account_ids = [await open_account(ledger, number) for number in range(50)]
        assert replica.process is not None
        replica.process.send_signal(signal.SIGSTOP)
        under_way = []
        with redis.Redis(port=primary.port) as client:
            client.config_resetstat()
            for account_id in account_ids:
                under_way.append(asyncio.create_task(charge(ledger, account_id, 0)))
                await asyncio.sleep(0.002)
            assert not any(task.done() for task in under_way)
            replica.process.send_signal(signal.SIGCONT)
            answers = await asyncio.gather(*under_way)
            waits = client.info("commandstats")["cmdstat_wait"]["calls"]
        assert all(isinstance(answer, ChargeOutcome) and answer.code == 2001 for answer in answers)
        assert waits == 2
        await ledger.close()


@pytest.mark.alone
async def test_reads_do_not_wait_for_replicas(tmp_path: Path) -> None:
    settings = LedgerSettings(max_clock_skew_s=0, durability="replicated", replicas=1, timeout_ms=2000, partitions=4)
    with primary_and_replica(tmp_path) as (primary, replica):
        ledger = await RedisLedger.connect(primary.url, settings)
        account_id = await open_account(ledger)
        assert replica.process is not None
        replica.process.send_signal(signal.SIGSTOP)
        write = asyncio.create_task(charge(ledger, account_id, 0))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        assert await ledger.find_subscriber("m38668100000") == account_id
        assert time.monotonic() - started < 0.5
        assert isinstance(await write, LedgerUnavailable)
        assert time.monotonic() - started < 1.9, "too few replicas is said before the request's time is up"
        await ledger.close()


@pytest.mark.alone
async def test_a_redis_silent_during_a_wait_is_disconnected(tmp_path: Path) -> None:
    settings = LedgerSettings(max_clock_skew_s=0, durability="replicated", replicas=1, timeout_ms=400, partitions=4)
    with primary_and_replica(tmp_path) as (primary, replica):
        ledger = await eventually_connected(primary, settings)
        account_id = await eventually_open(ledger)
        assert replica.process is not None and primary.process is not None
        replica.process.send_signal(signal.SIGSTOP)
        first = asyncio.create_task(charge(ledger, account_id, 0))
        await asyncio.sleep(0.1)  # applied; its WAIT is pending
        primary.process.send_signal(signal.SIGSTOP)
        assert isinstance(await first, LedgerUnavailable)
        assert isinstance(await charge(ledger, account_id, 0), LedgerUnavailable)
        await asyncio.sleep(0.1)
        assert not ledger.ready, "the connection was given up, the next one is not set up"
        primary.process.send_signal(signal.SIGCONT)
        replica.process.send_signal(signal.SIGCONT)
        end = time.monotonic() + PATIENCE_S
        while isinstance(outcome := await charge(ledger, account_id, 0), LedgerUnavailable):
            assert time.monotonic() < end
        assert outcome.code == 2001 and outcome.duplicate
        await ledger.close()


async def test_a_write_without_its_replica_is_not_confirmed(tmp_path: Path) -> None:
    settings = LedgerSettings(max_clock_skew_s=0, durability="replicated", replicas=1, timeout_ms=2000, partitions=4)
    with primary_and_replica(tmp_path) as (primary, replica):
        ledger = await RedisLedger.connect(primary.url, settings)
        account_id = await open_account(ledger)
        first = await charge(ledger, account_id, 0)
        assert isinstance(first, ChargeOutcome) and first.code == 2001
        with redis.Redis(port=replica.port) as client:
            assert client.dbsize() > 0
        await asyncio.to_thread(replica.stop, kill=True)
        assert isinstance(await charge(ledger, account_id, 1), LedgerUnavailable)
        assert isinstance(await charge(ledger, account_id, 1), LedgerUnavailable), "remembered, and still not confirmed"
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


@rule("HOT-NOT-2")
async def test_an_event_that_no_replica_has_is_not_recorded(tmp_path: Path) -> None:
    """A failover would lose it, and a notice of it would be of something that never was."""
    settings = LedgerSettings(max_clock_skew_s=0, durability="replicated", replicas=1, timeout_ms=2000, partitions=4)
    with primary_and_replica(tmp_path) as (primary, replica):
        ledger = await RedisLedger.connect(primary.url, settings)
        account_id = await open_account(ledger)
        writer = RecordWriter(tmp_path / "records", rotate_octets=1 << 20, rotate_s=3600, clock=time.time)
        writer.open()
        pump = Pump(ledger, [writer])
        await pump.begin()
        await charge(ledger, account_id, 0)
        assert await pump.round() == 1
        await asyncio.to_thread(replica.stop, kill=True)
        assert isinstance(await charge(ledger, account_id, 1), LedgerUnavailable), "its event is in the outbox"
        pump.read_all()
        with pytest.raises(LedgerUnavailable):
            await pump.round()
        assert recorded(tmp_path / "records") == ["opened"]
        await asyncio.to_thread(replica.start)
        end = time.monotonic() + PATIENCE_S
        while recorded(tmp_path / "records") == ["opened"]:
            assert time.monotonic() < end
            with contextlib.suppress(LedgerUnavailable):
                await pump.round()
        assert recorded(tmp_path / "records") == ["opened", "use"]
        writer.close()
        await ledger.close()


def recorded(folder: Path) -> list[str]:
    files = sorted(folder.glob("records-*.jsonl"))
    return [orjson.loads(line)["kind"] for file in files for line in file.read_bytes().splitlines()]


async def test_no_replica_at_all(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url):
        pass  # the first connection writes the ledger's version
    ledger = await RedisLedger.connect(
        redis_7.url,
        LedgerSettings(max_clock_skew_s=0, durability="replicated", replicas=1, timeout_ms=300, partitions=4),
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
