"""Counters of money of an account on paper (`paper_account.py`): the spending limit and others, by calendar month.

A counter tells once a month, or once a change of its limit, that it has reached 80 and 100 % (HOT-CC-4).
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

LIMIT = "limit"
NOTICES = (80, 100)


class PaperCounters:
    """`zone`: of the calendar months."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self.notices: list[tuple[int, str, int]] = []
        """(moment, bucket or counter, percent); "low credit" has none."""
        self.counted: Counter[tuple[str, int]] = Counter()
        """(counter, month) → micro-EUR."""
        self.limits: dict[str, int | None] = {}
        """Counter → micro-EUR; None = none."""
        self._limits_of: dict[tuple[str, int], int | None] = {}
        """Limits for one month only."""
        self._told: set[tuple[str, int, int]] = set()

    def day(self, at: int) -> int:
        """The local day, as an ordinal."""
        return datetime.fromtimestamp(at, self._zone).toordinal()

    def month(self, at: int) -> int:
        local = datetime.fromtimestamp(at, self._zone)
        return local.year * 100 + local.month

    def limit_of(self, counter: str, at: int) -> int | None:
        return self._limits_of.get((counter, self.month(at)), self.limits.get(counter))

    def _has_room(self, counter: str, now: int, micro_eur: int) -> bool:
        limit = self.limit_of(counter, now)
        return limit is None or self.counted[counter, self.month(now)] + micro_eur <= limit

    def _count(self, counter: str, at: int, micro_eur: int) -> None:
        self.counted[counter, self.month(at)] += micro_eur

    def _tell(self, counter: str, at: int) -> None:
        key, limit = (counter, self.month(at)), self.limit_of(counter, at)
        for percent in NOTICES:
            reached = limit is not None and self.counted[key] * 100 >= limit * percent
            if reached and (*key, percent) not in self._told:
                self._told.add((*key, percent))
                self.notices.append((at, counter, percent))

    def _tell_reached(self, counter: str, at: int) -> None:
        key = counter, self.month(at)
        if (*key, 100) not in self._told:
            self._told.update({(*key, percent) for percent in NOTICES})
            self.notices.append((at, counter, 100))
