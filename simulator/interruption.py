"""Ctrl-C ends a long run early, with the figures so far; a second one ends the program."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

Stop = Callable[[], None]
"""Ends a run now, with the figures so far."""


@contextlib.contextmanager
def interruptible(stop: Stop) -> Iterator[None]:
    """The first Ctrl-C within it calls `stop`."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread alone
        return

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
