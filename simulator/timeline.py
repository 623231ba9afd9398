"""A load run over time: latency of each second, and pauses, from the times of each request.

A request is (intended time from the start of the run, latency, delay of the generator), all in µs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Second:
    """The requests whose intended time is in one second of the run."""

    at_s: int
    answers: int
    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Pause:
    """A time with overlapping slow answers: from the first intended time to the last answer."""

    at_s: float
    lasted_ms: float
    answers: int
    worst_ms: float
    generator_late_ms: float
    """The greatest delay of these requests caused by the generator (or the machine)."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest value with at least `percent` of all values at or below it; 0 without values."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def by_second(due_us: Sequence[int], latencies_us: Sequence[int]) -> list[Second]:
    found: dict[int, list[int]] = {}
    for due, latency in zip(due_us, latencies_us, strict=True):
        found.setdefault(due // US_PER_S, []).append(latency)
    rows = []
    for at_s, values in sorted(found.items()):
        values.sort()
        p50, p99 = percentile(values, 50) / 1000, percentile(values, 99) / 1000
        rows.append(Second(at_s, len(values), p50, p99, values[-1] / 1000))
    return rows


def pauses(due_us: Sequence[int], latencies_us: Sequence[int], late_us: Sequence[int], *, slow_us: int) -> list[Pause]:
    """Answers slower than `slow_us`, joined if they overlap."""
    slow = sorted(
        (due, due + latency, late)
        for due, latency, late in zip(due_us, latencies_us, late_us, strict=True)
        if latency > slow_us
    )
    found: list[Pause] = []
    group: list[tuple[int, int, int]] = []
    end = 0
    for each in slow:
        if group and each[0] > end:
            found.append(_joined(group))
            group = []
        group.append(each)
        end = max(end, each[1]) if len(group) > 1 else each[1]
    return [*found, _joined(group)] if group else found


def _joined(group: Sequence[tuple[int, int, int]]) -> Pause:
    start, end = group[0][0], max(each[1] for each in group)
    worst = max(answered - due for due, answered, _ in group)
    return Pause(
        at_s=start / US_PER_S,
        lasted_ms=(end - start) / 1000,
        answers=len(group),
        worst_ms=worst / 1000,
        generator_late_ms=max(late for _, _, late in group) / 1000,
    )
