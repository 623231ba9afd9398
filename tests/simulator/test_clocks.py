"""The clock that a simulator turns for the server: it goes where somebody acts, and waits for answers."""

from __future__ import annotations

import asyncio
import struct
import time
from pathlib import Path

import pytest

from simulator.clocks import ClockFile, Interruption, TurnedClock

MONDAY = 1_800_000_000


def read(path: Path) -> float:
    return float(struct.unpack("=q", path.read_bytes())[0]) / 1e6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clock"


def clock_of(path: Path, **more: float) -> TurnedClock:
    values = {"speed": 1e9, **more}
    return TurnedClock(ClockFile(path, MONDAY), MONDAY, **values)


async def test_a_week_passes_at_once_and_the_file_says_so(path: Path) -> None:
    clock, seen = clock_of(path), list[tuple[int, float]]()
    assert read(path) == MONDAY
    clock.restart()

    async def act(day: int) -> None:
        await clock.sleep_until(day * 86_400.0)
        seen.append((day, read(path)))

    started = time.perf_counter()
    await asyncio.gather(*(act(day) for day in (7, 1, 3, 2)))
    clock.close()
    assert seen == [(day, MONDAY + day * 86_400.0) for day in (1, 2, 3, 7)]
    assert (clock.now_s(), clock.unix_s()) == (7 * 86_400.0, MONDAY + 7 * 86_400)
    assert time.perf_counter() - started < 5


async def test_it_stands_still_while_an_answer_is_awaited(path: Path) -> None:
    """Half the slack may pass, a day may not."""
    clock, answered = clock_of(path, slack_s=10.0), asyncio.Event()
    clock.restart()

    async def ask() -> None:
        await clock.sleep_until(100.0)
        with clock.awaiting():
            await answered.wait()

    asking = asyncio.create_task(ask())
    await clock.sleep_until(105.0)
    later = asyncio.create_task(clock.sleep_until(86_400.0))
    await asyncio.sleep(0.1)
    assert (clock.now_s(), later.done()) == (105.0, False)
    answered.set()
    await later
    await asking
    clock.close()
    assert read(path) == MONDAY + 86_400


async def test_it_goes_no_faster_than_it_is_told(path: Path) -> None:
    clock, started = clock_of(path, speed=1000.0), time.perf_counter()
    clock.restart()
    await clock.sleep_until(200.0)
    clock.close()
    assert time.perf_counter() - started >= 0.19


async def test_an_interrupted_sleeper_wakes_at_the_present_time(path: Path) -> None:
    clock, bell, held = clock_of(path), Interruption(), asyncio.Event()
    clock.restart()

    async def hold() -> None:
        await clock.sleep_until(50.0)
        with clock.awaiting():
            await held.wait()

    holding = asyncio.create_task(hold())
    sleeping = asyncio.create_task(clock.sleep_until(3600.0, bell))
    await asyncio.sleep(0.05)
    bell.set()
    await sleeping
    assert clock.now_s() == 50.0
    await clock.sleep_until(7200.0, bell)  # it is still set
    assert clock.now_s() == 50.0
    held.set()
    await holding
    clock.close()
