"""Several load runs with one question: a staircase of rates, or the highest rate that holds a p99.

The search doubles the rate until it does not hold, then halves the gap. A rate that fails is measured once more, as a
pause of a shared machine is not the server's limit. Rates are requests per second, with latency from the intended time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from simulator.load_run import LoadOutcome, generator_limit

MAX_RUNS = 40
"""Runs of one search; doubling from 1 to a million and a gap of 1 % need fewer."""
MAX_RATE = 1_000_000.0
MAX_ERRORS = 0.001
"""Share of answers that may be errors (other than 2xxx and 4xxx) at a rate that holds."""
MIN_WITHIN = 0.005

Measure = Callable[[float], LoadOutcome]


@dataclass(frozen=True, slots=True)
class Goal:
    p99_ms: float
    within: float = 0.05
    """The search ends when the gap between a rate that holds and one that does not is this share of the latter."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One run at a rate. fails "" = it holds the goal."""

    rate: float
    outcome: LoadOutcome
    fails: str = ""

    @property
    def generator(self) -> str:
        """Why the generator, not the server, may have limited the run; "" = it has not."""
        outcome = self.outcome
        return generator_limit(outcome.cpu_share, outcome.late_p99_ms, outcome.latency.p99_ms) or ""

    def as_json(self) -> dict[str, object]:
        return {"rate": round(self.rate, 1), "fails": self.fails, "generator": self.generator, **self.outcome.as_json()}


@dataclass(frozen=True, slots=True)
class SearchResult:
    goal: Goal
    probes: tuple[Probe, ...]

    @property
    def best(self) -> Probe | None:
        """The highest rate that holds."""
        return max((probe for probe in self.probes if not probe.fails), key=lambda probe: probe.rate, default=None)

    @property
    def rate(self) -> float:
        """Requests per second; 0 = none holds."""
        return self.best.rate if self.best else 0.0

    @property
    def lowest_failed(self) -> Probe | None:
        above = [probe for probe in self.probes if probe.fails and probe.rate > self.rate]
        return min(above, key=lambda probe: probe.rate, default=None)

    @property
    def is_found(self) -> bool:
        failed = self.lowest_failed
        return self.rate > 0 and failed is not None and failed.rate - self.rate <= self.goal.within * failed.rate

    @property
    def generator(self) -> str:
        """Why the limit may be the generator's; the server's limit is then at least the rate found."""
        return self.lowest_failed.generator if self.lowest_failed else ""

    def as_json(self) -> dict[str, object]:
        best = self.best
        return {
            "rate": round(self.rate, 1),
            "p99_ms": best.outcome.latency.p99_ms if best else None,
            "goal_p99_ms": self.goal.p99_ms,
            "within": self.goal.within,
            "found": self.is_found,
            "generator": self.generator,
            "probes": [probe.as_json() for probe in self.probes],
        }


@dataclass(frozen=True, slots=True)
class LoadPage:
    """What a report shows; kind is load, stairs or search."""

    kind: str
    probes: Sequence[Probe]
    goal: Goal | None = None
    search: SearchResult | None = None

    @property
    def outcomes(self) -> list[LoadOutcome]:
        return [probe.outcome for probe in self.probes]


def why_failed(outcome: LoadOutcome, goal: Goal) -> str:
    """Why the run does not hold the goal; "" = it does. Requests never sent count: their latency is not known."""
    if outcome.unanswered:
        return f"{outcome.unanswered:,} unanswered"
    if outcome.result.unsent:
        return f"{outcome.result.unsent:,} never sent"
    errors = sum(count for code, count in outcome.result.codes.items() if code // 1000 not in (2, 4))
    if errors > MAX_ERRORS * max(outcome.result.answered, 1) or not outcome.result.answered:
        return f"{errors:,} answered with an error"
    if outcome.latency.p99_ms > goal.p99_ms:
        return f"p99 {outcome.latency.p99_ms:.1f} ms"
    return ""


def search(
    measure: Measure, goal: Goal, start_rate: float, on_probe: Callable[[Probe], None] = lambda _: None
) -> SearchResult:
    """Raises what `measure` raises, and ValueError."""
    if goal.within < MIN_WITHIN:
        raise ValueError(f"the search ends within {MIN_WITHIN:.1%} or more, not {goal.within:.2%}")
    probes: list[Probe] = []
    low, high, rate = 0.0, 0.0, start_rate
    while len(probes) < MAX_RUNS and 0 < rate <= MAX_RATE:
        for _ in range(2):
            probe = _probe(measure, goal, rate)
            probes.append(probe)
            on_probe(probe)
            if not probe.fails:
                break
        if probes[-1].fails:
            high = rate
        else:
            low = rate
        if high and (high - low <= goal.within * high or (not low and high < 1.0)):
            break
        rate = rate * 2 if not high else (low + high) / 2 if low else high / 2
    return SearchResult(goal, tuple(probes))


def _probe(measure: Measure, goal: Goal, rate: float) -> Probe:
    outcome = measure(rate)
    return Probe(rate, outcome, why_failed(outcome, goal))


def stairs(
    measure: Measure, rates: Iterable[float], goal: Goal, on_probe: Callable[[Probe], None] = lambda _: None
) -> list[Probe]:
    """Each rate by itself, in their order."""
    probes = []
    for rate in rates:
        probes.append(_probe(measure, goal, rate))
        on_probe(probes[-1])
    return probes


def stair_rates(start: float, to: float, steps: int) -> list[float]:
    """`steps` rates from `start` to `to`, with equal differences. Raises ValueError."""
    if steps < 2:
        raise ValueError(f"stairs have at least 2 steps, not {steps}")
    return [start + (to - start) * step / (steps - 1) for step in range(steps)]
