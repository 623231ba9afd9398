"""Quiet hours in local time, over both changes of daylight saving."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.notices.quiet_hours import end_of_quiet

ZONE = ZoneInfo("Europe/Ljubljana")
EVENING, MORNING = time(21), time(8)


def unix(text: str) -> int:
    """Of a time with its offset."""
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("at", "over"),
    [
        ("2026-11-10T20:59:59+01:00", None),
        ("2026-11-10T21:00:00+01:00", "2026-11-11T08:00:00+01:00"),
        ("2026-11-11T00:00:00+01:00", "2026-11-11T08:00:00+01:00"),
        ("2026-11-11T07:59:59+01:00", "2026-11-11T08:00:00+01:00"),
        ("2026-11-11T08:00:00+01:00", None),
        ("2026-10-24T22:00:00+02:00", "2026-10-25T08:00:00+01:00"),  # eleven hours: the night has one more
        ("2026-10-25T02:30:00+02:00", "2026-10-25T08:00:00+01:00"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T08:00:00+01:00"),
        ("2027-03-27T22:00:00+01:00", "2027-03-28T08:00:00+02:00"),  # nine hours
        ("2027-03-28T03:00:00+02:00", "2027-03-28T08:00:00+02:00"),
    ],
)
def test_the_night(at: str, over: str | None) -> None:
    assert end_of_quiet(unix(at), EVENING, MORNING, ZONE) == unix(over or at)


@pytest.mark.parametrize(
    ("at", "begin", "end", "over"),
    [
        ("2026-11-10T12:30:00+01:00", time(12), time(14), "2026-11-10T14:00:00+01:00"),
        ("2026-11-10T14:00:00+01:00", time(12), time(14), None),
        ("2026-11-10T12:30:00+01:00", time(12), time(12), None),
        ("2026-11-10T23:30:00+01:00", time(21), time(0), "2026-11-11T00:00:00+01:00"),
        ("2027-03-28T01:30:00+01:00", time(1), time(2, 30), "2027-03-28T03:30:00+02:00"),  # 2:30 does not occur
        ("2026-10-25T02:10:00+02:00", time(1), time(2, 30), "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T02:10:00+01:00", time(1), time(2, 30), "2026-10-25T02:30:00+01:00"),  # the second time
    ],
)
def test_other_hours(at: str, begin: time, end: time, over: str | None) -> None:
    assert end_of_quiet(unix(at), begin, end, ZONE) == unix(over or at)


@given(
    st.integers(unix("2026-10-23T00:00:00+02:00"), unix("2027-03-30T00:00:00+02:00")),
    st.times(timezones=st.none()).map(lambda each: each.replace(second=0, microsecond=0)),
    st.times(timezones=st.none()).map(lambda each: each.replace(second=0, microsecond=0)),
)
def test_it_ends_at_the_end_within_a_day_and_never_in_the_past(at: int, begin: time, end: time) -> None:
    over = end_of_quiet(at, begin, end, ZONE)
    assert at <= over <= at + int(timedelta(hours=25).total_seconds())
    assert over == at or end_of_quiet(over, begin, end, ZONE) == over or begin == end
