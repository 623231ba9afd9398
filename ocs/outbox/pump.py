"""Moves events from the outbox to its consumers, partition by partition, and sees when the ledger has gone back.

The last stored event of a partition stays in the outbox as its *anchor*: each read begins with it. If it is missing or
another, the ledger no longer has what was stored (failover to a replica that was behind), and what it has instead is
found by `went_back`.

Nothing asks all partitions at once: those are read in which something was journalled (a hint of the ledger's clients),
and besides all others one after the other, so that a lost hint costs time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox import went_back
from ocs.outbox.consumer import Consumer, Entry, ForeignOutboxError, Outbox
from ocs.values.partition_rotation import PartitionRotation, batches

MAX_EVENTS_PER_READ = 128
"""Events of one partition in one round."""
PARTITIONS_AT_ONCE = 64
"""Asked together, as most have a few events only."""
BUSY_AT_ONCE = 8
"""Of those in which many wait: more would keep Redis from charging for milliseconds."""
BATCH_EVENTS = 512
"""Stored at a time, and what was read with them: about 5 ms of work, then others have their turn."""
TAKE_AT_MOST = 4_096
"""Hints taken in one round."""
TRIM_EVENTS = 32
"""Stored events that a partition's outbox keeps before it is trimmed: one command for many events."""
LOOK_ALL_S = 60.0
"""All partitions are looked at within this time, whatever the hints say."""
LEAST_LOOKS_PER_S = 64
"""A small ledger is looked at more often."""
BEGIN_AT_ONCE = 64
NO_ANCHOR = (0, b"")


class Pump:
    """`begin` first, then `round` again and again."""

    def __init__(
        self,
        outbox: Outbox,
        consumers: Sequence[Consumer],
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        events_lost: Callable[[int], None] = lambda count: None,
    ) -> None:
        assert consumers
        self._outbox = outbox
        self._consumers = consumers
        self._events_lost = events_lost
        self._anchors: dict[int, tuple[int, bytes]] = {}
        """Number and octets of the anchor; its octets are not known before a partition was read once."""
        self._untrimmed: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        """Partitions to read in the next round, and how many events are known to wait."""
        self._rotation = PartitionRotation(
            outbox.partitions, all_s=LOOK_ALL_S, least_per_s=LEAST_LOOKS_PER_S, stopwatch=stopwatch
        )

    @property
    def lag(self) -> int:
        """Events that are known to wait."""
        return sum(self._waiting.values())

    def least(self, partition: int) -> Consumer:
        """Who has stored least of the partition."""
        return min(self._consumers, key=lambda consumer: consumer.position(partition))

    async def begin(self) -> None:
        """Check that consumers and ledger belong together; then all partitions wait to be read."""
        stored = [each for each in range(self._outbox.partitions) if self.least(each).position(each)]
        unsure: list[int] = []
        for few in batches(stored, BEGIN_AT_ONCE):
            wanted = [(partition, self.least(partition).position(partition)) for partition in few]
            for partition, found in zip(few, await self._outbox.outbox_entries(wanted, count=1), strict=True):
                if not self._is_anchored(partition, found):
                    unsure.append(partition)
        if unsure and len(unsure) == len(stored):
            await self._check_not_foreign(unsure)
        self.look_at_all()

    def look_at_all(self) -> None:
        """In the next round, whatever the hints say."""
        for partition in range(self._outbox.partitions):
            self._waiting.setdefault(partition, 0)

    async def _check_not_foreign(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if await went_back.recognises(self._outbox, self.least(partition), partition):
                return
        first = partitions[0]
        consumer = self.least(first)
        position, newest = consumer.position(first), await self._outbox.outbox_last(first)
        has = "has another in its place" if newest >= position else f"has only {newest}"
        raise ForeignOutboxError(
            f"{consumer.name} has event {position} of partition {first}, and this ledger {has}: they belong to "
            "different "
            "ledgers, or the ledger was restored from an old copy; name its own Redis, or move the records away"
        )

    async def round(self) -> int:
        """Read what waits, at most a batch of each partition; returns how many events were stored. OSError: a consumer
        could not store.
        """
        slow = self._rotation.due()
        for partition in (*await self._outbox.dirty_take(TAKE_AT_MOST), *slow):
            self._waiting.setdefault(partition, 0)
        moved = 0
        events: list[OutboxEvent] = []
        ends: dict[int, tuple[Entry, int]] = {}
        for few in self._next():
            for partition in await self._read(few, events, ends):
                moved += await self._recover(partition)
            if len(events) >= BATCH_EVENTS:
                moved += await self._store(events, ends)
        moved += await self._store(events, ends)
        await self._trim([each for each in slow if self._untrimmed.get(each)])
        return moved

    def _next(self) -> list[Sequence[int]]:
        """What waits, in the groups in which it is read."""
        busy = [partition for partition, count in self._waiting.items() if count]
        others = [partition for partition, count in self._waiting.items() if not count]
        return [*batches(busy, BUSY_AT_ONCE), *batches(others, PARTITIONS_AT_ONCE)]

    # -- reading

    def _anchor(self, partition: int) -> tuple[int, bytes]:
        return self._anchors.get(partition) or (self.least(partition).position(partition), b"")

    def _is_anchored(self, partition: int, found: Sequence[Entry]) -> bool:
        """Does what was read begin with the anchor?"""
        number, octets = self._anchor(partition)
        if not found or found[0][0] != number:
            return False
        if octets:
            return found[0][1] == octets
        consumer = self.least(partition)
        return consumer.mark(self._outbox.outbox_event(partition, found[0])) == consumer.last_mark(partition)

    async def _read(
        self, partitions: Sequence[int], events: list[OutboxEvent], ends: dict[int, tuple[Entry, int]]
    ) -> list[int]:
        """Add what is new to `events`; the partitions in which the ledger has gone back are the result."""
        wanted = [(partition, self._anchor(partition)[0]) for partition in partitions]
        found = await self._outbox.outbox_entries(wanted, count=MAX_EVENTS_PER_READ + 1)
        strange = []
        for partition, entries in zip(partitions, found, strict=True):
            fresh = entries[:MAX_EVENTS_PER_READ]
            if self._anchor(partition)[0]:
                if not self._is_anchored(partition, entries):
                    strange.append(partition)
                    continue
                fresh = entries[1:]
            if not fresh:
                self._waiting.pop(partition, None)
            elif fresh[0][0] <= self.least(partition).position(partition):
                strange.append(partition)
            else:
                events += [self._outbox.outbox_event(partition, entry) for entry in fresh]
                ends[partition] = fresh[-1], len(fresh)
        return strange

    # -- storing

    async def _store(self, events: list[OutboxEvent], ends: dict[int, tuple[Entry, int]]) -> int:
        """Store what was read, move the anchors, trim. Empties both."""
        count = len(events)
        if not count:
            return 0
        for consumer in self._consumers:
            await asyncio.to_thread(consumer.store, events)
        full = []
        for partition, (entry, read) in ends.items():
            self._anchors[partition] = entry
            self._untrimmed[partition] = self._untrimmed.get(partition, 0) + read
            self._waiting.pop(partition, None)
            if read >= MAX_EVENTS_PER_READ:
                full.append(partition)
        await self._trim([each for each in ends if self._untrimmed[each] >= TRIM_EVENTS])
        for partition in full:
            self._waiting[partition] = max(await self._outbox.outbox_lag(partition) - 1, 0)
        events.clear()
        ends.clear()
        return count

    async def _trim(self, partitions: Sequence[int]) -> None:
        """Up to the anchor, which stays."""
        for few in batches(partitions, PARTITIONS_AT_ONCE):
            await self._outbox.outbox_trim_many({each: self._anchor(each)[0] - 1 for each in few})
            for each in few:
                self._untrimmed.pop(each, None)

    # -- when the ledger has gone back

    async def _recover(self, partition: int) -> int:
        async def store(events: Sequence[OutboxEvent], end: Entry) -> None:
            if events:
                for consumer in self._consumers:
                    await asyncio.to_thread(consumer.store, events)
            self._anchors[partition] = end
            await self._trim([partition])

        self._anchors[partition] = NO_ANCHOR
        recovery = went_back.Recovery(self._outbox, self.least(partition), partition, self._events_lost)
        moved = await recovery.run(store)
        self._waiting[partition] = 0  # what came meanwhile
        return moved
