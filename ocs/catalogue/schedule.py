"""Prices that depend on the time of day: windows in the operator's local time (HOT-RAT-1), and when the price changes
next.

A window belongs to the day it begins on; one that crosses midnight ends on the following day. Boundaries are local wall
time turned into UTC, so the nights of the clock change are an hour shorter or longer: a wall time that comes twice
counts the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from ocs.values.use import PriceTerms, RatedUse

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")
HOLIDAY = DAYS.index("holiday")
DAY_MINUTES = 1440
LOOK_AHEAD_DAYS = 15
"""A price that does not change so long counts as unchanging: no grant lives longer than a week."""
BASE = 0
"""Index of the price outside all windows."""


@dataclass(frozen=True, slots=True)
class Window:
    """`days` as indices of DAYS; minutes of the day, `until` ≤ `since` = until then on the following day."""

    days: frozenset[int]
    since: int
    until: int

    @property
    def crosses(self) -> bool:
        return self.until <= self.since

    def minutes(self, before: int, today: int) -> Iterator[tuple[int, int]]:
        """What it covers of a day of this kind, after a day of that kind."""
        if self.crosses and before in self.days and self.until:
            yield 0, self.until
        if today in self.days:
            yield self.since, DAY_MINUTES if self.crosses else self.until


def overlap(windows: Sequence[Window]) -> tuple[int, int] | None:
    """Two windows that claim one minute, None if there are none."""
    for before, today in product(range(len(DAYS)), repeat=2):
        claimed: list[tuple[int, int, int]] = []
        for index, window in enumerate(windows):
            for start, end in window.minutes(before, today):
                for other, other_start, other_end in claimed:
                    if start < other_end and other_start < end and other != index:
                        return other, index
                claimed.append((index, start, end))
    return None


class Schedule:
    """When which of the prices is in force: `prices[0]` outside the windows, `prices[n + 1]` in window n."""

    def __init__(
        self, windows: Sequence[Window], prices: Sequence[PriceTerms], zone: ZoneInfo, holidays: frozenset[date]
    ) -> None:
        assert len(prices) == len(windows) + 1
        self._windows = tuple(windows)
        self._prices = tuple(prices)
        self._zone = zone
        self._holidays = holidays if any(HOLIDAY in window.days for window in windows) else frozenset()
        self._stretch = (0, 0, BASE, BASE)
        self._made: dict[int, tuple[int, RatedUse, RatedUse]] = {}

    def at(self, rated: RatedUse, unix_s: int) -> RatedUse:
        """`rated` with the price in force then, the second of its next change, and the price from then on."""
        start, end, index, following = self._stretch
        if not start <= unix_s < end:
            start, end, index, following = self._stretch = self._find(unix_s)
        kept = self._made.get(id(rated))
        if kept is not None and kept[0] == end:
            return kept[1]
        changes = following != index
        made = replace(
            rated,
            price=self._prices[index],
            switch_at=end if changes else 0,
            price_after=self._prices[following] if changes else None,
            schedule=None,
        )
        self._made[id(rated)] = end, made, rated  # which keeps `rated`, and so its id
        return made

    def _find(self, unix_s: int) -> tuple[int, int, int, int]:
        """(from, to, price in force, price from `to` on), in Unix seconds."""
        today = datetime.fromtimestamp(unix_s, self._zone).date()
        points: list[tuple[int, int]] = []
        for ahead in range(-2, LOOK_AHEAD_DAYS):
            for second, index in self._points(today + timedelta(days=ahead)):
                if points and points[-1][0] == second:
                    points.pop()  # a window that the clock change skips whole
                if not points or points[-1][1] != index:
                    points.append((second, index))
        start, current = points[0]
        for second, index in points:
            if second > unix_s:
                return start, second, current, index
            start, current = second, index
        # Nothing ahead, as far as was looked: look again tomorrow, so that a change is known before any grant could
        # reach it.
        return start, self._second(today + timedelta(days=1), 0), current, current

    def _points(self, day: date) -> list[tuple[int, int]]:
        """Where a price begins on a day, in order."""
        before, kind = self._kind(day - timedelta(days=1)), self._kind(day)
        covered = sorted(
            (start, end, index + 1)
            for index, window in enumerate(self._windows)
            for start, end in window.minutes(before, kind)
        )
        found: list[tuple[int, int]] = []
        minute = 0
        for start, end, index in covered:
            if start > minute:
                found.append((minute, BASE))
            found.append((start, index))
            minute = end
        if minute < DAY_MINUTES:
            found.append((minute, BASE))
        return [(self._second(day, minute), index) for minute, index in found]

    def _kind(self, day: date) -> int:
        return HOLIDAY if day in self._holidays else day.weekday()

    def _second(self, day: date, minute: int) -> int:
        """A wall time that the clock change skips is the moment of the change; the first of one that comes twice."""
        local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=self._zone)
        second, earliest = int(local.timestamp()), int(local.replace(fold=1).timestamp())
        offset = self._offset(second)
        return next((s for s in range(earliest, second, 60) if self._offset(s) == offset), second)

    def _offset(self, unix_s: int) -> timedelta | None:
        return datetime.fromtimestamp(unix_s, self._zone).utcoffset()
