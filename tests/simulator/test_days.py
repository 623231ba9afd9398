"""Scenarios of days: the calendar, habits, journeys, orders; and a week, a bad night and the end of a month, small,
against a real server whose clock the simulator turns.
"""

from __future__ import annotations

import datetime
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from simulator.acts import ActKind, PlannedAct, draw_acts
from simulator.behaviour import EARLY
from simulator.days import Days, Rhythm
from simulator.distributions import ScenarioError
from simulator.journeys import in_session
from simulator.plan import make_people, make_plan
from simulator.price_lists import write_price_lists
from simulator.prices import PriceList
from simulator.requests import Element, Subscriber
from simulator.scenario import SHIPPED, PriceChange, Scenario, load_scenario
from simulator.stage import StageOptions, play_days
from simulator.summary import RunOutcome

ZONE = ZoneInfo("Europe/Ljubljana")
CATALOGUE = Path("config/catalogue.toml")
OF_DAYS = ("bad_night", "day", "month_end", "tariff_change_midnight", "week_with_travel")
HOUR_S, DAY_S = 3600.0, 86_400.0
PRICES = PriceList.read(CATALOGUE).package_prices


def small(name: str, subscribers: int, **changes: object) -> Scenario:
    return replace(load_scenario(name), subscribers=subscribers, **changes)


# -- the calendar


def test_hours_are_local_and_a_day_may_have_25_of_them() -> None:
    days = Days(datetime.datetime(2026, 10, 24, tzinfo=ZONE), 3 * DAY_S)
    assert [date.day for date in days.dates] == [24, 25, 26]
    assert [days.midnight(date) for date in days.dates] == [0.0, DAY_S, DAY_S + 25 * HOUR_S]
    assert [days.hour(DAY_S + hour * HOUR_S) for hour in (0, 2, 3, 4, 24)] == [0, 2, 2, 3, 23]
    assert days.second(days.dates[2], datetime.time(7, 30)) == DAY_S + 32.5 * HOUR_S


def test_a_rhythm_keeps_the_mean_and_follows_hours_weekdays_and_holidays() -> None:
    hours = (*(1.0,) * 12, *(3.0,) * 12)
    monday = datetime.datetime(2026, 10, 5, tzinfo=ZONE)
    week = Days(monday, 7 * DAY_S, frozenset({datetime.date(2026, 10, 7)}))
    curve = Rhythm(hours, (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0), 4.0).curve(week)
    by_day = [curve.integral((day + 1) * DAY_S) - curve.integral(day * DAY_S) for day in range(7)]
    assert by_day[0] == pytest.approx(by_day[3], rel=0.05)
    assert by_day[5] / by_day[1] == pytest.approx(2.0, rel=0.1)
    assert by_day[2] / by_day[0] == pytest.approx(4.0, rel=0.15)
    night, evening = curve.integral(6 * HOUR_S), curve.integral(22 * HOUR_S) - curve.integral(16 * HOUR_S)
    assert evening / night == pytest.approx(3.0, rel=0.05)
    plain = Rhythm(hours).curve(Days(monday, DAY_S))
    assert plain.integral(DAY_S) == pytest.approx(DAY_S, rel=0.02)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("begins = 2026-10-06T00:00:00", "begins = 2026-10-06T00:00:00Z", "local date and time"),
        ('curve = "video"', 'curve = "vidio"', r"service\[1\]\.curve is 'vidio'; there are web, video"),
        ("factor = { video = 3.0,", "factor = { films = 3.0,", r"habit\[0\]\.factor has 'films'"),
        ('habits = ["meter"]', 'habits = ["metre"]', r"service\[3\]\.habits is \['metre'\]"),
        ('place = "work"', 'place = "office"', r"journey\[0\]\.leg\[0\]\.place is 'office'"),
        ('at = "06:50"', 'at = "6.50"', r"journey\[0\]\.leg\[0\]\.at is '6\.50'; it must be a time"),
        ("share = 0.40\nwithin_s", "share = 1.0\nwithin_s", "the journeys' shares are 1.01"),
        ('kind = "top-up"', 'kind = "topup"', r"act\[0\]\.kind is 'topup'"),
        ("forwarding = { cfu", "forwarding = { cfx", r"service\[5\]\.forwarding has 'cfx'"),
        ("rats = { eutran", "rats = { lte", r"radio\.rats has 'lte'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (SHIPPED / "day.toml").read_text("utf-8")
    assert old in text
    (tmp_path / "wrong.toml").write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ScenarioError, match=said):
        load_scenario(tmp_path / "wrong.toml")


def test_a_scenario_takes_the_place_of_its_base(tmp_path: Path) -> None:
    (tmp_path / "quiet.toml").write_text('base = "day"\nname = "quiet"\nsubscribers = 7\n', "utf-8")
    quiet, day = load_scenario(tmp_path / "quiet.toml"), load_scenario("day")
    assert quiet == replace(day, name="quiet", subscribers=7)


# -- plans


@pytest.mark.parametrize("name", OF_DAYS)
def test_the_seed_alone_decides_the_plan(name: str) -> None:
    scenario = small(name, 80)
    plan = make_plan(scenario, 5, PRICES)
    assert plan == make_plan(small(name, 80), 5, dict(reversed(PRICES.items())))
    assert plan.sessions != make_plan(scenario, 6, PRICES).sessions
    starts = [session.start_s for session in plan.sessions]
    assert starts == sorted(starts)
    assert starts[0] >= 0 and starts[-1] < scenario.duration_s
    assert [act.at_s for act in plan.acts] == sorted(act.at_s for act in plan.acts)


def test_the_mean_rate_of_a_service_is_the_one_that_is_stated() -> None:
    scenario = small("day", 2000)
    plan = make_plan(scenario, 1, PRICES)
    voice = sum(session.traffic == "voice" and session.forwarding is None for session in plan.sessions)
    (stated,) = (each.per_subscriber_hour for each in scenario.services if each.name == "voice")
    people = make_people(scenario, 1, PRICES)
    factors = sum(person.habit.factor("voice") for person in people)
    received = sum(session.forwarding is not None for session in plan.sessions)
    assert voice - received == pytest.approx(stated * 24 * factors, rel=0.06)


def test_meters_wake_at_midnight_and_do_nothing_else() -> None:
    scenario = small("week_with_travel", 600)
    people = [person for person in make_people(scenario, 1, PRICES) if person.habit.name == "meter"]
    assert 20 < len(people) < 70
    assert not any(person.acts or person.itinerary.moves for person in people)
    numbers = {person.subscriber.msisdn for person in people}
    uses = [one for one in make_plan(scenario, 1, PRICES).sessions if one.subscriber.msisdn in numbers]
    assert len(uses) == 7 * len(people)
    assert all(one.traffic == "data" and one.start_s % DAY_S < 120 for one in uses)


def test_evenings_have_the_video_and_streamers_most_of_it() -> None:
    scenario = small("day", 1500)
    heavy = {person.subscriber.msisdn for person in make_people(scenario, 1, PRICES) if person.habit.name == "streamer"}
    large = [
        session
        for session in make_plan(scenario, 1, PRICES).sessions
        if session.traffic == "data" and session.uses[0].units > 50_000_000
    ]
    evening = [session for session in large if 18 * HOUR_S <= session.start_s < 23 * HOUR_S]
    assert len(evening) > 0.3 * len(large)
    assert sum(one.subscriber.msisdn in heavy for one in large) / len(large) > 1.5 * len(heavy) / 1500


def test_travellers_are_where_their_journey_takes_them() -> None:
    people = make_people(small("week_with_travel", 3000), 1, PRICES)
    journeys = Counter(person.itinerary.journey for person in people)
    assert journeys["a week in Croatia"] / 3000 == pytest.approx(0.05, abs=0.015)
    assert journeys["a trip to Serbia"] / 3000 == pytest.approx(0.03, abs=0.012)
    for person in people:
        place = person.itinerary.at
        if person.itinerary.journey == "a trip to Serbia":
            assert [place(day * DAY_S).plmn for day in (0.5, 3.0, 6.0)] == ["29340", "22001", "29340"]
        if person.itinerary.journey == "commuter":
            assert place(9 * HOUR_S).cell != place(2 * HOUR_S).cell == place(20 * HOUR_S).cell
            assert place(5 * DAY_S + 9 * HOUR_S).cell == place(2 * HOUR_S).cell, "at home on Saturday"


def test_a_session_sees_the_border_and_the_radio_but_a_call_does_not() -> None:
    scenario = small("week_with_travel", 1)
    (border,) = (journey for journey in scenario.journeys if journey.flapping)
    commuting = replace(scenario, journeys=(replace(border, share=1.0),), places=scenario.places[:1])
    (person,) = make_people(commuting, 1, PRICES)
    place, moves = in_session(random.Random(1), scenario.radio, person.itinerary, 8 * HOUR_S, 20 * HOUR_S)
    seen = [place, *(where for _, where in moves)]
    assert {where.plmn for where in seen} == {"29340", "23201"}
    assert len({where.rat for where in seen}) > 1
    assert all(before != after for before, after in pairwise(seen))
    assert [at_s for at_s, _ in moves] == sorted(at_s for at_s, _ in moves)
    plan = make_plan(replace(commuting, subscribers=40, intensity=2.0), 1, PRICES)
    assert any(session.moves for session in plan.sessions if session.element is Element.PGW)
    assert not any(session.moves for session in plan.sessions if session.element is not Element.PGW)


def test_all_four_cases_of_forwarding_occur() -> None:
    """Who pays depends on where B and C are and on when the call was forwarded."""
    scenario = small("week_with_travel", 2000)
    plan = make_plan(scenario, 1, PRICES)
    legs = [session for session in plan.sessions if session.forwarding is not None]
    received = {(one.subscriber.msisdn, one.start_s): one for one in plan.sessions if one.incoming}
    cases = Counter(
        (
            leg.place.id != "home",
            received[leg.other_party, leg.start_s].place.id != "home",
            leg.forwarding in EARLY,
        )
        for leg in legs
    )
    assert cases[False, False, True] and cases[False, True, True], "a, b"
    abroad = Counter(leg.forwarding in EARLY for leg in legs if leg.place.id != "home")
    assert abroad[True] and abroad[False], "c, d"
    assert all(leg.caller and leg.destination_class == "national-mobile" for leg in legs)


def test_second_sims_follow_their_owners() -> None:
    plan = make_plan(small("day", 1000), 1, PRICES)
    numbers = [one.msisdn for one in plan.subscribers]
    assert 15 < len(plan.pools) < 50
    assert all(numbers.index(second) == numbers.index(owner) + 1 for owner, second in plan.pools)
    assert len({number for pair in plan.pools for number in pair}) == 2 * len(plan.pools)


def test_money_comes_before_the_weekend_and_vouchers_on_saturday() -> None:
    scenario = small("week_with_travel", 2000)
    plan = make_plan(scenario, 1, PRICES)
    by_day = defaultdict(Counter[str])
    for act in plan.acts:
        by_day[int(act.at_s // DAY_S)][act.kind.value] += 1
    assert by_day[4]["top-up"] > 5 * by_day[2]["top-up"]
    assert [day for day in by_day if by_day[day]["voucher"]] == [5]
    keywords = [act for act in plan.acts if act.kind is ActKind.KEYWORD]
    messages = [one for one in plan.sessions if one.other_party == "1918"]
    assert len(messages) == 2 * len(keywords) > 20, "the order and its confirmation"
    assert len({act.reference for act in plan.acts}) == len(plan.acts)


def test_acts_are_for_those_whom_they_concern() -> None:
    scenario = load_scenario("week_with_travel")
    for journey, wanted in (("a trip to Serbia", {"BALKAN-500-MB"}), ("the USA", {"USA-UNLIMITED"}), ("", set())):
        subscriber = Subscriber("38668100001", "293400000000001", "MAXI")
        acts: list[PlannedAct] = []
        for seed in range(30):
            acts += draw_acts(random.Random(seed), scenario.acts, scenario.days, subscriber, journey)
        assert {act.what for act in acts if act.kind is ActKind.ORDER} == wanted
        assert not any(act.kind is ActKind.KEYWORD for act in acts), "MAXI has unlimited messages"


def test_a_price_change_is_the_next_version_of_the_catalogue(tmp_path: Path) -> None:
    change = PriceChange(
        datetime.datetime.fromisoformat("2026-10-01T00:00"), {"voice-national": 90_000, "data-national": 1_000}
    )
    folder = write_price_lists(CATALOGUE, [change], tmp_path / "catalogue")
    first, second = (PriceList.read(folder / name) for name in ("1.toml", "2.toml"))
    assert first.rate_named("voice.home.national").price.micro_eur == 69_000
    assert second.rate_named("voice.home.national").price.micro_eur == 90_000
    assert second.rate_named("data.home").price.micro_eur == 1_000
    assert second.rate_named("sms.home.national") == first.rate_named("sms.home.national")
    assert 'version = "2"\nvalid_from = "2026-10-01T00:00"' in (folder / "2.toml").read_text("utf-8")
    assert write_price_lists(CATALOGUE, [], tmp_path / "none") == CATALOGUE
    with pytest.raises(ScenarioError, match="no price 'voice-lunar'"):
        write_price_lists(CATALOGUE, [replace(change, micro_eur={"voice-lunar": 1})], tmp_path / "wrong")


# -- against a real server


def play(scenario: Scenario, folder: Path, speed: float) -> RunOutcome:
    options = StageOptions(folder / "days", 1, speed, CATALOGUE, folder / "report.html")
    outcome = play_days(scenario, options, Console(stderr=True))
    audit = outcome.audit
    assert audit is not None
    assert outcome.ok, [*audit.findings, *outcome.books_findings, *(outcome.acted.failures if outcome.acted else [])]
    assert audit.services_compared > 50
    return outcome


def records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "days" / "data" / "records").glob("**/*.jsonl")):
        yield from map(json.loads, path.read_text("utf-8").splitlines())


def local_day(record: dict[str, Any]) -> datetime.date:
    return datetime.datetime.fromisoformat(record["time"]).astimezone(ZONE).date()


@pytest.mark.long
def test_a_week_with_travel_is_seven_days_for_the_server(tmp_path: Path) -> None:
    scenario = small("week_with_travel", 60, opened_over_days=0, intensity=0.4)
    outcome = play(scenario, tmp_path, 100_000)
    charged = [record for record in records(tmp_path) if record["kind"] == "charge"]
    monday = datetime.date(2026, 10, 5)
    assert {local_day(record) for record in charged} == {monday + datetime.timedelta(days=n) for n in range(7)}
    networks = {service["detail"].split()[0] for record in charged for service in record.get("services", ())}
    assert {"29340", "21910"} <= networks
    assert outcome.acted is not None
    assert outcome.acted.count("done") > 5
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Requests by hour of the day" in page and "orders, top-ups and vouchers were answered" in page


@pytest.mark.long
def test_a_bad_night_leaves_the_books_right(tmp_path: Path) -> None:
    scenario = small("bad_night", 40, opened_over_days=0, intensity=4.0)
    outcome = play(scenario, tmp_path, 4000)
    assert outcome.acted is not None
    assert outcome.acted.killed == {"kill-worker": 3, "kill-redis": 2, "kill-housekeeper": 1}
    tally = outcome.tally
    assert tally.died > 10 and tally.lost_on_purpose > 10 and tally.reconnects > 5 and tally.failovers > 0
    assert tally.unequal_repeats == 0


@pytest.mark.long
def test_prices_change_at_midnight_and_every_use_has_its_own(tmp_path: Path) -> None:
    outcome = play(small("tariff_change_midnight", 40, opened_over_days=0), tmp_path, 30_000)
    charged = [record for record in records(tmp_path) if record["kind"] == "charge"]
    versions = {service["price"].rpartition("/")[2] for record in charged for service in record.get("services", ())}
    assert versions == {"1", "2"}
    across = [step for one in outcome.tally.sessions for step in one.steps if any(p.used_after for p in step.parts)]
    assert across, "some use is told apart by Tariff-Change-Usage"


@pytest.mark.long
def test_limits_begin_anew_on_the_first_and_tariffs_are_renewed(tmp_path: Path) -> None:
    scenario = small("month_end", 60, opened_over_days=30)
    play(scenario, tmp_path, 100_000)
    renewals = [record for record in records(tmp_path) if record["kind"] == "package" and record.get("renewal")]
    assert {record["paid"] for record in renewals} == {True, False}, "some have no credit for it"
    days = {local_day(record).day for record in renewals}
    assert days & {30, 31, 1}
