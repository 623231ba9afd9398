"""Waiting for what must come about.

Several processes of the tests share few processors, so anything may take long. `PATIENCE_S` bounds only how long a
test that fails goes on: every wait whose end is the expected event takes it (tests/test_waits.py). A test that
measures time is marked `alone`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

T = TypeVar("T")
PATIENCE_S = 120.0
FIRST_PAUSE_S, LONGEST_PAUSE_S, SLOWER = 0.005, 0.1, 1.5
"""Pauses between two looks grow, so that a long wait takes little of the processor that others need."""
HERE = ZoneInfo("Europe/Ljubljana")
DAY_LASTS_S = 60.0


def wait_for(condition: Callable[[], T], seconds: float = PATIENCE_S) -> T:
    """What the condition gives, as soon as it is true."""
    end, pause = time.monotonic() + seconds, FIRST_PAUSE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not come about in {seconds:.0f} s"
        time.sleep(pause)
        pause = min(pause * SLOWER, LONGEST_PAUSE_S)
    return found


async def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """The same, while the event loop goes on."""
    end, pause = time.monotonic() + seconds, FIRST_PAUSE_S
    while not condition():
        assert time.monotonic() < end, f"it did not come about in {seconds:.0f} s"
        await asyncio.sleep(pause)
        pause = min(pause * SLOWER, LONGEST_PAUSE_S)


def today() -> date:
    """The day of the operator's time zone, which is still this one in a minute: a test that computes with it, and asks
    a program with a clock of its own, does both on one day. Call it in the test, never at import.
    """
    now = datetime.now(HERE)
    left_s = (datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), HERE) - now).total_seconds()
    if left_s < DAY_LASTS_S:
        time.sleep(left_s + 1)
    return datetime.now(HERE).date()
