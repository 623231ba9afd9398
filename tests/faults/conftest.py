"""Servers of these tests: each test has its own Redis, because it kills it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.conftest import RedisServer
from tests.faults.harness import PARTITIONS, Serving


@pytest.fixture
def serving(tmp_path: Path, own_redis: RedisServer) -> Iterator[Serving]:
    """`ocs serve` on `own_redis`."""
    server = Serving(tmp_path / "ocs", own_redis.url)
    yield server
    server.end()


@pytest.fixture
async def ledger(own_redis: RedisServer) -> AsyncIterator[RedisLedger]:
    """The server's ledger, changed from outside."""
    ledger = await RedisLedger.connect(own_redis.url, LedgerSettings(partitions=PARTITIONS))
    yield ledger
    await ledger.close()
