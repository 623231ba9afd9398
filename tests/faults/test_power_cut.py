"""A power cut loses what was not synced: with fsync always, every answered debit survives.

SIGKILL alone loses nothing that was written. So Redis runs under strace, and its append-only file is truncated at the
last completed fsync. The same load without fsync shows that the test can fail.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.faults.harness import MONTH, balance, journal, open_account
from tests.faults.strace_log import CALLS, synced_octets
from tests.waiting import PATIENCE_S

SETTINGS = LedgerSettings(partitions=4, timeout_ms=1500, connections=2)
ACCOUNTS = 48
CREDIT = 150_000_000
UPDATES_PER_SESSION = 6
ENOUGH_ANSWERS = 600
INCREMENT = "appendonly.aof.1.incr.aof"
MB = 1024 * 1024
PRICE = compile_price("data", unit=Unit.OCTETS, micro_eur=6_900, quantity=MB, first=1024, next_=1024)


class TracedRedis(RedisServer):
    """A redis-server under strace; `cut_power` truncates its file to what was synced."""

    def __init__(self, folder: Path) -> None:
        assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
        strace = shutil.which("strace")
        assert strace, "the power-cut test needs strace on PATH: apt-get install strace"
        self.pid = 0
        self.log = folder / "strace.log"
        script = folder / "traced-redis"
        script.write_text(
            f'#!/bin/sh\nexec {strace} -f -y -s 0 -e signal=none -e {CALLS} -o {self.log} {SYSTEM_REDIS} "$@"\n'
        )
        script.chmod(0o755)
        home = folder / "redis"
        home.mkdir()
        super().__init__(str(script), home)

    def start(self) -> None:
        super().start()
        with redis.Redis(port=self.port) as client:
            self.pid = int(client.info("server")["process_id"])

    def cut_power(self) -> tuple[int, int]:
        """Kills and truncates; returns (synced octets, octets of the file)."""
        self.stop()
        path = self.folder / "appendonlydir" / INCREMENT
        written, synced = path.stat().st_size, synced_octets(self.log, INCREMENT)
        os.truncate(path, synced)
        return synced, written

    def kill_now(self) -> None:
        """Kills it by its own process id; the started process is strace."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.pid = 0

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            self.kill_now()
            self.process.wait(PATIENCE_S)
            self.process = None


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[TracedRedis]:
    server = TracedRedis(tmp_path)
    server.start()
    yield server
    server.stop()


@dataclass(slots=True)
class Load:
    """Charges many sessions at once and stores each answer until Redis dies."""

    ledger: RedisLedger
    account_ids: list[str]
    answered: list[tuple[ChargeRequest, ChargeOutcome]] = field(default_factory=list)
    unanswered: int = 0

    async def run(self, server: TracedRedis) -> None:
        async with asyncio.TaskGroup() as group:
            for account_id in self.account_ids:
                group.create_task(self._sessions(account_id))
            end = time.monotonic() + PATIENCE_S
            while len(self.answered) < ENOUGH_ANSWERS:
                assert time.monotonic() < end, "the load did not get going"
                await asyncio.sleep(0.01)
            server.kill_now()

    async def _sessions(self, account_id: str) -> None:
        for session in range(10_000):
            for number in range(UPDATES_PER_SESSION + 2):
                kind = "I" if number == 0 else "U" if number <= UPDATES_PER_SESSION else "T"
                request = charge_request(account_id, f"pgw.example.net;{account_id};{session}", kind, number)
                outcome = await charge(self.ledger, request)
                if isinstance(outcome, LedgerUnavailable):
                    self.unanswered += 1
                    return
                assert outcome.code == 2001
                self.answered.append((request, outcome))


def charge_request(account_id: str, session_id: str, kind: str, number: int) -> ChargeRequest:
    now = int(time.time())
    used, want = (0 if kind == "I" else 300_000 + 1000 * number), (None if kind == "T" else 2 * MB)
    service = ServiceCharge("1", "data.home", PRICE, (), used, want, MB, detail="29340")
    return ChargeRequest(
        account_id, "", session_id, "pgw.example.net", "data", RequestType(kind), number, now, MONTH, now + 7200,
        (service,)
    )  # fmt: skip


async def charge(ledger: RedisLedger, request: ChargeRequest) -> ChargeOutcome | LedgerUnavailable:
    future: asyncio.Future[ChargeOutcome | LedgerUnavailable] = asyncio.get_running_loop().create_future()
    ledger.charge(request, future.set_result)
    return await future


async def load_until_killed(server: TracedRedis, *, appendfsync: str) -> Load:
    """Opens accounts with fsync always, then runs the load with `appendfsync` and kills Redis."""
    ledger = await RedisLedger.connect(server.url, SETTINGS)
    account_ids = [await open_account(ledger, f"3866810{n:04d}", CREDIT) for n in range(ACCOUNTS)]
    with redis.Redis(port=server.port) as client:
        client.config_set("appendfsync", appendfsync)
    load = Load(ledger, account_ids)
    await load.run(server)
    await ledger.close()
    return load


async def lost_answers(ledger: RedisLedger, load: Load) -> list[ChargeRequest]:
    """Answered requests that the ledger does not remember: a repetition must give the same outcome."""
    lost = []
    for request, outcome in load.answered:
        again = await charge(ledger, replace(request, retransmitted=True))
        same = isinstance(again, ChargeOutcome) and again.duplicate
        if not same or (again.code, again.services, again.credit_micro_eur) != (
            *(outcome.code, outcome.services),
            outcome.credit_micro_eur,
        ):
            lost.append(request)
    return lost


async def test_every_answered_debit_survives_a_power_cut(traced: TracedRedis) -> None:
    load = await load_until_killed(traced, appendfsync="always")
    assert load.unanswered > 0, "requests were under way when the power went"
    synced, written = traced.cut_power()
    assert 0 < synced <= written

    restarted = RedisServer(SYSTEM_REDIS or "", traced.folder)
    restarted.start()
    try:
        ledger = await RedisLedger.connect(restarted.url, SETTINGS)
        views = {}
        for account_id in load.account_ids:
            views[account_id] = await ledger.read(account_id, now=int(time.time()), month=MONTH)
        assert await lost_answers(ledger, load) == []
        report = await audit(ledger, now=int(time.time()), month=MONTH)
        assert (report.ok, report.accounts) == (True, ACCOUNTS)
        events = await journal(ledger)
        for account_id in load.account_ids:
            view = await ledger.read(account_id, now=int(time.time()), month=MONTH)
            assert view is not None and view == views[account_id], "repetitions changed nothing"
            assert view.credit_micro_eur == balance(events, account_id)
            debits = sum(
                service.debited_micro_eur
                for request, outcome in load.answered
                if request.account_id == account_id
                for service in outcome.services
            )
            assert CREDIT - view.credit_micro_eur >= debits, "what was answered was taken"
        await ledger.close()
    finally:
        restarted.stop(kill=True)


async def test_without_fsync_the_same_cut_loses_answered_debits(traced: TracedRedis) -> None:
    """The test can fail: appendfsync no syncs nothing, so all answers are lost."""
    load = await load_until_killed(traced, appendfsync="no")
    synced, written = traced.cut_power()
    assert 0 < synced < written, "the accounts were synced, the charges were not"

    restarted = RedisServer(SYSTEM_REDIS or "", traced.folder)
    restarted.start()
    try:
        ledger = await RedisLedger.connect(restarted.url, SETTINGS)
        before = len(await journal(ledger))
        assert before == ACCOUNTS, "only the openings are there"
        lost = await lost_answers(ledger, load)
        # A lost request is charged anew by its repetition, so only the first of each is sure to be missed; here all
        # are.
        assert len(lost) == len(load.answered)
        await ledger.close()
    finally:
        restarted.stop(kill=True)


def test_the_log_is_read_right(tmp_path: Path) -> None:
    """Only a completed sync counts, and only for what was written before it began."""
    log = tmp_path / "log"
    name = f"</data/{INCREMENT}>"
    lines = [
        f'10  write(9{name}, ""..., 100) = 100',
        '10  write(7</data/other>, ""..., 999) = 999',
        f"10  fdatasync(9{name}) = 0",
        f'10  write(9{name}, ""..., 50 <unfinished ...>',
        "11  fdatasync(7</data/other>) = 0",
        "10  <... write resumed>) = 50",
        f"11  fdatasync(9{name} <unfinished ...>",
        f'10  write(9{name}, ""..., 8) = 8',
        "11  <... fdatasync resumed>) = 0",
    ]
    log.write_text("\n".join(lines))
    assert synced_octets(log, INCREMENT) == 150
    more = [f"10  fdatasync(9{name}) = -1 EIO (Input/output error)", f"10  fdatasync(9{name} <unfinished ...>"]
    log.write_text("\n".join([*lines, *more, "10  +++ killed by SIGKILL +++"]))
    assert synced_octets(log, INCREMENT) == 150
    log.write_text("\n".join(lines[:4]))
    assert synced_octets(log, INCREMENT) == 100
