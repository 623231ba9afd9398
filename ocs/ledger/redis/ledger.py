"""The ledger on Redis. Every movement is one call of a Lua script (ocs/ledger/scripts) that is safe to repeat.

Implements `ChargingLedger`, `AccountLedger` (most of it in accounts.py) and `NoticeLedger` of contract/operations.py,
`VoucherLedger` of contract/vouchers.py (vouchers.py), `TraceLedger` of contract/traces.py (traces.py), and `ApiLedger`
of contract/api_keys.py (api.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from ocs.ledger import scripts
from ocs.ledger.contract.api_keys import ApiLedger
from ocs.ledger.contract.groups import GroupLedger, TransferLedger
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.operations import AccountLedger, ChargingLedger, NoticeLedger
from ocs.ledger.contract.payments import PaymentLedger
from ocs.ledger.contract.traces import TraceLedger
from ocs.ledger.contract.vouchers import VoucherLedger
from ocs.ledger.layout import LAYOUT
from ocs.ledger.metrics import LedgerMetrics, NoMetrics
from ocs.ledger.records import Layout
from ocs.ledger.redis import installation, notices
from ocs.ledger.redis.api import Api
from ocs.ledger.redis.catalogue import CatalogueStore
from ocs.ledger.redis.charging import Charging
from ocs.ledger.redis.client import checked
from ocs.ledger.redis.clients import Clients
from ocs.ledger.redis.connection import Answer, RedisConnection, Request, resolve
from ocs.ledger.redis.connection import command as pack_command
from ocs.ledger.redis.installation import OpenMode
from ocs.ledger.redis.keys import Keys, account_id_of_key
from ocs.ledger.redis.leases import Leases
from ocs.ledger.redis.nodes import Nodes
from ocs.ledger.redis.observations import Observations
from ocs.ledger.redis.payments import Payments
from ocs.ledger.redis.script_call import ScriptCalls
from ocs.ledger.redis.server_check import check_servers
from ocs.ledger.redis.slices import Slices
from ocs.ledger.redis.traces import Traces
from ocs.ledger.redis.transfers import Transfers
from ocs.ledger.redis.vouchers import Vouchers
from ocs.ledger.settings import LedgerSettings

SCAN_COUNT = 1000


class RedisLedger(
    Charging, Transfers, Observations, Clients, Slices, Leases, CatalogueStore, Payments, Vouchers, Traces, Api
):
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
        mode: OpenMode = OpenMode.CREATE,
    ) -> Self:
        """Connect to a server or a cluster. `stopwatch` gives seconds for metrics, `clock` Unix seconds for notices.
        `mode` says whether an empty Redis becomes a ledger.

        LedgerUnavailable: Redis cannot be reached in time. LedgerError "installation": Redis does not hold a ledger of
        this layout and number of partitions. EvictionError: Redis may evict keys.
        """
        keys = Keys(settings.partitions)
        calls = ScriptCalls(scripts.load(layout), int(clock()))
        nodes = Nodes(url, keys, settings, calls, metrics or NoMetrics(), stopwatch)
        await nodes.start(connect_timeout_s)
        ledger = cls(nodes, keys, settings, clock, layout, calls)
        try:
            await check_servers(nodes, settings.durability)
            await installation.check(ledger, mode)
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

    # -- installation (installation.py)

    @property
    def layout(self) -> Layout:
        return self._layout

    async def installed(self) -> dict[str, int]:
        """Layout and partitions of the ledger; empty = Redis holds no ledger."""
        flat = await self._ask("installation", 0, b"HGETALL", self._keys.ledger)
        return {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}

    async def install(self, facts: dict[str, int]) -> dict[str, int]:
        """Write the facts: the partitions only once, layout and readable_from anew. Returns the facts that hold now."""
        key = self._keys.ledger
        await self._ask("installation", 0, b"HSETNX", key, b"partitions", facts["partitions"], durable=True)
        for name in facts.keys() - {"partitions"}:
            await self._ask("installation", 0, b"HSET", key, name, facts[name], durable=True)
        return await self.installed()

    async def hashes(self, pattern: bytes) -> AsyncIterator[tuple[bytes, dict[bytes, bytes]]]:
        """Hashes whose key matches the pattern. Scans all keys, so use it only where no ledger is installed."""
        async for key, connection in self._scan(pattern):
            flat = await self._ask_node(connection, b"HGETALL", key)
            yield key, dict(zip(flat[::2], flat[1::2], strict=True))

    # -- notices (NoticeLedger)

    def notices(self, subscribed: Callable[[], None] = lambda: None) -> AsyncIterator[Notice]:
        return notices.listen(self._any_client, subscribed)

    def _any_client(self) -> Any:
        """A client of the next node in turn: every node gets all notices."""
        addresses = self._nodes.addresses()
        self._listened = (self._listened + 1) % max(len(addresses), 1)
        return self._nodes.client(addresses[self._listened] if addresses else None)

    async def announce(self, notice: Notice) -> None:
        await self._ask("announce", 0, b"PUBLISH", notices.CHANNEL, notices.encode(notice))

    # -- due accounts, all accounts

    async def due(self, partition: int, *, now: int, count: int) -> list[str]:
        due = self._keys.by_partition[partition].due
        ids = await self._ask("due", partition, b"ZRANGEBYSCORE", due, b"-inf", now, b"LIMIT", 0, count)
        return [each.decode() for each in ids]

    async def account_ids(self) -> AsyncIterator[str]:
        """All accounts in no order. One that is opened or terminated meanwhile may be missed."""
        async for key, _ in self._scan(self._keys.account_pattern()):
            yield account_id_of_key(key)

    async def _scan(self, pattern: bytes) -> AsyncIterator[tuple[bytes, RedisConnection]]:
        """Keys of all nodes that match, each with the connection to its node."""
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
        """Send a command to this node, whatever its partition."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        until = self._loop.time() + self._timeout_s
        connection.send(Request(pack_command(words), partial(resolve, future), "scan", until, 0, 0, 0))
        return checked(await future)

    async def count_accounts(self) -> int:
        return sum([1 async for _ in self.account_ids()])


if TYPE_CHECKING:

    def _holds_the_contract(
        ledger: RedisLedger,
    ) -> tuple[ChargingLedger, AccountLedger, NoticeLedger, PaymentLedger, VoucherLedger, GroupLedger, TransferLedger]:
        return ledger, ledger, ledger, ledger, ledger, ledger, ledger

    def _holds_that_of_the_api(ledger: RedisLedger) -> ApiLedger:
        return ledger

    def _holds_that_of_traces(ledger: RedisLedger) -> TraceLedger:
        return ledger
