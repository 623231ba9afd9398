"""promtool checks the rules, and each alert fires by its case and rests when all is well."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from ocs.telemetry.definitions import DEFINITIONS
from tests.monitoring.alert_cases import CASES, Case
from tests.monitoring.queries import PROMETHEUS, ROOT, alerts, groups, rules

RULE_FILES = ("recording.yml", "alerts.yml")
RECORDED = re.compile(r"\bocs:[a-z0-9_:]+")


def promtool(*arguments: str) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_settings_of_prometheus_are_right() -> None:
    said = promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    assert "2 rule files found" in said


def test_the_route_of_alertmanager_is_right() -> None:
    path = ROOT / "config" / "alertmanager" / "alertmanager.yml"
    done = subprocess.run(["amtool", "check-config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    routes = yaml.safe_load(path.read_text("utf-8"))["route"]["routes"]
    severities = {matcher for route in routes for matcher in route["matchers"]}
    assert severities == {'severity="critical"', 'severity="warning"'}


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == {rule["alert"] for rule in alerts()}


def test_an_alert_on_any_increase_sees_the_first_event() -> None:
    """A series that begins with its first event does not increase by it."""
    for rule in alerts():
        if not re.search(r"> 0$", rule["expr"]):
            continue
        for name in re.findall(r"increase\((ocs_\w+)_total", rule["expr"]):
            definition = DEFINITIONS[name]
            begins_at_0 = definition.known or not definition.labels or "service" in definition.labels
            assert begins_at_0, f"{rule['alert']}: {name}"


def _tested(
    name: str, case: Case, series: dict[str, str], samples: list[dict[str, object]], more: str = ""
) -> dict[str, object]:
    """It fires with its job: several installations may share a Prometheus, and inhibition compares jobs."""
    return {
        "name": name,
        "interval": case.step,
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing",job="ocs"{more}}})',
                "eval_time": case.at,
                "exp_samples": samples,
            }
        ],
    }


def _run(path: Path, step: str, tests: list[dict[str, object]]) -> None:
    """Evaluates the groups in the order of RULE_FILES. Without an order, promtool takes a random one. If alerts come
    before recording rules, they see values one step old; above 5 min (lookback of Prometheus) they see none.
    """
    written = {
        "rule_files": [str(PROMETHEUS / file) for file in RULE_FILES],
        "evaluation_interval": step,
        "group_eval_order": [group["name"] for file in RULE_FILES for group in groups(file)],
        "tests": tests,
    }
    path.write_text(yaml.safe_dump(written), "utf-8")
    assert "SUCCESS" in promtool("test", "rules", str(path))


def test_a_rule_reads_only_what_rules_before_it_record() -> None:
    recorded: set[str] = set()
    read: set[str] = set()
    for rule in (rule for file in RULE_FILES for rule in rules(file)):
        names = set(RECORDED.findall(rule["expr"]))
        assert names <= recorded, rule.get("record") or rule["alert"]
        read |= names
        recorded |= {rule["record"]} if "record" in rule else set()
    assert read, "no rule reads a recorded series"


def test_the_names_of_groups_differ() -> None:
    names = [group["name"] for file in RULE_FILES for group in groups(file)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("step", ["1m", "30m"])
def test_each_alert_fires_by_its_case_and_rests_when_all_is_well(tmp_path: Path, step: str) -> None:
    tests = []
    for name, case in CASES.items():
        if case.step == step:
            tests.append(_tested(name, case, case.fires, [{"labels": "{}", "value": 1}]))
            tests.append(_tested(name, case, case.rests, []))
    assert tests
    _run(tmp_path / "rules_test.yml", step, tests)


def test_what_follows_from_a_cause_has_the_labels_by_which_it_is_inhibited(tmp_path: Path) -> None:
    """Alertmanager compares a missing label as an empty one: the cause would then inhibit nothing."""
    told = yaml.safe_load((ROOT / "config" / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    assert told["inhibit_rules"]
    tests = []
    for rule in told["inhibit_rules"]:
        for (matcher,) in (rule["source_matchers"], rule["target_matchers"]):
            pattern = re.fullmatch(r'alertname=~?"(.+)"', matcher)
            assert pattern, matcher
            for wanted in pattern[1].split("|"):
                found = [name for name in CASES if re.fullmatch(wanted, name)]
                assert found, wanted
                more = "".join(f',{label}!=""' for label in rule["equal"])
                one: list[dict[str, object]] = [{"labels": "{}", "value": 1}]
                tests += [_tested(name, CASES[name], CASES[name].fires, one, more) for name in found]
    for step in ("1m", "30m"):
        _run(tmp_path / f"rules_test_{step}.yml", step, [each for each in tests if each["interval"] == step])


def test_a_peer_that_does_not_come_back_after_a_restart_is_away(tmp_path: Path) -> None:
    """The restarted server does not know it; another one that came back is not away."""
    away = 'count by (origin_host) (ALERTS{alertname="PeerAway",alertstate="firing"})'
    connected = 'ocs_peer_connections{job="ocs",instance="a",origin_host='
    test: dict[str, object] = {
        "interval": "1m",
        "input_series": [
            {"series": f'{connected}"lost"}}', "values": "1x20 stale"},
            {"series": f'{connected}"back"}}', "values": "1x20 stale 1x40"},
        ],
        "promql_expr_test": [
            {"expr": away, "eval_time": "15m", "exp_samples": []},
            {"expr": away, "eval_time": "30m", "exp_samples": [{"labels": '{origin_host="lost"}', "value": 1}]},
        ],
    }
    _run(tmp_path / "rules_test.yml", "1m", [test])


def test_a_fast_burn_ends_with_its_short_window(tmp_path: Path) -> None:
    """An hour after a burst of ten minutes the page has ended, though the long window still has the burst."""
    answered = 'ocs_answers_total{job="ocs",instance="a",command="CCR",result="2001"}'
    busy = 'ocs_answers_total{job="ocs",instance="a",command="CCR",result="3004"}'
    firing = 'count(ALERTS{alertname="AvailabilityBurnsFast",alertstate="firing"})'
    test: dict[str, object] = {
        "interval": "1m",
        "input_series": [
            {"series": answered, "values": "0+1000x200"},
            {"series": busy, "values": "0x60 0+200x10 2000x130"},
        ],
        "promql_expr_test": [
            {"expr": firing, "eval_time": "70m", "exp_samples": [{"labels": "{}", "value": 1}]},
            {"expr": firing, "eval_time": "110m", "exp_samples": []},
        ],
    }
    _run(tmp_path / "rules_test.yml", "1m", [test])
