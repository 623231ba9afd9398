"""The ledger has gone back: a replica that was behind took over, so some stored events are no longer its own, and other
events have their numbers.

Which events of the outbox are not stored is told by the fingerprints of the last ones that are (`Tail`). Those that are
not get numbers of a new, odd epoch; what the ledger journals from then on is counted in the even epoch after it, as its
counter is raised first.
So ids stay unique, and each epoch counts from 1 without gaps:

    p47-1 … p47-1234      before the failover
    p47.1-1 … p47.1-5     journalled between the failover and its discovery
    p47.2-1 …             from then on

A crash anywhere in between is safe: the counter only rises, and what was stored is in the tail.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from ocs.ledger.contract.events import EPOCH_EVENTS, OutboxEvent
from ocs.outbox.consumer import Consumer, Entry, Outbox
from ocs.outbox.tail import Tail

log = logging.getLogger(__name__)

PAGE_EVENTS = 128
"""Read, stored and trimmed at a time: fewer than a tail has (tail.LEAST_EVENTS), so that a crash in between is told
from new events.
"""
RECOGNISE_PAGES = 4
"""Stored events are at the beginning of an outbox: nothing known in so many pages, nothing at all."""

Store = Callable[[Sequence[OutboxEvent], Entry], Awaitable[None]]
"""Store these events durably; the second is the last entry of the outbox that is stored now."""


class Known:
    """The stored events of a partition; each can be found once, as two may be alike."""

    def __init__(self, tail: Tail | None) -> None:
        self._places: dict[int, list[int]] = {}
        for place, (_, mark) in enumerate(tail or ()):
            self._places.setdefault(mark, []).append(place)
        for places in self._places.values():
            places.reverse()
        self.first: int | None = None
        """Place of the first one found."""

    def find(self, mark: int) -> bool:
        places = self._places.get(mark)
        if not places:
            return False
        place = places.pop()
        if self.first is None:
            self.first = place
        return True

    def lost(self) -> int:
        """Those after the first one found that were not: the ledger does not have them any more."""
        first = -1 if self.first is None else self.first
        return sum(place > first for places in self._places.values() for place in places)


class Recovery:
    """Of one partition, once."""

    def __init__(
        self,
        outbox: Outbox,
        consumer: Consumer,
        partition: int,
        events_lost: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._outbox = outbox
        self._consumer = consumer
        self._partition = partition
        self._events_lost = events_lost
        position = consumer.position(partition)
        epoch = position // EPOCH_EVENTS
        self._labels = epoch if epoch % 2 else epoch + 1
        """Epoch of what is stored now."""
        self._number = position % EPOCH_EVENTS if epoch % 2 else 0
        self._after = (self._labels + 1) * EPOCH_EVENTS
        """What the ledger journals is above this, once its counter is raised."""

    async def run(self, store: Store) -> int:
        """Store what is not stored; returns how many events."""
        tail = self._consumer.tail(self._partition)
        survey = Known(tail)
        async for page in self._pages():
            for event, _ in page:
                survey.find(self._consumer.mark(event))
        if await self._outbox.outbox_last(self._partition) < self._after:  # else somebody saw it before, and crashed
            self._tell(survey)
        await self._outbox.outbox_raise(self._partition, self._after)
        known, stored = Known(tail), 0
        older = tail.oldest if tail is not None and survey.first is not None else 0
        async for page in self._pages():
            fresh = [event for event, _ in page if not self._is_stored(event, known, older)]
            await store([self._numbered(event) for event in fresh], page[-1][1])
            stored += len(fresh)
        if stored:
            log.warning(
                "partition %d: %d events that the ledger has since it went back are recorded as epoch %d",
                *(self._partition, stored, self._labels),
            )
        return stored

    def _is_stored(self, event: OutboxEvent, known: Known, older: int) -> bool:
        if known.find(self._consumer.mark(event)):
            return True
        # Before all that the tail knows: it does not reach so far back, but the outbox does.
        return known.first is None and event.sequence < older

    def _numbered(self, event: OutboxEvent) -> OutboxEvent:
        self._number += 1
        return OutboxEvent(event.partition, self._labels * EPOCH_EVENTS + self._number, event.body)

    def _tell(self, survey: Known) -> None:
        lost = max(survey.lost(), 1)
        self._events_lost(lost)
        reach = (
            ""
            if survey.first is not None
            else "; none of the last events is known to it, so some may be recorded twice"
        )
        log.error(
            "partition %d: the ledger has gone back (a replica that was behind took over, or an old copy was "
            "restored): "
            "%d recorded events are no longer in it: compare records and ledger%s",
            *(self._partition, lost, reach),
        )

    async def _pages(self) -> AsyncIterator[list[tuple[OutboxEvent, Entry]]]:
        """What was journalled before the counter was raised."""
        async for entries in pages(self._outbox, self._partition):
            old = [entry for entry in entries if entry[0] < self._after]
            if old:
                yield [(self._outbox.outbox_event(self._partition, entry), entry) for entry in old]
            if len(old) < len(entries):
                return


async def pages(outbox: Outbox, partition: int) -> AsyncIterator[list[Entry]]:
    """All entries of a partition, some at a time."""
    first = 0
    while True:
        (entries,) = await outbox.outbox_entries([(partition, first)], count=PAGE_EVENTS)
        if entries:
            yield entries
            first = entries[-1][0] + 1
        if len(entries) < PAGE_EVENTS:
            return


async def recognises(outbox: Outbox, consumer: Consumer, partition: int) -> bool:
    """Has the outbox any event that the consumer has stored?"""
    known, looked = Known(consumer.tail(partition)), 0
    async for page in pages(outbox, partition):
        if any(known.find(consumer.mark(outbox.outbox_event(partition, entry))) for entry in page):
            return True
        looked += 1
        if looked == RECOGNISE_PAGES:
            break
    return False
