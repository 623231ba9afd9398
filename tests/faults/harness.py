"""`ocs serve` on its own Redis, and the ledger read from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from ocs.ledger.audit import AuditReport, audit
from ocs.ledger.contract.events import OutboxEvent
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.processes import command_line
from tests.catalogue import CATALOGUE
from tests.faults.client import Client, connect
from tests.ocs.ledger.books import outbox_read
from tests.waiting import PATIENCE_S, wait_for

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PARTITIONS = 4
MONTH = 202611
ANY_PORTS = """
[api]
listen = ""
[metrics]
listen = "127.0.0.1:0"
[ledger]
partitions = 4
"""
ONE_WORKER = """
[server]
workers = 1
data_dir = "data"
"""
CONFIG = f"""
[diameter]
listen = ["127.0.0.1:0"]
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
addresses = ["127.0.0.0/8"]
{ANY_PORTS}timeout_ms = 1000{ONE_WORKER}"""
CHARGING_ONLY = "housekeeper = false\n"
"""After CONFIG, for tests that read no records: housekeeper and backoffice take more of the processor to start than
supervisor and worker.
"""


COMMAND = [sys.executable, "-c", "from ocs.cli.main import run; run()"]


def environment(redis_url: str) -> dict[str, str]:
    """Environment of `ocs`: the catalogue of the tests and this Redis."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
    return {**kept, "OCS_SERVER_CATALOGUE": str(CATALOGUE), "OCS_REDIS_URL": redis_url}


class Serving:
    """`ocs serve` in its own folder, healthy on return."""

    def __init__(self, folder: Path, redis_url: str, config: str = CONFIG) -> None:
        self.folder, self.redis_url = folder, redis_url
        folder.mkdir(exist_ok=True)
        (folder / "ocs.toml").write_text(config, encoding="utf-8")
        self.log = (folder / "log").open("ab")
        self.environment = environment(redis_url)
        self._clients: list[Client] = []
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--config", "ocs.toml"], cwd=folder, env=self.environment, stderr=self.log
        )
        try:
            wait_for(self._healthy)
        except BaseException:
            self.end()
            raise

    def facts(self) -> dict[str, Any]:
        path = self.folder / "data" / "server.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def health(self) -> int:
        if not (facts := self.facts()):
            return 0
        try:
            with urllib.request.urlopen(f"http://{facts['metrics']}/health", timeout=PATIENCE_S) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def _healthy(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text(encoding="utf-8")
        return self.health() == 200

    def connect(self) -> Client:
        """Closed by `end` at the latest, so a test that fails leaves no socket to the next one."""
        host, port = self.facts()["diameter"][0].rsplit(":", 1)
        self._clients.append(connect((host, int(port))))
        return self._clients[-1]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs an `ocs` command beside the server."""
        return subprocess.run(
            [*COMMAND, *words, "--config", "ocs.toml"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.facts()['metrics']}/metrics", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def holders(self) -> dict[str, int]:
        """Peer → process id of the worker that has it."""
        paths = (self.folder / "data" / "peers").glob("*.lock")
        return {path.stem: int(path.read_text(encoding="ascii") or 0) for path in paths}

    def worker(self) -> int:
        """Process id of the one worker, 0 while there is none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        workers = [int(pid) for pid in children.split() if "ocs.process.worker" in " ".join(command_line(int(pid)))]
        return workers[0] if workers else 0

    def records(self) -> list[dict[str, Any]]:
        paths = sorted((self.folder / "data" / "records").glob("*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]

    def end(self) -> None:
        """Stops it in order, then closes its clients. TimeoutExpired: it did not end, and was killed."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.log.close()
            for client in self._clients:
                client.close()


class Books:
    """The ledger, read from outside. Within `with`, one connection serves all questions; else each has its own."""

    def __init__(self, url: str, partitions: int = PARTITIONS) -> None:
        self.url = url
        self.partitions = partitions
        self._kept: tuple[asyncio.Runner, RedisLedger] | None = None

    def _connect(self) -> Coroutine[Any, Any, RedisLedger]:
        return RedisLedger.connect(self.url, LedgerSettings(partitions=self.partitions, connections=1))

    def __enter__(self) -> Self:
        runner = asyncio.Runner()
        try:
            self._kept = (runner, runner.run(self._connect()))
        except BaseException:
            runner.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._kept is not None
        (runner, ledger), self._kept = self._kept, None
        with runner:
            runner.run(ledger.close())

    def ask(self, question: Callable[[RedisLedger], Awaitable[T]]) -> T:
        async def asking(ledger: RedisLedger) -> T:
            return await question(ledger)

        async def connected() -> T:
            ledger = await self._connect()
            try:
                return await question(ledger)
            finally:
                await ledger.close()

        if self._kept is None:
            return asyncio.run(connected())
        runner, ledger = self._kept
        return runner.run(asking(ledger))

    def open_account(self, msisdn: str, credit_micro_eur: int) -> str:
        return self.ask(lambda ledger: open_account(ledger, msisdn, credit_micro_eur))

    def view(self, account_id: str) -> AccountView:
        found = self.ask(lambda ledger: ledger.read(account_id, now=int(time.time()), month=MONTH))
        assert found is not None
        return found

    def audit(self) -> AuditReport:
        return self.ask(lambda ledger: audit(ledger, now=int(time.time()), month=MONTH))


async def open_account(ledger: RedisLedger, msisdn: str, credit_micro_eur: int) -> str:
    return await ledger.open_account(
        msisdn=msisdn,
        imsi="29340" + msisdn[-10:],
        credit_micro_eur=credit_micro_eur,
        package=None,
        now=int(time.time()),
        month=MONTH,
        entropy=int(msisdn),
    )


async def journal(ledger: RedisLedger) -> list[OutboxEvent]:
    """All events in the outbox; sequence numbers must have no gaps."""
    found: list[OutboxEvent] = []
    for partition in range(ledger.partitions):
        last = 0
        while events := await outbox_read(ledger, partition, after=last, count=1000):
            for event in events:
                assert event.sequence == last + 1, "the journal has a gap"
                last = event.sequence
            found += events
        assert last == await ledger.outbox_last(partition)
    return found


def balance(events: Sequence[OutboxEvent], account_id: str) -> int:
    """The credit according to the journal (invariant 5)."""
    own = [event.body for event in events if event.body["a"] == account_id]
    return sum(int(str(body.get("credit_in", 0))) - int(str(body.get("debit", 0))) for body in own)
