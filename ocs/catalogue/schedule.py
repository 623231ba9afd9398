"""Prices that depend on the time of day (HOT-RAT-1): the price in force at a moment, and its next change.

Windows are in the operator's local time. A window belongs to the day on which it begins; one that crosses midnight ends
on the following day. When the clock is set back, a local time that occurs twice means its first occurrence.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from ocs.values.use import PriceTerms, RatedUse

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday")
HOLIDAY = DAYS.index("holiday")
DAY_MINUTES = 1440
LOOK_AHEAD_DAYS = 15
"""How far ahead a change of the price is searched. No grant lives longer than a week."""
BASE = 0
"""Index of the price outside all windows."""


@dataclass(frozen=True, slots=True)
class Window:
    """`days` are indices of DAYS, `since` and `until` minutes of the day. `until` ≤ `since`: on the following day."""

    days: frozenset[int]
    since: int
    until: int

    @property
    def crosses_midnight(self) -> bool:
        return self.until <= self.since

    def minutes(self, yesterday: int, today: int) -> Iterator[tuple[int, int]]:
        """(from, to) in minutes of today; both days as indices of DAYS."""
        if self.crosses_midnight and yesterday in self.days and self.until:
            yield 0, self.until
        if today in self.days:
            yield self.since, DAY_MINUTES if self.crosses_midnight else self.until


def overlap(windows: Sequence[Window]) -> tuple[int, int] | None:
    """Indices of two windows that overlap, or None."""
    for yesterday, today in product(range(len(DAYS)), repeat=2):
        claimed: list[tuple[int, int, int]] = []
        for index, window in enumerate(windows):
            for start, end in window.minutes(yesterday, today):
                for other, other_start, other_end in claimed:
                    if start < other_end and other_start < end and other != index:
                        return other, index
                claimed.append((index, start, end))
    return None


MAX_CACHED = 4_096
"""Rated uses cached with the price of their time."""


class Schedule:
    """When each price is in force: `prices[0]` outside the windows, `prices[n + 1]` in window n."""

    def __init__(
        self, windows: Sequence[Window], prices: Sequence[PriceTerms], zone: ZoneInfo, holidays: Container[date]
    ) -> None:
        assert len(prices) == len(windows) + 1
        self._windows = tuple(windows)
        self._prices = tuple(prices)
        self._zone = zone
        self._holidays = holidays if any(HOLIDAY in window.days for window in windows) else frozenset()
        self._interval = (0, 0, BASE, BASE)
        """The last result of `_find`."""
        self._cache: dict[int, tuple[int, RatedUse, RatedUse]] = {}
        """id of the rated use → (end of the interval, result, the rated use). One entry per rate."""

    @property
    def prices(self) -> tuple[PriceTerms, ...]:
        return self._prices

    def at(self, rated: RatedUse, unix_s: int) -> RatedUse:
        """`rated` with the price in force at `unix_s`, the second of its next change, and the price after that."""
        start, end, index, following = self._interval
        if not start <= unix_s < end:
            start, end, index, following = self._interval = self._find(unix_s)
        cached = self._cache.get(id(rated))
        if cached is not None and cached[0] == end:
            return cached[1]
        changes = following != index
        result = replace(
            rated,
            price=self._prices[index],
            switch_at=end if changes else 0,
            price_after=self._prices[following] if changes else None,
            schedule=None,
        )
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[id(rated)] = end, result, rated  # holds a reference, so that the id is not reused
        return result

    def _find(self, unix_s: int) -> tuple[int, int, int, int]:
        """(start, end, price in force, price from `end` on): times in Unix seconds, prices as indices."""
        today = datetime.fromtimestamp(unix_s, self._zone).date()
        changes: list[tuple[int, int]] = []
        for ahead in range(-2, LOOK_AHEAD_DAYS):
            for second, index in self._changes_on(today + timedelta(days=ahead)):
                if changes and changes[-1][0] == second:
                    changes.pop()  # the clock change skips the whole window
                if not changes or changes[-1][1] != index:
                    changes.append((second, index))
        start, current = changes[0]
        for second, index in changes:
            if second > unix_s:
                return start, second, current, index
            start, current = second, index
        # No change within LOOK_AHEAD_DAYS. Search again tomorrow: no grant reaches so far.
        return start, self._second(today + timedelta(days=1), 0), current, current

    def _changes_on(self, day: date) -> list[tuple[int, int]]:
        """(Unix second, index of the price from then on) for one day, in order."""
        yesterday, today = self._kind(day - timedelta(days=1)), self._kind(day)
        covered = sorted(
            (start, end, index + 1)
            for index, window in enumerate(self._windows)
            for start, end in window.minutes(yesterday, today)
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
        """Index of DAYS."""
        return HOLIDAY if day in self._holidays else day.weekday()

    def _second(self, day: date, minute: int) -> int:
        """Unix second of a local time. Skipped by the clock change: the change itself; occurring twice: the first."""
        local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=self._zone)
        second, earliest = int(local.timestamp()), int(local.replace(fold=1).timestamp())
        offset = self._offset(second)
        return next((s for s in range(earliest, second, 60) if self._offset(s) == offset), second)

    def _offset(self, unix_s: int) -> timedelta | None:
        return datetime.fromtimestamp(unix_s, self._zone).utcoffset()
