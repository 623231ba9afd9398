"""Samples a value periodically in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Sampler(Generic[T]):
    """(wall clock, result of `look`) every `every_s` from the start. A context manager."""

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
        """The latest sample before `at`, else the first."""
        found = [value for when, value in self.samples if when <= at]
        return found[-1] if found else self.samples[0][1]

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._take()

    def _take(self) -> None:
        self.samples.append((time.time(), self._look()))
