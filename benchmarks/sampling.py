"""Looks at something again and again while something else goes on, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Sampler(Generic[T]):
    """(wall clock, what `look` returned) from the start on, every `every_s`. A context manager."""

    def __init__(self, every_s: float, look: Callable[[], T]) -> None:
        self.samples: list[tuple[float, T]] = []
        self._every_s, self._look = every_s, look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sampler[T]:
        self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def last_before(self, at: float) -> T:
        """The latest sample taken by then, else the first."""
        found = [value for when, value in self.samples if when <= at]
        return found[-1] if found else self.samples[0][1]

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._take()

    def _take(self) -> None:
        self.samples.append((time.time(), self._look()))
