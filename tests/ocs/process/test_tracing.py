"""Tracing as an operator sees it: a server with [tracing], real traffic, a collector; and what /metrics says of it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ocs.settings.loading import SettingsError, load_settings
from tests.collector import Collector, attributes
from tests.conftest import RedisServer
from tests.faults.harness import COMMAND, CONFIG, Books, Serving
from tests.faults.pgw import Pgw
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_for

MSISDN, IMSI, STRANGER = "38668100001", "293408668100001", "38668199999"
CREDIT = 10_000_000
MB = 1_000_000
Serve = Callable[..., Serving]


def tracing(endpoint: str, **more: object) -> str:
    lines = {"endpoint": f'"{endpoint}"', "ratio": "1.0", "export_every_ms": 50, **more}
    return CONFIG + "[tracing]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


@pytest.fixture
def serve(tmp_path: Path, own_redis: RedisServer) -> Iterator[Serve]:
    with ExitStack() as started:

        def begin(config: str) -> Serving:
            serving = Serving(tmp_path / "server", own_redis.url, config)
            started.callback(serving.end)
            Books(own_redis.url).open_account(MSISDN, CREDIT)
            return serving

        yield begin


async def session(serving: Serving, msisdn: str = MSISDN) -> list[int | None]:
    """Opens, updates and ends a session; the Result-Codes."""
    with await Pgw.connect(serving) as pgw:
        sid = f"{pgw.host};1;{msisdn}"
        answers = [
            await pgw.charge(sid, 1, 0, msisdn, want=MB),
            await pgw.charge(sid, 2, 1, msisdn, used=MB, want=MB),
            await pgw.charge(sid, 3, 2, msisdn, used=MB),
        ]
    return [answer.result_code for answer in answers]


def test_a_request_is_a_span_with_its_phases_and_without_its_subscriber(serve: Serve) -> None:
    """And the latency histogram names the trace."""
    with Collector() as collector:
        serving = serve(tracing(collector.endpoint))
        assert asyncio.run(session(serving)) == [2001, 2001, 2001]
        opening, update, end = collector.wait(lambda c: len(c.roots()) == 3 and c.roots())
        assert [each.name for each in (opening, update, end)] == ["CCR-I", "CCR-U", "CCR-T"]
        names = [each.name for each in collector.children(update)]
        assert names == ["admission", "rating", "ledger", "encode"]
        looked_up = [each for each in collector.children(opening) if each.name == "ledger"]
        operations = [attributes(each).get("db.operation.name") for each in looked_up]
        assert operations == ["HGET", None], "the account is looked up, then charged"
        for root in (opening, update, end):
            before = root.start_time_unix_nano
            for child in collector.children(root):
                assert before <= child.start_time_unix_nano <= child.end_time_unix_nano <= root.end_time_unix_nano
                before = child.start_time_unix_nano
            assert root.kind == 2 and abs(root.end_time_unix_nano / 1e9 - time.time()) < 60
        charge = attributes(collector.children(update)[2])
        assert (charge["db.system.name"], charge["db.stored_procedure.name"]) == ("redis", "charge")
        facts = attributes(update)
        assert (facts["diameter.result_code"], facts["diameter.cc_request_number"]) == (2001, 1)
        assert facts["diameter.service_context"] == "data" and facts["diameter.rating_groups"] == [1]
        assert facts["diameter.session"] == attributes(opening)["diameter.session"]
        (resource,) = {tuple(sorted(each.items())) for each in collector.resources}
        assert dict(resource)["service.name"] == "ocs"

        assert asyncio.run(session(serving, STRANGER))[0] == 5030, "no such subscriber"
        roots = collector.wait(lambda c: len(c.roots()) == 6 and c.roots())
        everything = b"".join(collector.bodies)
        for secret in (MSISDN, STRANGER, IMSI, f"pgw.example.net;1;{MSISDN}"):
            assert secret.encode() not in everything

        traces = {f"{int.from_bytes(root.trace_id, 'big'):032x}" for root in roots}
        found = wait_for(lambda: exemplars(serving))
        assert {each.labels["trace_id"] for each in found} <= traces
        plain = serving.metrics()
        assert "trace_id" not in plain and "ocs_answer_seconds_bucket" in plain
        wait_for(lambda: spans(serving, "exported") == len(collector.spans))
        assert spans(serving, "made") == len(collector.spans) and spans(serving, "failed") == 0


def exemplars(serving: Serving) -> list[Any]:
    """Those of the latency histogram; each must be within its bucket."""
    url = f"http://{serving.facts()['metrics']}/metrics"
    asked = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = [sample for sample in samples if sample.exemplar]
    assert {sample.name for sample in found} <= {"ocs_answer_seconds_bucket"}
    assert all(sample.exemplar.value <= float(sample.labels["le"]) for sample in found)
    return [sample.exemplar for sample in found]


def spans(serving: Serving, result: str) -> int:
    match = re.search(rf'ocs_trace_spans_total{{result="{result}"}} (\d+)', serving.metrics())
    return int(match[1]) if match else -1


def test_only_a_share_is_traced(serve: Serve) -> None:
    with Collector() as collector:
        serving = serve(tracing(collector.endpoint, ratio="0.0"))
        assert asyncio.run(session(serving)) == [2001, 2001, 2001]
        assert spans(serving, "made") == 0 and not exemplars(serving)
    assert not collector.spans


@pytest.mark.parametrize("away", [True, False])
def test_a_collector_that_is_away_or_refuses_disturbs_nothing(serve: Serve, away: bool) -> None:
    with Collector(status=400) as collector:
        endpoint = f"http://127.0.0.1:{free_port()}/v1/traces" if away else collector.endpoint
        serving = serve(tracing(endpoint, max_queue_spans=64, max_batch_spans=32, timeout_ms=200))
        for _ in range(10):
            assert asyncio.run(session(serving)) == [2001, 2001, 2001]
        wait_for(lambda: spans(serving, "failed") > 0)
        assert spans(serving, "exported") == 0
        began = time.monotonic()
        serving.process.terminate()
        assert serving.process.wait(PATIENCE_S) == 0 and time.monotonic() - began < 15
    log = (serving.folder / "log").read_text()
    assert log.count("takes no spans: they are lost, charging goes on") == 1, "once a minute"
    assert MSISDN not in log and "Traceback" not in log


def test_without_the_packages_the_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "without" / "opentelemetry").mkdir(parents=True)
    (tmp_path / "without" / "opentelemetry" / "__init__.py").touch()
    (tmp_path / "ocs.toml").write_text(tracing("http://127.0.0.1:4318/v1/traces"))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'without'}:{Path(__file__).parents[3]}"}
    for words in (["serve"], ["check"]):
        done = subprocess.run(
            [*COMMAND, *words, "--config", "ocs.toml"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "tracing.endpoint is set, and the package opentelemetry.exporter is not installed" in done.stderr
        assert "pip install 'ocs[tracing]'" in done.stderr and "Traceback" not in done.stderr


def test_without_an_endpoint_nothing_of_it_is_there() -> None:
    """The worker is composed of the plain classes, and imports no exporter."""
    program = """
import asyncio, sys
from types import SimpleNamespace
from ocs.charging.service import ChargingService
from ocs.diameter.dispatch import Dispatcher
from ocs.process import worker
from ocs.process.request_tracing import composed
from ocs.settings.schema import Settings

async def compose():
    ledger = object()
    async with composed(SimpleNamespace(settings=Settings()), ledger) as plain:
        assert plain.ledger is ledger
        assert plain.make_service is ChargingService and plain.make_dispatcher is Dispatcher

asyncio.run(compose())
for module in ("opentelemetry.exporter", "ocs.telemetry.otlp_traces", "ocs.charging.traced_charging"):
    assert module not in sys.modules, module
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("endpoint", '"collector:4318"', "http or https URL"),
        ("ratio", "1.5", "0 to 1"),
        ("max_batch_spans", "4096", "must not exceed tracing.max_queue_spans, which is 2048"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, key: str, value: str, why: str) -> None:
    path = tmp_path / "ocs.toml"
    path.write_text(f"[tracing]\n{key} = {value}\n")
    with pytest.raises(SettingsError) as error:
        load_settings(path, serves=True)
    assert f"tracing.{key}" in str(error.value) and why in str(error.value)
