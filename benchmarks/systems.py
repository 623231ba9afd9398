"""The servers that are measured with the same load; they are started and stopped here:

- the charging server as shipped, of this tree or another: `ocs serve`, one worker, a private Redis that syncs every
write;
- its worker with a ledger that grants from memory (`benchmarks.granting_server`): the limit of the protocol side;
- a node of the python-diameter library that grants every request (`simulator.grantor`).

A charging server is known only by its command line, its processes and the files of its Redis.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import roles_under
from benchmarks.trees import HERE, Tree
from simulator.elements import SERVER_REALM, SIMULATED_REALM, element_hosts
from simulator.server_process import ServerError, free_port
from simulator.subscribers import default_subscribers, write_subscribers

LOAD_ACCOUNTS = 500
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0
"""More than an orderly end takes: workers, last records, Redis."""
IMPORT_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class System:
    """A running server: its address, and its processes by role."""

    port: int
    roles: Callable[[], dict[str, list[int]]]
    tree: Tree = HERE
    data_dir: Path | None = None
    config: Path | None = None
    api_port: int = 0

    def redis_url(self) -> str:
        """URL of the private Redis, for server information only."""
        assert self.data_dir is not None
        return str(json.loads((self.data_dir / "redis" / "server.json").read_text("utf-8"))["url"])


@contextmanager
def charging_server(
    folder: Path,
    tree: Tree = HERE,
    ledger: Sequence[str] = (),
    catalogue: Path | None = None,
    api: Sequence[str] = (),
) -> Iterator[System]:
    """Starts the tree's `ocs serve` in an empty folder, with its shipped catalogue or another."""
    folder.mkdir(parents=True)
    ports = free_port(), free_port(), free_port()
    config = write_config(folder, catalogue or tree.catalogue, ports, ledger, api)
    command = tree.ocs("serve", "--config", str(config))
    with _running(command, tree, folder / "server.log", lambda: any(map(_is_healthy, ports[1:]))) as pid:
        yield System(ports[0], lambda: roles_under(pid), tree, folder / "data", config, ports[1])


@contextmanager
def granting_server(folder: Path) -> Iterator[System]:
    folder.mkdir(parents=True)
    port = free_port()
    config = write_config(folder, HERE.catalogue, (port, free_port(), free_port()))
    command = HERE.module("benchmarks.granting_server", "--config", str(config))
    with _running(command, HERE, folder / "server.log", lambda: _accepts(port)) as pid:
        yield System(port, lambda: {"worker": [pid]})


@contextmanager
def blind_grantor(folder: Path) -> Iterator[System]:
    folder.mkdir(parents=True)
    port = free_port()
    command = HERE.module("simulator.grantor", "--port", str(port), "--realm", SERVER_REALM)
    with _running(command, HERE, folder / "server.log", lambda: _accepts(port)) as pid:
        yield System(port, lambda: {"worker": [pid]})


def provision(system: System, accounts: int) -> float:
    """Opens `accounts` equal accounts with the package MAXI; returns the seconds of `ocs account import`."""
    assert system.config is not None
    path = system.config.with_name(f"subscribers-{accounts}.csv")
    write_subscribers(path, default_subscribers(accounts))
    command = system.tree.ocs("account", "import", str(path), "--config", str(system.config))
    start = time.perf_counter()
    run_command(command, system.tree, IMPORT_TIMEOUT_S)
    return time.perf_counter() - start


def run_command(command: list[str], tree: Tree, timeout_s: float) -> str:
    """Runs the command and returns its standard output. Raises ServerError if it fails."""
    words = " ".join(command[3:] if command[1] == "-c" else command[2:])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False,
            cwd=tree.root, env=tree.environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{words} did not end in {timeout_s:g} s") from error
    if done.returncode:
        raise ServerError(f"{words} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def write_config(
    folder: Path, catalogue: Path, ports: tuple[int, int, int], ledger: Sequence[str] = (), api: Sequence[str] = ()
) -> Path:
    """The shipped settings, except one worker, ports, folder, and the settings in `ledger` and `api`."""
    lines = [
        "[diameter]",
        f'identity = "ocs.{SERVER_REALM}"',
        f'realm = "{SERVER_REALM}"',
        f'listen = ["127.0.0.1:{ports[0]}"]',
        "[ledger]",
        'durability = "fsync"',
        *ledger,
        "[api]",
        f'listen = "127.0.0.1:{ports[1]}"',
        *api,
        "[metrics]",
        f'listen = "127.0.0.1:{ports[2]}"',
        "[server]",
        "workers = 1",
        f'data_dir = "{(folder / "data").resolve()}"',
        f'catalogue = "{catalogue.resolve()}"',
        *(f'[[peer]]\norigin_host = "{host}"\nrealm = "{SIMULATED_REALM}"' for host in element_hosts()),
    ]
    path = folder.resolve() / "ocs.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@contextmanager
def _running(command: list[str], tree: Tree, log: Path, is_ready: Callable[[], bool]) -> Iterator[int]:
    """The process, once it is ready; stopped by its process id."""
    with log.open("wb") as out:
        # Its own session: Ctrl-C at the terminal reaches only us, and we stop it in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            cwd=tree.root, env=tree.environment,
        )  # fmt: skip
    try:
        end = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > end:
                said = log.read_bytes()[-3000:].decode("utf-8", "replace").strip()
                raise ServerError(f"the server of {tree.root} was not ready:\n{said}")
            time.sleep(0.1)
        yield process.pid
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(process.pid, signal.SIGKILL)  # its own group: its children end with it
        process.wait()
        raise


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_healthy(port: int) -> None:
    """Until `/health` of the port is well. ServerError: it is not in time."""
    end = time.monotonic() + START_TIMEOUT_S
    while not _is_healthy(port):
        if time.monotonic() > end:
            raise ServerError(f"nothing healthy answers at port {port}")
        time.sleep(0.1)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
