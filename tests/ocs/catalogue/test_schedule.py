"""Time-of-day prices (HOT-RAT-1): the price in force, its next change, clock changes, and mistakes in windows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.values.use import Context, RatedUse, UseEvent
from tests.ocs.catalogue.test_catalogue_file import SMALL, load, mistakes

LJUBLJANA = ZoneInfo("Europe/Ljubljana")
DAY, NIGHT, WEEKEND = 10, 5, 2
WINDOWS = """
[price.volume]
window = [
  { days = ["mon", "tue", "wed", "thu", "fri"], from = "22:00", to = "06:00", micro_eur = 5 },
  { days = ["sat", "sun", "holiday"], from = "08:00", to = "20:00", micro_eur = 2 },
]
"""
TIMED = SMALL.replace("[price.volume]\n", WINDOWS.lstrip()).replace(
    'default_plmn = "29340"\n', 'default_plmn = "29340"\nholidays = ["2026-12-25"]\n', 1
)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return load(tmp_path, TIMED)


def local(text: str, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=LJUBLJANA, fold=fold).timestamp())


def at(catalogue: Catalogue, second: int) -> RatedUse:
    return catalogue.rate(UseEvent(Context.DATA, rating_group=1, serving_plmn="29340", at=second))


def amount(rated: RatedUse) -> int:
    """Micro-EUR per MB."""
    return rated.price.num * 1_000_000 // rated.price.den


@pytest.mark.parametrize(
    ("when", "price", "switch"),
    [
        ("2026-11-24T12:00:00", DAY, "2026-11-24T22:00:00"),  # a Tuesday
        ("2026-11-24T21:59:59", DAY, "2026-11-24T22:00:00"),
        ("2026-11-24T22:00:00", NIGHT, "2026-11-25T06:00:00"),
        ("2026-11-25T00:00:00", NIGHT, "2026-11-25T06:00:00"),
        ("2026-11-25T05:59:59", NIGHT, "2026-11-25T06:00:00"),
        ("2026-11-25T06:00:00", DAY, "2026-11-25T22:00:00"),
        ("2026-11-28T03:00:00", NIGHT, "2026-11-28T06:00:00"),  # Friday's night ends on Saturday
        ("2026-11-28T07:00:00", DAY, "2026-11-28T08:00:00"),
        ("2026-11-28T12:00:00", WEEKEND, "2026-11-28T20:00:00"),
        ("2026-11-29T23:00:00", DAY, "2026-11-30T22:00:00"),  # Sunday has no night window
        ("2026-12-25T12:00:00", WEEKEND, "2026-12-25T20:00:00"),  # a Friday, and a holiday
        ("2026-12-25T23:00:00", DAY, "2026-12-26T08:00:00"),
    ],
)
def test_the_price_in_force_and_its_next_change(catalogue: Catalogue, when: str, price: int, switch: str) -> None:
    rated = at(catalogue, local(when))
    assert (amount(rated), rated.switch_at) == (price, local(switch))
    after = at(catalogue, rated.switch_at)
    assert rated.price_after == after.price != rated.price
    assert at(catalogue, rated.switch_at - 1).price == rated.price


def test_the_nights_of_the_clock_change(catalogue: Catalogue) -> None:
    """Windows are in local time: the night of the spring change is an hour shorter, that of autumn an hour longer."""
    # 29 March and 25 October 2026 are Sundays, so Saturday gets a night window too.
    spring = TIMED.replace('"fri"]', '"fri", "sat"]').replace('["sat", "sun", "holiday"]', '["sun", "holiday"]')
    assert spring != TIMED
    for start, hours in (("2026-03-28T22:00:00", 7), ("2026-10-24T22:00:00", 9), ("2026-11-24T22:00:00", 8)):
        rated = at(catalogue if hours == 8 else _of(spring), local(start))
        assert amount(rated) == NIGHT
        assert rated.switch_at - local(start) == hours * 3600, start


def _of(text: str) -> Catalogue:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return load(Path(folder), text)


def test_a_repeated_local_time_switches_the_price_once(tmp_path: Path) -> None:
    text = SMALL.replace(
        "[price.volume]\n",
        '[price.volume]\nwindow = [{ days = ["sun"], from = "02:30", to = "04:00", micro_eur = 5 }]\n',
    )
    catalogue = load(tmp_path, text)
    first, second = local("2026-10-25T02:30:00"), local("2026-10-25T02:30:00", fold=1)
    assert second - first == 3600
    assert amount(at(catalogue, first - 1)) == DAY
    assert [amount(at(catalogue, moment)) for moment in (first, second - 1800, second)] == [NIGHT] * 3
    assert at(catalogue, first).switch_at == local("2026-10-25T04:00:00")


@pytest.mark.parametrize(
    ("since", "until", "begins", "ends"),
    [
        ("02:30", "05:00", "2026-03-29T03:00:00", "2026-03-29T05:00:00"),
        ("00:30", "02:15", "2026-03-29T00:30:00", "2026-03-29T03:00:00"),
        ("01:59", "02:01", "2026-03-29T01:59:00", "2026-03-29T03:00:00"),
    ],
)
def test_a_skipped_local_time_is_the_moment_of_the_clock_change(
    tmp_path: Path, since: str, until: str, begins: str, ends: str
) -> None:
    window = f'window = [{{ days = ["sun"], from = "{since}", to = "{until}", micro_eur = 5 }}]'
    catalogue = load(tmp_path, SMALL.replace("[price.volume]\n", f"[price.volume]\n{window}\n"))
    first, last = local(begins), local(ends)
    assert [amount(at(catalogue, second)) for second in (first - 1, first, last - 1, last)] == [DAY, NIGHT, NIGHT, DAY]
    assert at(catalogue, first - 1).switch_at == first and at(catalogue, first).switch_at == last


def test_a_window_within_the_skipped_hour_never_applies(tmp_path: Path) -> None:
    window = 'window = [{ days = ["sun"], from = "02:10", to = "02:50", micro_eur = 5 }]'
    catalogue = load(tmp_path, SMALL.replace("[price.volume]\n", f"[price.volume]\n{window}\n"))
    change = local("2026-03-29T03:00:00")
    assert [amount(at(catalogue, second)) for second in (change - 1, change)] == [DAY, DAY]
    assert at(catalogue, change - 1).switch_at == local("2026-04-05T02:10:00")


def test_a_price_without_windows_needs_no_schedule(tmp_path: Path) -> None:
    plain = load(tmp_path, SMALL)
    now = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp())
    assert at(plain, now) is at(plain, now + 86_400)
    assert at(plain, now).switch_at == 0 and at(plain, now).price_after is None


def test_between_two_switches_the_result_is_the_same_object(catalogue: Catalogue) -> None:
    noon = local("2026-11-24T12:00:00")
    assert at(catalogue, noon) is at(catalogue, noon + 3600)
    assert at(catalogue, noon).schedule is None


def test_a_window_may_end_at_midnight_or_last_all_day(tmp_path: Path) -> None:
    text = SMALL.replace(
        "[price.volume]\n",
        '[price.volume]\nwindow = [{ days = ["sat", "sun"], from = "00:00", to = "24:00", micro_eur = 2 }]\n',
    )
    catalogue = load(tmp_path, text)
    rated = at(catalogue, local("2026-11-28T12:00:00"))
    assert (amount(rated), rated.switch_at) == (WEEKEND, local("2026-11-30T00:00:00"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{ days = ["mon"], from = "25:00", to = "06:00", micro_eur = 5 }', "price.volume.window[0].from = '25:00'"),
        (
            '{ days = ["moonday"], from = "22:00", to = "06:00", micro_eur = 5 }',
            "price.volume.window[0].days[0] = 'moonday'",
        ),
        (
            '{ days = ["mon"], from = "22:00", to = "22:00", micro_eur = 5 }',
            "price.volume.window[0]: must begin before 24:00",
        ),
        ('{ days = ["mon"], from = "22:00", micro_eur = 5 }', "price.volume.window[0].to: is missing"),
        (
            '{ days = ["mon"], from = "22:00", to = "06:00", micro_eur = 5 },'
            ' { days = ["tue"], from = "05:00", to = "07:00", micro_eur = 2 }',
            "price.volume.window[1]: overlaps with window[0]",
        ),
    ],
)
def test_errors_in_windows_are_named(tmp_path: Path, line: str, words: str) -> None:
    text = SMALL.replace("[price.volume]\n", f"[price.volume]\nwindow = [{line}]\n")
    assert any(words in found for found in mistakes(tmp_path, text)), mistakes(tmp_path, text)


def test_a_long_running_worker_learns_of_a_switch_weeks_ahead(tmp_path: Path) -> None:
    """The schedule's cached result expires in time."""
    windows = (
        WINDOWS[: WINDOWS.index("  {")]
        + """  { days = ["holiday"], from = "00:00", to = "24:00", micro_eur = 2 },
]
"""
    )
    only_holidays = SMALL.replace("[price.volume]\n", windows.lstrip()).replace(
        'default_plmn = "29340"\n', 'default_plmn = "29340"\nholidays = ["2026-12-25"]\n', 1
    )
    old, new = load(tmp_path, only_holidays), load(tmp_path, only_holidays)
    for day in ("2026-12-10T12:00:00", "2026-12-24T23:50:00", "2026-12-25T12:00:00"):
        assert at(old, local(day)) == at(new, local(day)), day
        new = load(tmp_path, only_holidays)
    assert at(old, local("2026-12-24T23:50:00")).switch_at == local("2026-12-25T00:00:00")


def test_a_holiday_must_be_a_date(tmp_path: Path) -> None:
    text = TIMED.replace("2026-12-25", "2026-13-25")
    assert any("catalogue.holidays[0] = '2026-13-25'" in found for found in mistakes(tmp_path, text))


def test_quota_policy_of_the_file(tmp_path: Path) -> None:
    text = SMALL.replace(
        "threshold_percent = 20, holding_s = 0 }",
        "threshold_percent = 20, holding_s = 0, consumption_s = 9, envelope_reporting = 'volume', time_s = 60, "
        "pool = 3, "
        'triggers = ["rat", "mcc", "serving-node"] }',
    )
    quota = at(load(tmp_path, text), 0).quota
    assert (quota.consumption_s, quota.envelope_reporting, quota.time_s, quota.pool) == (9, 2, 60, 3)
    assert quota.triggers == (4, 30, 61)


# -- public holidays by country


BY_LAW = TIMED.replace('holidays = ["2026-12-25"]', 'holidays_country = "{}"\n{}')


@pytest.mark.parametrize(
    ("country", "more", "day", "price"),
    [
        ("SI", "", "2027-02-08", WEEKEND),  # Prešeren's day, a Monday
        ("SI", "", "2029-02-08", WEEKEND),  # of every year
        ("SI", "", "2027-02-09", DAY),
        ("SI", 'no_holidays = ["2027-02-08"]', "2027-02-08", DAY),
        ("SI", 'holidays = ["2027-02-09"]', "2027-02-09", WEEKEND),
        ("AT", "", "2027-02-08", DAY),
        ("DE", "", "2027-01-06", DAY),  # Epiphany, a Wednesday, is a holiday in Bavaria only
        ("DE", 'holidays_subdivision = "BY"', "2027-01-06", WEEKEND),
    ],
)
def test_public_holidays_of_a_country(tmp_path: Path, country: str, more: str, day: str, price: int) -> None:
    catalogue = load(tmp_path, BY_LAW.replace("{}", country, 1).replace("{}", more, 1))
    assert amount(at(catalogue, local(f"{day}T12:00:00"))) == price


@pytest.mark.parametrize(
    ("country", "more", "key", "allowed"),
    [
        ("XX", "", "catalogue.holidays_country = 'XX'", "is not a country"),
        ("si", "", "catalogue.holidays_country = 'si'", "a country code such as SI"),
        ("DE", 'holidays_subdivision = "BX"', "catalogue.holidays_subdivision = 'BX'", "BB, BE"),
        ("", 'holidays_subdivision = "BY"', "catalogue.holidays_subdivision = 'BY'", "needs holidays_country"),
        ("SI", 'no_holidays = ["2027-02-30"]', "catalogue.no_holidays[0] = '2027-02-30'", "must be a date"),
    ],
)
def test_mistakes_in_holidays_of_a_country(tmp_path: Path, country: str, more: str, key: str, allowed: str) -> None:
    (line,) = mistakes(tmp_path, BY_LAW.replace("{}", country, 1).replace("{}", more, 1))
    assert line.startswith(key) and allowed in line
