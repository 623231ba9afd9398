"""The clock of the year: actors wait for moments, and time goes on when all of them wait."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Any


class YearClock:
    """`now` is Unix seconds. All actors of one moment go on together, so that their requests share the connection."""

    def __init__(self, now: int, set_now: Callable[[int], None]) -> None:
        self.now = now
        self._set = set_now
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = self._running = 0
        self._all_wait = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failure: BaseException | None = None

    def act(self, work: Awaitable[object]) -> None:
        """Start an actor."""
        self._running += 1
        self._all_wait.clear()
        task = asyncio.ensure_future(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Awaitable[object]) -> None:
        try:
            await work
        except BaseException as error:  # noqa: BLE001 - told to the one who runs the clock
            self._failure = self._failure or error
        finally:
            self._leave()

    def _leave(self) -> None:
        self._running -= 1
        if not self._running:
            self._all_wait.set()

    async def until(self, at: int) -> None:
        """Wait for a moment; at once if it is past."""
        if at <= self.now:
            return
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (at, self._count, future))
        self._leave()
        await future

    async def run_to(self, ends: int) -> None:
        """Let time pass up to `ends`. An actor's failure is raised here."""
        while True:
            await self._all_wait.wait()
            if self._failure is not None:
                await self.stop()
                raise self._failure
            if not self._waiting or self._waiting[0][0] > ends:
                break
            self._go(self._waiting[0][0])
        self.now = ends
        self._set(ends)

    def _go(self, now: int) -> None:
        self.now = now
        self._set(now)
        self._all_wait.clear()
        while self._waiting and self._waiting[0][0] == now:
            self._running += 1
            heapq.heappop(self._waiting)[2].set_result(None)

    async def stop(self) -> None:
        """End the actors that wait."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
