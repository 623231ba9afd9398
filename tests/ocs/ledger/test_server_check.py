"""At start: a Redis that evicts keys is refused, one that stores less than promised is warned about."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.server_check import check_servers
from tests.conftest import RedisServer


class OneServer:
    """`Nodes` with one server; `forbidden` = commands that its user may not use."""

    def __init__(self, server: RedisServer, forbidden: str = "") -> None:
        self._port, self._forbidden = server.port, forbidden

    def addresses(self) -> list[str]:
        return ["redis.example.net"]

    def client(self, address: Any) -> redis.asyncio.Redis:
        user = {"username": "guest", "password": "guest"} if self._forbidden else {}
        return redis.asyncio.Redis(port=self._port, **user)


@contextmanager
def configured(server: RedisServer, **values: str) -> Iterator[None]:
    with redis.Redis(port=server.port, decode_responses=True) as client:
        names = {name.replace("_", "-"): value for name, value in values.items()}
        before = {name: client.config_get(name)[name] for name in names}
        for name, value in names.items():
            client.config_set(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


@contextmanager
def user_without(server: RedisServer, *commands: str) -> Iterator[OneServer]:
    with redis.Redis(port=server.port) as client:
        rights = ("on", ">guest", "~*", "&*", "+@all", *(f"-{command}" for command in commands))
        client.execute_command("ACL", "SETUSER", "guest", *rights)
        try:
            yield OneServer(server, forbidden="yes")
        finally:
            client.execute_command("ACL", "DELUSER", "guest")


@pytest.fixture(params=["redis_7", "redis_6"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    found: RedisServer = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("limit", ["0", "100mb"])
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "volatile-lru"])
async def test_a_server_that_evicts_is_refused(server: RedisServer, policy: str, limit: str) -> None:
    to_do = pytest.raises(LedgerError, match=r"CONFIG SET maxmemory-policy noeviction .* redis\.conf")
    with configured(server, maxmemory_policy=policy, maxmemory=limit), to_do as refused:
        await check_servers(OneServer(server), "fsync")
    assert refused.value.code == "eviction"
    said = str(refused.value)
    assert f"maxmemory-policy {policy}" in said and "answers, hints and references" in said
    assert ("accounts" in said) == policy.startswith("allkeys")


async def test_a_memory_limit_without_eviction_is_accepted(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), configured(server, maxmemory_policy="noeviction", maxmemory="100mb"):
        await check_servers(OneServer(server), "fsync")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("durability", "appendfsync", "warned"),
    [
        ("fsync", "always", False),
        ("fsync", "everysec", True),
        ("replicated", "everysec", True),
        ("everysec", "everysec", False),
        ("everysec", "always", False),
        ("everysec", "no", True),
    ],
)
async def test_a_late_fsync_is_warned_of(
    server: RedisServer, caplog: pytest.LogCaptureFixture, durability: str, appendfsync: str, warned: bool
) -> None:
    with configured(server, appendfsync=appendfsync):
        await check_servers(OneServer(server), durability)
    assert (f"appendfsync {appendfsync}, but ledger.durability" in caplog.text) == warned


async def test_no_append_only_file(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with configured(server, appendonly="no"):
        await check_servers(OneServer(server), "fsync")
    assert "appendonly no" in caplog.text and "needs appendonly yes, appendfsync always" in caplog.text


async def test_a_managed_redis_forbids_config(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with user_without(server, "config") as managed:
        await check_servers(managed, "fsync")
        assert "appendfsync cannot be read" in caplog.text and "maxmemory" not in caplog.text
        with configured(server, maxmemory_policy="allkeys-lru", maxmemory="100mb"), pytest.raises(LedgerError):
            await check_servers(managed, "fsync")


async def test_a_managed_redis_forbids_both(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with user_without(server, "config", "info") as managed:
        await check_servers(managed, "fsync")
    assert "appendfsync cannot be read" in caplog.text and "maxmemory-policy cannot be read" in caplog.text
