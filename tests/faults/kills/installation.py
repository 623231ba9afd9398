"""A server with all its processes and its private Redis, the payment provider and the SMS gateway around it."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ocs.payments.mandates import new_key
from ocs.process.processes import children, command_line, is_alive
from simulator.payment_provider import Behaviour, PaymentProvider
from tests.catalogue import CATALOGUE
from tests.faults.harness import COMMAND, ROOT
from tests.faults.kills.client import REALM
from tests.ocs.notices.gateway import Gateway
from tests.ocs.notices.gateway import serving as serving_gateway
from tests.ports import free_port
from tests.postgresql import PostgreSQL
from tests.waiting import PATIENCE_S, wait_for

CHILDREN = ("worker", "api", "housekeeper", "backoffice")
PARTITIONS = 4
SECRET, WEBHOOK_SECRET = b"s" * 32, b"w" * 32
CONFIG = """
[server]
workers = 1
data_dir = "data"
catalogue = "catalogue.toml"
[diameter]
listen = ["127.0.0.1:{diameter}"]
[api]
listen = "127.0.0.1:{api}"
requests_per_s = 10000
burst = 10000
[metrics]
listen = "127.0.0.1:{metrics}"
[ledger]
partitions = {partitions}
timeout_ms = 1000
[history]
url = "{history}"
[records]
rotate_s = 20
[notices]
port = "webhook"
url = "{gateway}"
secret = "secret-of-the-gateway"
attempts = 20
rate_per_s = 1000
max_per_account = 1000
[payments]
automatic = "http"
url = "{provider}"
secret_file = "secret"
webhook_secret_file = "webhook"
mandate_key_file = "key"
timeout_ms = 1000
"""
PEER = '[[peer]]\norigin_host = "{host}"\nrealm = "{realm}"\naddresses = ["127.0.0.0/8"]\n'


class Installation:
    """`ocs serve` in `folder`, whose processes have steps (steps.py)."""

    def __init__(self, folder: Path, hosts: list[str], gateway: str, provider: str, history: str = "") -> None:
        self.folder = folder
        self.steps = folder / "steps"
        self.history = history
        self.diameter, self.api, self.metrics = free_port(), free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.steps.mkdir()
        config = CONFIG.format(
            diameter=self.diameter,
            api=self.api,
            metrics=self.metrics,
            partitions=PARTITIONS,
            history=history,
            gateway=gateway,
            provider=provider,
        )
        config += "".join(PEER.format(host=host, realm=REALM) for host in hosts)
        (folder / "ocs.toml").write_text(config, encoding="utf-8")
        catalogue = CATALOGUE.read_text(encoding="utf-8").replace('quiet_until = "08:00"', 'quiet_until = "21:00"')
        (folder / "catalogue.toml").write_text(catalogue, encoding="utf-8")
        (folder / "secret").write_bytes(SECRET)
        (folder / "webhook").write_text("whsec_" + base64.b64encode(WEBHOOK_SECRET).decode(), encoding="ascii")
        new_key(folder / "key")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # processes start often
        hooks = Path(__file__).parent / "hooks"
        self.environment = {**kept, "PYTHONPATH": f"{hooks}:{ROOT}", "KILLS_FOLDER": str(self.steps)}
        self._log = (folder / "log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        self.audit: subprocess.CompletedProcess[str] | None = None
        """`ocs audit` at the end."""

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.api}/v1"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.diameter

    # -- processes

    def start(self) -> None:
        """Start it, without waiting until it serves."""
        command = [*COMMAND, "serve", "--config", "ocs.toml"]
        self.process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stderr=self._log)

    def pid(self, role: str) -> int:
        """Process id; 0 while there is none."""
        assert self.process is not None
        if role == "supervisor":
            return self.process.pid if self.process.poll() is None else 0
        word = "redis-server" if role == "redis" else f"ocs.process.{role}"
        found = (pid for pid in children(self.process.pid) if word in " ".join(command_line(pid)) and is_alive(pid))
        return next(found, 0)

    def serves(self) -> bool:
        """Whether every process is ready."""
        assert self.process is not None
        if self.process.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/health", timeout=PATIENCE_S) as answer:
                health = json.load(answer)
        except (OSError, ValueError):
            return False
        return bool(health["status"] == "ok" and all(health[role] for role in ("api", "housekeeper", "backoffice")))

    def end(self) -> None:
        try:
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(PATIENCE_S)
        finally:
            if self.process is not None and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self._log.close()

    # -- commands

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words, "--config", "ocs.toml"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def done(self, *words: str) -> str:
        """Output of a command that must succeed."""
        found = self.command(*words)
        assert found.returncode == 0, (words, found.stdout, found.stderr)
        return found.stdout.strip()

    def vouchers(self, batch: str, count: int, value: str) -> list[str]:
        """Numbers of a new batch that is active."""
        file = self.folder / f"{batch}.csv"
        self.done(
            *("voucher", "generate", "--batch", batch), *("--count", str(count), "--value", value), "--file", file.name
        )
        self.done("voucher", "activate", batch)
        with file.open(encoding="ascii") as text:
            return [row["number"] for row in csv.DictReader(text)]

    @property
    def redis_url(self) -> str:
        facts = json.loads((self.folder / "data" / "redis" / "server.json").read_text(encoding="utf-8"))
        return str(facts["url"])

    @property
    def history_url(self) -> str:
        return self.history or f"sqlite:///{self.folder}/data/history.sqlite"

    def records(self) -> list[dict[str, Any]]:
        paths = sorted((self.folder / "data" / "records").glob("*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


class Surroundings:
    """What the server talks to. Both count what they get by Idempotency-Key."""

    def __init__(self) -> None:
        self.gateway = Gateway(answer=self._answer)
        self.provider = PaymentProvider(SECRET, WEBHOOK_SECRET, behaviour=Behaviour(settles_after_s=0.3))

    def _answer(self, number: int, fields: dict[str, Any]) -> tuple[int, dict[str, str]]:
        """Every ninth message is not taken at once."""
        return (503, {}) if number % 9 == 0 else (200, {})


@contextlib.asynccontextmanager
async def surroundings() -> AsyncIterator[Surroundings]:
    found = Surroundings()
    async with serving_gateway(found.gateway):
        await found.provider.start()
        try:
            yield found
        finally:
            await found.provider.close()


class Database:
    """A PostgreSQL of its own for the history."""

    def __init__(self) -> None:
        self.server = PostgreSQL()
        self.server.start()

    def kill(self) -> None:
        self.server.stop(kill=True)
        self.server.start()


def started(installation: Installation) -> None:
    """Start it, and wait until it serves."""
    installation.start()

    def serves() -> bool:
        assert installation.process is not None
        assert installation.process.poll() is None, (installation.folder / "log").read_text(encoding="utf-8")
        return installation.serves()

    wait_for(serves)


__all__ = ["CHILDREN", "PARTITIONS", "Database", "Installation", "Surroundings", "started", "surroundings"]
