"""Outboxes for their reader, the set of partitions whose outbox has events, and due accounts of several partitions.

The scripts journal to the outbox of their partition. A process whose scripts did so adds the partition to one set of
the ledger (`mark_dirty`), at most four times a second. The set is a hint and may be lost: the reader also looks at all
partitions from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.events import OutboxEvent
from ocs.ledger.redis import journal, views
from ocs.ledger.redis.client import LedgerClient, checked
from ocs.ledger.redis.connection import Answer, resolve
from ocs.ledger.redis.connection import command as pack_command

MARK_EVERY_S = 0.25
RAISE = b"""
if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
"""KEYS 1 sequence of the partition. ARGV 1 the least value. Result 1 = it was less and has been raised."""

Entry = tuple[int, bytes]
"""Sequence and octets of an event."""


class Outbox(LedgerClient):
    """Part of `RedisLedger`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._dirty: set[int] = set()
        """At most one entry per partition."""
        self._marking: asyncio.TimerHandle | None = None

    # -- partitions with events

    def mark_dirty(self, partition: int) -> None:
        """Events were journalled in the partition. Call it when the script has answered, not before."""
        self._dirty.add(partition)
        if self._marking is None:
            self._marking = self._loop.call_later(MARK_EVERY_S, self._mark)

    def _mark(self) -> None:
        if self._marking is not None:
            self._marking.cancel()
            self._marking = None
        if self._dirty:
            self._post("dirty", 0, b"SADD", self._keys.dirty, *self._dirty)
            self._dirty.clear()

    async def flush_dirty(self) -> None:
        """Write the pending marks now, at the end of a process."""
        if self._marking is not None:
            self._marking.cancel()
            self._marking = None
        if self._dirty:
            dirty, self._dirty = self._dirty, set()
            with contextlib.suppress(LedgerUnavailable):
                await self._ask("dirty", 0, b"SADD", self._keys.dirty, *dirty)

    async def dirty_take(self, count: int) -> list[int]:
        """At most `count` of the partitions that were marked; they are not given again."""
        taken = await self._ask("dirty", 0, b"SPOP", self._keys.dirty, count)
        return [partition for partition in map(int, taken) if partition < self._keys.partitions]

    # -- the outbox

    async def outbox_entries(self, wanted: Sequence[tuple[int, int]], *, count: int) -> list[list[Entry]]:
        """For each (partition, sequence): its events from that one on, at most `count`, not yet decoded."""
        asked = [
            self._post(
                "outbox", each, b"XRANGE", self._keys.by_partition[each].outbox, f"{first}-0", b"+", b"COUNT", count
            )
            for each, first in wanted
        ]
        found = []
        for future in asked:
            entries = checked(await future)
            found.append([(int(entry_id[: entry_id.index(b"-")]), fields[1]) for entry_id, fields in entries])
        return found

    def outbox_event(self, partition: int, entry: Entry) -> OutboxEvent:
        return OutboxEvent(partition, entry[0], journal.body(views.unpack(entry[1])))

    async def outbox_confirm(self, upto: Mapping[int, int]) -> None:
        """With durability "replicated" a write that follows the events: when replicas have it, they have these too."""
        if not self._replicas:
            return
        asked = [
            self._asked("outbox", each, (b"SET", self._keys.by_partition[each].confirmed, last), durable=True)
            for each, last in upto.items()
        ]
        for answer in await asyncio.gather(*asked):
            checked(answer)

    async def outbox_trim_many(self, upto: Mapping[int, int]) -> None:
        asked = [
            self._post("outbox", each, b"XTRIM", self._keys.by_partition[each].outbox, b"MINID", f"{last + 1}-0")
            for each, last in upto.items()
        ]
        for future in asked:
            checked(await future)

    async def outbox_lag(self, partition: int) -> int:
        """Events not yet trimmed. The last one that was read stays (`ocs.outbox.pump`)."""
        lag: int = await self._ask("outbox", partition, b"XLEN", self._keys.by_partition[partition].outbox)
        return lag

    async def outbox_last(self, partition: int) -> int:
        """Sequence of the newest event ever journalled, 0 = none."""
        return int(await self._ask("outbox", partition, b"GET", self._keys.by_partition[partition].sequence) or 0)

    async def outbox_raise(self, partition: int, to: int) -> None:
        """Raise the sequence to at least `to`; the next event follows on it."""
        sequence = self._keys.by_partition[partition].sequence
        await self._ask("outbox", partition, b"EVAL", RAISE, 1, sequence, to, durable=True)

    # -- due accounts

    async def due_many(self, partitions: Sequence[int], *, now: int, count: int) -> list[list[str]]:
        """`due` of each of these partitions, at most `count` accounts each."""
        asked = [
            self._post(
                *("due", each, b"ZRANGEBYSCORE", self._keys.by_partition[each].due),
                *(b"-inf", now, b"LIMIT", 0, count),
            )
            for each in partitions
        ]
        return [[account_id.decode() for account_id in checked(await future)] for future in asked]

    def _post(self, operation: str, partition: int, *command: bytes | str | int) -> asyncio.Future[Answer]:
        """Send without waiting, so that commands to many partitions go out together."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        expires = self._loop.time() + self._timeout_s
        self._send(pack_command(command), partial(resolve, future), operation, partition, 0, expires, durable=False)
        return future
