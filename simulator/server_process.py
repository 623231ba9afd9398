"""The server as seen from outside: its command line, its health page, its process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.errors import SimulatorError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
COMMAND_TIMEOUT_S = 600.0
"""An import of 100,000 accounts takes minutes."""


class ServerError(SimulatorError):
    """The server, or an `ocs` command, failed."""


def ocs_command() -> list[str]:
    """Path of `ocs`: the script beside this Python, else the one on PATH."""
    beside = Path(sys.executable).with_name("ocs")
    return [str(beside)] if beside.exists() else ["ocs"]


def ocs(arguments: Sequence[str], config: Path) -> str:
    """Runs one `ocs` command and returns its standard output. Raises ServerError."""
    done = _run(arguments, config)
    if done.returncode:
        raise ServerError(f"{_words(done)} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def audit_books(config: Path) -> Mapping[str, Any]:
    """The output of `ocs audit --json`; a broken invariant is not an error here."""
    done = _run(["audit", "--json"], config)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        report = None
    if not isinstance(report, dict):
        raise ServerError(f"{_words(done)} ended with {done.returncode} and no JSON: {done.stderr.strip()}")
    return report


def _run(arguments: Sequence[str], config: Path) -> subprocess.CompletedProcess[str]:
    command = [*ocs_command(), *arguments, "--config", str(config)]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{' '.join(command)}: {error}") from error


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(["ocs", *done.args[1:]])


def free_port(preferred: int = 0) -> int:
    """`preferred` if it is free on loopback, else a port chosen by the system."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerError("no free port on the loopback")


class ServerProcess:
    """`ocs serve` as a child process, stopped by its process id. A context manager."""

    def __init__(self, config: Path, health_port: int, log: Path) -> None:
        self._config, self._health_port, self._log = config, health_port, log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        with self._log.open("wb") as log:
            # Its own session: Ctrl-C at the terminal reaches only us, and we stop it in order.
            self._process = subprocess.Popen(
                [*ocs_command(), "serve", "--config", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self, role: str) -> bool:
        """Kills a process of the server (SIGKILL): "worker", "housekeeper", "redis". False = it has none at present."""
        for pid in sorted(_children(self.pid)):
            if _plays(role, _command_line(pid)):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def is_whole(self) -> bool:
        """Whether all its processes are ready."""
        health = _health(self._health_port)
        others = (health.get(role) for role in ("housekeeper", "backoffice", "api"))
        ready = health.get("workers") == health.get("workers_wanted", -1)
        return ready and bool(health.get("redis")) and all(each is not False for each in others)

    def stop(self) -> None:
        """Sends SIGTERM and waits; SIGKILL to it and its children if it does not end."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        except KeyboardInterrupt:  # a second Ctrl-C: kill it, leave nothing behind
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(f"the server ended with {self._process.returncode}:\n{self.log_tail()}")
            if _is_healthy(self._health_port):
                return
            time.sleep(0.1)
        raise ServerError(f"the server was not healthy within {START_TIMEOUT_S:g} s:\n{self.log_tail()}")

    def log_tail(self, octets: int = 3000) -> str:
        return self._log.read_bytes()[-octets:].decode("utf-8", "replace").strip()


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:  # it has just ended
        return []


def _plays(role: str, words: Sequence[str]) -> bool:
    if role == "redis":
        return bool(words) and "redis-server" in words[0]
    return f"ocs.process.{role}" in words


def _health(port: int) -> Mapping[str, Any]:
    """Empty = no answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return dict(json.loads(answer.read()))
    except (urllib.error.URLError, OSError, ValueError):
        return {}
