"""The line that `ocs-sim load` shows while it runs."""

from __future__ import annotations

import asyncio
import time

from simulator.metrics import Source
from simulator.progress_line import EVERY_S, ProgressLine

LATEST = 500
"""Answers whose p99 is shown: sorting more would delay the requests of the generator's own process."""


class LoadProgress:
    """Of one run. `title` precedes the figures."""

    def __init__(self, seconds: float, title: str = "") -> None:
        self._seconds, self._title = seconds, title
        self._line = ProgressLine()
        self._began_s = 0.0
        self._last = (0.0, 0)

    def begin(self) -> None:
        """The first request is sent now."""
        self._began_s = time.monotonic()
        self._last = (self._began_s, 0)

    async def often(self, source: Source) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.tell(source)

    def tell(self, source: Source) -> None:
        if self._line.is_due:
            self._line.show(self._text(source))

    def end(self) -> None:
        self._line.clear()

    def _text(self, source: Source) -> str:
        now, codes = time.monotonic(), source.answers()
        answers = sum(codes.values())
        errors = sum(count for code, count in codes.items() if code // 1000 not in (2, 4))
        before, counted = self._last
        self._last = (now, answers)
        latest = sorted(source.latencies_us()[-LATEST:])
        p99_ms = latest[int(len(latest) * 0.99)] / 1000 if latest else 0.0
        return (
            f"{self._title}{min(now - self._began_s, self._seconds):.0f} of {self._seconds:g} s:"
            f" {(answers - counted) / max(now - before, 1e-9):,.0f} CCR/s, p99 {p99_ms:.2f} ms, {answers:,} answers,"
            f" {errors:,} errors, {source.sessions_open():,} sessions open"
        )
