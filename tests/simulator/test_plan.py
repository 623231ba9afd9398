"""The plan depends on the seed alone, and follows the scenario's shares."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.distributions import Distribution, ScenarioError, poisson, read_distribution
from simulator.plan import make_plan, with_subscribers
from simulator.scenario import load_scenario
from simulator.subscribers import default_subscribers, read_subscribers, write_subscribers

PRICES = {
    "MINI": 6_990_000,
    "MAXI": 9_990_000,
    "EXTRA": 13_990_000,
    "GIGA-MINI": 6_990_000,
    "GIGA-UNLIMITED": 14_990_000,
}
BUSY_HOUR = load_scenario("busy_hour")


def test_the_same_seed_gives_the_same_events_in_the_same_order() -> None:
    small = replace(BUSY_HOUR, subscribers=200)
    assert make_plan(small, 7, PRICES) == make_plan(small, 7, PRICES)
    assert make_plan(small, 7, PRICES).sessions != make_plan(small, 8, PRICES).sessions


def test_a_plan_does_not_depend_on_the_process() -> None:
    """A digest of the first sessions of seed 1: hash seeds, clocks and library versions must not change it."""
    plan = make_plan(replace(BUSY_HOUR, subscribers=20), 1, PRICES)
    again = make_plan(replace(BUSY_HOUR, subscribers=20), 1, dict(reversed(PRICES.items())))
    assert plan == again
    assert [session.index for session in plan.sessions] == list(range(len(plan.sessions)))
    assert [session.start_s for session in plan.sessions] == sorted(session.start_s for session in plan.sessions)


def test_the_plan_follows_the_shares() -> None:
    plan = make_plan(BUSY_HOUR, 1, PRICES)
    assert len(plan.subscribers) == 2000
    by_service = Counter(session.traffic for session in plan.sessions)
    for service in BUSY_HOUR.services:
        assert by_service[service.name] == pytest.approx(2000 * service.per_subscriber_hour, rel=0.12)
    places = Counter(session.place.id for session in plan.sessions)
    assert places["home"] / len(plan.sessions) == pytest.approx(0.90, abs=0.03)
    assert {"eu", "balkan", "world-2"} <= set(places)
    packages = Counter(one.package for one in plan.subscribers)
    assert packages["MINI"] / 2000 == pytest.approx(0.34, abs=0.05)
    elements = Counter(session.element.value for session in plan.sessions if session.traffic == "voice")
    assert elements["msc"] / elements.total() == pytest.approx(0.25, abs=0.05)
    losses = sum(0 in session.lost_answers for session in plan.sessions) / len(plan.sessions)
    assert losses == pytest.approx(0.01, abs=0.006)
    assert any(session.dies for session in plan.sessions)
    assert all(session.start_s + session.duration_s <= 3605 for session in plan.sessions)


def test_opening_credit_pays_the_package_and_some_accounts_are_almost_empty_or_limited() -> None:
    plan = make_plan(BUSY_HOUR, 1, PRICES)
    left = [round(float(one.credit) * 1e6) - PRICES[one.package] for one in plan.subscribers]
    assert min(left) >= 0
    assert sum(amount <= 600_000 for amount in left) / 2000 == pytest.approx(0.13, abs=0.04)
    assert 5 <= sum(bool(one.limit) for one in plan.subscribers) <= 40
    assert len({one.msisdn for one in plan.subscribers}) == 2000


def test_other_subscribers_play_the_same_sessions() -> None:
    plan = make_plan(replace(BUSY_HOUR, subscribers=10), 1, PRICES)
    others = with_subscribers(plan, default_subscribers(3))
    assert {session.subscriber for session in others.sessions} <= set(default_subscribers(3))
    assert [session.uses for session in others.sessions] == [session.uses for session in plan.sessions]


def test_distributions() -> None:
    rng = random.Random(1)
    lognormal = [Distribution("lognormal", 90.0, 0.5).draw(rng) for _ in range(4000)]
    assert statistics.median(lognormal) == pytest.approx(90, rel=0.06)
    exponential = [Distribution("exponential", 30.0).draw(rng) for _ in range(4000)]
    assert statistics.mean(exponential) == pytest.approx(30, rel=0.08)
    assert statistics.mean(poisson(rng, 1.6) for _ in range(4000)) == pytest.approx(1.6, rel=0.06)
    assert 5 <= Distribution("uniform", 1, 100, low=5, high=6).draw(rng) <= 6


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "zipf"}, "must be one of constant, uniform, exponential, lognormal"),
        ({"kind": "lognormal", "median": 3}, "sigma is None"),
        ({"kind": "constant", "value": 3, "vlaue": 4}, "unknown vlaue"),
        ({"kind": "constant", "value": -1}, "0 or more"),
    ],
)
def test_a_wrong_distribution_is_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        read_distribution(table, "service[0].duration_s")


def test_a_missing_or_broken_scenario_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no scenario file quiet_hour; shipped are agents, .*busy_hour"):
        load_scenario("quiet_hour")
    broken = tmp_path / "broken.toml"
    broken.write_text("subscribers = [")
    with pytest.raises(ScenarioError, match=r"broken\.toml"):
        load_scenario(broken)
    broken.write_text("subscribers = 3\n")
    with pytest.raises(ScenarioError, match=r"broken\.toml: accounts is missing"):
        load_scenario(broken)
    broken.write_bytes(b"\xff\x00")
    with pytest.raises(ScenarioError, match=r"broken\.toml: is no text"):
        load_scenario(broken)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("intensty = 0.1", r"scenario\.intensty is not known; there are .*intensity"),
        ("accounts = {first_msidsn = 1}", r"accounts\.first_msidsn is not known"),
        ("[faults]\nlost_answer = 0.1", r"faults\.lost_answer is not known"),
    ],
)
def test_a_key_of_another_spelling_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.toml").write_text(f'base = "busy_hour"\n{text}\n')
    with pytest.raises(ScenarioError, match=rf"mine\.toml: {message}"):
        load_scenario(tmp_path / "mine.toml")


def test_a_scenario_that_is_its_own_base(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(f'base = "{mine}"\n')
    with pytest.raises(ScenarioError, match="as its base"):
        load_scenario(mine)


def test_subscriber_files_come_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.csv"
    write_subscribers(path, default_subscribers(5))
    assert read_subscribers(path) == default_subscribers(5)
    assert path.read_text().startswith("msisdn,imsi,package,credit")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ScenarioError, match="needs the columns"):
        read_subscribers(path)
