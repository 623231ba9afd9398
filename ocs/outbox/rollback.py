"""Recovery after a rollback of the ledger: a replica that lagged took over, so stored events are missing from it, and
other events have their sequence numbers.

The fingerprints of the last stored events (`Tail`) tell which events of the outbox are not stored yet. Those are stored
under a new, odd epoch. Before that the ledger's counter is raised to the even epoch after it, so that ids stay unique
and each epoch counts from 1 without gaps:

    p47-1 … p47-1234      before the failover
    p47.1-1 … p47.1-5     journalled between the failover and its detection
    p47.2-1 …             journalled afterwards

A crash in between is safe: the counter only rises, and stored events are in the tail.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from ocs.ledger.contract.events import EPOCH_EVENTS, OutboxEvent
from ocs.outbox.consumer import Consumer, Entry, Outbox
from ocs.outbox.tail import Tail

log = logging.getLogger(__name__)

PAGE_EVENTS = 128
"""Events read, stored and trimmed together. Fewer than a tail holds (tail.LEAST_EVENTS), so that after a crash in
between the stored ones are recognised.
"""
RECOGNISE_PAGES = 4
"""Pages searched for a stored event. Stored events are at the beginning of an outbox."""

Store = Callable[[Sequence[OutboxEvent], Entry], Awaitable[None]]
"""Stores events durably; the entry is the last one of the outbox that is stored then."""


class StoredEvents:
    """Finds the events of a tail by fingerprint. Each is found once, as two events may have the same fingerprint."""

    def __init__(self, tail: Tail | None) -> None:
        self._indexes: dict[int, list[int]] = {}
        self._sequences = [sequence for sequence, _ in tail or ()]
        for index, (_, fingerprint) in enumerate(tail or ()):
            self._indexes.setdefault(fingerprint, []).append(index)
        for indexes in self._indexes.values():
            indexes.reverse()
        self.first: int | None = None
        """Index in the tail of the first event found; None = none was found."""

    def find(self, fingerprint: int) -> bool:
        indexes = self._indexes.get(fingerprint)
        if not indexes:
            return False
        index = indexes.pop()
        if self.first is None:
            self.first = index
        return True

    def lost(self) -> list[int]:
        """Sequence numbers after the first one found that were not found: the ledger no longer has these events."""
        first = -1 if self.first is None else self.first
        lost = (index for indexes in self._indexes.values() for index in indexes if index > first)
        return [self._sequences[index] for index in sorted(lost)]


class Recovery:
    """Recovers one partition once. `events_lost` is told how many recorded events the ledger no longer has, `lost_ids`
    which, as far as the tail reaches.
    """

    def __init__(
        self,
        outbox: Outbox,
        consumer: Consumer,
        partition: int,
        events_lost: Callable[[int], None] = lambda count: None,
        lost_ids: Callable[[Sequence[str]], None] = lambda event_ids: None,
    ) -> None:
        self._outbox = outbox
        self._consumer = consumer
        self._partition = partition
        self._events_lost = events_lost
        self._lost_ids = lost_ids
        position = consumer.position(partition)
        epoch = position // EPOCH_EVENTS
        self._epoch = epoch if epoch % 2 else epoch + 1
        """The odd epoch of the events that are stored now."""
        self._number = position % EPOCH_EVENTS if epoch % 2 else 0
        self._raised_to = (self._epoch + 1) * EPOCH_EVENTS
        """The ledger's counter afterwards: later events have higher sequence numbers."""

    async def run(self, store: Store) -> int:
        """Store the events that are not stored yet; returns their number."""
        tail = self._consumer.tail(self._partition)
        found = StoredEvents(tail)
        async for page in self._pages():
            for event, _ in page:
                found.find(self._consumer.fingerprint(event))
        # A counter that is raised already was raised before a crash, and the rollback was logged then.
        if await self._outbox.outbox_last(self._partition) < self._raised_to:
            self._report(found)
        await self._outbox.outbox_raise(self._partition, self._raised_to)
        known, stored = StoredEvents(tail), 0
        oldest = tail.oldest if tail is not None and found.first is not None else 0
        async for page in self._pages():
            fresh = [event for event, _ in page if not self._is_stored(event, known, oldest)]
            await store([self._numbered(event) for event in fresh], page[-1][1])
            stored += len(fresh)
        if stored:
            log.warning(
                "partition %d: %d events journalled since the rollback are recorded under epoch %d",
                *(self._partition, stored, self._epoch),
            )
        return stored

    def _is_stored(self, event: OutboxEvent, known: StoredEvents, oldest: int) -> bool:
        if known.find(self._consumer.fingerprint(event)):
            return True
        # The outbox may reach further back than the tail: events before its oldest one are stored.
        return known.first is None and event.sequence < oldest

    def _numbered(self, event: OutboxEvent) -> OutboxEvent:
        self._number += 1
        return OutboxEvent(event.partition, self._epoch * EPOCH_EVENTS + self._number, event.body)

    def _report(self, found: StoredEvents) -> None:
        sequences = found.lost()
        self._lost_ids([OutboxEvent(self._partition, sequence, {}).event_id for sequence in sequences])
        lost = max(len(sequences), 1)
        self._events_lost(lost)
        twice = "" if found.first is not None else "; it has none of the last ones, so some may be recorded twice"
        log.error(
            "partition %d: the ledger was rolled back (a replica that lagged took over, or an old copy was restored): "
            "%d recorded events are no longer in it: compare records and ledger%s",
            *(self._partition, lost, twice),
        )

    async def _pages(self) -> AsyncIterator[list[tuple[OutboxEvent, Entry]]]:
        """The events that were journalled before the counter was raised."""
        async for entries in pages(self._outbox, self._partition):
            old = [entry for entry in entries if entry[0] < self._raised_to]
            if old:
                yield [(self._outbox.outbox_event(self._partition, entry), entry) for entry in old]
            if len(old) < len(entries):
                return


async def pages(outbox: Outbox, partition: int) -> AsyncIterator[list[Entry]]:
    """All entries of a partition, at most PAGE_EVENTS at a time."""
    first = 0
    while True:
        (entries,) = await outbox.outbox_entries([(partition, first)], count=PAGE_EVENTS)
        if entries:
            yield entries
            first = entries[-1][0] + 1
        if len(entries) < PAGE_EVENTS:
            return


async def has_stored_event(outbox: Outbox, consumer: Consumer, partition: int) -> bool:
    """Whether the first RECOGNISE_PAGES of the outbox have an event that the consumer has stored."""
    known, searched = StoredEvents(consumer.tail(partition)), 0
    async for page in pages(outbox, partition):
        if any(known.find(consumer.fingerprint(outbox.outbox_event(partition, entry))) for entry in page):
            return True
        searched += 1
        if searched == RECOGNISE_PAGES:
            break
    return False
