"""Filters of texts: the dual of Slovene, money, units, dates, prices."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import pytest

from ocs.notices.words import Words
from tests.rules import rule

ZONE = ZoneInfo("Europe/Ljubljana")
SL, EN = Words("sl", ZONE, 1024), Words("en", ZONE, 1024)
MB, GB = 1024**2, 1024**3


@rule("HOT-NOT-1")
@pytest.mark.parametrize(
    ("count", "slovene", "english"),
    [
        (0, "0 sporočil", "0 messages"),
        (1, "1 sporočilo", "1 message"),
        (2, "2 sporočili", "2 messages"),
        (3, "3 sporočila", "3 messages"),
        (4, "4 sporočila", "4 messages"),
        (5, "5 sporočil", "5 messages"),
        (11, "11 sporočil", "11 messages"),
        (12, "12 sporočil", "12 messages"),
        (100, "100 sporočil", "100 messages"),
        (101, "101 sporočilo", "101 messages"),
        (102, "102 sporočili", "102 messages"),
        (103, "103 sporočila", "103 messages"),
        (104, "104 sporočila", "104 messages"),
        (105, "105 sporočil", "105 messages"),
        (111, "111 sporočil", "111 messages"),
        (202, "202 sporočili", "202 messages"),
    ],
)
def test_plural_forms(count: int, slovene: str, english: str) -> None:
    assert (SL.amount(count, "messages"), EN.amount(count, "messages")) == (slovene, english)


@pytest.mark.parametrize(
    ("value", "unit", "slovene", "english"),
    [
        (59, "seconds", "0 minut", "0 minutes"),
        (60, "seconds", "1 minuta", "1 minute"),
        (179, "seconds", "2 minuti", "2 minutes"),
        (240, "seconds", "4 minute", "4 minutes"),
        (GB, "octets", "1 GB", "1 GB"),
        (3 * GB // 2, "octets", "1,5 GB", "1.5 GB"),
        (GB - 1, "octets", "1023,9 MB", "1023.9 MB"),
        (999, "octets", "0,9 kB", "0.9 kB"),
        (0, "octets", "0 kB", "0 kB"),
        (12_345_678, "money", "12,34 EUR", "12.34 EUR"),
        (0, "money", "0,00 EUR", "0.00 EUR"),
        (6_900, "money", "0,0069 EUR", "0.0069 EUR"),
        (200_000_000, "money", "200,00 EUR", "200.00 EUR"),
    ],
)
def test_amounts(value: int, unit: str, slovene: str, english: str) -> None:
    assert (SL.amount(value, unit), EN.amount(value, unit)) == (slovene, english)


def test_dates_are_local() -> None:
    at = 1_798_757_999  # 2026-12-31T22:59:59Z
    assert (SL.date(at), SL.date(at + 1), SL.time(at)) == ("31. 12. 2026", "1. 1. 2027", "23:59")
    assert (EN.date(at), EN.date(date(2027, 3, 25))) == ("31 Dec 2026", "25 Mar 2027")


def test_prices() -> None:
    assert SL.per_minute((990_000, 60, False)) == "0,99 EUR/min"
    assert SL.per_minute((500_000, 1, True)) == "0,50 EUR", "a price per call"
    assert EN.per_mb((6_900, MB, False)) == "0.0069 EUR/MB"
    assert (SL.per_message((0, 1, False)), EN.per_message((0, 1, False))) == ("brezplačno", "free")


def test_a_wrong_number_of_forms_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="plural needs 4 forms"):
        SL.plural(2, "message", "messages")


def test_countries() -> None:
    assert (SL.country("DE"), EN.country("DE"), SL.country("ZZZ")) == ("Nemčija", "Germany", "ZZZ")
