"""Redis is down, hangs, or has lost its scripts: nothing is granted meanwhile, and the server recovers by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
import redis

from ocs.catalogue.price import compile_price
from ocs.ledger.audit import audit
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.values.requests import RequestType
from ocs.values.use import Unit
from tests.conftest import SYSTEM_REDIS, RedisServer, start_cluster
from tests.faults.client import data_request
from tests.faults.harness import MONTH, Books, Serving, balance, journal, open_account
from tests.waiting import PATIENCE_S, wait_for

MSISDN = "38668100002"
SESSION = "pgw.example.net;2;gone"
SERVER = "ocs.example.net"
MB = 1024 * 1024
PRICE_PER_MB = 6_900
CREDIT = 10_000_000
TIMEOUT_S = 1.0
"""ledger.timeout_ms of the harness."""
MARGIN_S = 8.0
"""For a machine with much to do; tests/ocs/ledger/test_connection.py measures the time exactly. A client waits 10 s."""
PRICE = compile_price("data", unit=Unit.OCTETS, micro_eur=PRICE_PER_MB, quantity=MB, first=1024, next_=1024)


def test_redis_dead_then_back(own_redis: RedisServer, serving: Serving) -> None:
    books = Books(own_redis.url)
    account_id = books.open_account(MSISDN, CREDIT)
    client = serving.connect()
    assert client.ask(data_request(MSISDN, SESSION, 1, 0, want=20 * MB)).result_code == 2001
    own_redis.stop(kill=True)

    # 3002 sends the client to another server; 3004 when it was pinned to this one (RFC 6733 §7.1.3).
    for destination_host, code in ((None, 3002), (SERVER, 3004)):
        started = time.monotonic()
        update = data_request(MSISDN, SESSION, 2, 1, used=MB, want=20 * MB, destination_host=destination_host)
        answer = client.ask(update)
        assert (answer.result_code, answer.message) == (code, None), (
            "an error in the grammar of protocol errors: no grant"
        )
        assert time.monotonic() - started < TIMEOUT_S + MARGIN_S
    wait_for(lambda: serving.health() == 503)

    # Redis is back, nobody does anything else: the same connection is served.
    own_redis.start()
    wait_for(lambda: client.ask(update, retransmitted=True).result_code == 2001)
    assert serving.health() == 200
    assert client.ask(data_request(MSISDN, SESSION, 3, 2)).result_code == 2001
    client.close()
    view = books.view(account_id)
    assert (view.credit_micro_eur, view.held_micro_eur, view.sessions) == (CREDIT - PRICE_PER_MB, 0, ())
    assert books.audit().ok


def test_redis_hangs_and_the_ambiguous_request_is_repeated(own_redis: RedisServer, serving: Serving) -> None:
    """A hanging Redis has the request in its socket, and may apply it later. Its key makes that harmless."""
    books = Books(own_redis.url)
    account_id = books.open_account(MSISDN, CREDIT)
    client = serving.connect()
    assert client.ask(data_request(MSISDN, SESSION, 1, 0, want=20 * MB)).result_code == 2001
    assert own_redis.process is not None
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    update = data_request(MSISDN, SESSION, 2, 1, used=7 * MB, want=20 * MB)
    try:
        started = time.monotonic()
        assert client.ask(update).result_code == 3002
        assert time.monotonic() - started < TIMEOUT_S + MARGIN_S
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    wait_for(lambda: client.ask(update, retransmitted=True).result_code == 2001)
    assert client.ask(update, retransmitted=True).granted_octets == 20 * MB
    assert client.ask(data_request(MSISDN, SESSION, 3, 2, used=MB)).result_code == 2001
    client.close()
    view = books.view(account_id)
    assert (view.credit_micro_eur, view.spent_micro_eur) == (CREDIT - 8 * PRICE_PER_MB, 8 * PRICE_PER_MB)
    assert view.sessions == ()
    assert books.audit().ok


# -- beside the server: the ledger's client alone, many requests under way


def charge_request(account_id: str, session: str, kind: str, number: int) -> ChargeRequest:
    now = int(time.time())
    want = None if kind == "T" else 2 * MB
    service = ServiceCharge("1", "data.home", PRICE, (), 0 if kind == "I" else MB, want, MB, detail="29340")
    return ChargeRequest(
        account_id, "", f"{session};{account_id}", "pgw.example.net", "data", RequestType(kind), number, now,
        MONTH, now + 7200, (service,)
    )  # fmt: skip


async def charge(ledger: RedisLedger, request: ChargeRequest) -> ChargeOutcome | LedgerUnavailable:
    future: asyncio.Future[ChargeOutcome | LedgerUnavailable] = asyncio.get_running_loop().create_future()
    ledger.charge(request, future.set_result)
    return await future


async def test_scripts_flushed_while_serving(own_redis: RedisServer) -> None:
    """FUNCTION FLUSH by anybody: the scripts are loaded before the requests that missed them are sent again."""
    ledger = await RedisLedger.connect(own_redis.url, LedgerSettings(partitions=4, connections=2))
    account_ids = [await open_account(ledger, f"3866820{n:04d}", CREDIT) for n in range(20)]
    flushing = redis.asyncio.Redis(port=own_redis.port)

    async def session(account_id: str) -> None:
        for number in range(12):
            kind = "I" if number == 0 else "U" if number < 11 else "T"
            outcome = await charge(ledger, charge_request(account_id, "flush", kind, number))
            assert isinstance(outcome, ChargeOutcome) and outcome.code == 2001 and not outcome.duplicate

    async with asyncio.TaskGroup() as group:
        for account_id in account_ids:
            group.create_task(session(account_id))
        for _ in range(5):
            await flushing.function_flush()
            await flushing.script_flush()
            await asyncio.sleep(0.02)
    await flushing.aclose()
    events = await journal(ledger)
    for account_id in account_ids:
        assert balance(events, account_id) == CREDIT - 11 * PRICE_PER_MB
    assert (await audit(ledger, now=int(time.time()), month=MONTH)).ok
    await ledger.close()


async def test_one_load_of_the_scripts_serves_all_that_missed_them(own_redis: RedisServer) -> None:
    """Hundreds of pending requests at a FUNCTION FLUSH do not load the library hundreds of times."""
    ledger = await RedisLedger.connect(own_redis.url, LedgerSettings(partitions=4, connections=1))
    account_ids = [await open_account(ledger, f"3866821{n:04d}", CREDIT) for n in range(300)]
    with redis.Redis(port=own_redis.port) as client:
        client.function_flush()
        client.config_resetstat()
        outcomes = await asyncio.gather(*(charge(ledger, charge_request(each, "load", "I", 0)) for each in account_ids))
        assert all(isinstance(outcome, ChargeOutcome) and outcome.code == 2001 for outcome in outcomes)
        loads = client.info("commandstats")["cmdstat_function|load"]["calls"]
    assert loads <= 2
    await ledger.close()


async def test_one_master_of_a_cluster_dies_and_comes_back(tmp_path: Path) -> None:
    """Accounts on the other masters are charged all the time, those on the failed one as soon as it is back."""
    servers = start_cluster(SYSTEM_REDIS or "redis-server", tmp_path)
    try:
        for server in servers:
            with redis.Redis(port=server.port) as client:
                # A cluster that stops whole when one part is missing would take all subscribers down with it.
                client.config_set("cluster-require-full-coverage", "no")
        ledger = await RedisLedger.connect(servers[0].url, LedgerSettings(partitions=12, timeout_ms=600, connections=1))
        account_ids = [await open_account(ledger, f"3866830{n:04d}", CREDIT) for n in range(36)]
        hit = {each for each in account_ids if int(each[:2]) // 4 == 1}
        assert 0 < len(hit) < len(account_ids)
        await _all(ledger, account_ids, "I", 0, expected=set(account_ids))

        servers[1].stop(kill=True)
        started = time.monotonic()
        served = set(account_ids) - hit
        for number in range(1, 4):
            await _all(ledger, account_ids, "U", number, expected=served)
        assert time.monotonic() - started < 3 * (0.6 + MARGIN_S)

        servers[1].start()
        end = time.monotonic() + PATIENCE_S
        first = next(iter(hit))
        while not isinstance(await charge(ledger, charge_request(first, "cluster", "U", 1)), ChargeOutcome):
            assert time.monotonic() < end, "the master is back and its accounts are not served"
        # What was not answered is repeated; what was is remembered: each is charged once.
        for number in range(1, 4):
            await _all(ledger, account_ids, "U", number, expected=set(account_ids))
        await _all(ledger, account_ids, "T", 4, expected=set(account_ids))
        events = await journal(ledger)
        for account_id in account_ids:
            assert balance(events, account_id) == CREDIT - 4 * PRICE_PER_MB
        report = await audit(ledger, now=int(time.time()), month=MONTH)
        assert (report.ok, report.accounts, report.held_micro_eur) == (True, 36, 0)
        await ledger.close()
    finally:
        for server in servers:
            server.stop(kill=True)


async def _all(ledger: RedisLedger, account_ids: list[str], kind: str, number: int, *, expected: set[str]) -> None:
    outcomes = await asyncio.gather(
        *(charge(ledger, charge_request(each, "cluster", kind, number)) for each in account_ids)
    )
    answered = {each for each, outcome in zip(account_ids, outcomes, strict=True) if isinstance(outcome, ChargeOutcome)}
    assert all(outcome.code == 2001 for outcome in outcomes if isinstance(outcome, ChargeOutcome))
    assert answered == expected


def _move_slot(source: RedisServer, target: RedisServer, others: list[RedisServer], slot: int) -> None:
    """What `redis-cli --cluster reshard` does for one slot."""
    with redis.Redis(port=source.port) as old, redis.Redis(port=target.port) as new:
        old_id, new_id = (str(each.execute_command("CLUSTER MYID"), "ascii") for each in (old, new))
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
        while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 20):
            old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 2000, "KEYS", *keys)
            time.sleep(0.01)
        for server in (target, source, *others):
            with redis.Redis(port=server.port) as each:
                each.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)


async def test_a_slot_moves_to_another_master_while_its_accounts_are_charged(tmp_path: Path) -> None:
    servers = start_cluster(SYSTEM_REDIS or "redis-server", tmp_path)
    try:
        ledger = await RedisLedger.connect(servers[0].url, LedgerSettings(partitions=3, connections=1))
        account_ids = [await open_account(ledger, f"3866840{n:04d}", CREDIT) for n in range(24)]
        stop = asyncio.Event()
        charged = dict.fromkeys(account_ids, 0)

        async def session(account_id: str) -> None:
            await _accepted(ledger, charge_request(account_id, "move", "I", 0))
            while not stop.is_set():
                charged[account_id] += 1
                await _accepted(ledger, charge_request(account_id, "move", "U", charged[account_id]))
                await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            for account_id in account_ids:
                group.create_task(session(account_id))
            await asyncio.sleep(0.1)
            slot = ledger._keys.by_partition[0].slot
            await asyncio.to_thread(_move_slot, servers[0], servers[1], servers[2:], slot)
            await asyncio.sleep(0.3)
            stop.set()
        events = await journal(ledger)
        for account_id in account_ids:
            assert balance(events, account_id) == CREDIT - charged[account_id] * PRICE_PER_MB
        report = await audit(ledger, now=int(time.time()), month=MONTH)
        assert (report.ok, report.accounts) == (True, 24)
        with redis.Redis(port=servers[1].port) as client:
            assert client.execute_command("CLUSTER COUNTKEYSINSLOT", slot) > 0
        await ledger.close()
    finally:
        for server in servers:
            server.stop(kill=True)


async def _accepted(ledger: RedisLedger, request: ChargeRequest) -> None:
    """Repeats the request until it is answered, as a client would."""
    end = time.monotonic() + PATIENCE_S
    while isinstance(outcome := await charge(ledger, request), LedgerUnavailable):
        assert time.monotonic() < end, "the moved slot is not found"
    assert outcome.code == 2001


async def test_redis_not_there_at_all() -> None:
    with pytest.raises(LedgerUnavailable, match="cannot reach Redis"):
        await RedisLedger.connect("redis://127.0.0.1:1/0", LedgerSettings(), connect_timeout_s=0.3)
