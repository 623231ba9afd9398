"""Readers of the outbox: each stores what it makes of the events durably; the outbox forgets an event when all have it.

Delivery is at least once. A consumer knows the last event it has stored of each partition, and stores nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from ocs.ledger.contract import OutboxEvent

log = logging.getLogger(__name__)

MAX_EVENTS_PER_READ = 128
"""Events of one partition in one round: with 64 partitions at most 8,192 events (about 6 MB) are in memory."""

PARTITIONS_AT_ONCE = 4
"""Asked together: all at once would keep Redis from charging for tens of milliseconds."""


def _groups(partitions: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(partitions), PARTITIONS_AT_ONCE):
        yield partitions[start : start + PARTITIONS_AT_ONCE]


class Outbox(Protocol):
    """The part of the ledger a consumer needs."""

    @property
    def partitions(self) -> int: ...

    async def outbox_read(self, partition: int, *, after: int, count: int) -> list[OutboxEvent]: ...

    async def outbox_trim(self, partition: int, *, upto: int) -> None: ...

    async def outbox_lag(self, partition: int) -> int: ...

    async def outbox_last(self, partition: int) -> int: ...


class Consumer(Protocol):
    """Something that stores events. Called from one thread at a time, which may wait for a disk."""

    @property
    def name(self) -> str: ...

    def position(self, partition: int) -> int:
        """Sequence of the last event of the partition that is stored; 0 = none."""

    def recognises(self, event: OutboxEvent) -> bool:
        """Is this, the event at its position, the one it stored? False = the events are another ledger's."""

    def store(self, events: Sequence[OutboxEvent]) -> None:
        """Store durably what is after its position; on return it is safe to forget these events. OSError: none was
        stored.
        """


class ForeignOutboxError(Exception):
    """A consumer has stored events that this ledger never had: it belongs to another, or to a later state of this
    one.
    """


class Pump:
    """Moves events from the outbox to its consumers."""

    def __init__(self, outbox: Outbox, consumers: Sequence[Consumer]) -> None:
        assert consumers
        self._outbox = outbox
        self._consumers = consumers
        self.lag = 0
        """Events the outbox held at the last look."""

    async def begin(self) -> None:
        """Check that consumers and ledger belong together, then forget what a crash kept from being forgotten."""
        await asyncio.gather(*(self._begin(partition) for partition in range(self._outbox.partitions)))

    async def _begin(self, partition: int) -> None:
        newest = await self._outbox.outbox_last(partition)
        for consumer in self._consumers:
            position = consumer.position(partition)
            if not position:
                continue
            found = await self._outbox.outbox_read(partition, after=position - 1, count=1)
            strange = bool(found) and found[0].sequence == position and not consumer.recognises(found[0])
            if newest < position or strange:
                raise ForeignOutboxError(
                    f"{consumer.name} has event {position} of partition {partition}, and this ledger "
                    f"{'has another in its place' if strange else f'has only {newest}'}: they belong to different "
                    "ledgers, or the ledger was restored from an old copy; name its own Redis, or move the records away"
                )
        await self._trim(partition)

    async def _trim(self, partition: int) -> None:
        upto = min(consumer.position(partition) for consumer in self._consumers)
        if upto:
            await self._outbox.outbox_trim(partition, upto=upto)

    async def round(self) -> int:
        """One batch of every partition that has events; returns how many were read. OSError: a consumer could not
        store.
        """
        lags = await asyncio.gather(*(self._outbox.outbox_lag(each) for each in range(self._outbox.partitions)))
        self.lag = sum(lags)
        waiting = [partition for partition, lag in enumerate(lags) if lag]
        events: list[OutboxEvent] = []
        for few in _groups(waiting):
            for batch in await asyncio.gather(*(self._read(partition) for partition in few)):
                events.extend(batch)
        if events:
            for consumer in self._consumers:
                await asyncio.to_thread(consumer.store, events)
        # Also where nothing was read: an earlier round may have stored and not trimmed.
        for few in _groups(waiting):
            await asyncio.gather(*(self._trim(partition) for partition in few))
        return len(events)

    async def _read(self, partition: int) -> list[OutboxEvent]:
        after = min(consumer.position(partition) for consumer in self._consumers)
        return await self._outbox.outbox_read(partition, after=after, count=MAX_EVENTS_PER_READ)
