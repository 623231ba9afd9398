"""Simulated time: one that passes evenly, and one that the simulator turns for the server too.

`PacedClock` is for a server that goes by the machine's clock: the run is compressed, the server's time is not.
`TurnedClock` also writes the time to a file, which the server reads (`server.simulated_clock`): a week passes in
minutes, and the server sees seven days. It stands still while an answer is awaited (but for SLACK_S), so that a
slow machine makes the run longer, and changes nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import mmap
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

SLACK_S = 0.0
"""Simulated seconds that may pass while a request waits for its answer. More: more requests at once; but the server
sees them later than the network sent them, and so a period that begins at a use begins later than on paper.
"""
SETTLE_TURNS = 3
"""Turns of the event loop after which a session that was woken has sent its request."""
_INSTANT = struct.Struct("=q")


class Interruption(asyncio.Event):
    """An event that also wakes a sleeper of a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeper: asyncio.Future[None] | None = None

    def set(self) -> None:
        super().set()
        if self.sleeper is not None and not self.sleeper.done():
            self.sleeper.set_result(None)


class Clock(Protocol):
    """What a session needs of the time."""

    def unix_s(self) -> int:
        """For Event-Timestamp."""

    def now_s(self) -> float:
        """Simulated seconds since the start of the run."""

    async def sleep_until(self, when_s: float, interrupted: Interruption | None = None) -> None:
        """Returns early when `interrupted` is set."""


class RunClock(Clock, Protocol):
    """What an engine needs besides."""

    repeat_after_s: float
    """Real seconds before a request is repeated whose answer is lost on purpose."""

    def restart(self) -> None:
        """The run begins now."""

    def awaiting(self) -> contextlib.AbstractContextManager[None]:
        """While something is asked of the server."""

    def close(self) -> None: ...


class PacedClock:
    """`speed` simulated seconds to each real one, whatever the server does. Event-Timestamps are real."""

    repeat_after_s = 0.05

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._started = time.perf_counter()

    def restart(self) -> None:
        self._started = time.perf_counter()

    def now_s(self) -> float:
        return (time.perf_counter() - self._started) * self._speed

    def unix_s(self) -> int:
        return int(time.time())

    def awaiting(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def close(self) -> None:
        """Nothing runs."""

    async def sleep_until(self, when_s: float, interrupted: Interruption | None = None) -> None:
        while (left_s := when_s - self.now_s()) > 0:
            if interrupted is None:
                await asyncio.sleep(left_s / self._speed)
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(interrupted.wait(), left_s / self._speed)
                return


class ClockFile:
    """The file that the server reads: microseconds since 1970 in eight octets of this machine's order."""

    def __init__(self, path: Path, unix_s: float) -> None:
        path.write_bytes(_INSTANT.pack(int(unix_s * 1e6)))
        with path.open("r+b") as file:
            self._octets = memoryview(mmap.mmap(file.fileno(), _INSTANT.size)).cast("q")

    def write(self, unix_s: float) -> None:
        """Eight aligned octets are written at once: no reader sees half of them."""
        self._octets[0] = int(unix_s * 1e6)


class TurnedClock:
    """Turns the file's time to the next moment at which somebody does something: at most `speed` simulated seconds to
    each real one, and not while the server is behind.
    """

    repeat_after_s = 0.002

    def __init__(self, file: ClockFile, begins_at: float, *, speed: float, slack_s: float = SLACK_S) -> None:
        """`begins_at`: Unix seconds, the file's time."""
        self._file, self._begins_at, self._speed, self._slack_s = file, begins_at, speed, slack_s
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._awaited: dict[int, float] = {}
        """What is asked of the server → since when; the first is the oldest."""
        self._changed: asyncio.Future[None] | None = None
        self._turning: asyncio.Task[None] | None = None

    def restart(self) -> None:
        self._turning = asyncio.get_running_loop().create_task(self._turn())

    def close(self) -> None:
        if self._turning is not None:
            self._turning.cancel()

    def now_s(self) -> float:
        return self._now_s

    def unix_s(self) -> int:
        return int(self._begins_at + self._now_s)

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        token = next(self._order)
        self._awaited[token] = self._now_s
        try:
            yield
        finally:
            del self._awaited[token]
            self._wake_turner()

    async def sleep_until(self, when_s: float, interrupted: Interruption | None = None) -> None:
        if when_s <= self._now_s or (interrupted is not None and interrupted.is_set()):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (when_s, next(self._order), future))
        self._wake_turner()
        if interrupted is None:
            await future
            return
        interrupted.sleeper = future
        try:
            await future
        finally:
            interrupted.sleeper = None

    def _wake_turner(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _turn(self) -> None:
        started = time.perf_counter()
        while True:
            pause_s = self._pause_s(started)
            if pause_s is None or pause_s > 0:
                await self._wait(pause_s)
                continue
            self._go_to(self._sleepers[0][0])
            for _ in range(SETTLE_TURNS):
                await asyncio.sleep(0)

    def _pause_s(self, started: float) -> float | None:
        """Real seconds until the next moment may come; None = until something changes."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            return None
        when_s = self._sleepers[0][0]
        if self._awaited and when_s > next(iter(self._awaited.values())) + self._slack_s:
            return None
        return started + when_s / self._speed - time.perf_counter()

    async def _wait(self, pause_s: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._changed = loop.create_future()
        timer = loop.call_later(pause_s, self._wake_turner) if pause_s is not None else None
        try:
            await self._changed
        finally:
            if timer is not None:
                timer.cancel()

    def _go_to(self, when_s: float) -> None:
        self._now_s = max(self._now_s, when_s)
        self._file.write(self._begins_at + self._now_s)
        while self._sleepers and self._sleepers[0][0] <= self._now_s:
            future = heapq.heappop(self._sleepers)[2]
            if not future.done():
                future.set_result(None)
