"""When the requests of an open loop are meant to leave, and the timer that wakes the generator for them.

asyncio's timers count whole milliseconds: at thousands of requests a second each would bunch several requests, which
flatters a server that works in batches. A timerfd (Linux) is exact to some microseconds; elsewhere asyncio's timer has
to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum

MIN_GAP_S = 0.000_2
"""Between two wake-ups: requests due within it leave together, late by at most this. Bounds what waking costs."""

_CLOCK_MONOTONIC = 1
"""The clock of time.perf_counter on Linux."""
_ABSOLUTE = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Arrivals(StrEnum):
    """How the requests of an open loop follow each other."""

    EVEN = "even"
    """All gaps alike."""
    POISSON = "poisson"
    """Independent of each other, as subscribers are: gaps are distributed exponentially."""


def intended_times(arrivals: Arrivals, rate: float, seed: int) -> Iterator[float]:
    """Seconds after the start at which request after request is meant to leave, without end."""
    if arrivals is Arrivals.EVEN:
        number = 0
        while True:
            yield number / rate
            number += 1
    rng, at = random.Random(seed), 0.0
    while True:
        at += rng.expovariate(rate)
        yield at


class WakeUp:
    """Calls `wake` at times of time.perf_counter. A context manager, within a running loop."""

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
        """The next call, in place of any before: at `at`, but not sooner than MIN_GAP_S from `now`."""
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
