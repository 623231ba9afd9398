"""Redis nodes and their partitions: one server or the masters of a Redis Cluster, and our connections to each."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import redis.asyncio
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.metrics import LedgerMetrics
from ocs.ledger.redis.connection import RedisConnection, Request
from ocs.ledger.redis.keys import Keys
from ocs.ledger.redis.redirects import FOLLOWED_AT_ONCE, Address, RetryQueue, address_text, target
from ocs.ledger.redis.script_call import ScriptCalls, delete_old, knows_functions
from ocs.ledger.settings import LedgerSettings

log = logging.getLogger(__name__)

REFRESH_PAUSE_S = 0.2
"""Least time between two looks at the cluster's slot map."""
IMPORTING_KEPT_S = 60.0
"""How long connections to a node that has none of our slots are kept, after the last ASK sent a request there."""
WATCH_S = 1.0
"""Pause between two looks at a cluster, for nodes that cannot be reached."""
_ONCE = Retry(NoBackoff(), 0)
"""No retries of the library, which take seconds: the next node is asked instead."""


class Nodes:
    """Routes requests to the node of their partition. Follows slot migrations and failovers of a cluster."""

    def __init__(
        self,
        url: str,
        keys: Keys,
        settings: LedgerSettings,
        scripts: ScriptCalls | Sequence[bytes],
        metrics: LedgerMetrics,
        stopwatch: Callable[[], float],
    ) -> None:
        """`scripts`: the scripts, called as the servers' version allows; or just commands that load scripts."""
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
        self._readers: dict[Address, RedisConnection] = {}
        self._read_routes: list[RedisConnection] = []
        self._importing: dict[Address, float] = {}
        self._retry_queue = RetryQueue(
            loop=self._loop, metrics=metrics, max_waiting=settings.max_waiting, route=self.route
        )
        self._refresh: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.is_cluster = False

    async def start(self, timeout_s: float) -> None:
        """Learn the topology and connect. LedgerUnavailable: Redis cannot be reached in time."""
        end = self._loop.time() + timeout_s
        while True:
            try:
                slots = await self._ask_topology(self._first)
                await self._choose_calls({address for _, _, address in slots})
                self._apply(slots)
                break
            except (RedisError, OSError) as error:
                if self._loop.time() >= end:
                    raise LedgerUnavailable(
                        f"cannot reach Redis at {address_text(self._first)} (redis.url): {error}"
                    ) from None
                await asyncio.sleep(REFRESH_PAUSE_S)
        for connection in self.all_connections():
            if not await connection.wait_ready(max(end - self._loop.time(), 0.0)):
                await self.close()
                why = f": {connection.setup_refusal}" if connection.setup_refusal else " in time: is it overloaded?"
                raise LedgerUnavailable(f"cannot set up the connections to Redis at {address_text(self._first)}{why}")
        await self._delete_old_libraries()
        if self.is_cluster:
            self._watch = self._loop.create_task(self._watch_cluster())

    async def _choose_calls(self, addresses: Iterable[Address]) -> None:
        if isinstance(self._scripts, ScriptCalls):
            known = []
            for address in addresses:
                async with self.client(address) as client:
                    known.append(await knows_functions(client))
            self._scripts.choose(functions=all(known))

    async def _delete_old_libraries(self) -> None:
        if isinstance(self._scripts, ScriptCalls) and self._scripts.library:
            for address in self.addresses():
                try:
                    async with self.client(address) as client:
                        deleted = await delete_old(client, self._scripts.library)
                except (RedisError, OSError) as error:
                    log.warning(
                        "Redis at %s: function libraries of older versions are not deleted, which does no harm: %s",
                        *(address_text(address), error),
                    )
                else:
                    if deleted:
                        log.info(
                            "Redis at %s: function libraries of older versions deleted: %s",
                            *(address_text(address), ", ".join(deleted)),
                        )

    @property
    def calls(self) -> ScriptCalls:
        """How each script is called; final when `start` has returned."""
        assert isinstance(self._scripts, ScriptCalls), "made with load commands only"
        return self._scripts

    def all_connections(self) -> list[RedisConnection]:
        return [*(connection for group in self._connections.values() for connection in group), *self._readers.values()]

    def masters(self) -> list[RedisConnection]:
        """One connection to each node."""
        return [group[0] for group in self._connections.values()]

    def ready(self) -> bool:
        return all(connection.ready for connection in self.all_connections())

    def route(self, request: Request) -> None:
        """Send to the node of the request's partition. Requests of an account always use the same connection."""
        if self._retry_queue.queues and self._retry_queue.queued(request):
            return
        if self._read_routes and not request.wait_for:
            self._read_routes[request.slot].send(request)
            return
        group = self._routes[request.slot]
        group[request.order_key % len(group)].send(request)

    # -- refusals of a cluster's node (redirects.py)

    def _refused(self, request: Request, error: str, connection: RedisConnection) -> None:
        if not request.refusals:
            self._retry_queue.watch(request)
        request.refusals += 1
        request.asking = False
        kind = error.partition(" ")[0]
        address = target(error, connection.address) if kind in ("ASK", "MOVED") else None
        self._metrics.ledger_error(kind.lower() if kind in ("ASK", "MOVED") else "not_now")
        if kind == "MOVED":
            self._learn(request.slot, address)
        elif kind == "READONLY":
            for each in self.all_connections():  # also those for reading: a replica would answer them with old data
                if each.address == connection.address:
                    each.renew()
        if self._retry_queue.queues and self._retry_queue.queued(request):
            return
        if address is None or request.refusals > FOLLOWED_AT_ONCE:
            self._retry_queue.wait(request)
        elif kind == "MOVED":
            self.route(request)
        else:
            self._importing[address] = self._loop.time()
            request.asking = True
            group = self._connections_to(address)
            if self._read_routes and not request.wait_for:
                self._readers[address].send(request)
            else:
                group[request.order_key % len(group)].send(request)

    def _learn(self, partition: int, address: Address | None) -> None:
        """A node named the new place of a slot: send there from now on, and read the slot map soon."""
        if address is not None:
            self._set_route(partition, address)
        if self._refresh is None or self._refresh.done():
            self._refresh = self._loop.create_task(self._refresh_topology())

    def _set_route(self, partition: int, address: Address) -> None:
        self._routes[partition] = self._connections_to(address)
        if self._read_routes:
            self._read_routes[partition] = self._readers[address]

    def _connections_to(self, address: Address) -> list[RedisConnection]:
        if address not in self._connections:
            self._connections[address] = [self._connect(address) for _ in range(self._settings.connections)]
            if self._settings.durability == "replicated":
                # Commands that wait for no replica have a connection of their own, so that no WAIT blocks them.
                self._readers[address] = self._connect(address)
        return self._connections[address]

    # -- topology

    def client(self, address: Address | None = None) -> redis.asyncio.Redis:
        """A general client of one node, for rare commands; the caller closes it."""
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
        """[(first slot, last slot, address of the master)]; one range for a single server."""
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
        homes: list[Address] = []
        for keys in self._keys.by_partition:
            home = next((address for first, last, address in slots if first <= keys.slot <= last), None)
            if home is None:
                raise RedisError(f"no node of the cluster holds slot {keys.slot}: see CLUSTER INFO")
            homes.append(home)
        self._routes = [self._connections_to(home) for home in homes]
        if self._settings.durability == "replicated":
            self._read_routes = [self._readers[home] for home in homes]
        self._drop_others({address for _, _, address in slots})

    def _drop_others(self, wanted: set[Address]) -> None:
        """Close connections to nodes without slots; route the requests that waited for them anew."""
        now = self._loop.time()
        self._importing = {each: at for each, at in self._importing.items() if at + IMPORTING_KEPT_S > now}
        homeless: list[Request] = []
        for address in self._connections.keys() - wanted - self._importing.keys():
            gone = self._connections.pop(address)
            if reader := self._readers.pop(address, None):
                gone.append(reader)
            for connection in gone:
                homeless.extend(connection.take_waiting())
                self._loop.create_task(connection.close()).add_done_callback(lambda _: None)
        for request in homeless:
            request.asking = False
            self.route(request)

    def _connect(self, address: Address) -> RedisConnection:
        return RedisConnection(
            address=address,
            auth=self._auth,
            tls=self._tls,
            database=self._database,
            scripts=self._scripts.loads if isinstance(self._scripts, ScriptCalls) else self._scripts,
            loop=self._loop,
            metrics=self._metrics,
            max_waiting=self._settings.max_waiting // self._settings.connections,
            wait_ms=self._settings.timeout_ms // 2,
            on_refused=self._refused,
            stopwatch=self._stopwatch,
        )

    async def _refresh_topology(self) -> None:
        await asyncio.sleep(REFRESH_PAUSE_S)
        for address in [*self._connections, self._first]:
            try:
                self._apply(await self._ask_topology(address))
                return
            except (RedisError, OSError):
                continue

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
        self._retry_queue.close()
        for connection in self.all_connections():
            await connection.close()
