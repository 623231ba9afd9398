"""Intended times of the requests of an open loop, and the timer that wakes the generator.

asyncio's timers have a resolution of a millisecond. At thousands of requests a second each would send several requests
at once, which favours a server that works in batches. A timerfd (Linux) is accurate to some microseconds; other systems
use asyncio's timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

MIN_GAP_S = 0.000_2
"""Least time between two wake-ups; limits their cost. Requests due within it are sent together, late by at most this.
"""

_CLOCK_MONOTONIC = 1
"""The clock of time.perf_counter on Linux."""
_ABSOLUTE = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Arrivals(StrEnum):
    """Distribution of the times between requests."""

    EVEN = "even"
    """Equal gaps."""
    POISSON = "poisson"
    """Independent of each other, as subscribers are: exponentially distributed gaps."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second; with `to` the rate changes evenly to that one within `over_s` seconds, and stays."""

    start: float
    to: float | None = None
    over_s: float = 0.0

    def time_of(self, number: float) -> float:
        """Seconds from the start at which `number` requests have become due: the inverse of the rate's integral."""
        if self.to is None or self.to == self.start:
            return number / self.start
        within = (self.start + self.to) / 2 * self.over_s
        if number >= within:
            return self.over_s + (number - within) / self.to
        # start·t + slope·t²/2 = number, solved without the difference of nearly equal values
        slope = (self.to - self.start) / self.over_s
        return 2 * number / (self.start + math.sqrt(self.start**2 + 2 * slope * number))

    def part(self, of: int) -> Rate:
        """An equal share of the rate for each of `of` processes."""
        return Rate(self.start / of, self.to / of if self.to is not None else None, self.over_s)


def intended_times(arrivals: Arrivals, rate: Rate, seed: int, first: float = 0.0) -> Iterator[float]:
    """Intended time of each request, in seconds after the start, without end. Even ones begin with the number `first`:
    requests of several processes alternate.
    """
    if arrivals is Arrivals.EVEN:
        number = first
        while True:
            yield rate.time_of(number)
            number += 1
    rng, passed = random.Random(seed), 0.0
    while True:
        passed += rng.expovariate(1.0)
        yield rate.time_of(passed)


class WakeUp:
    """Calls `wake` at times of time.perf_counter. A context manager; needs a running event loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._fd = -1
        if _LIBC is not None:
            self._fd = _LIBC.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        self._spec = (ctypes.c_long * 4)()  # struct itimerspec: interval s, ns; value s, ns

    def __enter__(self) -> WakeUp:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._expired)
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
        if self._timer is not None:
            self._timer.cancel()

    def set(self, at: float, now: float) -> None:
        """Sets the next call (replacing an earlier one) to `at`, but at least MIN_GAP_S after `now`."""
        at = max(at, now + MIN_GAP_S)
        if self._fd < 0:
            self._timer = self._loop.call_later(at - now, self._wake)
            return
        assert _LIBC is not None
        whole = int(at)
        self._spec[2], self._spec[3] = whole, int((at - whole) * 1e9)
        _LIBC.timerfd_settime(self._fd, _ABSOLUTE, self._spec, None)

    def _expired(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 8)
        self._wake()
