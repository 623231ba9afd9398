"""Rate-limited logging: one line per key per minute, plus how many were suppressed."""

from __future__ import annotations

from collections.abc import Callable, Hashable

LOG_EVERY_S = 60.0
"""Interval between two lines with the same key."""
MAX_KEYS = 4_096
"""Keys remembered; when the table is full, it is cleared, and every key may log again."""


class ThrottledLog:
    """Lets one line per key through in `every_s` seconds."""

    def __init__(self, clock: Callable[[], float], every_s: float = LOG_EVERY_S) -> None:
        self._clock = clock
        self._every_s = every_s
        self._logged: dict[Hashable, tuple[float, int]] = {}
        """Key → when it was last logged, and how many lines were suppressed since."""

    def allow(self, key: Hashable) -> str | None:
        """What to append to the line: the number of suppressed lines, or "". None = do not log now."""
        now = self._clock()
        logged_at, suppressed = self._logged.get(key, (float("-inf"), 0))
        if now - logged_at < self._every_s:
            self._logged[key] = logged_at, suppressed + 1
            return None
        if len(self._logged) >= MAX_KEYS:
            self._logged.clear()
        self._logged[key] = now, 0
        return f" ({suppressed} more since the last line)" if suppressed else ""
