"""What a long command has done so far: a line that changes on a terminal, elsewhere a line now and then.

It costs some microseconds, so that a load generator may show it while it measures; `show.Progress` is for scenarios.
"""

from __future__ import annotations

import shutil
import sys
import time

EVERY_S, PRINTED_EVERY_S = 0.5, 10.0
"""Between lines on a terminal, and between those that are printed elsewhere."""
_ERASE = "\r\x1b[K"


class ProgressLine:
    """On standard error, which is not the result."""

    def __init__(self) -> None:
        self._out = sys.stderr
        self._changes = self._out.isatty()
        self._pause_s = EVERY_S if self._changes else PRINTED_EVERY_S
        self._next_s = time.monotonic() + self._pause_s

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next_s

    def show(self, text: str) -> None:
        self._next_s = time.monotonic() + self._pause_s
        if self._changes:
            self._out.write(_ERASE + text[: shutil.get_terminal_size().columns - 1])
        else:
            self._out.write(text + "\n")
        self._out.flush()

    def clear(self) -> None:
        """Before something else is printed."""
        if self._changes:
            self._out.write(_ERASE)
            self._out.flush()
