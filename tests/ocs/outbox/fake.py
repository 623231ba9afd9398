"""A small outbox in memory: journal, trim, and rollback to a replica's state."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import orjson

from ocs.ledger.contract.events import OutboxEvent

T0 = 1_795_000_000
Entry = tuple[int, bytes]


class FakeOutbox:
    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.entries: list[list[Entry]] = [[] for _ in range(partitions)]
        self.last = [0] * partitions
        self.dirty: set[int] = set()
        self.trims = 0
        self.reads: list[int] = []
        """Partitions that were asked, each time."""
        self.made = 0

    def add(self, partition: int, count: int = 1, account: str = "00-aa", hint: bool = True) -> None:
        for _ in range(count):
            self.made += 1
            self.journal(
                partition,
                {"k": "topup", "t": T0 + self.made, "a": account, "credit_in": 1, "credit": self.made, "ref": "R"},
            )
        if hint:
            self.dirty.add(partition)

    def journal(self, partition: int, body: dict[str, object]) -> None:
        self.last[partition] += 1
        number = self.last[partition]
        entries = self.entries[partition]
        assert not entries or entries[-1][0] < number, "XADD refuses an id that is not above the last"
        entries.append((number, orjson.dumps(body)))

    def events(self, partition: int) -> list[OutboxEvent]:
        return [self.outbox_event(partition, entry) for entry in self.entries[partition]]

    # -- a replica

    def replica(self) -> tuple[list[list[Entry]], list[int]]:
        """A copy, as a replica has it now."""
        return copy.deepcopy(self.entries), list(self.last)

    def fail_over(self, replica: tuple[list[list[Entry]], list[int]]) -> None:
        self.entries, self.last = copy.deepcopy(replica[0]), list(replica[1])

    # -- calls of the pump

    async def dirty_take(self, count: int) -> list[int]:
        taken = sorted(self.dirty)[:count]
        self.dirty -= set(taken)
        return taken

    async def outbox_entries(self, wanted: Sequence[tuple[int, int]], *, count: int) -> list[list[Entry]]:
        self.reads += [partition for partition, _ in wanted]
        return [[entry for entry in self.entries[each] if entry[0] >= first][:count] for each, first in wanted]

    def outbox_event(self, partition: int, entry: Entry) -> OutboxEvent:
        return OutboxEvent(partition, entry[0], orjson.loads(entry[1]))

    async def outbox_confirm(self, upto: Mapping[int, int]) -> None:
        pass

    async def outbox_trim_many(self, upto: Mapping[int, int]) -> None:
        self.trims += 1
        for partition, last in upto.items():
            self.entries[partition] = [entry for entry in self.entries[partition] if entry[0] > last]

    async def outbox_lag(self, partition: int) -> int:
        return len(self.entries[partition])

    async def outbox_last(self, partition: int) -> int:
        return self.last[partition]

    async def outbox_raise(self, partition: int, to: int) -> None:
        self.last[partition] = max(self.last[partition], to)
