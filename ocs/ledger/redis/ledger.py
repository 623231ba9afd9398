"""The ledger on Redis: every movement is one Lua script (ocs/ledger/scripts), sent by key and safe to send again.

Implements `ChargingLedger`, `AccountLedger` (most of it in accounts.py) and `NoticeLedger` of contract/operations.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from ocs.ledger import scripts
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.operations import AccountLedger, ChargingLedger, NoticeLedger
from ocs.ledger.layout import LAYOUT, Layout
from ocs.ledger.metrics import LedgerMetrics, NoMetrics
from ocs.ledger.redis import installation, notices
from ocs.ledger.redis.charging import Charging
from ocs.ledger.redis.client import checked
from ocs.ledger.redis.clients import Clients
from ocs.ledger.redis.connection import Answer, RedisConnection, Request, resolve
from ocs.ledger.redis.connection import command as pack_command
from ocs.ledger.redis.installation import Use
from ocs.ledger.redis.keys import Keys, account_id_of_key
from ocs.ledger.redis.leases import Leases
from ocs.ledger.redis.nodes import Nodes
from ocs.ledger.redis.outbox import Outbox
from ocs.ledger.redis.script_call import ScriptCalls
from ocs.ledger.redis.server_check import check_servers
from ocs.ledger.redis.slices import Slices
from ocs.ledger.settings import LedgerSettings

SCAN_COUNT = 1000


class RedisLedger(Charging, Outbox, Clients, Slices, Leases):
    """One process's client of the ledger. Create with `connect`, end with `close`."""

    def __init__(
        self,
        nodes: Nodes,
        keys: Keys,
        settings: LedgerSettings,
        clock: Callable[[], float] = time.time,
        layout: Layout = LAYOUT,
        calls: ScriptCalls | None = None,
    ) -> None:
        super().__init__(nodes, keys, settings, clock, layout, calls)
        self._listened = 0

    @classmethod
    async def connect(
        cls,
        url: str,
        settings: LedgerSettings,
        metrics: LedgerMetrics | None = None,
        connect_timeout_s: float = 10.0,
        stopwatch: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        layout: Layout = LAYOUT,
        use: Use = Use.FOUND,
    ) -> Self:
        """Connect to a node or a cluster; `stopwatch` gives seconds that only the metrics see, `clock` the Unix seconds
        that notices carry. `use` says whether a ledger is founded where there is none.

        LedgerUnavailable when Redis cannot be reached in time; LedgerError "installation" when what it holds is no
        ledger of this layout and number of partitions.
        """
        keys = Keys(settings.partitions)
        calls = ScriptCalls(scripts.load(layout), int(clock()))
        nodes = Nodes(url, keys, settings, calls, metrics or NoMetrics(), stopwatch)
        await nodes.start(connect_timeout_s)
        ledger = cls(nodes, keys, settings, clock, layout, calls)
        try:
            await check_servers(nodes, settings.durability)
            await installation.check(ledger, use)
        except BaseException:
            await ledger.close()
            raise
        return ledger

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.flush_dirty()
        await self._nodes.close()

    @property
    def partitions(self) -> int:
        return self._keys.partitions

    @property
    def ready(self) -> bool:
        """Every connection is usable now."""
        return self._nodes.ready()

    # -- what the whole ledger is (installation.py)

    @property
    def layout(self) -> Layout:
        return self._layout

    async def installed(self) -> dict[str, int]:
        """What was said of the ledger when it was installed; empty = nothing."""
        flat = await self._ask("installation", 0, b"HGETALL", self._keys.ledger)
        return {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}

    async def install(self, facts: dict[str, int]) -> dict[str, int]:
        """Say what the ledger is: partitions for ever, the layout as the newest that works on it. Returns what holds
        now.
        """
        key = self._keys.ledger
        await self._ask("installation", 0, b"HSETNX", key, b"partitions", facts["partitions"], durable=True)
        for name in facts.keys() - {"partitions"}:
            await self._ask("installation", 0, b"HSET", key, name, facts[name], durable=True)
        return await self.installed()

    async def hashes(self, pattern: bytes) -> AsyncIterator[tuple[bytes, dict[bytes, bytes]]]:
        """Hashes whose name is of the pattern. Looks at all keys: only where nothing is installed."""
        async for key, connection in self._scan(pattern):
            flat = await self._ask_node(connection, b"HGETALL", key)
            yield key, dict(zip(flat[::2], flat[1::2], strict=True))

    # -- notices (NoticeLedger)

    def notices(self, subscribed: Callable[[], None] = lambda: None) -> AsyncIterator[Notice]:
        return notices.listen(self._any_client, subscribed)

    def _any_client(self) -> Any:
        """To the nodes in turn: any of them hears all notices."""
        addresses = self._nodes.addresses()
        self._listened = (self._listened + 1) % max(len(addresses), 1)
        return self._nodes.client(addresses[self._listened] if addresses else None)

    async def announce(self, notice: Notice) -> None:
        await self._ask("announce", 0, b"PUBLISH", notices.CHANNEL, notices.encode(notice))

    # -- the housekeeper's side

    async def due(self, partition: int, *, now: int, count: int) -> list[str]:
        due = self._keys.by_partition[partition].due
        ids = await self._ask("due", partition, b"ZRANGEBYSCORE", due, b"-inf", now, b"LIMIT", 0, count)
        return [each.decode() for each in ids]

    async def account_ids(self) -> AsyncIterator[str]:
        """All accounts, in no order; one opened or closed meanwhile may be missed."""
        async for key, _ in self._scan(self._keys.account_pattern()):
            yield account_id_of_key(key)

    async def _scan(self, pattern: bytes) -> AsyncIterator[tuple[bytes, RedisConnection]]:
        """Keys of all nodes, each with the connection to its node."""
        for connection in self._nodes.masters():
            cursor = b"0"
            while True:
                cursor, found = await self._ask_node(
                    connection, b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_COUNT
                )
                for key in found:
                    yield key, connection
                if cursor == b"0":
                    break

    async def _ask_node(self, connection: RedisConnection, *words: bytes | int) -> Any:
        """The answer of one node, of whatever partition."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        until = self._loop.time() + self._timeout_s
        connection.send(Request(pack_command(words), partial(resolve, future), "scan", until, 0, 0, 0))
        return checked(await future)

    async def count_accounts(self) -> int:
        return sum([1 async for _ in self.account_ids()])


if TYPE_CHECKING:

    def _holds_the_contract(ledger: RedisLedger) -> tuple[ChargingLedger, AccountLedger, NoticeLedger]:
        return ledger, ledger, ledger
