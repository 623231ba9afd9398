"""Partitions in turn, so many a second: what must look at all of them costs the same each second, however many there
are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence


class Turns:
    """All of `count` partitions within `all_s` seconds, and at least `least_per_s` a second."""

    def __init__(self, count: int, *, all_s: float, least_per_s: float, stopwatch: Callable[[], float]) -> None:
        assert count > 0
        self._count = count
        self._per_s = max(least_per_s, count / all_s)
        self._stopwatch = stopwatch
        self._next = 0
        self._taken_at = stopwatch()

    def due(self) -> list[int]:
        """Those whose turn has come since the last call, each once."""
        now = self._stopwatch()
        some = min(int((now - self._taken_at) * self._per_s), self._count)
        if some < 1:
            return []
        self._taken_at = now
        first, self._next = self._next, (self._next + some) % self._count
        return [(first + at) % self._count for at in range(some)]


def groups(partitions: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """`size` of them at a time: what is asked together."""
    for start in range(0, len(partitions), size):
        yield partitions[start : start + size]
