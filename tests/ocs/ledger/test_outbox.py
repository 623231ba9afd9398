"""The outbox on a real Redis: the pump's reads, hints which partitions have new events, and a ledger that goes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import redis

from ocs.ledger.contract.events import EPOCH_EVENTS
from ocs.ledger.redis import outbox as outbox_module
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.outbox.files import record_files
from ocs.outbox.pump import Pump
from ocs.outbox.writer import RecordWriter
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.ocs.ledger.books import EUR, PACKAGE, WHEN, empty_ledger, nodes, open_account, outbox_read
from tests.waiting import PATIENCE_S


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_url, partitions=4) as ledger:
        yield ledger


async def top_up(ledger: RedisLedger, account_id: str, reference: str) -> None:
    await ledger.top_up(account_id, amount_micro_eur=EUR, reference=reference, **WHEN)


async def test_entries_of_many_partitions(ledger: RedisLedger) -> None:
    accounts = [await open_account(ledger, n) for n in range(12)]
    wanted = [(partition, 0) for partition in range(4)]
    found = await ledger.outbox_entries(wanted, count=100)
    events = [ledger.outbox_event(partition, entry) for partition, entries in enumerate(found) for entry in entries]
    assert {event.body["a"] for event in events if event.body["k"] == "opened"} == set(accounts)
    lasts = [await ledger.outbox_last(partition) for partition in range(4)]
    assert [entries[-1][0] if entries else 0 for entries in found] == lasts
    second = await ledger.outbox_entries([(0, 2), (1, 10**13)], count=1)
    assert [[number for number, _ in entries] for entries in second] == [[2], []]
    await ledger.outbox_trim_many({0: lasts[0] - 1, 1: lasts[1] - 1})
    assert [await ledger.outbox_lag(0), await ledger.outbox_lag(1)] == [1, 1]
    (read,) = await outbox_read(ledger, 0, after=0, count=10)
    assert read.sequence == lasts[0]


async def test_due_accounts_of_many_partitions(ledger: RedisLedger) -> None:
    for n in range(12):
        await open_account(ledger, n, package=PACKAGE)
    later = WHEN["now"] + 91 * 86_400
    for now, count in ((WHEN["now"], 10), (later, 10), (later, 2)):
        one_by_one = [await ledger.due(partition, now=now, count=count) for partition in range(4)]
        assert await ledger.due_many(range(4), now=now, count=count) == one_by_one
    assert any(one_by_one)


async def test_the_counter_only_rises(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    partition = int(account_id.split("-")[0])
    before = await ledger.outbox_last(partition)
    await ledger.outbox_raise(partition, before - 1)
    assert await ledger.outbox_last(partition) == before
    for epoch in (2, 2, 1, 98):
        await ledger.outbox_raise(partition, epoch * EPOCH_EVENTS)
    await top_up(ledger, account_id, "T1")
    (*_, newest) = await outbox_read(ledger, partition, after=0, count=10)
    assert newest.sequence == 98 * EPOCH_EVENTS + 1
    assert newest.event_id == f"p{partition:02d}.98-1"


async def test_hints_name_partitions_with_new_events(ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id = await open_account(ledger)
    partition = int(account_id.split("-")[0])
    assert await ledger.dirty_take(10) == [], "not at once"
    await asyncio.sleep(outbox_module.MARK_EVERY_S + 0.1)
    assert partition in await ledger.dirty_take(10)
    assert await ledger.dirty_take(10) == [], "each is told once"
    for each in range(4):
        ledger.mark_dirty(each)
    await ledger.flush_dirty()
    first = await ledger.dirty_take(3)
    assert len(first) == 3 and sorted(first + await ledger.dirty_take(3)) == [0, 1, 2, 3]


async def test_a_closing_ledger_sends_its_last_hints(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        other = await RedisLedger.connect(redis_7.url, LedgerSettings(max_clock_skew_s=0, partitions=4))
        other.mark_dirty(2)
        await other.close()
        assert await ledger.dirty_take(9) == [2]


async def test_an_unavailable_redis_gives_no_hints_and_no_error(tmp_path: Path) -> None:
    assert SYSTEM_REDIS
    server = RedisServer(SYSTEM_REDIS, tmp_path)
    server.start()
    ledger = await RedisLedger.connect(server.url, LedgerSettings(max_clock_skew_s=0, partitions=4, timeout_ms=100))
    await asyncio.to_thread(server.stop, kill=True)
    ledger.mark_dirty(1)
    await asyncio.sleep(outbox_module.MARK_EVERY_S + 0.2)
    ledger.mark_dirty(1)
    await ledger.close()


async def test_sessions_of_a_client(ledger: RedisLedger) -> None:
    """The scripts keep this set; here the test writes it."""
    key = ledger._keys.by_partition[1].clients + b"pgw.a1.net"
    members = [f"01-{n} pgw;{n}; with a blank".encode() for n in range(1_200)]
    await ledger._ask("test", 1, b"SADD", key, *members)
    found = await ledger.sessions_of_client(1, "PGW.a1.net")
    assert sorted(found) == sorted((f"01-{n}", f"pgw;{n}; with a blank") for n in range(1_200))
    assert await ledger.sessions_of_client(2, "pgw.a1.net") == []
    await ledger.forget_client_session(1, "pgw.A1.net", "01-7", "pgw;7; with a blank")
    assert ("01-7", "pgw;7; with a blank") not in await ledger.sessions_of_client(1, "pgw.a1.net")


# -- rollback of the ledger


def ids(folder: Path) -> list[str]:
    return [
        orjson.loads(line)["event_id"] for _, path in record_files(folder) for line in path.read_bytes().splitlines()
    ]


def references(folder: Path) -> list[str]:
    found = [orjson.loads(line) for _, path in record_files(folder) for line in path.read_bytes().splitlines()]
    return [line["reference"] for line in found if line["kind"] == "topup"]


async def pump_all(pump: Pump) -> None:
    pump.read_all()
    while await pump.round():
        pass


def primary_and_replica(folder: Path) -> tuple[RedisServer, RedisServer]:
    assert SYSTEM_REDIS
    (folder / "primary").mkdir()
    (folder / "replica").mkdir()
    primary = RedisServer(SYSTEM_REDIS, folder / "primary")
    primary.start()
    replica = RedisServer(SYSTEM_REDIS, folder / "replica", "--replicaof", "127.0.0.1", str(primary.port))
    replica.start()
    return primary, replica


def promote(replica: RedisServer, primary: RedisServer) -> None:
    """Makes the replica a primary, once it has all that was written so far."""
    with redis.Redis(port=primary.port) as client, redis.Redis(port=replica.port) as other:
        end = time.monotonic() + PATIENCE_S
        while client.wait(1, 100) < 1:
            assert time.monotonic() < end
        other.execute_command("REPLICAOF", "NO", "ONE")


async def test_after_promotion_of_a_lagging_replica_new_events_become_records(tmp_path: Path) -> None:
    """The replica is promoted, and lacks five events that the primary journals afterwards."""
    primary, replica = primary_and_replica(tmp_path)
    lost: list[int] = []
    writer = RecordWriter(
        tmp_path / "records", rotate_octets=1 << 20, rotate_s=3600, clock=time.time, tail_events=1_024
    )
    writer.open()
    ledgers: list[RedisLedger] = []
    try:
        before = await RedisLedger.connect(primary.url, LedgerSettings(partitions=1, max_clock_skew_s=0))
        ledgers.append(before)
        pump = Pump(before, [writer], events_lost=lost.append)
        await pump.begin()
        account_id = await open_account(before, credit=20 * EUR)
        for n in range(40):
            await top_up(before, account_id, f"kept {n}")
            if n % 20 == 7:
                await pump_all(pump)
        promote(replica, primary)
        for n in range(5):
            await top_up(before, account_id, f"lost {n}")
        await pump_all(pump)
        recorded = ids(tmp_path / "records")
        assert references(tmp_path / "records")[-5:] == [f"lost {n}" for n in range(5)]

        after = await RedisLedger.connect(replica.url, LedgerSettings(partitions=1, max_clock_skew_s=0))
        ledgers.append(after)
        pump = Pump(after, [writer], events_lost=lost.append)
        await pump.begin()
        for n in range(5):
            await top_up(after, account_id, f"next {n}")
        await pump_all(pump)
        assert lost == [5]
        assert ids(tmp_path / "records") == [*recorded, *(f"p00.1-{n}" for n in range(1, 6))]
        assert references(tmp_path / "records")[-5:] == [f"next {n}" for n in range(5)]
        await top_up(after, account_id, "later")
        await pump_all(pump)
        assert ids(tmp_path / "records")[-1] == "p00.2-1"
        assert len(set(references(tmp_path / "records"))) == len(references(tmp_path / "records"))
    finally:
        for each in ledgers:
            await each.close()
        writer.close()
        replica.stop(kill=True)
        primary.stop(kill=True)


async def test_a_partition_restored_from_an_older_copy(redis_7: RedisServer, tmp_path: Path) -> None:
    """Stream and counter are restored as they were five events before."""
    lost: list[int] = []
    writer = RecordWriter(tmp_path, rotate_octets=1 << 20, rotate_s=3600, clock=time.time)
    writer.open()
    async with empty_ledger(redis_7.url, partitions=1) as ledger:
        pump = Pump(ledger, [writer], events_lost=lost.append)
        await pump.begin()
        account_id = await open_account(ledger)
        for n in range(6):
            await top_up(ledger, account_id, f"kept {n}")
        await pump_all(pump)
        keys = ledger._keys.by_partition[0]
        (client,) = nodes(ledger)
        with client:
            older = {name: client.dump(name) for name in (keys.outbox, keys.sequence)}
            for n in range(5):
                await top_up(ledger, account_id, f"lost {n}")
            await pump_all(pump)
            for name, dumped in older.items():
                client.restore(name, 0, dumped, replace=True)
        for n in range(5):
            await top_up(ledger, account_id, f"next {n}")
        await pump_all(pump)
        found = [f"kept {n}" for n in range(6)] + [f"lost {n}" for n in range(5)] + [f"next {n}" for n in range(5)]
        assert references(tmp_path) == found
        assert ids(tmp_path)[-5:] == [f"p00.1-{n}" for n in range(1, 6)] and lost == [5]
    writer.close()
