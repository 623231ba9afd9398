"""The simulator's own metrics: read at a scrape, whatever the run does meanwhile; rounds add up."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from simulator.errors import SimulatorError
from simulator.metrics import BUCKETS_S, SimulatorMetrics, TallySource, serving, serving_on
from simulator.tally import Tally
from tests.waiting import PATIENCE_S


def exported(metrics: SimulatorMetrics) -> dict[tuple[str, ...], float]:
    """(sample, label values…) → value."""
    registry = CollectorRegistry()
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def played(answers: int, seconds: float) -> Tally:
    tally = Tally(answered=answers, unanswered=1, repeats=2, unequal_repeats=3, live_sessions=4)
    tally.requests["data", "U"] = answers + 1
    tally.results[2001] = answers
    for _ in range(answers):
        tally.latencies.add(seconds)
    return tally


def test_rounds_add_up_and_nothing_is_read_twice() -> None:
    metrics = SimulatorMetrics()
    metrics.begin(TallySource(played(5, 0.004)))
    again = exported(metrics), exported(metrics)
    for each in again:
        del each["ocs_sim_cpu_seconds_total",]
    assert again[0] == again[1]
    metrics.begin(TallySource(played(7, 0.2)))
    metrics.differ("books", 1)
    found = exported(metrics)
    assert found["ocs_sim_requests_total", "data", "U"] == 14
    assert found["ocs_sim_answers_total", "2001"] == 12
    assert (found["ocs_sim_unanswered_total",], found["ocs_sim_repeats_total",]) == (2, 4)
    assert found["ocs_sim_differences_total", "unequal_repetition"] == 6
    assert found["ocs_sim_differences_total", "books"] == 1
    assert found["ocs_sim_sessions_open",] == 4
    assert found["ocs_sim_latency_seconds_bucket", "0.005"] == 5
    assert found["ocs_sim_latency_seconds_bucket", "+Inf"] == found["ocs_sim_latency_seconds_count",] == 12
    assert found["ocs_sim_latency_seconds_sum",] == pytest.approx(5 * 0.004 + 7 * 0.2)


def test_a_sample_belongs_to_the_bucket_whose_bound_it_does_not_exceed() -> None:
    metrics, tally = SimulatorMetrics(), Tally()
    for bound in BUCKETS_S:
        tally.latencies.samples_us.append(round(bound * 1e6))
    metrics.begin(TallySource(tally))
    found = exported(metrics)
    for number, bound in enumerate(BUCKETS_S, start=1):
        assert found["ocs_sim_latency_seconds_bucket", str(bound)] == number


def test_they_are_served_and_a_port_in_use_is_told() -> None:
    with serving(SimulatorMetrics(), 0) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
            assert b"ocs_sim_sessions_open 0.0" in answer.read()
        with pytest.raises(SimulatorError, match=f"--metrics-port {port}: "), serving_on(port):
            pass
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the past
        free.bind(("127.0.0.1", port))
    with serving_on(None) as none:
        assert none is None
