"""`ocs serve` as a process, for tests of its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocs.process.processes import command_line
from tests.catalogue import CATALOGUE
from tests.waiting import PATIENCE_S, wait_for

CONFIG = """
[diameter]
listen = ["127.0.0.1:0"]
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
[api]
listen = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[ledger]
durability = "everysec"
[server]
workers = 2
data_dir = "data"
"""


class Server:
    """`ocs serve` in a folder of its own."""

    def __init__(self, folder: Path, config: str = CONFIG, **environment: str) -> None:
        self.folder = folder
        (folder / "ocs.toml").write_text(config, encoding="utf-8")
        self.log = (folder / "log").open("ab")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
        catalogue = {"OCS_SERVER_CATALOGUE": str(CATALOGUE)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from ocs.cli.main import run; run()", "serve", "--config", "ocs.toml"],
            cwd=folder,
            env={**kept, **catalogue, **environment},
            stderr=self.log,
        )

    def facts(self) -> dict[str, Any]:
        path = self.folder / "data" / "server.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def health(self) -> tuple[int, dict[str, Any]]:
        if not (facts := self.facts()):
            return 0, {}
        try:
            with urllib.request.urlopen(f"http://{facts['metrics']}/health", timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    def wait_whole(self) -> dict[str, Any]:
        wait_for(lambda: self.health()[1].get("workers") == 2 and self.others_are_ready())
        return self.facts()

    def others_are_ready(self) -> bool:
        health = self.health()[1]
        return bool(health["housekeeper"] and health["backoffice"] and health["api"])

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.facts()['metrics']}/metrics", timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            return str(answer.read().decode())

    def children(self) -> dict[int, str]:
        """Roles by process id."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii").split()
        words = {int(pid): " ".join(command_line(int(pid))) for pid in listed}
        modules = [f"ocs.process.{name}" for name in ("worker", "housekeeper", "backoffice", "api")]
        roles = (*modules, "redis.conf")
        return {pid: role for pid, line in words.items() for role in roles if role in line}

    def of(self, role: str) -> list[int]:
        return [pid for pid, its in self.children().items() if its == role]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self.log.close()
        return status

    def end_whatever_it_does(self) -> None:
        """After a test, which may have failed anywhere. Its children end with the supervisor."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def text(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")


Starts = Callable[..., Server]
