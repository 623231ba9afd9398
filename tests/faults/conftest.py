"""Servers of these tests. A test that kills something has a server and a Redis of its own (`serving`, `own_redis`). The
others share `one_server`: each has its own subscribers, and a P-GW of its own name.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from simulator.elements import SIMULATED_REALM, element_hosts
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.faults.harness import CHARGING_ONLY, CONFIG, PARTITIONS, Serving
from tests.faults.pgw import REALM, Pgw
from tests.waiting import wait_for

MAX_PEERS = 16
"""With so many connections, all are at one of two workers once in 30,000 runs."""
RELAY = f"dra.{REALM}"
LONE_PEERS = 32
"""P-GWs of single tests."""
HOSTS = [f"pgw{number}.{REALM}" for number in range(MAX_PEERS)] + [
    f"lone{number}.{REALM}" for number in range(LONE_PEERS)
]
TWO_WORKERS = (
    CONFIG.replace("workers = 1", "workers = 2").replace("timeout_ms = 1000", "timeout_ms = 2500")
    + "".join(f'[[peer]]\norigin_host = "{host}"\nrealm = "{REALM}"\n' for host in HOSTS)
    + f'[[peer]]\norigin_host = "{RELAY}"\nrealm = "{REALM}"\nkind = "relay"\nrealms = ["{REALM}"]\n'
    + "".join(f'[[peer]]\norigin_host = "{host}"\nrealm = "{SIMULATED_REALM}"\n' for host in element_hosts())
)
_numbers = itertools.count()


@pytest.fixture(scope="package")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`ocs serve` with two workers, for all tests of this folder that leave it as it was."""
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("one_server")
    (folder / "redis").mkdir()
    redis = RedisServer(SYSTEM_REDIS, folder / "redis")
    redis.start()
    try:
        server = Serving(folder / "ocs", redis.url, TWO_WORKERS)
        try:
            wait_for(lambda: "\nocs_workers_up 2.0\n" in server.metrics())  # it is healthy with the first one
            yield server
        finally:
            server.end()
    finally:
        redis.stop(kill=True)


@pytest.fixture
def msisdn() -> str:
    """A subscriber of the test alone."""
    return str(38668700000 + next(_numbers))


@pytest.fixture
async def pgw(one_server: Serving) -> AsyncIterator[Pgw]:
    """A P-GW of the test alone, connected to `one_server`."""
    pgw = await Pgw.connect(one_server, f"lone{next(_numbers) % LONE_PEERS}.example.net")
    yield pgw
    pgw.close()


@pytest.fixture
def serving(tmp_path: Path, own_redis: RedisServer) -> Iterator[Serving]:
    """`ocs serve` on `own_redis`, without records."""
    server = Serving(tmp_path / "ocs", own_redis.url, CONFIG + CHARGING_ONLY)
    yield server
    server.end()


@pytest.fixture
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[RedisLedger]:
    """The ledger of the test's server (`one_server`, or the one on `own_redis`), changed from outside."""
    shared = "one_server" in request.fixturenames
    found = request.getfixturevalue("one_server" if shared else "own_redis")
    url = found.redis_url if shared else found.url
    ledger = await RedisLedger.connect(url, LedgerSettings(partitions=PARTITIONS))
    yield ledger
    await ledger.close()
