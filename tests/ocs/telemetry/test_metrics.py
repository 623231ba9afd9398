"""Metrics: bounded labels, sums over all processes."""

from __future__ import annotations

import itertools
import math
import random
from itertools import product
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from ocs.api.container import ApiMetrics
from ocs.api.vouchers import RESULTS
from ocs.charging.metrics import ChargingMetrics
from ocs.diameter.metrics import DiameterMetrics
from ocs.diameter.rar_asr import RequestMetrics
from ocs.diameter.refusals import Kind
from ocs.history.reconcile.outcome import Result
from ocs.history.reconcile.published import gauges
from ocs.ledger.contract.payments import OrderKind, OrderState
from ocs.ledger.metrics import LedgerMetrics
from ocs.notices.states import State
from ocs.outbox.business import BusinessMetrics
from ocs.policy.fair_use import Action
from ocs.settings.tracing_section import TracingSection
from ocs.telemetry.definitions import (
    COUNTER,
    DEFINITIONS,
    HISTOGRAM,
    PAYMENT_STATES,
    REFUSED_REQUESTS,
    SECONDS_BUCKETS,
    VOUCHER_RESULTS,
    Definition,
)
from ocs.telemetry.export import Snapshots
from ocs.telemetry.metrics import MAX_LABEL_VALUES, Metrics, Store, snapshot_path
from ocs.telemetry.otlp_traces import OtlpTraces

COUNTED_BY_NAME = (
    *("ocs_records_written", "ocs_process_restarts"),
    *("ocs_history_failures", "ocs_history_rows", "ocs_history_erased"),
)


def sample_names(definition: Definition) -> dict[str, tuple[str, ...]]:
    """Names as Prometheus sees them, with their labels."""
    if definition.kind == COUNTER:
        return {f"{definition.name}_total": definition.labels}
    if definition.kind == HISTOGRAM:
        return {
            f"{definition.name}_bucket": (*definition.labels, "le"),
            f"{definition.name}_sum": definition.labels,
            f"{definition.name}_count": definition.labels,
        }
    return {definition.name: definition.labels}


def play(metrics: Metrics) -> None:
    """Everything once, through the Protocols the other parts know."""
    gateway: DiameterMetrics = metrics
    charging: ChargingMetrics = metrics
    ledger: LedgerMetrics = metrics
    requests: RequestMetrics = metrics
    gateway.request("CCR", "U", "data")
    gateway.answer("CCR", "U", "data", 2001, 0.004)
    gateway.peer_answer("pgw.example.net", 2001)
    gateway.dropped_answer()
    gateway.in_flight(1)
    gateway.peer_state("pgw.example.net", "r_open")
    gateway.connection_refused("unknown_peer")
    gateway.connection_lost("dpr")
    gateway.request_refused("origin_host")
    gateway.overload(30)
    charging.dropped("data", "octets", 7)
    charging.other_units("data", "seconds", 7)
    charging.location_unreadable("3GPP-User-Location-Info")
    charging.restricted("data")
    charging.final_unit("data", "redirect")
    charging.refunded("sms", 2_000_000)
    charging.late("T")
    requests.client_request("RAR", "topup")
    requests.client_answer("RAR", "2002")
    requests.unblocked(0.002)
    metrics.count("ocs_orphans_released")
    metrics.count("ocs_trace_spans", "made")
    metrics.set("ocs_fair_use_accounts", 3, "warned")
    metrics.set("ocs_fair_use_overdue_accounts", 1)
    metrics.count("ocs_fair_use_steps", "warn")
    metrics.count("ocs_notices", "sent")
    metrics.set("ocs_notices_open", 2, "waiting")
    metrics.set("ocs_notice_lag_seconds", 1)
    metrics.set("ocs_notice_events", 1)
    charging.charged("data", "octets", 2001, 900, 1000, 1_500_000, 0)
    charging.charged("voice", "seconds", 2001, 0, 0, 0, 60)
    charging.overrun("data", "octets", 5)
    charging.blocked("data", "credit")
    charging.duplicate("U")
    charging.mscc_result("data", 4012)
    ledger.round_trip("charge", 0.001)
    ledger.ledger_error("timeout")
    ledger.connected(1)
    metrics.store.add(gauges(Result(0, 86_400), 1))
    api: ApiMetrics = metrics
    api.api_request("/v1/accounts/{msisdn}", "GET", 200, 0.004)
    metrics.payment_order("auto", "credited")
    metrics.provider_call("debits", "2xx", 0.1)
    metrics.set("ocs_payment_due", 1)
    metrics.set("ocs_payment_oldest_due_seconds", 1)
    metrics.count("ocs_payment_uncertain")
    for name, definition in DEFINITIONS.items():
        if name.startswith(COUNTED_BY_NAME):
            metrics.count(name, *("x" for _ in definition.labels))
    metrics.count("ocs_transfers_continued", "arrived")
    business: BusinessMetrics = metrics
    business.recorded_money("topup", 1, 5_000_000)
    business.rate_charged("data.home", 1)
    business.product_paid("MAXI", 9_990_000)
    metrics.set("ocs_money_eur", 1, "paid_in")
    metrics.set("ocs_build_info", 1, "1.0")
    metrics.set("ocs_process_up", 1, "api")
    metrics.set("ocs_certificate_expires_timestamp_seconds", 1, "tls")
    metrics.count("ocs_voucher_entries", "applied")


def exported(folder: Path, metrics: Metrics) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Sample name → (labels, value), read back from the text of /metrics by prometheus-client's parser."""
    snapshots = Snapshots(folder, Store())
    snapshots.clear()
    metrics.snapshot(snapshot_path(folder, "worker", 1))
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(snapshots.expose().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def test_every_defined_metric_is_exported(tmp_path: Path) -> None:
    metrics = Metrics()
    play(metrics)
    found = exported(tmp_path, metrics)
    for definition in DEFINITIONS.values():
        for name, labels in sample_names(definition).items():
            assert name in found
            assert all(set(sample_labels) == set(labels) for sample_labels, _ in found[name]), name
    assert found["ocs_debited_eur_total"] == [({"service": "data"}, 1.5)]
    buckets = {labels["le"]: value for labels, value in found["ocs_answer_seconds_bucket"]}
    assert (buckets["0.003"], buckets["0.005"], buckets["+Inf"]) == (0, 1, 1)
    assert found["ocs_answer_seconds_sum"][0][1] == pytest.approx(0.004)


def test_what_may_happen_is_0_from_the_start(tmp_path: Path) -> None:
    """Prometheus takes the first value of a new series for its beginning: an alert would miss the first event."""
    metrics = Metrics()
    metrics.offer([("data", "octets")])
    found = exported(tmp_path, metrics)
    for definition in DEFINITIONS.values():
        for known in product(*definition.known) if definition.known else ():
            labels = dict(zip(definition.labels, known, strict=True))
            assert (labels, 0) in found[f"{definition.name}_total"], definition.name
    assert found["ocs_dropped_units_total"] == [({"service": "data", "unit": "octets"}, 0)]
    assert found["ocs_time_to_unblock_seconds_count"] == [({}, 0)]
    assert ({"service": "data", "reason": "credit"}, 0) in found["ocs_blocked_total"]
    metrics.dropped("data", "octets", 7)
    assert exported(tmp_path, metrics)["ocs_dropped_units_total"] == [({"service": "data", "unit": "octets"}, 7)]


def test_known_words_are_those_of_the_code() -> None:
    assert set(REFUSED_REQUESTS) == set(Kind)
    assert set(PAYMENT_STATES) == set(OrderState)
    assert set(VOUCHER_RESULTS) == {*RESULTS, "applied", "again", "other"}
    assert set(DEFINITIONS["ocs_fair_use_steps"].known[0]) == {*Action} - {Action.NONE}
    assert set(DEFINITIONS["ocs_payment_orders"].known[0]) == set(OrderKind)
    assert {*State} - {State.SENDING} <= set(DEFINITIONS["ocs_notices"].known[0])


def test_labels_are_bounded(tmp_path: Path) -> None:
    metrics = Metrics()
    for number in range(2 * MAX_LABEL_VALUES):
        metrics.request(f"command{number}", f"type{number}", f"context{number}")
        metrics.peer_state(f"peer{number}", "open")
        metrics.charged(f"service{number}", "octets", 2001, 0, 1, 0, 0)
    found = exported(tmp_path, metrics)
    assert found["ocs_requests_total"] == [({"command": "other", "type": "other", "context": "other"}, 512)]
    assert len(found["ocs_peer_connections"]) <= MAX_LABEL_VALUES + 1
    assert len(found["ocs_granted_units_total"]) == MAX_LABEL_VALUES + 1


def test_processes_add_up_and_an_ended_one_keeps_its_counts(tmp_path: Path) -> None:
    one, two = Metrics(), Metrics()
    for metrics in (one, two):
        metrics.request("CCR", "I", "data")
        metrics.in_flight(3)
        metrics.answer("CCR", "I", "data", 2001, 0.001)
    snapshots = Snapshots(tmp_path, Store())
    one.snapshot(snapshots.path("worker", 11))
    two.snapshot(snapshots.path("worker", 12))
    key = ("ocs_requests", "CCR", "I", "data")
    assert snapshots.total().counters[key] == 2
    assert snapshots.total().gauges["ocs_in_flight",] == 6
    snapshots.retire("worker", 11)
    assert snapshots.total().counters[key] == 2
    assert sum(snapshots.total().histograms["ocs_answer_seconds", "CCR", "I", "data"][:-1]) == 2
    assert snapshots.total().gauges["ocs_in_flight",] == 3
    assert not snapshots.path("worker", 11).exists()


def test_the_newest_exemplar_of_a_bucket_is_exported_in_openmetrics_only(tmp_path: Path) -> None:
    """Of all processes, also of those that have ended; each within its bucket."""
    snapshots = Snapshots(tmp_path, Store())
    for pid, (trace_id, at) in enumerate([("aa", 1.0), ("cc", 3.0), ("bb", 2.0)]):
        metrics = Metrics()
        metrics.answer("CCR", "U", "data", 2001, 0.004)
        metrics.exemplar("U", "data", 0.004, trace_id, at)
        metrics.snapshot(snapshots.path("worker", pid))
    snapshots.retire("worker", 1)
    text = snapshots.expose(open_metrics=True).decode()
    samples = [each for family in open_metrics_families(text) for each in family.samples if each.exemplar]
    (sample,) = samples
    assert (sample.name, sample.labels["le"], sample.value) == ("ocs_answer_seconds_bucket", "0.005", 3)
    assert (sample.exemplar.labels, sample.exemplar.value) == ({"trace_id": "cc"}, 0.004)
    assert float(sample.exemplar.timestamp) == 3
    assert b"trace_id" not in snapshots.expose()


def test_exemplars_are_bounded(tmp_path: Path) -> None:
    metrics = Metrics()
    for number in range(2 * MAX_LABEL_VALUES):
        metrics.exemplar(f"type{number}", f"context{number}", number / 100, f"{number:032x}", number)
    assert len(metrics.store.exemplars) <= len(SECONDS_BUCKETS) + 1


def test_a_broken_snapshot_is_left_out(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, Store())
    snapshots.path("worker", 1).write_bytes(b'{"counters":')
    assert b"ocs_in_flight 0.0" in snapshots.expose()
    snapshots.clear()
    assert not list(tmp_path.iterdir())


def test_a_lost_peer_counts_as_not_open(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.peer_state("pgw.example.net", "r_open")
    exported(tmp_path, metrics)
    metrics.peer_state("pgw.example.net", "closed")
    found = exported(tmp_path, metrics)
    assert found["ocs_peer_connections"] == [({"origin_host": "pgw.example.net"}, 0)]
    assert ({"state": "closed"}, 1) in found["ocs_peers"]
    assert ({"state": "r_open"}, 0) in found["ocs_peers"]


def test_spans_are_sampled_by_chance_in_the_given_share() -> None:
    """As many as a draw for each request would give: within five standard deviations."""
    for ratio in (0.5, 0.1, 0.01):
        traces = OtlpTraces(
            TracingSection(endpoint="http://127.0.0.1:1/v1/traces", ratio=ratio),
            Metrics(),
            key=b"key",
            resource={},
            clock=lambda: 0.0,
            unix_clock=lambda: 0.0,
            random=random.Random(7).random,
        )
        requests = 100_000
        chosen = [number for number in range(requests) if traces.sampled()]
        traces.close()
        spread = math.sqrt(requests * ratio * (1 - ratio))
        assert abs(len(chosen) - requests * ratio) < 5 * spread
        following = sum(two - one == 1 for one, two in itertools.pairwise(chosen))
        assert abs(following - requests * ratio**2) < 6 * math.sqrt(requests * ratio**2) + 1
