"""A desk of the API for each test, on one Redis that is emptied before each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.ocs.api.desk import Desk, desk_on


@pytest.fixture(scope="session")
def api_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    server = RedisServer(SYSTEM_REDIS, tmp_path_factory.mktemp("redis-api"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def empty_redis(api_redis: RedisServer) -> str:
    """URL of a Redis without keys."""
    with redis.Redis(port=api_redis.port) as client:
        client.flushall()
    return api_redis.url


@pytest.fixture
async def desk(empty_redis: str) -> AsyncIterator[Desk]:
    async with desk_on(empty_redis) as made:
        yield made
