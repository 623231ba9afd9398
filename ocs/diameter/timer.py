"""The one timer of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timer:
    """One timeout at a time: for the CER or CEA, then Tw of the watchdog, then the end after DPR, then lingering."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        return self._handle is not None

    def start(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Start the timer; an earlier one is cancelled."""
        self.stop()
        self._handle = self._loop.call_later(max(0.0, delay_s), self._fire, callback)

    def start_at(self, deadline: float | None, callback: Callable[[], None]) -> None:
        """As `start`, with a deadline in the clock's seconds; None = leave the timer as it is."""
        if deadline is not None:
            self.start(deadline - self._clock(), callback)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self, callback: Callable[[], None]) -> None:
        self._handle = None
        callback()
