"""Bank days: those of the TARGET calendar, on which SEPA debits are collected."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import Any

SATURDAY = 5


@cache
def _closing_days() -> Any:
    from holidays import financial_holidays

    return financial_holidays("ECB")


def is_bank_day(day: date) -> bool:
    return day.weekday() < SATURDAY and day not in _closing_days()


def bank_day(day: date, days_later: int = 0) -> date:
    """The bank day that is so many bank days after `day`; 0 = `day`, or the next bank day."""
    while not is_bank_day(day):
        day += timedelta(days=1)
    for _ in range(days_later):
        day += timedelta(days=1)
        while not is_bank_day(day):
            day += timedelta(days=1)
    return day
