"""The tail of a partition: sequence number and fingerprint of its last stored events.

After a rollback of the ledger (failover to a replica that lagged) it tells which events of the outbox are stored.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from hashlib import blake2b

from orjson import dumps

EVENTS_IN_ALL = 262_144
"""Events of all tails together (4 MiB), divided among the partitions: 4,096 each of 64, 256 each of 1,024."""
LEAST_EVENTS = 256
"""Events of a tail, at least; with 16,384 partitions all take 64 MiB. If a replica lags by more events, none is lost,
but some may be recorded twice.
"""


def capacity(partitions: int) -> int:
    """Events of one tail."""
    return max(EVENTS_IN_ALL // partitions, LEAST_EVENTS)


_FIELDS = (
    *("time", "kind", "account", "session_id", "request_type", "request_number"),
    *("debit_micro_eur", "credit_in_micro_eur", "credit_micro_eur", "reference"),
)
"""Fields that every version writes: a newer version must recognise an older one's records."""
_LEFT_OUT = (*("", "", "", "", "", 0), *(0, 0, -1, ""))


def fingerprint(record: Mapping[str, object]) -> int:
    """A 64-bit hash of a record without its event id."""
    content = dumps([*map(record.get, _FIELDS, _LEFT_OUT)])
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big")


class Tail:
    """A ring buffer of (sequence number, fingerprint), of at most `events` events."""

    __slots__ = ("_events", "_fingerprints", "_next", "_sequences")

    def __init__(self, events: int) -> None:
        assert events > 0
        self._events = events
        self._sequences = array("Q")
        self._fingerprints = array("Q")
        self._next = 0
        """Index of the oldest event when the ring is full."""

    def add(self, sequence: int, fingerprint: int) -> None:
        if len(self._sequences) < self._events:
            self._sequences.append(sequence)
            self._fingerprints.append(fingerprint)
            return
        index = self._next
        self._sequences[index] = sequence
        self._fingerprints[index] = fingerprint
        self._next = (index + 1) % self._events

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(sequence number, fingerprint) of each event, oldest first."""
        count = len(self._sequences)
        for offset in range(count):
            index = (self._next + offset) % count
            yield self._sequences[index], self._fingerprints[index]

    @property
    def oldest(self) -> int:
        """Sequence number of the oldest event; 0 = none."""
        return self._sequences[self._next] if self._sequences else 0

    @property
    def last(self) -> tuple[int, int]:
        """(sequence number, fingerprint) of the newest event; (0, 0) = none."""
        return (self._sequences[self._next - 1], self._fingerprints[self._next - 1]) if self._sequences else (0, 0)
