"""The last events stored of a partition, each by its sequence number and a fingerprint.

When a ledger has gone back (failover to a replica that was behind), this tells which of the events in its outbox are
stored already.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from orjson import dumps

EVENTS_IN_ALL = 262_144
"""Events remembered, shared among the partitions: 4 MiB. With 64 partitions 4,096 each, with 1,024 partitions 256."""
LEAST_EVENTS = 256
"""Of one partition, however many there are: with 16,384 partitions 64 MiB. When a replica lags by more, nothing is
lost, but events may be recorded twice.
"""


def capacity(partitions: int) -> int:
    """Events that a partition's tail remembers."""
    return max(EVENTS_IN_ALL // partitions, LEAST_EVENTS)


_FIELDS = (
    *("time", "kind", "account", "session_id", "request_type", "request_number"),
    *("debit_micro_eur", "credit_in_micro_eur", "credit_micro_eur", "reference"),
)
"""Written by every version, as a newer one must know an older one's records."""
_LEFT_OUT = (*("", "", "", "", "", 0), *(0, 0, -1, ""))


def fingerprint(record: Mapping[str, object]) -> int:
    """64 bits of what a record says, without its event id."""
    said = dumps([*map(record.get, _FIELDS, _LEFT_OUT)])
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big")


class Tail:
    """A ring of (sequence, fingerprint), at most `events` of them."""

    __slots__ = ("_events", "_fingerprints", "_next", "_sequences")

    def __init__(self, events: int) -> None:
        assert events > 0
        self._events = events
        self._sequences = array("Q")
        self._fingerprints = array("Q")
        self._next = 0
        """Place of the oldest, when the ring is full."""

    def add(self, sequence: int, mark: int) -> None:
        if len(self._sequences) < self._events:
            self._sequences.append(sequence)
            self._fingerprints.append(mark)
            return
        place = self._next
        self._sequences[place] = sequence
        self._fingerprints[place] = mark
        self._next = (place + 1) % self._events

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(sequence, fingerprint), the oldest first."""
        count = len(self._sequences)
        for at in range(count):
            place = (self._next + at) % count
            yield self._sequences[place], self._fingerprints[place]

    @property
    def oldest(self) -> int:
        """Sequence of the oldest event remembered, 0 = none."""
        return self._sequences[self._next] if self._sequences else 0

    @property
    def last(self) -> tuple[int, int]:
        """(sequence, fingerprint) of the newest, (0, 0) = none."""
        return (self._sequences[self._next - 1], self._fingerprints[self._next - 1]) if self._sequences else (0, 0)
