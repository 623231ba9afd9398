"""Times and dates as text, and UTC days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TypedDict

DAY_S = 86_400
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""ISO 8601 with hyphens; `date.fromisoformat` alone also accepts week dates and dates without hyphens."""


class When(TypedDict):
    """When an operation on an account happens, in the operator's time zone."""

    now: int
    """Unix seconds."""
    month: int
    """Such as 202611."""
    day: int
    """Days since 1970-01-01."""


def when_of(arguments: Mapping[str, int]) -> When:
    """The same, with their names known to the type checker."""
    return {"now": arguments["now"], "month": arguments["month"], "day": arguments["day"]}


@lru_cache(maxsize=1024)
def utc_text(seconds: int) -> str:
    """ISO 8601 in UTC: "2026-11-22T16:30:00Z"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_date(text: str) -> date:
    """The day that a text in the form of DATE_PATTERN names. ValueError = the calendar has no such day."""
    return date.fromisoformat(text)


def utc_day(seconds: int) -> int:
    """Days since 1970-01-01."""
    return seconds // DAY_S
