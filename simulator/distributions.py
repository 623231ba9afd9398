"""Random quantities of a scenario from a seeded generator: the same seed gives the same numbers in the same order."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TypeVar

from simulator.errors import SimulatorError

T = TypeVar("T")
CURVES_KEPT = 256
MOST_AT_ONCE = 100.0
"""Largest mean that is drawn in one part."""
KINDS = ("constant", "uniform", "exponential", "lognormal")


class ScenarioError(SimulatorError):
    """The scenario file is wrong; the message says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A quantity: constant(value), uniform(low, high), exponential(mean) or lognormal(median, sigma); clipped to low …
    high.
    """

    kind: str
    a: float
    b: float = 0.0
    low: float = 0.0
    high: float = math.inf

    def draw(self, rng: random.Random) -> float:
        if self.kind == "constant":
            value = self.a
        elif self.kind == "uniform":
            value = rng.uniform(self.a, self.b)
        elif self.kind == "exponential":
            value = rng.expovariate(1 / self.a)
        else:
            value = self.a * math.exp(rng.gauss(0.0, self.b))
        return min(max(value, self.low), self.high)


def read_distribution(table: Mapping[str, object], where: str) -> Distribution:
    """From a scenario's table, e.g. {kind = "lognormal", median = 90, sigma = 1.0, max = 3600}."""
    kind = table.get("kind")
    wanted = {
        "constant": ("value",),
        "uniform": ("low", "high"),
        "exponential": ("mean",),
        "lognormal": ("median", "sigma"),
    }
    if not isinstance(kind, str) or kind not in wanted:
        raise ScenarioError(f"{where}.kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    names = wanted[kind]
    unknown = set(table) - {"kind", "min", "max", *names}
    if unknown:
        raise ScenarioError(
            f"{where}: unknown {', '.join(sorted(unknown))}; {kind} has {', '.join(names)}, min and max"
        )
    values = [number(table, name, where) for name in names]
    return Distribution(
        kind,
        values[0],
        values[1] if len(values) > 1 else 0.0,
        number(table, "min", where, default=0.0),
        number(table, "max", where, default=math.inf),
    )


def number(table: Mapping[str, object], name: str, where: str, *, default: float | None = None) -> float:
    """A number ≥ 0 of a scenario's table."""
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ScenarioError(f"{where}.{name} is {value!r}; it must be a number, 0 or more")
    return float(value)


@dataclass(frozen=True, slots=True)
class Curve:
    """How often something happens over the run, relative to its rate: straight lines between (second, factor)."""

    points: tuple[tuple[float, float], ...] = ()
    """() = always 1. The first second is 0; the last factor holds from there on."""

    def integral(self, until_s: float) -> float:
        """Seconds at factor 1 that have as many events as the first `until_s`."""
        if not self.points:
            return until_s
        return _areas(self, until_s)[-1]

    def time_of(self, share: float, duration_s: float) -> float:
        """The second at which this share of the events of `duration_s` has happened."""
        if not self.points:
            return share * duration_s
        areas = _areas(self, duration_s)
        index = bisect_left(areas, share * areas[-1], lo=1) if share > 0 else 1
        while index < len(areas) - 1 and areas[index] == areas[index - 1]:
            index += 1
        left = max(share * areas[-1] - areas[index - 1], 0.0)
        start, end, at_start, at_end = _lines(self, duration_s)[index - 1]
        slope = (at_end - at_start) / (end - start)
        factors = at_start + math.sqrt(max(at_start**2 + 2 * slope * left, 0.0))
        return min(start + 2 * left / factors, end) if factors else start


@lru_cache(CURVES_KEPT)
def _lines(curve: Curve, until_s: float) -> tuple[tuple[float, float, float, float], ...]:
    """(start, end, factor at start, factor at end) of each line up to `until_s`; the last one is cut there."""
    rows = (*curve.points, (max(until_s, curve.points[-1][0]) + 1.0, curve.points[-1][1]))
    found = []
    for (start, at_start), (end, at_end) in pairwise(rows):
        if start < until_s:
            stop = min(end, until_s)
            found.append((start, stop, at_start, at_start + (at_end - at_start) * (stop - start) / (end - start)))
    return tuple(found)


@lru_cache(CURVES_KEPT)
def _areas(curve: Curve, until_s: float) -> tuple[float, ...]:
    """The area below the curve up to the start of each line, and in all."""
    areas = ((end - start) * (at_start + at_end) / 2 for start, end, at_start, at_end in _lines(curve, until_s))
    return tuple(accumulate(areas, initial=0.0))


ALWAYS = Curve()


def read_curve(value: object, where: str) -> Curve:
    """From a list of [second, factor] with rising seconds, e.g. [[0, 1.0], [3600, 8.0]]. Raises ScenarioError."""
    if value is None:
        return ALWAYS
    wanted = f"{where} must be a list of [second, factor], seconds rising from 0, factors 0 or more and not all 0"
    if not isinstance(value, list) or not value or not all(isinstance(row, list) and len(row) == 2 for row in value):
        raise ScenarioError(wanted)
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for row in value for each in row):
        raise ScenarioError(wanted)
    points = tuple((float(second), float(factor)) for second, factor in value)
    rising = all(before < after for (before, _), (after, _) in pairwise(points))
    if points[0][0] != 0 or not rising or min(factor for _, factor in points) < 0 or not any(f for _, f in points):
        raise ScenarioError(wanted)
    return Curve(points)


def choose(rng: random.Random, options: Sequence[tuple[float, T]]) -> T:
    """One of (share, option), by share."""
    point = rng.random() * sum(share for share, _ in options)
    for share, option in options:
        point -= share
        if point < 0:
            return option
    return options[-1][1]


def poisson(rng: random.Random, mean: float) -> int:
    """How many events, by multiplying uniforms (Knuth), in parts whose product is no number near zero."""
    if mean > MOST_AT_ONCE:
        return poisson(rng, MOST_AT_ONCE) + poisson(rng, mean - MOST_AT_ONCE)
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count
