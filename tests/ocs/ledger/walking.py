"""Executes walks by seed, and shortens a walk that fails.

A walk is a list of byte strings, one per step (walk_asking.Choices). It is shortened by leaving out steps and by
replacing bytes with zeros, which choose the simplest options.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from tests.ocs.ledger.occurred import Occurred
from tests.ocs.ledger.sides import Other, Sides
from tests.ocs.ledger.walk_asking import STEP_BYTES, Choices

STEPS_A_WALK = 100
SHRINKING_S = 60
Steps = list[bytes]
Begin = Callable[[], Other | None]
"""The other side, empty."""


def steps_of(seed: int, count: int = STEPS_A_WALK) -> Steps:
    chance = random.Random(seed)
    return [chance.randbytes(STEP_BYTES) for _ in range(count + 1)]


def walk(steps: Steps, begin: Begin, occurred: Occurred, note: Callable[[str], None] | None = None) -> None:
    """Executes one walk. The first byte string opens the accounts."""
    sides = Sides(begin(), occurred, note)
    sides.walk.begin(Choices(steps[0]))
    sides.compare()
    for data in steps[1:]:
        sides.walk.step(Choices(data))
        sides.compare()
        occurred["steps"] += 1
    occurred.update(sides.model.met)


def run(seeds: range, begin: Begin, progress: Callable[[str], None] = lambda _: None) -> Occurred:
    """Executes the walks of these seeds. The first that fails is shortened and reported."""
    occurred, began, told = Occurred(), time.monotonic(), time.monotonic()
    for seed in seeds:
        steps = steps_of(seed)
        try:
            walk(steps, begin, occurred)
        except Exception as error:
            raise AssertionError(told_plainly(seed, smallest(steps, begin), begin)) from error
        if time.monotonic() - told > 20:
            told = time.monotonic()
            progress(f"{occurred['steps']:,} steps in {told - began:.0f} s, up to seed {seed}")
    return occurred


def fails(steps: Steps, begin: Begin, note: Callable[[str], None] | None = None) -> Exception | None:
    try:
        walk(steps, begin, Occurred(), note)
    except Exception as error:  # noqa: BLE001 - a crash of either side is a finding as well
        return error
    return None


def smallest(steps: Steps, begin: Begin) -> Steps:
    until = time.monotonic() + SHRINKING_S

    def still(candidate: Steps) -> bool:
        return time.monotonic() < until and fails(candidate, begin) is not None

    size = len(steps) // 2
    while size:
        at = len(steps) - size
        while at >= 1:
            if still(candidate := steps[:at] + steps[at + size :]):
                steps = candidate
            at -= size
        size //= 2
    for at in range(len(steps)):
        for kept in (0, 1, 2, 4, 8, 16, 32):
            plain = steps[at][:kept].ljust(STEP_BYTES, b"\0")
            if still(candidate := [*steps[:at], plain, *steps[at + 1 :]]):
                steps = candidate
                break
    return steps


def told_plainly(seed: int, steps: Steps, begin: Begin) -> str:
    notes: list[str] = []
    error = fails(steps, begin, notes.append)
    return "\n".join(
        [f"seed {seed}, made small to {len(steps) - 1} steps:", *notes, f"{type(error).__name__}: {error}"]
    )
