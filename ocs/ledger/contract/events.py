"""Events of the outbox: the journal that the ledger writes with each movement."""

from __future__ import annotations

from dataclasses import dataclass

EPOCH_EVENTS = 10**12
"""Sequence numbers of one epoch of a partition's journal. A new epoch begins after a rollback of the ledger: a lagging
replica was promoted, or an old copy restored."""


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One journalled movement. `sequence` rises without gaps within the partition; `event_id` is unique for ever."""

    partition: int
    sequence: int
    body: dict[str, object]

    @property
    def event_id(self) -> str:
        """ "p47-1234"; in a later epoch (`EPOCH_EVENTS`) "p47.1-1234"."""
        epoch, number = divmod(self.sequence, EPOCH_EVENTS)
        return f"p{self.partition:02d}.{epoch}-{number}" if epoch else f"p{self.partition:02d}-{number}"
