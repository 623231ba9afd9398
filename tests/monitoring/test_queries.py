"""A real Prometheus beside a real server under traffic: each query of each dashboard and alert has an answer."""

from __future__ import annotations

import contextlib
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monitoring.alerts.alert import CRITICAL
from monitoring.draw import Source, draw
from ocs.telemetry.definitions import DEFINITIONS, SECONDS_BUCKETS
from simulator import demo
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.metrics import NAMES, SimulatorMetrics, serving
from simulator.monitoring import MonitoringError, Prometheus
from simulator.plan import make_plan
from simulator.prices import PriceList
from simulator.running import run_plan
from simulator.scenario import load_scenario
from simulator.server_process import ServerProcess, ocs
from simulator.story import Story
from simulator.wholesale import write_wholesale
from tests.monitoring.queries import PROMETHEUS, ROOT, SELECTOR, alerts, dashboard_queries, dashboards, rules
from tests.ports import free_port
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.long

SMALL = ROOT / "tests" / "simulator" / "small.toml"
VARIABLES = {"$__rate_interval": "1m", "$job": ".+", "$instance": ".+", "$peer": ".+"}
MOST_SERIES = 200
"""Label sets of a metric, for five peers and the shipped catalogue: a label per subscriber exceeds it in a network."""
MOST_SERIES_IN_ALL = 6_000
BUCKETS = len(SECONDS_BUCKETS) + 1

EMPTY_WHEN_ALL_IS_WELL = {
    "ocs_unreadable_locations_total": "every location can be read",
    "ocs_process_restarts_total": "no process has ended",
    "ocs_history_failures_total": "the database can be used",
    "ocs_history_erased_total": "nothing is old enough",
    "ocs_payment_provider_seconds_bucket": "there is no payment provider",
    "ocs_ported_numbers_timestamp_seconds": "there is no file of ported numbers",
    "ocs_certificate_expires_timestamp_seconds": "the demo has no TLS",
    "ocs_catalogue_timestamp_seconds": "the first version of the catalogue is in force",
    "ocs_redis_memory_limit_octets": "Redis has no limit",
    "ocs_sim_intended_requests_per_second": "a scenario has no rate of requests",
    "ocs_start_timestamp_seconds": "the server is not restarted",
    "ocs_build_info": "no release is new two minutes after the start",
}
"""Metrics of which a query may be empty, and why. All others must have a series."""
EMPTY_SELECTORS = {'ocs_api_requests_total{status="5xx"}': "the API has no error"}
"""Of alerts: what counts only when something is wrong, of a metric that must have other series."""


@dataclass
class Watched:
    prometheus: Prometheus

    def ask(self, expr: str) -> list[dict[str, Any]]:
        for name, value in VARIABLES.items():
            expr = expr.replace(name, value)
        return list(self.prometheus.ask("query", query=expr)["result"])


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, catalogue = tmp_path_factory.mktemp("watched"), ROOT / "config" / "catalogue.toml"
    ports = free_port(), free_port(), free_port()
    config = demo.write_config(folder, catalogue, ports)
    console = Console(file=io.StringIO())
    plan = make_plan(load_scenario(str(SMALL)), 1, PriceList.read(catalogue).package_prices)
    metrics = SimulatorMetrics()
    with contextlib.ExitStack() as stack:
        stack.enter_context(ServerProcess(config, ports[2], folder / "server.log"))
        own_port = stack.enter_context(serving(metrics, 0))
        targets = {"ocs": ports[2], "ocs-sim": own_port}
        found = Watched(stack.enter_context(Prometheus(folder, PROMETHEUS, targets, every_s=1)))
        demo.provision(plan, config, folder, console)

        def top_up(msisdn: str) -> None:
            ocs(["account", "topup", msisdn, "--amount", "5.00", "--reference", f"w-{msisdn}"], config)

        top_up(plan.subscribers[0].msisdn)
        _ask_without_a_key(f"http://127.0.0.1:{ports[1]}/v1/accounts/{plan.subscribers[0].msisdn}")
        target = Target("127.0.0.1", ports[0], SIMULATED_REALM, SERVER_REALM)
        story = Story(target, ports[1], demo.key_maker(config), PriceList.read(catalogue))
        beside = story.play
        outcome = run_plan(
            plan, target, name="small", seed=1, speed=60.0, top_up=top_up, metrics=metrics, beside=beside
        )
        usage = folder / "usage.csv"
        write_wholesale(usage, [*outcome.tally.sessions, *story.result.reports])
        ocs(["reconcile", str(usage)], config)
        _wait_for(found, 'ocs_money_eur{part="paid_in"} > 0')
        _wait_for(found, "ocs_history_rows_total > 0")
        _wait_for(found, "ocs_sim_answers_total > 0")
        _wait_for(found, "ocs_reconciliation_timestamp_seconds > 0")
        yield found


def _ask_without_a_key(url: str) -> None:
    """The API starts after the workers, so it may not listen yet."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=PATIENCE_S)
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < deadline, url
            time.sleep(0.5)


def _wait_for(watched: Watched, expr: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not watched.ask(expr):
        assert time.monotonic() < deadline, expr
        time.sleep(0.5)


def _excused(expr: str) -> bool:
    names = [found.split("{")[0] for found in SELECTOR.findall(expr)]
    return any(name in EMPTY_WHEN_ALL_IS_WELL for name in names)


def test_every_query_of_every_dashboard_has_an_answer(watched: Watched) -> None:
    """One test for all: they share a server, and a failure lists all of them."""
    failed, empty, asked = [], [], 0
    for where, expr in dashboard_queries():
        asked += 1
        try:
            if not watched.ask(expr) and not _excused(expr):
                empty.append(f"{where}: {expr}")
        except MonitoringError as error:
            failed.append(f"{where}: {error}")
    assert asked > 100
    for name in ("ocs_build_info", "ocs_start_timestamp_seconds"):
        assert watched.ask(name), name
    assert failed == [], "\n".join(failed)
    assert empty == [], "\n".join(empty)


def test_every_alert_asks_for_what_there_is_and_no_page_is_sent(watched: Watched) -> None:
    empty, paging = [], []
    for rule in alerts():
        found = watched.ask(rule["expr"])
        if found and rule["labels"]["severity"] == CRITICAL and not rule["alert"].startswith("Latency"):
            paging.append(f"{rule['alert']}: {json.dumps(found)}")
        for selector in SELECTOR.findall(rule["expr"]):
            if not watched.ask(selector) and not _excused(selector) and selector not in EMPTY_SELECTORS:
                empty.append(f"{rule['alert']}: {selector}")
    assert empty == [], "\n".join(empty)
    assert paging == [], "\n".join(paging)


def test_the_recording_rules_have_results_and_no_rule_fails(watched: Watched) -> None:
    for rule in rules("recording.yml"):
        assert watched.ask(rule["record"]), rule["record"]
    groups = watched.prometheus.ask("rules")["groups"]
    states = {rule["name"]: (rule["health"], rule.get("lastError", "")) for group in groups for rule in group["rules"]}
    assert {state[0] for state in states.values()} == {"ok"}, states


def test_the_money_adds_up_as_prometheus_sees_it(watched: Watched) -> None:
    (paid_in,) = watched.ask('sum(ocs_money_eur{part="paid_in"})')
    (others,) = watched.ask('sum(ocs_money_eur{part!="paid_in"})')
    assert float(paid_in["value"][1]) == pytest.approx(float(others["value"][1])) and float(paid_in["value"][1]) > 0


def test_label_sets_are_bounded_and_name_no_subscriber(watched: Watched) -> None:
    counts = watched.ask('count by (__name__) ({job=~"ocs.*"})')
    by_name = {each["metric"]["__name__"]: int(each["value"][1]) for each in counts}
    assert sum(by_name.values()) < MOST_SERIES_IN_ALL
    by_name = {name: count // BUCKETS if name.endswith("_bucket") else count for name, count in by_name.items()}
    assert {name: count for name, count in by_name.items() if count > MOST_SERIES} == {}
    known = {label for definition in DEFINITIONS.values() for label in definition.labels}
    known |= {label for labels in NAMES.values() for label in labels} | {"job", "instance", "le", "__name__"}
    for series in watched.prometheus.ask("series", **{"match[]": '{__name__=~"ocs_.+"}'}):
        assert set(series) <= known, series
        assert not any(value.startswith(("386682", "2934000001")) for value in series.values()), series


def test_values_of_the_variables_are_found(watched: Watched) -> None:
    of = watched.prometheus.ask
    assert set(of("label/job/values", **{"match[]": "ocs_redis_up"})) == {"ocs"}
    assert set(of("label/job/values", **{"match[]": "ocs_sim_sessions_open"})) == {"ocs-sim"}
    assert "pgw.sim.example.net" in of("label/origin_host/values", **{"match[]": "ocs_peer_connections"})


def test_the_page_that_make_watch_names_is_there(watched: Watched) -> None:
    with urllib.request.urlopen(watched.prometheus.alerts_page(), timeout=PATIENCE_S) as page:
        assert page.url != watched.prometheus.url and "alert" in page.read().decode().lower()


def test_each_dashboard_can_be_drawn(watched: Watched, tmp_path: Path) -> None:
    source = Source(watched.prometheus.url, 60)
    for name, dashboard in dashboards().items():
        draw(dashboard, source, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_runbooks_of_all_alerts_exist() -> None:
    for rule in alerts():
        assert (Path(ROOT) / rule["annotations"]["runbook"]).is_file()
