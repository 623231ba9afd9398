"""What the processes of a load run tell the first one every second, for its metrics."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.metrics import Source

TELL_EVERY_S = 1.0


@dataclass(slots=True)
class Counts:
    """Of one process: totals, and the samples since it last told."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    sessions_open: int = 0
    sessions_begun: int = 0
    cpu_s: float = 0.0
    latencies_us: array[int] = field(default_factory=lambda: array("Q"))
    late_us: array[int] = field(default_factory=lambda: array("Q"))


class Teller:
    """In a process of the load: tells its counts while the event loop runs, and once more at the end."""

    def __init__(self, tell: Callable[[Counts], None]) -> None:
        self.intended_per_s = 0.0
        self._tell = tell
        self._source: Source | None = None
        self._latencies_read = self._late_read = 0

    def begin(self, source: Source) -> None:
        self._source = source
        self._task = asyncio.get_running_loop().create_task(self._often())

    async def _often(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY_S)
            self.tell()

    def tell(self) -> None:
        source = self._source
        if source is None:
            return
        latencies, late = source.latencies_us()[self._latencies_read :], source.late_us()[self._late_read :]
        self._latencies_read += len(latencies)
        self._late_read += len(late)
        self._tell(
            Counts(
                source.requests(),
                source.answers(),
                source.others(),
                source.sessions_open(),
                source.sessions_begun(),
                time.process_time(),
                latencies,
                late,
            )
        )


class ProcessesSource:
    """In the first process: the counts of all, as they were last told."""

    def __init__(self, processes: int) -> None:
        self._last = [Counts() for _ in range(processes)]
        self._latencies_us, self._late_us = array("Q"), array("Q")

    def take(self, process: int, counts: Counts) -> None:
        self._latencies_us.extend(counts.latencies_us)
        self._late_us.extend(counts.late_us)
        self._last[process] = counts

    def requests(self) -> Counter[tuple[str, str]]:
        return sum((each.requests for each in self._last), Counter())

    def answers(self) -> Counter[int]:
        return sum((each.answers for each in self._last), Counter())

    def others(self) -> Counter[str]:
        return sum((each.others for each in self._last), Counter())

    def latencies_us(self) -> array[int]:
        return self._latencies_us

    def late_us(self) -> array[int]:
        return self._late_us

    def sessions_open(self) -> int:
        return sum(each.sessions_open for each in self._last)

    def sessions_begun(self) -> int:
        return sum(each.sessions_begun for each in self._last)

    def cpu_s(self) -> float:
        return sum(each.cpu_s for each in self._last)
