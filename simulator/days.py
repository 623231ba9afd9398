"""Days of a run: local midnights, weekdays and holidays, and curves by hour of the day.

A day of the operator's zone may have 23 or 25 hours; what happens "at 07:30" happens at half past seven by the clock.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

from simulator.distributions import Curve, ScenarioError

TIME_ZONE = "Europe/Ljubljana"
"""Default: the operator's."""
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEKEND = ("sat", "sun")
HOURS = 24


@dataclass(frozen=True)
class Days:
    """The calendar of a run that begins at `begins` (with a zone)."""

    begins: datetime.datetime
    duration_s: float
    holidays: frozenset[datetime.date] = frozenset()

    @cached_property
    def dates(self) -> tuple[datetime.date, ...]:
        """Every day of which the run has a part."""
        end = self.begins.timestamp() + self.duration_s
        found, date = [], self.begins.date()
        while self.begins.timestamp() + self.midnight(date) < end:
            found.append(date)
            date += datetime.timedelta(days=1)
        return tuple(found)

    def second(self, date: datetime.date, at: datetime.time) -> float:
        """Seconds from the start of the run; less than 0 before it."""
        moment = datetime.datetime.combine(date, at, self.begins.tzinfo)
        return moment.timestamp() - self.begins.timestamp()

    def hour(self, at_s: float) -> int:
        """Local hour of the day."""
        return datetime.datetime.fromtimestamp(self.begins.timestamp() + at_s, self.begins.tzinfo).hour

    def is_holiday(self, date: datetime.date) -> bool:
        return date in self.holidays

    def is_working_day(self, date: datetime.date) -> bool:
        return WEEKDAYS[date.weekday()] not in WEEKEND and not self.is_holiday(date)

    def on(self, days: Sequence[str]) -> tuple[datetime.date, ...]:
        """The dates of the run on these weekdays; () = all."""
        return tuple(date for date in self.dates if not days or WEEKDAYS[date.weekday()] in days)

    def midnight(self, date: datetime.date) -> float:
        """The day's beginning in seconds from the start of the run; the first day's is 0 or less."""
        return self.second(date, datetime.time())


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often something happens by hour of the day, day of the week, and on holidays; each scaled to a mean of 1, so
    that rates are means.
    """

    hours: tuple[float, ...]
    """Of 24 hours, in their middle."""
    week: tuple[float, ...] = (1.0,) * len(WEEKDAYS)
    """Monday to Sunday."""
    holiday: float = 0.0
    """Instead of the weekday's, before scaling; 0 = as Sunday."""

    def curve(self, days: Days) -> Curve:
        hour_mean, day_mean = sum(self.hours) / len(self.hours), sum(self.week) / len(self.week)
        points: list[tuple[float, float]] = []
        for date in days.dates:
            of_day = (self.holiday or self.week[-1]) if days.is_holiday(date) else self.week[date.weekday()]
            for hour, factor in enumerate(self.hours):
                at_s = days.second(date, datetime.time(hour, 30))
                if not points or at_s > points[-1][0]:  # an hour that the change of the clock repeats is one point
                    points.append((at_s, of_day / day_mean * factor / hour_mean))
        return Curve(_from_zero(points))


def _from_zero(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The curve's part from second 0 on; at 0 it is as on the line between the points around it."""
    later = [point for point in points if point[0] > 0]
    before = [point for point in points if point[0] <= 0]
    if not before or not later:
        return ((0.0, (before or later)[-1 if before else 0][1]), *later)
    (left, at_left), (right, at_right) = before[-1], later[0]
    return ((0.0, at_left + (at_right - at_left) * -left / (right - left)), *later)


def read_days(table: Mapping[str, object], duration_s: float) -> Days | None:
    """From a scenario's `begins`, `time_zone` and `holidays`; None = it has no date. Raises ScenarioError."""
    begins, holidays = table.get("begins"), table.get("holidays", [])
    if begins is None:
        return None
    if not isinstance(begins, datetime.datetime) or begins.tzinfo is not None:
        raise ScenarioError(f"begins is {begins}; it must be a local date and time, as in 2027-01-25T00:00:00")
    if not isinstance(holidays, list) or not all(type(each) is datetime.date for each in holidays):
        raise ScenarioError("holidays must be a list of dates, as in [2027-02-08]")
    try:
        zone = ZoneInfo(str(table.get("time_zone", TIME_ZONE)))
    except (KeyError, ValueError):
        raise ScenarioError(f"time_zone is {table['time_zone']!r}; it must be a zone such as {TIME_ZONE}") from None
    return Days(begins.replace(tzinfo=zone), duration_s, frozenset(holidays))


def read_rhythm(table: Mapping[str, object], where: str) -> Rhythm:
    """From {hours = […24], week = […7], holiday = 1.1}. Raises ScenarioError."""
    hours, week = _factors(table, "hours", HOURS, where), _factors(table, "week", len(WEEKDAYS), where)
    holiday = table.get("holiday", 0.0)
    if hours is None:
        raise ScenarioError(f"{where}.hours is missing; it must have {HOURS} numbers")
    if isinstance(holiday, bool) or not isinstance(holiday, int | float) or holiday < 0:
        raise ScenarioError(f"{where}.holiday is {holiday!r}; it must be a number, 0 or more")
    return Rhythm(hours, week or (1.0,) * len(WEEKDAYS), float(holiday))


def _factors(table: Mapping[str, object], name: str, count: int, where: str) -> tuple[float, ...] | None:
    value = table.get(name)
    if value is None:
        return None
    numbers = isinstance(value, list) and all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)
    if not isinstance(value, list) or not numbers or len(value) != count or min(value) < 0 or not any(value):
        raise ScenarioError(f"{where}.{name} must have {count} numbers, 0 or more and not all 0")
    return tuple(float(each) for each in value)


def read_time(value: object, where: str) -> datetime.time:
    """ "07:30". Raises ScenarioError."""
    try:
        return datetime.time.fromisoformat(str(value))
    except ValueError:
        raise ScenarioError(f"{where} is {value!r}; it must be a time of the day, as in 07:30") from None


def read_weekdays(table: Mapping[str, object], where: str) -> tuple[str, ...]:
    """`days`, () = every day. Raises ScenarioError."""
    value = table.get("days", [])
    if not isinstance(value, list) or not set(value) <= set(WEEKDAYS):
        raise ScenarioError(f"{where}.days is {value!r}; it must be a list of {', '.join(WEEKDAYS)}")
    return tuple(value)
