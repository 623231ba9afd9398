"""What moves events from the outbox to where they are stored: the two sides of `pump.Pump`.

Delivery is at least once. A consumer knows the last events it has stored of each partition, and stores nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox.tail import Tail

Entry = tuple[int, bytes]
"""An event as the outbox keeps it: its number there, and its octets, which are only made a record of when somebody
needs it.
"""


class Outbox(Protocol):
    """The part of the ledger a pump needs."""

    @property
    def partitions(self) -> int: ...

    async def dirty_take(self, count: int) -> list[int]:
        """At most `count` partitions in which something was journalled; each is told once. A hint: one may be
        missing.
        """

    async def outbox_entries(self, wanted: Sequence[tuple[int, int]], *, count: int) -> list[list[Entry]]:
        """For each (partition, number): its entries from that number on, at most `count`."""

    def outbox_event(self, partition: int, entry: Entry) -> OutboxEvent: ...

    async def outbox_trim_many(self, upto: Mapping[int, int]) -> None:
        """Forget the entries of these partitions up to and with a number."""

    async def outbox_lag(self, partition: int) -> int: ...

    async def outbox_last(self, partition: int) -> int: ...

    async def outbox_raise(self, partition: int, to: int) -> None:
        """Have the partition's next event follow on `to`, if it does not do so already."""


class Consumer(Protocol):
    """Something that stores events. Called from one thread at a time, which may wait for a disk."""

    @property
    def name(self) -> str: ...

    def position(self, partition: int) -> int:
        """Sequence of the last event of the partition that is stored; 0 = none."""

    def last_mark(self, partition: int) -> int:
        """The fingerprint of that event."""

    def tail(self, partition: int) -> Tail | None:
        """The last events stored of the partition."""

    def mark(self, event: OutboxEvent) -> int:
        """The fingerprint of an event, as the tail has it."""

    def store(self, events: Sequence[OutboxEvent]) -> None:
        """Store durably what is after its position; on return it is safe to forget these events. OSError: none was
        stored.
        """


class ForeignOutboxError(Exception):
    """A consumer has stored events, and nothing of them is in this ledger: it belongs to another."""
