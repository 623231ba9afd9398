"""Random quantities of a scenario from a seeded generator: the same seed gives the same numbers in the same order."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from simulator.errors import SimulatorError

T = TypeVar("T")
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


def choose(rng: random.Random, options: Sequence[tuple[float, T]]) -> T:
    """One of (share, option), by share."""
    point = rng.random() * sum(share for share, _ in options)
    for share, option in options:
        point -= share
        if point < 0:
            return option
    return options[-1][1]


def poisson(rng: random.Random, mean: float) -> int:
    """How many events, by multiplying uniforms (Knuth): means here are small."""
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count
