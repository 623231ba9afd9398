"""Moments as text, and what a day is."""

from __future__ import annotations

import re

import pytest

from ocs.values.moment import DATE_PATTERN, DAY_S, parse_date, utc_day, utc_text


def test_a_moment_as_text() -> None:
    assert utc_text(0) == "1970-01-01T00:00:00Z"
    assert utc_text(1_795_364_999) == "2026-11-22T16:29:59Z"


def test_a_day_of_utc() -> None:
    assert [utc_day(moment) for moment in (0, DAY_S - 1, DAY_S)] == [0, 0, 1]


@pytest.mark.parametrize("text", ["20261225", "2026-W52-5", "2026-12-25T00:00", "26-12-25", " 2026-12-25"])
def test_only_one_way_to_write_a_date(text: str) -> None:
    assert not re.match(DATE_PATTERN, text)


def test_a_date() -> None:
    assert re.match(DATE_PATTERN, "2026-12-25") and parse_date("2026-12-25").isoformat() == "2026-12-25"
    with pytest.raises(ValueError, match="day"):
        parse_date("2026-02-30")
