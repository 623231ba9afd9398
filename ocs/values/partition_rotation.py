"""Periodic work over all partitions, spread evenly over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence


class PartitionRotation:
    """Visits `count` partitions in rotation: all within `all_s` seconds, and at least `least_per_s` a second.

    `stopwatch`: monotonic seconds.
    """

    def __init__(self, count: int, *, all_s: float, least_per_s: float, stopwatch: Callable[[], float]) -> None:
        assert count > 0
        self._count = count
        self._per_s = max(least_per_s, count / all_s)
        self._stopwatch = stopwatch
        self._next = 0
        self._taken_at = stopwatch()

    def due(self) -> list[int]:
        """Partitions to visit now, each at most once."""
        now = self._stopwatch()
        some = min(int((now - self._taken_at) * self._per_s), self._count)
        if some < 1:
            return []
        self._taken_at = now
        first, self._next = self._next, (self._next + some) % self._count
        return [(first + at) % self._count for at in range(some)]


def batches(partitions: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The partitions, `size` at a time."""
    for start in range(0, len(partitions), size):
        yield partitions[start : start + size]
