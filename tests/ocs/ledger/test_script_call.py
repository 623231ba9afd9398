"""Scripts are called as functions of a library if Redis has functions, else by SHA1. Missing ones are loaded again, old
ones deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest
import redis
import redis.asyncio

from ocs.ledger.metrics import NoMetrics
from ocs.ledger.redis.keys import Keys
from ocs.ledger.redis.nodes import Nodes
from ocs.ledger.redis.request import Answer, Request, command
from ocs.ledger.redis.script_call import LIBRARIES_KEPT, ScriptCalls, delete_old, superfluous
from ocs.ledger.scripts.source import ScriptSource
from ocs.ledger.settings import LedgerSettings
from tests.conftest import RedisServer

SHARED = "local TWO = math.floor(2.5)\nlocal function twice(n) return TWO * n end -- a comment at the end"
SOURCES = (
    ScriptSource(
        "double", (SHARED,), "local pack = cmsgpack.pack\nreturn {KEYS[1], twice(tonumber(ARGV[1])), pack({})}"
    ),
    ScriptSource("count", (SHARED,), "return redis.call('INCRBY', KEYS[1], twice(tonumber(ARGV[1]))) -- and here"),
    ScriptSource("plain", (), "return KEYS[2] or 'none'"),
)
KEYS = Keys(4)


@asynccontextmanager
async def connected(url: str, sources: tuple[ScriptSource, ...] = SOURCES) -> AsyncIterator[tuple[Nodes, ScriptCalls]]:
    calls = ScriptCalls(sources, int(time.time()))
    nodes = Nodes(url, KEYS, LedgerSettings(partitions=4), calls, NoMetrics(), time.monotonic)
    await nodes.start(5)
    try:
        yield nodes, calls
    finally:
        await nodes.close()


async def run(
    nodes: Nodes, calls: ScriptCalls, script: str, keys: list[bytes], *arguments: int, partition: int = 0
) -> Any:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[Answer] = loop.create_future()
    packed = command((*calls.prefix(script), len(keys), *keys, *arguments))
    nodes.route(Request(packed, answered.set_result, script, loop.time() + 2, partition, 0, 0))
    return await answered


def key(partition: int = 0) -> bytes:
    return KEYS.by_partition[partition].account + b"x"


async def test_every_script_runs_on_every_redis(redis_url: str) -> None:
    async with connected(redis_url) as (nodes, calls):
        for partition in range(4):
            mine = [key(partition)]
            assert await run(nodes, calls, "double", mine, 21, partition=partition) == [mine[0], 42, b"\x90"]
            before = await run(nodes, calls, "count", mine, 0, partition=partition)
            assert await run(nodes, calls, "count", mine, 4, partition=partition) == before + 8
            assert await run(nodes, calls, "plain", mine, partition=partition) == b"none"


async def test_functions_from_redis_7_on(redis_7: RedisServer, redis_6: RedisServer) -> None:
    async with connected(redis_7.url) as (_, calls):
        assert calls.library and calls.prefix("double") == (b"FCALL", f"{calls.library}_double".encode())
        assert len(calls.loads) == 1
    async with connected(redis_6.url) as (_, calls):
        assert not calls.library and calls.prefix("double")[0] == b"EVALSHA"


async def test_a_user_without_function_permission_calls_by_sha1(redis_7: RedisServer) -> None:
    with redis.Redis(port=redis_7.port) as client:
        client.execute_command("ACL", "SETUSER", "guest", "on", ">guest", "~*", "&*", "+@all", "-function")
        try:
            async with connected(f"redis://guest:guest@127.0.0.1:{redis_7.port}/0") as (nodes, calls):
                assert calls.prefix("plain")[0] == b"EVALSHA"
                assert await run(nodes, calls, "plain", [key()]) == b"none"
        finally:
            client.execute_command("ACL", "DELUSER", "guest")


@pytest.mark.parametrize("forget", [("FUNCTION", "FLUSH"), ("SCRIPT", "FLUSH")])
async def test_scripts_that_redis_lost_are_loaded_again_once(
    redis_7: RedisServer, redis_6: RedisServer, forget: tuple[str, str]
) -> None:
    server = redis_7 if forget[0] == "FUNCTION" else redis_6
    async with connected(server.url) as (nodes, calls):
        with redis.Redis(port=server.port) as client:
            client.execute_command(*forget)
            client.config_resetstat()
            mine = [key()]
            before = await run(nodes, calls, "count", mine, 0)
            client.execute_command(*forget)
            asked = [run(nodes, calls, "count", mine, 1) for _ in range(200)]
            assert await asyncio.gather(*asked) == [before + 2 * (n + 1) for n in range(200)]
            statistics = client.info("commandstats")
        loads = sum(
            each["calls"] for name, each in statistics.items() if name.startswith(f"cmdstat_{forget[0].lower()}")
        )
        loads -= 1  # the second flush
        assert loads <= 2 * len(calls.loads) * 2


async def test_an_existing_library_is_not_loaded_again(redis_7: RedisServer) -> None:
    """Compiling it blocks Redis for milliseconds, and every `ocs` command would cause it."""
    async with connected(redis_7.url):
        async with connected(redis_7.url) as (nodes, calls):
            assert await run(nodes, calls, "plain", [key()]) == b"none"
        with redis.Redis(port=redis_7.port) as client:
            found = client.execute_command("FUNCTION", "LIST", "LIBRARYNAME", calls.library)
            assert len(found) == 1


async def test_two_versions_side_by_side(redis_7: RedisServer) -> None:
    newer = (ScriptSource("plain", (), "return 'newer'"), *SOURCES[:2])
    async with connected(redis_7.url) as (old_nodes, old), connected(redis_7.url, newer) as (new_nodes, new):
        assert old.library != new.library
        assert await run(old_nodes, old, "plain", [key()]) == b"none"
        assert await run(new_nodes, new, "plain", [key()]) == b"newer"


async def test_old_libraries_are_deleted_and_loaded_again_when_needed(redis_7: RedisServer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(redis.asyncio.Redis(port=redis_7.port))
        await client.execute_command("FUNCTION FLUSH")
        await client.execute_command(
            "FUNCTION LOAD", "#!lua name=somebody\nredis.register_function('theirs', function() return 1 end)"
        )
        oldest = await stack.enter_async_context(connected(redis_7.url))
        for n in range(6):
            version = (ScriptSource("plain", (), f"return '{n}'"),)
            calls = ScriptCalls(version, int(time.time()) + 1 + n)
            calls.choose(functions=True)
            await client.execute_command(*hiredis_parts(calls.loads[0]))
            await delete_old(client, calls.library)
        libraries = [each[1].decode() for each in await client.execute_command("FUNCTION LIST")]
        assert "somebody" in libraries
        assert len(libraries) - 1 == LIBRARIES_KEPT
        assert oldest[1].library not in libraries
        assert await run(*oldest, "plain", [key()]) == b"none"


def hiredis_parts(packed: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    reader.feed(packed)
    parts = reader.gets()
    assert isinstance(parts, list)
    return parts


def test_the_libraries_to_delete() -> None:
    found = [("ocs_c", 3), ("ocs_a", 1), ("mine", 0), ("ocs_d", 4), ("ocs_b", 2)]
    assert superfluous(found, "ocs_d") == ["ocs_a"]
    assert superfluous(found, "ocs_a") == ["ocs_b"]
    assert superfluous(found[:2], "ocs_d") == []


def test_a_change_of_any_part_is_another_library() -> None:
    def name(*sources: ScriptSource) -> str:
        calls = ScriptCalls(sources, 1)
        calls.choose(functions=True)
        return calls.library

    first = ScriptSource("a", ("local x = 1",), "return x")
    assert name(first) == name(ScriptSource("a", ("local x = 1",), "return x"))
    others = {
        name(ScriptSource("a", ("local x = 2",), "return x")),
        name(ScriptSource("a", ("local x = 1",), "return 1")),
        name(ScriptSource("b", ("local x = 1",), "return x")),
    }
    assert len(others) == 3 and name(first) not in others
