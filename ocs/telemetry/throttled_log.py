"""Rate-limited logging: one line per key per minute, plus how many were suppressed."""

from __future__ import annotations

from collections.abc import Callable, Hashable

LOG_EVERY_S = 60.0
"""Of one thing."""
MAX_REMEMBERED = 4_096
"""Things that were logged lately; beyond it all is forgotten, and logged anew."""


class ThrottledLog:
    """One per worker and kind of thing; each thing is logged once in `every_s`."""

    def __init__(self, clock: Callable[[], float], every_s: float = LOG_EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._said: dict[Hashable, tuple[float, int]] = {}

    def allow(self, what: Hashable) -> str | None:
        """The end of the line to log, None = not now."""
        now = self._clock()
        said_at, since = self._said.get(what, (float("-inf"), 0))
        if now - said_at < self._every_s:
            self._said[what] = said_at, since + 1
            return None
        if len(self._said) >= MAX_REMEMBERED:
            self._said.clear()
        self._said[what] = now, 0
        return f" ({since} more since the last line)" if since else ""
