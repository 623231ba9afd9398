"""The HTML report of `ocs-sim replay`: latencies, and how the answers differ from the recorded ones."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from simulator.load_report import histogram_curves
from simulator.loadgen import SUCCESS
from simulator.page import Section, Table, write_page
from simulator.replay import ReplayedRequest, ReplayResult
from simulator.replay_recording import RecordingReplay, for_people
from simulator.stats import Latencies, LatencySummary, summarise
from simulator.summary import RESULT_NAMES

MAX_REQUESTS = 2_000
"""Requests of a capture that the page lists."""
UNANSWERED = "no answer"


def write_recording_report(played: RecordingReplay, path: Path, *, name: str, made_at: datetime.datetime) -> None:
    """`name`: of the recording."""
    rate = played.requests / played.seconds if played.seconds else 0.0
    rows = [
        ("requests", f"{played.requests:,}"),
        ("requests per second", f"{rate:,.0f}"),
        ("compared", f"{played.compared:,}"),
        ("as recorded", f"{played.equal:,}"),
        (UNANSWERED, f"{played.unanswered:,}"),
        ("no answer in the recording", f"{played.without_answer:,}"),
    ]
    found = [(*difference, f"{count:,}") for difference, count in for_people(played.differences)]
    heads = ("request", "what", "recorded", "now", "requests")
    sections = [
        Section("Requests", table=Table(("", ""), rows)),
        _latency(played.latency),
        Section("Latency by percentile", plot=histogram_curves([("replay", played.latencies.histogram())]), wide=True),
        Section("Differences", table=Table(heads, found or [("none", "", "", "", "")]), wide=True),
    ]
    outcome = "all as recorded" if played.ok else "answers differ or are missing"
    _write(path, name, outcome, sections, made_at, notes=played.warnings)


def write_capture_report(result: ReplayResult, path: Path, *, name: str, made_at: datetime.datetime) -> None:
    """`name`: of the capture."""
    latencies = Latencies()
    for request in result.requests:
        if request.answer is not None:
            latencies.add(request.latency_ms / 1000)
    codes = Counter(_result(request) for request in result.requests)
    rows = [
        (_session(each), f"CCR-{each.kind}", str(each.number), _result(each), _ms(each)) for each in result.requests
    ]
    heads = ("session", "request", "number", "result", "ms")
    sections = [
        Section("Results", table=Table(("result", "requests"), [(code, f"{n:,}") for code, n in codes.most_common()])),
        _latency(summarise(latencies)),
        Section("Latency by percentile", plot=histogram_curves([("replay", latencies.histogram())]), wide=True),
        Section("Requests", table=Table(heads, rows), wide=True),
    ]
    _write(path, name, "all answered" if result.ok else "errors, or requests without an answer", sections, made_at)


def _write(
    path: Path, name: str, outcome: str, sections: list[Section], made_at: datetime.datetime, notes: Sequence[str] = ()
) -> None:
    title, subtitle = f"Replay of {name}: {outcome}", f"{made_at:%Y-%m-%d %H:%M}"
    write_page(path, title=title, subtitle=subtitle, notes=notes, sections=sections)


def _latency(latency: LatencySummary) -> Section:
    values = (latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms)
    rows = [(name, f"{value:.2f}") for name, value in zip(("p50", "p90", "p99", "p99.9", "max"), values, strict=True)]
    return Section("Latency", table=Table(("", "ms"), rows))


def _session(request: ReplayedRequest) -> str:
    """The end of the Session-Id: its begin is the client's name."""
    return request.session_id.rpartition(";")[2]


def _result(request: ReplayedRequest) -> str:
    """Of the command; if that is a success, those of services that are none."""
    if request.answer is None:
        return UNANSWERED
    services = {each.result_code for each in request.answer.services if each.result_code}
    codes = sorted(services - {SUCCESS}) if request.answer.result_code == SUCCESS else []
    return ", ".join(f"{code} {RESULT_NAMES.get(code, '')}".strip() for code in codes or [request.answer.result_code])


def _ms(request: ReplayedRequest) -> str:
    return "" if request.answer is None else f"{request.latency_ms:.2f}"
