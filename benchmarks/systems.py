"""The three servers that are measured with the same load, each a process of its own, started and ended here:

- the charging server as it is shipped: `ocs serve`, one worker, a private Redis that syncs every write;
- its worker with a ledger that grants from memory (`benchmarks.granting_server`): the protocol's limit;
- a node of the python-diameter library that grants blindly (`simulator.grantor`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import children
from simulator.elements import SERVER_REALM, SIMULATED_REALM, element_hosts
from simulator.server_process import ServerError, ServerProcess, free_port, ocs_command

LOAD_ACCOUNTS = 500
STOP_TIMEOUT_S = 15.0
IMPORT_TIMEOUT_S = 300.0
LOAD_TIMEOUT_S = 120.0
"""Beyond the seconds that the load runs: connecting and the last answers."""


@dataclass(frozen=True, slots=True)
class System:
    """A running server: where it listens and whose processor time is its."""

    port: int
    processes: Callable[[], list[int]]
    redis_pid: int | None = None
    data_dir: Path | None = None
    config: Path | None = None


@contextmanager
def charging_server(folder: Path, catalogue: Path) -> Iterator[System]:
    """`ocs serve` in an empty folder."""
    folder.mkdir(parents=True)
    ports = free_port(), free_port(), free_port()
    config = write_config(folder, catalogue, ports)
    with ServerProcess(config, ports[1], folder / "server.log") as server:
        redis_pid = int(json.loads((folder / "data" / "redis" / "server.json").read_text("utf-8"))["pid"])

        def processes() -> list[int]:
            return [server.pid, *(pid for pid in children(server.pid) if pid != redis_pid)]

        yield System(ports[0], processes, redis_pid, folder / "data", config)


@contextmanager
def granting_server(folder: Path, catalogue: Path) -> Iterator[System]:
    folder.mkdir(parents=True)
    port = free_port()
    config = write_config(folder, catalogue, (port, free_port(), free_port()))
    with _process(["-m", "benchmarks.granting_server", "--config", str(config)]) as pid:
        yield System(port, lambda: [pid])


@contextmanager
def blind_grantor() -> Iterator[System]:
    port = free_port()
    with _process(["-m", "simulator.grantor", "--port", str(port), "--realm", SERVER_REALM]) as pid:
        yield System(port, lambda: [pid])


def provision(system: System, folder: Path, accounts: int) -> float:
    """`accounts` equal accounts on the package MAXI; the seconds that `ocs account import` took."""
    assert system.config is not None
    path = folder / f"subscribers-{accounts}.csv"
    run_simulator(["subscribers", str(path), "--load", str(accounts)])
    command = [*ocs_command(), "account", "import", str(path), "--config", str(system.config)]
    start = time.perf_counter()
    _run(command, IMPORT_TIMEOUT_S)
    return time.perf_counter() - start


def run_load(system: System, *, outstanding: int, seconds: float) -> dict[str, Any]:
    """One run of the load generator; its own JSON."""
    text = run_simulator(
        ["load", "--outstanding", str(outstanding), "--seconds", str(seconds), "--port", str(system.port), "--json"],
        timeout_s=seconds + LOAD_TIMEOUT_S,
    )
    result = json.loads(text)
    wrong = {code: count for code, count in result["result_codes"].items() if code != "2001"}
    if result["unanswered"] or wrong:
        raise ServerError(f"the load was not served whole: {result['unanswered']} unanswered, results {wrong}")
    assert isinstance(result, dict)
    return result


def run_simulator(arguments: list[str], timeout_s: float = 60.0) -> str:
    """`ocs-sim …`, beside the `ocs` of this environment; its standard output."""
    command = [str(Path(ocs_command()[0]).with_name("ocs-sim")), *arguments]
    return _run(command, timeout_s)


def _run(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{' '.join(command)} did not end in {timeout_s:g} s") from error
    if done.returncode:
        raise ServerError(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def write_config(folder: Path, catalogue: Path, ports: tuple[int, int, int]) -> Path:
    """The shipped settings, but for one worker, ports and folder."""
    lines = [
        "[diameter]",
        f'identity = "ocs.{SERVER_REALM}"',
        f'realm = "{SERVER_REALM}"',
        f'listen = ["127.0.0.1:{ports[0]}"]',
        "[ledger]",
        'durability = "fsync"',
        "[api]",
        f'listen = "127.0.0.1:{ports[1]}"',
        "[metrics]",
        f'listen = "127.0.0.1:{ports[2]}"',
        "[server]",
        "workers = 1",
        f'data_dir = "{(folder / "data").resolve()}"',
        f'catalogue = "{catalogue.resolve()}"',
        *(f'[[peer]]\norigin_host = "{host}"\nrealm = "{SIMULATED_REALM}"' for host in element_hosts()),
    ]
    path = folder / "ocs.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@contextmanager
def _process(arguments: list[str]) -> Iterator[int]:
    """This Python with these arguments, once it has said a line; ended by its own process id."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise ServerError(f"{' '.join(arguments)} ended before it was ready")
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
