"""Moves events from the outbox to the consumers, and notices when the ledger was rolled back.

The last stored event of a partition stays in the outbox as its *anchor*, and each read begins with it. If it is missing
or different, the ledger was rolled back: a replica that lagged took over. Then `rollback` finds the events to store.

Events are stored when no failover loses them any more, if the ledger's durability promises that: records, history and
notices are of events that stay.

Partitions are read when the ledger hints at new events, and all others in slow rotation: a lost hint only costs time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox import rollback
from ocs.outbox.consumer import Consumer, Entry, ForeignOutboxError, Outbox
from ocs.values.partition_rotation import PartitionRotation, batches

MAX_EVENTS_PER_READ = 128
"""Events of one partition in one round."""
PARTITIONS_AT_ONCE = 64
"""Partitions read together: most have few events."""
BUSY_AT_ONCE = 8
"""Partitions read together that have many events; more would keep Redis from charging for milliseconds."""
BATCH_EVENTS = 512
"""Events stored together: about 5 ms of work, then other tasks run."""
MAX_HINTS = 4_096
"""Partitions taken from the hints in one round."""
TRIM_EVENTS = 32
"""Stored events after which a partition's outbox is trimmed."""
ROTATION_S = 60.0
"""Time in which all partitions are read, without any hint."""
MIN_READS_PER_S = 64
"""Partitions read a second without a hint, at least: a small ledger is read more often."""
BEGIN_AT_ONCE = 64
"""Partitions checked together at start."""
NO_ANCHOR = (0, b"")


class Pump:
    """Call `begin` once, then `round` repeatedly. `stopwatch`: monotonic seconds."""

    def __init__(
        self,
        outbox: Outbox,
        consumers: Sequence[Consumer],
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        events_lost: Callable[[int], None] = lambda count: None,
        lost_ids: Callable[[Sequence[str]], None] = lambda event_ids: None,
        before_trim: Callable[[Mapping[int, int]], Awaitable[None]] | None = None,
    ) -> None:
        """`before_trim`: called with the last stored sequence number of some partitions, before the events up to it are
        deleted.
        """
        assert consumers
        self._outbox = outbox
        self._consumers = consumers
        self._events_lost = events_lost
        self._lost_ids = lost_ids
        self._before_trim = before_trim
        self._anchors: dict[int, tuple[int, bytes]] = {}
        """Sequence number and octets of each anchor; the octets are b"" until the partition was read once."""
        self._untrimmed: dict[int, int] = {}
        """Stored events that are still in each partition's outbox."""
        self._waiting: dict[int, int] = {}
        """Partitions to read in the next round, and how many events are known to wait there."""
        self._rotation = PartitionRotation(
            outbox.partitions, all_s=ROTATION_S, least_per_s=MIN_READS_PER_S, stopwatch=stopwatch
        )

    @property
    def lag(self) -> int:
        """Events that are known to wait."""
        return sum(self._waiting.values())

    def slowest(self, partition: int) -> Consumer:
        """The consumer that has stored least of the partition."""
        return min(self._consumers, key=lambda consumer: consumer.position(partition))

    async def begin(self) -> None:
        """Check that the stored events come from this ledger, then schedule all partitions.

        Raises ForeignOutboxError.
        """
        stored = [each for each in range(self._outbox.partitions) if self.slowest(each).position(each)]
        unsure: list[int] = []
        for few in batches(stored, BEGIN_AT_ONCE):
            wanted = [(partition, self.slowest(partition).position(partition)) for partition in few]
            for partition, found in zip(few, await self._outbox.outbox_entries(wanted, count=1), strict=True):
                if not self._is_anchored(partition, found):
                    unsure.append(partition)
        if unsure and len(unsure) == len(stored):
            await self._check_not_foreign(unsure)
        # Events that were stored before a crash may not have been deleted.
        self._untrimmed.update(dict.fromkeys(stored, 1))
        self.read_all()

    def read_all(self) -> None:
        """Read all partitions in the next round, without any hint."""
        for partition in range(self._outbox.partitions):
            self._waiting.setdefault(partition, 0)

    async def _check_not_foreign(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if await rollback.has_stored_event(self._outbox, self.slowest(partition), partition):
                return
        first = partitions[0]
        consumer = self.slowest(first)
        position, newest = consumer.position(first), await self._outbox.outbox_last(first)
        has = "has another event of that number" if newest >= position else f"has only {newest}"
        raise ForeignOutboxError(
            f"{consumer.name} has event {position} of partition {first}, and this ledger {has}: the records are of "
            "another ledger, or the ledger was restored from an old copy; name its own Redis, or move the records away"
        )

    async def round(self) -> int:
        """Store waiting events, at most MAX_EVENTS_PER_READ of each partition; returns their number. OSError = a
        consumer could not store.
        """
        due = self._rotation.due()
        for partition in (*await self._outbox.dirty_take(MAX_HINTS), *due):
            self._waiting.setdefault(partition, 0)
        stored = 0
        events: list[OutboxEvent] = []
        ends: dict[int, tuple[Entry, int]] = {}
        for few in self._next():
            for partition in await self._read(few, events, ends):
                stored += await self._recover(partition)
            if len(events) >= BATCH_EVENTS:
                stored += await self._store(events, ends)
        stored += await self._store(events, ends)
        await self._trim([each for each in due if self._untrimmed.get(each)])
        return stored

    def _next(self) -> list[Sequence[int]]:
        """The waiting partitions, in the batches in which they are read."""
        busy = [partition for partition, count in self._waiting.items() if count]
        others = [partition for partition, count in self._waiting.items() if not count]
        return [*batches(busy, BUSY_AT_ONCE), *batches(others, PARTITIONS_AT_ONCE)]

    # -- reading

    def _anchor(self, partition: int) -> tuple[int, bytes]:
        return self._anchors.get(partition) or (self.slowest(partition).position(partition), b"")

    def _is_anchored(self, partition: int, found: Sequence[Entry]) -> bool:
        """Whether the entries begin with the anchor."""
        number, octets = self._anchor(partition)
        if not found or found[0][0] != number:
            return False
        if octets:
            return found[0][1] == octets
        consumer = self.slowest(partition)
        event = self._outbox.outbox_event(partition, found[0])
        return consumer.fingerprint(event) == consumer.last_fingerprint(partition)

    async def _read(
        self, partitions: Sequence[int], events: list[OutboxEvent], ends: dict[int, tuple[Entry, int]]
    ) -> list[int]:
        """Add new events to `events`, and the last entry of each partition, with their number, to `ends`. Returns the
        partitions that were rolled back.
        """
        wanted = [(partition, self._anchor(partition)[0]) for partition in partitions]
        found = await self._outbox.outbox_entries(wanted, count=MAX_EVENTS_PER_READ + 1)
        rolled_back = []
        for partition, entries in zip(partitions, found, strict=True):
            fresh = entries[:MAX_EVENTS_PER_READ]
            if self._anchor(partition)[0]:
                if not self._is_anchored(partition, entries):
                    rolled_back.append(partition)
                    continue
                fresh = entries[1:]
            if not fresh:
                self._waiting.pop(partition, None)
            elif fresh[0][0] <= self.slowest(partition).position(partition):
                rolled_back.append(partition)
            else:
                events += [self._outbox.outbox_event(partition, entry) for entry in fresh]
                ends[partition] = fresh[-1], len(fresh)
        return rolled_back

    # -- storing

    async def _store(self, events: list[OutboxEvent], ends: dict[int, tuple[Entry, int]]) -> int:
        """Store what `_read` collected, move the anchors and trim. Empties `events` and `ends`."""
        count = len(events)
        if not count:
            return 0
        await self._outbox.outbox_confirm({partition: entry[0] for partition, (entry, _) in ends.items()})
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
        """Delete the stored events before each anchor."""
        for few in batches(partitions, PARTITIONS_AT_ONCE):
            if self._before_trim is not None:
                await self._before_trim({each: self._anchor(each)[0] for each in few})
            await self._outbox.outbox_trim_many({each: self._anchor(each)[0] - 1 for each in few})
            for each in few:
                self._untrimmed.pop(each, None)

    # -- rollback

    async def _recover(self, partition: int) -> int:
        async def store(events: Sequence[OutboxEvent], end: Entry) -> None:
            if events:
                await self._outbox.outbox_confirm({partition: end[0]})
                for consumer in self._consumers:
                    await asyncio.to_thread(consumer.store, events)
            self._anchors[partition] = end
            await self._trim([partition])

        self._anchors[partition] = NO_ANCHOR
        consumer = self.slowest(partition)
        recovery = rollback.Recovery(self._outbox, consumer, partition, self._events_lost, self._lost_ids)
        stored = await recovery.run(store)
        self._waiting[partition] = 0  # new events may have come meanwhile
        return stored
