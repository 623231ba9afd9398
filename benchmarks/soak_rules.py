"""The rules of a soak.

- Memory is flat: after the warm-up, the median of a process's resident memory over the last third of the time exceeds
that over the first third by at most 3 % or 4 MiB, whichever is more. (Ten minutes at 4,000 CCR/s: 4 MiB is about 3
octets per CCR.)
- No pause: after the warm-up, no answer comes later than the limit after its request's intended time.
- Nothing is missing: every due request was sent, and no process was replaced.

The warm-up is the first 35 %: caches fill, and remembered answers of ended sessions (docs/LEDGER.md) reach their steady
number. Of sixteen minutes ten are judged.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator.timeline import Pause

WARM_UP_SHARE = 0.35
GROWTH_SHARE = 0.03
GROWTH_OCTETS = 4 * 1024 * 1024
GENERATOR_SHARE = 0.5
"""A pause is caused by the generator (or the machine) if its requests were late by this share of its worst answer."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A process's memory after the warm-up."""

    first_octets: float
    last_octets: float

    @property
    def octets(self) -> float:
        """Growth between the middles of the first and the last third: two thirds of the time after the warm-up."""
        return self.last_octets - self.first_octets

    @property
    def allowed_octets(self) -> float:
        return max(self.first_octets * GROWTH_SHARE, GROWTH_OCTETS)

    @property
    def is_flat(self) -> bool:
        return self.octets <= self.allowed_octets


def growth(samples: Sequence[tuple[float, int]], start: float, end: float) -> Growth:
    """Growth of (time, octets) between the warm-up and `end`. Raises ValueError if there are too few."""
    begin = start + (end - start) * WARM_UP_SHARE
    kept = [octets for at, octets in samples if begin <= at <= end]
    third = len(kept) // 3
    if not third:
        raise ValueError(f"{len(kept)} memory samples after the warm-up are too few")
    return Growth(statistics.median(kept[:third]), statistics.median(kept[-third:]))


@dataclass(frozen=True, slots=True)
class RedisEvent:
    """An event of Redis's latency monitor: Redis was blocked."""

    name: str
    at: float
    """Wall clock in whole seconds, from Redis."""
    ms: float


def cause(pause: Pause, started_at: float, events: Sequence[RedisEvent]) -> str:
    """The known cause, or "unknown"."""
    start = started_at + pause.at_s
    end = start + pause.lasted_ms / 1000
    worst: dict[str, float] = {}
    for each in events:
        if each.at - each.ms / 1000 <= end and each.at + 1 >= start:
            worst[each.name] = max(worst.get(each.name, 0.0), each.ms)
    found = [f"Redis {name} {ms:.0f} ms" for name, ms in sorted(worst.items(), key=lambda item: -item[1])]
    if pause.generator_late_ms >= GENERATOR_SHARE * pause.worst_ms:
        found.insert(0, f"the generator itself was late by {pause.generator_late_ms:.0f} ms (a busy machine)")
    return ", ".join(found[:3]) or "unknown"


def after_warm_up(found: Sequence[Pause], seconds: float) -> list[Pause]:
    return [pause for pause in found if pause.at_s >= seconds * WARM_UP_SHARE]


def findings(
    *, memory: Mapping[str, Growth], pauses: Sequence[Pause], slow_ms: float, unsent: int, replaced: Sequence[str]
) -> list[str]:
    """Broken rules; empty: the soak is passed. `pauses` are those after the warm-up."""
    found = [
        f"memory of {role} grew by {each.octets / 1e6:.1f} MB, {each.allowed_octets / 1e6:.1f} MB are allowed"
        for role, each in memory.items()
        if not each.is_flat
    ]
    if pauses:
        answers, worst = sum(pause.answers for pause in pauses), max(pause.worst_ms for pause in pauses)
        found.append(f"{answers:,} answers in {len(pauses)} pauses over {slow_ms:g} ms, the worst {worst:.0f} ms")
    if unsent:
        found.append(f"{unsent:,} requests were due and never sent: the server did not keep up")
    found += [f"{role} was replaced" for role in replaced]
    return found
