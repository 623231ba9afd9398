"""A slot of a Redis Cluster is moved slowly, key by key: requests wait, or are served where their keys are. Each is
applied once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest
import redis

from ocs.ledger.audit import audit
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.conftest import SYSTEM_REDIS, RedisServer, start_cluster
from tests.ocs.ledger.books import EUR, MB, WHEN, attempt, charge, open_account, outbox_read, request, service
from tests.ports import free_port
from tests.waiting import PATIENCE_S

PRICE_PER_MB = 6_900


@dataclass
class Cluster:
    servers: list[RedisServer]

    def node_of(self, slot: int) -> RedisServer:
        return self.servers[slot * 3 // 16_384]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three masters, and a fourth without slots."""
    assert SYSTEM_REDIS
    folder = tmp_path_factory.mktemp("migration")
    servers = start_cluster(SYSTEM_REDIS, folder)
    (folder / "new").mkdir()
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(free_port())]
    options += ["--cluster-allow-replica-migration", "no"]  # it stays a master when its only slot is moved back
    new = RedisServer(SYSTEM_REDIS, folder / "new", *options)
    new.start()
    try:
        with redis.Redis(port=new.port) as client:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, servers[0].options[-1])
            end = time.monotonic() + PATIENCE_S
            while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert time.monotonic() < end, "the new node did not join"
                time.sleep(0.05)
        yield Cluster([*servers, new])
    finally:
        for server in (*servers, new):
            server.stop(kill=True)


class Migration:
    """Moves one slot from node to node in the steps of `redis-cli --cluster reshard`."""

    def __init__(self, source: RedisServer, destination: RedisServer, others: list[RedisServer], slot: int) -> None:
        self._old, self._new = redis.Redis(port=source.port), redis.Redis(port=destination.port)
        self._destination, self._others, self._slot = destination, others, slot
        self._new_id = self._new.execute_command("CLUSTER MYID").decode()

    def begin(self) -> None:
        old_id = self._old.execute_command("CLUSTER MYID").decode()
        self._new.execute_command("CLUSTER SETSLOT", self._slot, "IMPORTING", old_id)
        self._old.execute_command("CLUSTER SETSLOT", self._slot, "MIGRATING", self._new_id)

    def move(self, *keys: bytes | str) -> None:
        self._old.execute_command("MIGRATE", "127.0.0.1", self._destination.port, "", 0, 2000, "KEYS", *keys)

    def remaining(self, count: int = 10_000) -> list[str]:
        found: list[str] = self._old.execute_command("CLUSTER GETKEYSINSLOT", self._slot, count)
        return found

    def move_slowly(self, pause_s: float) -> None:
        while keys := self.remaining(1):
            self.move(*keys)
            time.sleep(pause_s)

    def end(self) -> None:
        for client in (self._new, self._old, *(redis.Redis(port=each.port) for each in self._others)):
            client.execute_command("CLUSTER SETSLOT", self._slot, "NODE", self._new_id)
            if client is not self._new and client is not self._old:
                client.close()


@contextmanager
def migration(cluster: Cluster, slot: int) -> Iterator[Migration]:
    """Moves a slot from its master to the node without slots. It is moved back at the end, for the next test."""
    source, new = cluster.node_of(slot), cluster.servers[-1]
    rest = [each for each in cluster.servers if each not in (source, new)]
    move = Migration(source, new, rest, slot)
    try:
        yield move
    finally:
        back = Migration(new, source, rest, slot)
        if move.remaining():
            move.move(*move.remaining())
        move.end()
        back.begin()
        if keys := back.remaining():
            back.move(*keys)
        back.end()
        for each in (move, back):
            each._old.close()
            each._new.close()


@asynccontextmanager
async def empty_ledger(cluster: Cluster, timeout_ms: int = 2000) -> AsyncIterator[RedisLedger]:
    for server in cluster.servers:
        with redis.Redis(port=server.port) as client:
            client.flushall()
    settings = LedgerSettings(max_clock_skew_s=0, partitions=3, connections=1, timeout_ms=timeout_ms)
    ledger = await RedisLedger.connect(cluster.servers[0].url, settings)
    try:
        yield ledger
    finally:
        await ledger.close()


@dataclass
class Load:
    """Sessions that open, use and end, one request after the other. Unavailable requests are repeated, as a client
    would.
    """

    ledger: RedisLedger
    stop: bool = False
    used_mb: dict[str, int] = field(default_factory=dict)
    waits_s: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    unavailable: int = 0

    async def account(self, account_id: str, moved: bool) -> None:
        self.used_mb[account_id] = session = 0
        while not self.stop:
            session += 1
            sid = f"pgw.example.net;{account_id};{session}"
            for number, kind in enumerate("IUUUT"):
                used = MB if number else 0
                want = None if kind == "T" else 2 * MB
                await self._accepted(request(account_id, kind, number, service(used=used, want=want), sid=sid), moved)
                self.used_mb[account_id] += 1 if number else 0
                await asyncio.sleep(0.01)

    async def _accepted(self, asked: ChargeRequest, moved: bool) -> None:
        started = time.monotonic()
        while isinstance(outcome := await attempt(self.ledger, asked), LedgerUnavailable):
            self.unavailable += 1
            assert time.monotonic() < started + PATIENCE_S, "the moved slot is not found"
        assert outcome.code == 2001
        self.waits_s[moved].append(time.monotonic() - started)


async def run_under_load(cluster: Cluster, pause_s: float, timeout_ms: int) -> tuple[Load, float]:
    """Charges 24 accounts while a partition is moved key by key; afterwards the balances must be right."""
    async with empty_ledger(cluster, timeout_ms) as ledger:
        account_ids = [await open_account(ledger, number) for number in range(24)]
        with migration(cluster, ledger._keys.by_partition[0].slot) as move:
            load = Load(ledger)
            async with asyncio.TaskGroup() as group:
                for account_id in account_ids:
                    group.create_task(load.account(account_id, moved=account_id.startswith("00")))
                await asyncio.sleep(0.3)
                started = time.monotonic()
                await asyncio.to_thread(move.begin)
                await asyncio.to_thread(move.move_slowly, pause_s)
                await asyncio.to_thread(move.end)
                window_s = time.monotonic() - started
                await asyncio.sleep(0.5)
                load.stop = True
            for partition in range(ledger.partitions):
                events = await outbox_read(ledger, partition, after=0, count=100_000)
                assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            for account_id in account_ids:
                found = await ledger.read(account_id, **WHEN)
                assert found is not None
                assert found.credit_micro_eur == 20 * EUR - load.used_mb[account_id] * PRICE_PER_MB
                assert (found.held_micro_eur, found.sessions) == (0, ())
            report = await audit(ledger, now=WHEN["now"], month=WHEN["month"])
            assert (report.ok, report.accounts) == (True, 24)
        return load, window_s


@pytest.mark.alone
async def test_requests_wait_while_a_slot_is_moved_key_by_key(cluster: Cluster) -> None:
    load, window_s = await run_under_load(cluster, pause_s=0.02, timeout_ms=4000)
    assert window_s > 0.5, "the migration was not slow"
    assert load.unavailable == 0
    assert max(load.waits_s[True]) < window_s + 0.3
    assert max(load.waits_s[False]) < 0.3, "other partitions are served as ever"


@pytest.mark.alone
async def test_a_request_times_out_if_the_migration_takes_too_long(cluster: Cluster) -> None:
    load, window_s = await run_under_load(cluster, pause_s=0.06, timeout_ms=400)
    assert window_s > 0.8, "the migration was not slow"
    assert load.unavailable > 0
    assert max(load.waits_s[True]) < window_s + 0.7
    assert max(load.waits_s[False]) < 0.3


async def session_of_the_moved_partition(ledger: RedisLedger) -> tuple[str, str]:
    """(account id, Identity of its number) of an account with an open session."""
    number = 0
    while not (account_id := await open_account(ledger, number)).startswith("00"):
        number += 1
    await charge(ledger, request(account_id, "I", 0, service(want=MB)))
    return account_id, f"m{38668100000 + number}"


@pytest.mark.alone
async def test_a_request_is_served_once_its_keys_have_moved(cluster: Cluster) -> None:
    """ASK is followed with ASKING, also to a node that no slot map names because it has no slot yet."""
    async with empty_ledger(cluster) as ledger:
        account_id, identity = await session_of_the_moved_partition(ledger)
        keys = ledger._keys.by_partition[0]
        with migration(cluster, keys.slot) as move:
            move.begin()
            # None of its keys has moved yet: the source serves it.
            assert (await charge(ledger, request(account_id, "U", 1, service(used=MB, want=MB)))).code == 2001
            move.move(keys.account + account_id.encode(), keys.outbox, keys.sequence, keys.due)
            move.move(*(key for key in move.remaining() if key.startswith(keys.answers.decode())))
            assert await ledger.find_subscriber(identity) == account_id
            for number in range(2, 12):
                started = time.monotonic()
                outcome = await charge(ledger, request(account_id, "U", number, service(used=MB, want=MB)))
                assert (outcome.code, outcome.duplicate) == (2001, False)
                # The first request opens the connection to the new node.
                assert time.monotonic() - started < (0.5 if number == 2 else 0.1)
            # A repetition finds the answer, which was moved too.
            assert (await charge(ledger, request(account_id, "U", 1, service(used=MB, want=MB)))).duplicate


@pytest.mark.alone
async def test_requests_of_an_account_stay_in_order_while_they_wait(cluster: Cluster) -> None:
    async with empty_ledger(cluster) as ledger:
        account_id, _ = await session_of_the_moved_partition(ledger)
        keys = ledger._keys.by_partition[0]
        with migration(cluster, keys.slot) as move:
            move.begin()
            move.move(keys.outbox)
            under_way = []
            for number in range(1, 21):
                asked = request(account_id, "U", number, service(used=MB, want=MB))
                under_way.append(asyncio.create_task(attempt(ledger, asked)))
                await asyncio.sleep(0.005)
            assert not any(task.done() for task in under_way)
            move.move(*move.remaining())
            await asyncio.to_thread(move.end)
            outcomes = await asyncio.gather(*under_way)
            assert all(isinstance(each, ChargeOutcome) and each.code == 2001 for each in outcomes)
            credits_left = [each.credit_micro_eur for each in outcomes if isinstance(each, ChargeOutcome)]
            assert credits_left == sorted(credits_left, reverse=True)
