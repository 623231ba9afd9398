"""The shipped scenarios: curves and restarts in the plan, and each audited against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.systems import System, charging_server
from simulator.distributions import Curve, ScenarioError, read_curve
from simulator.plan import PlannedSession, make_plan
from simulator.requests import Element
from simulator.scenario import SHIPPED, Restart, load_scenario

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.name.removesuffix(".toml") for path in SHIPPED.iterdir() if path.name.endswith(".toml"))
MIDNIGHT_S = 3600


def test_a_curve_places_events_by_its_area() -> None:
    curve = Curve(((0.0, 1.0), (100.0, 1.0), (200.0, 3.0)))
    assert curve.integral(100) == pytest.approx(100)
    assert curve.integral(200) == pytest.approx(300)
    assert curve.integral(300) == pytest.approx(600)  # the last factor stays
    for share in (0.0, 0.1, 0.3, 0.5, 0.9, 1.0):
        at = curve.time_of(share, 300.0)
        assert curve.integral(at) == pytest.approx(600 * share, abs=1e-6)
    assert (Curve().time_of(0.25, 80.0), Curve().integral(80.0)) == (20.0, 80.0)


def test_nothing_happens_where_the_curve_is_zero() -> None:
    curve = Curve(((0.0, 0.0), (10.0, 0.0), (10.5, 2.0), (20.0, 2.0), (20.5, 0.0)))
    times = [curve.time_of(step / 1000, 60.0) for step in range(1, 1000)]
    assert min(times) > 10
    assert max(times) < 20.5


@pytest.mark.parametrize(
    "value", [[], "1", [[0, 1, 2]], [[1, 1.0]], [[0, 1], [0, 2]], [[0, -1]], [[0, 0]], [[0, "x"]], [[0, True]]]
)
def test_a_wrong_curve_is_named(value: object) -> None:
    with pytest.raises(ScenarioError, match=r"service\[0\]\.curve must be a list"):
        read_curve(value, "service[0].curve")


def test_midnight_brings_calls_and_texts() -> None:
    plan = make_plan(replace(load_scenario("new_year"), subscribers=1500), 1, {})
    for traffic, low, high in (("voice", 6, 14), ("sms", 3, 8)):
        starts = [session.start_s for session in plan.sessions if session.traffic == traffic]
        before = sum(start < MIDNIGHT_S for start in starts)
        assert low < (len(starts) - before) / before < high


def test_a_restart_ends_open_sessions_and_opens_them_again() -> None:
    scenario = replace(load_scenario("restart_storm"), subscribers=400)
    (restart,) = scenario.restarts
    calm = make_plan(replace(scenario, restarts=()), 5, {})
    plan = make_plan(scenario, 5, {})
    lost = [one for one in calm.sessions if one.start_s < restart.at_s < one.start_s + one.duration_s]
    assert 300 < len(lost) < 500
    assert len(plan.sessions) == len(calm.sessions) + len(lost)
    died = [one for one in plan.sessions if one.dies]
    again = [one for one in plan.sessions if one.start_s >= restart.at_s]
    assert len(died) == len(again) == len(lost)
    assert all(one.start_s + one.duration_s == pytest.approx(restart.at_s) for one in died)
    assert all(one.start_s <= restart.at_s + restart.again_within_s for one in again)
    wanted = _wanted(calm.sessions)
    found = _wanted(plan.sessions)
    assert found.keys() == wanted.keys()
    assert all(found[key] == pytest.approx(wanted[key], abs=16) for key in wanted)


def _wanted(sessions: tuple[PlannedSession, ...]) -> dict[tuple[str, int | None], int]:
    total: dict[tuple[str, int | None], int] = defaultdict(int)
    for session in sessions:
        for use in session.uses:
            total[session.subscriber.msisdn, use.rating_group] += use.units
    return total


def test_other_elements_keep_their_sessions() -> None:
    scenario = replace(load_scenario("busy_hour"), subscribers=100)
    restarted = replace(scenario, restarts=(Restart(Element.MSC, 1800.0, 60.0),))

    def without_msc(sessions: tuple[PlannedSession, ...]) -> list[PlannedSession]:
        return [replace(one, index=0) for one in sessions if one.element is not Element.MSC]

    plain, storm = make_plan(scenario, 1, {}), make_plan(restarted, 1, {})
    assert [one.start_s for one in without_msc(plain.sessions)] == [one.start_s for one in without_msc(storm.sessions)]


def test_a_wrong_restart_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    text = (SHIPPED / "restart_storm.toml").read_text("utf-8")
    path.write_text(text.replace('element = "pgw"', 'element = "hss"', 1))
    with pytest.raises(ScenarioError, match=r"restart\[0\]\.element is 'hss'"):
        load_scenario(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_says_where_its_figures_come_from(name: str) -> None:
    text = (SHIPPED / f"{name}.toml").read_text("utf-8")
    assert "illustrative" in text.split("\nname = ")[0]
    assert load_scenario(name).subscribers > 0


@pytest.mark.parametrize("name", ["new_year", "restart_storm"])
def test_the_books_are_right_afterwards(name: str, tmp_path: Path) -> None:
    with charging_server(tmp_path / "server") as system:
        found = _play(system, name, tmp_path)
    assert found["ok"] is True, found["audit"]["findings"] + found["books"]
    assert found["requests"] > 100
    assert found["audit"]["services_compared"] > 20
    assert found["audit"]["recomputed"] > 20, found["audit"]["not_recomputed"]
    if name == "restart_storm":
        assert found["sessions_died"] >= 20


def _play(system: System, name: str, folder: Path) -> dict[str, Any]:
    assert system.config is not None
    assert system.data_dir is not None
    subscribers = folder / "subscribers.csv"
    common = ("--scenario", name, "--accounts", "40")
    _call("simulator.cli", "subscribers", str(subscribers), *common)
    _call("ocs.cli.main", "account", "import", str(subscribers), "--config", str(system.config))
    records = system.data_dir / "records"
    records.mkdir(exist_ok=True)  # the server makes it with the first record
    done = _call(
        "simulator.cli", "run", *common, "--speed", "400", "--port", str(system.port), "--records",
        str(records), "--ocs-config", str(system.config), "--json",
    )  # fmt: skip
    return dict(json.loads(done))


def _call(module: str, *words: str) -> str:
    code = f"from {module} import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, timeout=180, cwd=ROOT
    )
    assert done.stdout or not done.returncode, done.stderr
    return done.stdout
