"""What a soak is judged by.

- Memory is flat: after the warm-up, the median of a process's resident memory over the last third of the time exceeds
  that over the first third by at most 3 % or 4 MiB, whichever is more. (Ten minutes at 4,000 CCR/s: 4 MiB is about 3
  octets a CCR.)
- No pause: after the warm-up, no answer comes later than the limit after the time its request was meant to leave.
- Nothing is left out: every request that was due was sent, and no process was replaced.

The warm-up is the first 35 %: caches of bounded size fill, and what is remembered of ended sessions (docs/LEDGER.md)
begins to go as fast as it comes. Of sixteen minutes ten are judged.
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
"""A pause whose requests left late by this much of its worst answer is the generator's, or the machine's."""


@dataclass(frozen=True, slots=True)
class Growth:
    """A process's memory after the warm-up."""

    first_octets: float
    last_octets: float

    @property
    def octets(self) -> float:
        """From the middle of the first third to the middle of the last: two thirds of the time after the warm-up."""
        return self.last_octets - self.first_octets

    @property
    def allowed_octets(self) -> float:
        return max(self.first_octets * GROWTH_SHARE, GROWTH_OCTETS)

    @property
    def is_flat(self) -> bool:
        return self.octets <= self.allowed_octets


def growth(samples: Sequence[tuple[float, int]], start: float, end: float) -> Growth:
    """Of (time, octets); those before the warm-up's end and after `end` do not count. Raises ValueError: too few."""
    begin = start + (end - start) * WARM_UP_SHARE
    kept = [octets for at, octets in samples if begin <= at <= end]
    third = len(kept) // 3
    if not third:
        raise ValueError(f"{len(kept)} memory samples after the warm-up are too few")
    return Growth(statistics.median(kept[:third]), statistics.median(kept[-third:]))


@dataclass(frozen=True, slots=True)
class RedisEvent:
    """Of Redis's latency monitor: something that kept it from serving."""

    name: str
    at: float
    """Wall clock in whole seconds, as Redis says it."""
    ms: float


def cause(pause: Pause, started_at: float, events: Sequence[RedisEvent]) -> str:
    """What is known of why; "unknown" otherwise."""
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
    """What is broken; empty: the soak is passed. `pauses` are those after the warm-up."""
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
