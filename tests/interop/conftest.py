"""A real server on a Redis of its own, for peers that we did not write."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.faults.harness import PARTITIONS, Serving, open_account

MSISDN = "38668100000"
REALM = "a1.example.net"
HEAD = """
[diameter]
identity = "ocs.hot.example.net"
realm = "hot.example.net"
listen = ["127.0.0.1:0"]
"""
TAIL = """
[api]
listen = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[ledger]
partitions = 4
[server]
workers = 1
data_dir = "data"
"""


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(SYSTEM_REDIS, folder)
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def serve(tmp_path: Path, own_redis: RedisServer) -> Iterator[Callable[..., Serving]]:
    """`serve(peers, more_of_the_diameter_table)` starts `ocs serve` with these [[peer]] entries and other tables."""
    started: list[Serving] = []

    def start(peers: str, diameter: str = "") -> Serving:
        started.append(Serving(tmp_path / "ocs", own_redis.url, HEAD + diameter + peers + TAIL))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture
async def ledger(own_redis: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = await RedisLedger.connect(own_redis.url, LedgerSettings(partitions=PARTITIONS))
    yield ledger
    await ledger.close()


@pytest.fixture
async def account(ledger: RedisLedger) -> str:
    return await open_account(ledger, MSISDN, 20_000_000)


def when() -> dict[str, int]:
    return {"now": int(time.time()), "month": 202611}
