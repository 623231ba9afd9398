"""Dashboards, rules and runbooks are those that `monitoring` makes, and say what a reader needs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from typing import Any

import pytest
import typer
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client import CollectorRegistry, generate_latest

from monitoring.draw import in_unit
from monitoring.files import ROOT, generated, superfluous
from monitoring.panels import query
from ocs.cli import main
from ocs.telemetry.definitions import COUNTER, DEFINITIONS, HISTOGRAM
from simulator.metrics import NAMES, SimulatorMetrics
from tests.monitoring.queries import alerts, dashboard_queries, dashboards, panels, rules

FILES = generated()
NAMES_OF = ("service", "peers", "ledger", "business", "notices-history", "load-test")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_generated_file_is_up_to_date(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == FILES[name], "make docs writes it anew"


def test_there_are_no_others() -> None:
    assert superfluous(FILES) == []


def test_the_set_is_whole() -> None:
    assert set(dashboards()) == set(NAMES_OF)
    assert len({dashboard["uid"] for dashboard in dashboards().values()}) == len(NAMES_OF)


@pytest.mark.parametrize("name", NAMES_OF)
def test_a_dashboard_fits_the_schema_of_grafana(name: str) -> None:
    """The SDK reads it: what it does not know would be lost."""
    told = dashboards()[name]
    read = Dashboard.from_json(told)
    assert read.uid == told["uid"] and len(read.panels or ()) == len(told["panels"])
    ids = [panel["id"] for panel in told["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", NAMES_OF)
def test_every_panel_says_what_it_shows_and_in_which_unit(name: str) -> None:
    titles = Counter(panel["title"] for panel in panels(dashboards()[name]))
    assert max(titles.values()) == 1, titles
    for panel in panels(dashboards()[name]):
        assert panel["description"].endswith((".", "…", "?")), panel["title"]
        if panel["type"] == "heatmap":
            unit = panel["options"]["yAxis"]["unit"]
        else:
            unit = panel["fieldConfig"]["defaults"]["unit"]
        assert unit, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("name", NAMES_OF)
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboards()[name]["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    lines = {y for _, y in taken}
    assert taken == {(x, y) for x in range(24) for y in lines}, "a line has a hole"


@pytest.mark.parametrize("name", NAMES_OF)
def test_variables_links_and_annotations(name: str) -> None:
    told = dashboards()[name]
    variables = [each["name"] for each in told["templating"]["list"]]
    assert variables[:3] == ["datasource", "job", "instance"]
    assert ("peer" in variables) == any("$peer" in target["expr"] for p in panels(told) for target in p["targets"])
    assert [link["tags"] for link in told["links"]] == [["ocs"]] and told["tags"] == ["ocs"]
    assert {"Restarts", "Catalogue versions", "Deployments"} <= {each["name"] for each in told["annotations"]["list"]}


def test_queries_use_the_variables_and_the_intervals_of_grafana() -> None:
    for where, expr in dashboard_queries():
        assert expr.count('job=~"$job"') == len(re.findall(r"(?:\bocs[_:][a-z0-9_:]+|\bup)\{", expr)) > 0, where
        assert "[R]" not in expr and not re.search(r"\bocs[_:][a-z0-9_:]+(?![\w:{])", expr), where
    assert query("rate(ocs_x_total[R])") == 'rate(ocs_x_total{job=~"$job",instance=~"$instance"}[$__rate_interval])'
    assert query('ocs_x{a="b"}') == 'ocs_x{a="b",job=~"$job",instance=~"$instance"}'


# -- queries ask for what there is


def known_samples() -> dict[str, set[str]]:
    """Sample → labels, of server, simulator and recording rules."""
    known = {name: set(labels) for name, labels in NAMES.items()}
    known["up"] = set()
    for definition in DEFINITIONS.values():
        name, labels = definition.name, set(definition.labels)
        if definition.kind == COUNTER:
            known[f"{name}_total"] = labels
        elif definition.kind == HISTOGRAM:
            known |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            known[name] = labels
    return known | {rule["record"]: set() for rule in rules("recording.yml")}


def all_queries() -> set[str]:
    rule_queries = {rule["expr"] for file in ("alerts.yml", "recording.yml") for rule in rules(file)}
    return {expr for _, expr in dashboard_queries()} | rule_queries


@pytest.mark.parametrize("expr", sorted(all_queries()))
def test_a_query_names_metrics_and_labels_that_exist(expr: str) -> None:
    known = known_samples()
    names = set()
    for name, matchers in re.findall(r"(?<![\w:])(up|ocs[_:][a-z0-9_:]+)(?:\{([^}]*)\})?", expr):
        names.add(name)
        assert name in known, name
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", matchers))
        assert labels <= known[name] | {"job", "instance"}, (name, labels)
    assert names
    of_all = set().union(*(known[name] for name in names)) | {"job", "instance"}
    for grouped in re.findall(r"\b(?:by|without)\s*\(([^)]*)\)", expr):
        assert {label.strip() for label in grouped.split(",")} <= of_all, grouped


def test_the_simulator_exports_what_its_dashboard_asks_for() -> None:
    registry = CollectorRegistry()
    registry.register(SimulatorMetrics())
    text = generate_latest(registry).decode()
    for name, labels in NAMES.items():
        family = re.sub(r"_(total|bucket)$", "", name)
        assert f"# TYPE {family}" in text, name
        assert labels == ("le",) or not labels or name.endswith("_total")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0042, "s", "4.2 ms"),
        (12.5, "s", "12.5 s"),
        (0.9995, "percentunit", "99.95 %"),
        (1_500_000, "bytes", "1.5 MB"),
        (12.5, "currencyEUR", "12.5 €"),
        (21_300, "reqps", "21.3 kreq/s"),
        (-3, "none", "-3"),
    ],
)
def test_values_are_drawn_in_their_units(value: float, unit: str, shown: str) -> None:
    assert in_unit(value, unit) == shown


# -- alerts


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_severity_summary_runbook_and_dashboard(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert set(notes) == {"summary", "runbook", "dashboard"} and notes["summary"]
    assert notes["dashboard"].removeprefix("/d/") in {each["uid"] for each in dashboards().values()}
    runbook = (ROOT / notes["runbook"]).read_text("utf-8")
    assert "## Do\n\n1. " in runbook and "## Harm" in runbook


def test_a_runbook_names_commands_that_exist() -> None:
    """`ocs audit`, `ocs history resume FILE`: words in small letters are those of the command."""
    commands = command_words(typer.main.get_command(main.app))
    named = set()
    for name, text in FILES.items():
        for words in re.findall(r"`(?:docker compose exec ocs )?ocs ([a-z][^`]*)`", text):
            command = " ".join(itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), words.split()))
            assert command in commands, f"{name}: ocs {words}"
            named.add(command)
    assert {"audit", "history resume", "account show"} <= named


def command_words(command: Any, words: tuple[str, ...] = ()) -> set[str]:
    inner = getattr(command, "commands", {})
    return set().union(*(command_words(each, (*words, name)) for name, each in inner.items())) or {" ".join(words)}


def test_no_alert_is_named_twice() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) > 40
