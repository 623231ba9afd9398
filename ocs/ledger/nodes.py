"""Which Redis node holds which partition: one node, or the masters of a Redis Cluster, and our connections to each."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ocs.ledger.connection import RedisConnection, Request
from ocs.ledger.contract import LedgerUnavailable
from ocs.ledger.keys import Keys
from ocs.ledger.metrics import LedgerMetrics
from ocs.ledger.settings import LedgerSettings

log = logging.getLogger(__name__)

REFRESH_PAUSE_S = 0.2
"""Least time between two looks at the cluster's slot map."""
WATCH_S = 1.0
"""How often a cluster with an unreachable node is looked at again."""
_ONCE = Retry(NoBackoff(), 0)
"""We ask the next node instead: the library's own repetitions take seconds."""

Address = str | tuple[str, int]


class Nodes:
    """Routes requests to the node of their partition; follows the cluster when slots move or a replica takes over."""

    def __init__(
        self,
        url: str,
        keys: Keys,
        settings: LedgerSettings,
        scripts: Sequence[bytes],
        metrics: LedgerMetrics,
        stopwatch: Callable[[], float],
    ) -> None:
        options: dict[str, Any] = dict(parse_url(url))
        self._first: Address = (
            options["path"] if "path" in options else (options.get("host", "localhost"), options.get("port", 6379))
        )
        user, password = options.get("username"), options.get("password")
        self._auth = [part.encode() for part in (user, password) if part] if password else None
        self._database = int(options.get("db", 0))
        self._tls = ssl.create_default_context() if url.startswith("rediss:") else None
        self._url = url
        self._keys = keys
        self._settings = settings
        self._scripts = scripts
        self._metrics = metrics
        self._stopwatch = stopwatch
        self._loop = asyncio.get_running_loop()
        self._connections: dict[Address, list[RedisConnection]] = {}
        self._routes: list[list[RedisConnection]] = []
        self._homeless: list[Request] = []
        self._refresh: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.is_cluster = False

    async def start(self, timeout_s: float) -> None:
        """Learn the topology and connect; LedgerUnavailable when Redis cannot be reached in time."""
        end = self._loop.time() + timeout_s
        while True:
            try:
                self._apply(await self._ask_topology(self._first))
                break
            except (RedisError, OSError) as error:
                if self._loop.time() >= end:
                    raise LedgerUnavailable(f"cannot reach Redis at {self._first}: {error}") from None
                await asyncio.sleep(REFRESH_PAUSE_S)
        for connection in self.all_connections():
            if not await connection.wait_ready(max(end - self._loop.time(), 0.0)):
                await self.close()
                raise LedgerUnavailable(f"cannot set up the connections to Redis at {self._first}")
        if self.is_cluster:
            self._watch = self._loop.create_task(self._watch_cluster())

    def all_connections(self) -> list[RedisConnection]:
        return [connection for group in self._connections.values() for connection in group]

    def masters(self) -> list[RedisConnection]:
        """One connection to each node."""
        return [group[0] for group in self._connections.values()]

    def ready(self) -> bool:
        return all(connection.ready for connection in self.all_connections())

    def route(self, request: Request) -> None:
        """Send to the node of the request's partition; an account's requests always take the same connection."""
        group = self._routes[request.slot]
        group[request.lane % len(group)].send(request)

    # -- topology

    def client(self, address: Address | None = None) -> redis.asyncio.Redis:
        """A general client for one node, for rare questions; the caller closes it."""
        where = self._first if address is None else address
        if isinstance(where, str):
            return redis.asyncio.Redis.from_url(self._url, socket_timeout=2, retry=_ONCE)
        options: dict[str, Any] = dict(parse_url(self._url))
        options.pop("connection_class", None)
        options.update(
            host=where[0],
            port=where[1],
            socket_timeout=2,
            socket_connect_timeout=2,
            ssl=self._tls is not None,
            retry=_ONCE,
        )
        return redis.asyncio.Redis(**options)

    def addresses(self) -> list[Address]:
        return list(self._connections)

    async def _ask_topology(self, address: Address) -> list[tuple[int, int, Address]]:
        """[(first slot, last slot, master's address)]; one range for a single node."""
        async with self.client(address) as client:
            try:
                ranges: Any = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if "cluster support disabled" not in str(error):
                    raise
                await client.ping()
                return [(0, 16_383, address)]
        self.is_cluster = True
        slots: list[tuple[int, int, Address]] = []
        for first, last, (host, port, *_), *_replicas in ranges:
            name = host.decode() if isinstance(host, bytes) else host
            slots.append((int(first), int(last), (name or str(self._first[0]), int(port))))
        return slots

    def _apply(self, slots: Sequence[tuple[int, int, Address]]) -> None:
        wanted = {address for _, _, address in slots}
        for address in wanted - self._connections.keys():
            self._connections[address] = [self._connect(address) for _ in range(self._settings.connections)]
        routes: list[list[RedisConnection]] = []
        for keys in self._keys.by_partition:
            homes = [address for first, last, address in slots if first <= keys.slot <= last]
            if not homes:
                raise RedisError(f"no node of the cluster holds slot {keys.slot}")
            routes.append(self._connections[homes[0]])
        self._routes = routes
        for address in self._connections.keys() - wanted:
            for connection in self._connections.pop(address):
                self._homeless.extend(connection.take_waiting())
                self._loop.create_task(connection.close()).add_done_callback(lambda _: None)
        homeless, self._homeless = self._homeless, []
        for request in homeless:
            self.route(request)

    def _connect(self, address: Address) -> RedisConnection:
        return RedisConnection(
            address=address,
            auth=self._auth,
            tls=self._tls,
            database=self._database,
            scripts=self._scripts,
            loop=self._loop,
            metrics=self._metrics,
            max_waiting=self._settings.max_waiting // self._settings.connections,
            on_moved=self._moved,
            stopwatch=self._stopwatch,
        )

    def _moved(self, request: Request) -> None:
        """A node said that the slot is elsewhere: look where, then send again."""
        if len(self._homeless) >= self._settings.max_waiting:
            request.give(LedgerUnavailable("too many requests are waiting for the cluster to settle"))
            return
        self._homeless.append(request)
        if self._refresh is None or self._refresh.done():
            self._refresh = self._loop.create_task(self._refresh_topology())

    async def _refresh_topology(self) -> None:
        await asyncio.sleep(REFRESH_PAUSE_S)
        for address in [*self._connections, self._first]:
            try:
                self._apply(await self._ask_topology(address))
                return
            except (RedisError, OSError):
                continue
        homeless, self._homeless = self._homeless, []
        for request in homeless:
            if request.expires > self._loop.time():
                self.route(request)
            else:
                request.give(LedgerUnavailable("the Redis Cluster does not say where the slot is"))

    async def _watch_cluster(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if not self.ready():
                await self._refresh_topology()

    async def close(self) -> None:
        tasks = [task for task in (self._refresh, self._watch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for request in self._homeless:
            request.give(LedgerUnavailable("the ledger's client was closed"))
        for connection in self.all_connections():
            await connection.close()
