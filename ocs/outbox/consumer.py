"""The two sides of `pump.Pump`: the outbox that events come from, and the consumers that store them.

Delivery is at least once. A consumer knows the last events of each partition that it has stored, so it stores none
twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox.tail import Tail

Entry = tuple[int, bytes]
"""An event as the outbox holds it: sequence number and octets. `Outbox.outbox_event` decodes it."""


class Outbox(Protocol):
    """The part of the ledger that the pump needs."""

    @property
    def partitions(self) -> int: ...

    async def dirty_take(self, count: int) -> list[int]:
        """At most `count` partitions that have new events; each is returned once. A hint: one may be missing."""

    async def outbox_entries(self, wanted: Sequence[tuple[int, int]], *, count: int) -> list[list[Entry]]:
        """Entries of each (partition, first sequence number), at most `count` of each."""

    def outbox_event(self, partition: int, entry: Entry) -> OutboxEvent: ...

    async def outbox_confirm(self, upto: Mapping[int, int]) -> None:
        """Of each partition: make sure that a failover loses no event up to that number, if the ledger's durability is
        to have each write on replicas. LedgerUnavailable: it may.
        """

    async def outbox_trim_many(self, upto: Mapping[int, int]) -> None:
        """Delete the entries of each partition up to and including that sequence number."""

    async def outbox_lag(self, partition: int) -> int:
        """Number of entries of the partition."""

    async def outbox_last(self, partition: int) -> int:
        """Sequence number of the partition's last event."""

    async def outbox_raise(self, partition: int, to: int) -> None:
        """Raise the partition's sequence number to at least `to`; the next event follows it."""


class Consumer(Protocol):
    """Stores events. Called from one thread at a time, which may wait for a disk."""

    @property
    def name(self) -> str: ...

    def position(self, partition: int) -> int:
        """Sequence number of the partition's last stored event; 0 = none."""

    def last_fingerprint(self, partition: int) -> int:
        """Fingerprint of that event; 0 = none."""

    def tail(self, partition: int) -> Tail | None:
        """The partition's last stored events."""

    def fingerprint(self, event: OutboxEvent) -> int:
        """Fingerprint of an event, as the tail holds it."""

    def store(self, events: Sequence[OutboxEvent]) -> None:
        """Store the events that follow the position. On return they are durable, and the outbox may delete them.
        OSError = none was stored.
        """


class ForeignOutboxError(Exception):
    """None of a consumer's last events is in this ledger: they come from another ledger."""
