"""Several load runs: division into processes, stairs, the search for the highest rate, and what they write."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path

import pytest
from diameter.message.commands.credit_control import CreditControlRequest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.grantor import Grantor
from simulator.load_processes import divided, run_load
from simulator.load_run import LoadOptions, LoadOutcome
from simulator.load_search import Goal, search, stair_rates, why_failed
from simulator.loadgen import LoadResult
from simulator.metrics import SimulatorMetrics
from simulator.pacing import Arrivals, Rate, intended_times
from simulator.peer import PeerError
from simulator.server_process import free_port
from simulator.stats import Interval, Latencies, summarise, write_histogram_log
from simulator.subscribers import default_subscribers
from tests.simulator.watched_server import Server
from tests.waiting import PATIENCE_S, until, wait_for

PGW, LOAD2 = f"pgw.{SIMULATED_REALM}", f"load2.{SIMULATED_REALM}"


@pytest.fixture(scope="module")
def two_peers() -> Iterator[Grantor]:
    with Grantor(peers=(LOAD2,), keep_requests=True) as running:
        yield running


def outcome(
    p99_ms: float = 1.0,
    *,
    codes: dict[int, int] | None = None,
    unsent: int = 0,
    sent: int = 1000,
    cpu_share: float = 0.1,
) -> LoadOutcome:
    """A run whose answers all took `p99_ms`."""
    codes = codes if codes is not None else {2001: 1000}
    samples = array("Q", [int(p99_ms * 1000)] * 1000)
    result = LoadResult(
        latencies_us=samples, codes=codes, sent=sent, answered=sum(codes.values()), measured=1000, unsent=unsent
    )
    return LoadOutcome(result, summarise(Latencies(samples)), 1.0, 10.0, cpu_share)


def target(port: int) -> Target:
    return Target("127.0.0.1", port, SIMULATED_REALM, SERVER_REALM)


# -- the rate over time


def test_a_ramp_changes_the_rate_evenly_and_then_stays() -> None:
    ramp = Rate(100.0, 300.0, 2.0)
    assert [ramp.time_of(0), ramp.time_of(400), ramp.time_of(700)] == pytest.approx([0.0, 2.0, 3.0])
    times = list(islice(intended_times(Arrivals.EVEN, ramp, 1), 401))
    assert sum(at < 1.0 for at in times) == 150  # 100/s rising to 200/s
    down = Rate(300.0, 100.0, 2.0)
    assert [down.time_of(250), down.time_of(400), down.time_of(500)] == pytest.approx([1.0, 2.0, 3.0])


@pytest.mark.parametrize("rate", [Rate(200.0), Rate(100.0, 300.0, 2.0)])
def test_processes_together_have_the_intended_times_of_one(rate: Rate) -> None:
    options = LoadOptions(target(1), default_subscribers(6), 2.0, rate=rate, processes=2)
    parts = divided(options)
    wanted = list(islice(intended_times(Arrivals.EVEN, rate, 1), 400))
    both = chain.from_iterable(
        islice(intended_times(Arrivals.EVEN, part.rate, 1, part.first), 200) for part in parts if part.rate is not None
    )
    assert sorted(both) == pytest.approx(wanted)


def test_processes_share_nothing() -> None:
    options = LoadOptions(target(1), default_subscribers(7), 1.0, outstanding=5, processes=3, peers=4)
    parts = divided(options)
    hosts = [host for part in parts for host in part.hosts]
    assert len(set(hosts)) == len(hosts) == 4
    subscribers = [one for part in parts for one in part.subscribers]
    assert len(subscribers) == len(set(subscribers)) == 7
    assert len({part.run for part in parts}) == 3
    assert sum(part.outstanding for part in parts) == 5
    with pytest.raises(ValueError, match="as many subscribers"):
        divided(LoadOptions(target(1), default_subscribers(1), 1.0, processes=2))


def test_two_processes_play_whole_sessions(two_peers: Grantor) -> None:
    options = LoadOptions(
        target(two_peers.port), default_subscribers(20), 0.6, rate=Rate(100.0), outstanding=50, processes=2,
        keep_usage=True,
    )  # fmt: skip
    found = run_load(options)
    assert (found.unanswered, found.processes) == (0, 2)
    assert found.result.sessions_started == found.result.sessions_finished == len(found.result.used_by_session)
    assert found.result.octets_reported == sum(found.result.used_by_session.values())
    assert sum(found.result.codes.values()) == found.result.answered == found.result.sent
    kinds: dict[str, list[int]] = {}
    for request in two_peers.requests:
        assert isinstance(request, CreditControlRequest)
        kinds.setdefault(request.session_id, []).append(request.cc_request_type)
    assert len(kinds) == found.result.sessions_started
    assert all(each[0] == 1 and each[-1] == 3 for each in kinds.values())


@pytest.mark.parametrize("processes", [1, 2])
def test_requests_name_the_peer_of_their_connection(two_peers: Grantor, processes: int) -> None:
    """Else a server refuses them: RFC 6733 §2.9."""
    two_peers.requests.clear()
    options = LoadOptions(target(two_peers.port), default_subscribers(4), 0.4, outstanding=4, peers=2,
                          processes=processes)  # fmt: skip
    assert run_load(options).ok
    names = {(request.origin_host.decode(), request.session_id.partition(";")[0]) for request in two_peers.requests}
    assert names == {(PGW, PGW), (LOAD2, LOAD2)}


def test_the_metrics_are_those_of_all_processes(two_peers: Grantor) -> None:
    metrics = SimulatorMetrics()
    options = LoadOptions(
        target(two_peers.port), default_subscribers(20), 1.5, rate=Rate(60.0), processes=2, metrics=metrics
    )
    seen: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_load, options)
        while not running.done():
            seen.append(sample(metrics, "ocs_sim_requests_total"))
            time.sleep(0.05)
        result = running.result().result
    assert any(0 < each < result.sent for each in seen), "they are told while the load runs"
    assert sample(metrics, "ocs_sim_requests_total") == result.sent
    assert sample(metrics, "ocs_sim_answers_total") == result.answered
    assert sample(metrics, "ocs_sim_latency_seconds_count") == len(result.latencies_us)
    assert sample(metrics, "ocs_sim_sessions_total") == result.sessions_started
    assert sample(metrics, "ocs_sim_sessions_open") == 0
    assert sample(metrics, "ocs_sim_intended_requests_per_second") == 60
    assert sample(metrics, "ocs_sim_cpu_seconds_total") > time.process_time()


def sample(metrics: SimulatorMetrics, name: str) -> float:
    return sum(each.value for family in metrics.collect() for each in family.samples if each.name == name)


def test_a_process_that_cannot_connect_ends_the_run(two_peers: Grantor) -> None:
    options = LoadOptions(target(free_port()), default_subscribers(4), 0.2, processes=2)
    with pytest.raises(PeerError, match="is the server running"):
        run_load(options)


# -- the search


@pytest.mark.parametrize("limit", [3.0, 137.0, 200.0, 4_321.0])
@pytest.mark.parametrize("start", [1.0, 200.0, 10_000.0])
def test_the_search_finds_the_limit(limit: float, start: float) -> None:
    result = search(lambda rate: outcome(5.0 if rate <= limit else 50.0), Goal(20.0, 0.05), start)
    assert result.is_found
    assert limit * 0.94 <= result.rate <= limit
    assert result.generator == ""


def test_one_pause_of_the_machine_is_not_the_limit() -> None:
    runs: list[float] = []

    def measure(rate: float) -> LoadOutcome:
        runs.append(rate)
        return outcome(50.0 if rate > 1000 or len(runs) == 2 else 5.0)

    result = search(measure, Goal(20.0), 300.0)
    assert runs[1] == runs[2]
    assert 940 <= result.rate <= 1000


def test_a_limit_of_the_generator_is_told() -> None:
    result = search(lambda rate: outcome(5.0 if rate <= 500 else 50.0, cpu_share=rate / 550), Goal(20.0), 100.0)
    assert result.is_found
    assert "the generator is the limit" in result.generator
    assert result.as_json()["generator"] == result.generator


def test_a_server_that_never_holds_ends_the_search() -> None:
    result = search(lambda _: outcome(50.0), Goal(20.0), 200.0)
    assert (result.rate, result.is_found, result.best) == (0.0, False, None)
    assert len(result.probes) < 40


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (outcome(), ""),
        (outcome(codes={2001: 900, 4012: 100}), ""),  # credit at zero is an answer as good as another
        (outcome(codes={2001: 999, 3004: 1}), ""),
        (outcome(codes={2001: 900, 3004: 100}), "100 answered with an error"),
        (outcome(codes={}, sent=0), "0 answered with an error"),
        (outcome(sent=1002), "2 unanswered"),
        (outcome(unsent=7), "7 never sent"),
        (outcome(20.5), "p99 20.5 ms"),
    ],
)
def test_what_a_rate_must_hold(found: LoadOutcome, why: str) -> None:
    assert why_failed(found, Goal(20.0)) == why


def test_stairs_are_even() -> None:
    assert stair_rates(100.0, 400.0, 4) == [100.0, 200.0, 300.0, 400.0]
    with pytest.raises(ValueError, match="at least 2"):
        stair_rates(1.0, 2.0, 1)


# -- files and the command


def test_a_histogram_log_is_read_by_the_library(tmp_path: Path) -> None:
    path = tmp_path / "latency.hlog"
    latencies = [Latencies(array("Q", range(1, 1001))), Latencies(array("Q", [5_000_000]))]
    write_histogram_log(path, [Interval(1_700_000_000.0 + at, 10.0, each) for at, each in enumerate(latencies)])
    reader = HistogramLogReader(str(path), HdrHistogram(1, 60_000_000, 3))
    first, second = reader.get_next_interval_histogram(), reader.get_next_interval_histogram()
    assert (first.get_total_count(), first.get_value_at_percentile(99)) == (1000, 990)
    assert second.get_value_at_percentile(50) == pytest.approx(5_000_000, rel=0.001)
    assert reader.get_next_interval_histogram() is None
    reader.close()


# -- what ends a run early


def start(*words: str) -> subprocess.Popen[str]:
    """Ctrl-C ends it, also where these tests run in the background, which ignores it."""
    command = [sys.executable, "-m", "simulator.cli", "load", *words]
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_a_run_with_its_figures(two_peers: Grantor, processes: int, tmp_path: Path) -> None:
    report = tmp_path / "load.html"
    two_peers.requests.clear()
    words = ("--rate", "40", "--seconds", "600", "--processes", str(processes), "--report", str(report), "--json")
    running = start(*words, "--port", str(two_peers.port))
    wait_for(lambda: len(two_peers.requests) > 10)
    running.send_signal(signal.SIGINT)
    out, error = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, error
    found = json.loads(out)
    assert found["interrupted"]
    assert found["answered"] == found["sent"] > 10
    assert any("interrupted after" in warning for warning in found["warnings"])
    assert "interrupted after" in report.read_text()
    assert "Traceback" not in error


def test_ctrl_c_ends_a_search_with_what_was_measured(two_peers: Grantor, tmp_path: Path) -> None:
    report = tmp_path / "search.html"
    words = ("--search", "--rate", "20", "--p99-ms", "60000", "--seconds", "2", "--report", str(report))
    running = start(*words, "--port", str(two_peers.port))
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    out, error = running.communicate(timeout=PATIENCE_S)
    assert "20/s intended" in first
    assert running.returncode == 1
    assert "interrupted; what follows is what was measured before" in error
    assert "requests per second hold a p99" in out
    assert "20" in report.read_text()


async def test_a_lost_connection_is_told(server: tuple[Server, int]) -> None:
    fake, port = server
    options = LoadOptions(target(port), default_subscribers(4), PATIENCE_S, rate=Rate(50.0))
    running = asyncio.get_running_loop().run_in_executor(None, run_load, options)
    await until(lambda: len(fake.requests) > 5)
    fake.writers[PGW].close()
    found = await running
    assert not found.ok
    assert any("the connection to the server was lost" in warning for warning in found.warnings)


def test_errors_are_explained() -> None:
    with Grantor(command_code=lambda request: 5030) as refusing:
        found = run_load(LoadOptions(target(refusing.port), default_subscribers(4), 0.3, outstanding=2))
    assert not found.ok
    assert any("5030 user unknown" in warning and "ocs account import" in warning for warning in found.warnings)


def test_a_report_that_cannot_be_written_is_told_before_the_run(two_peers: Grantor, tmp_path: Path) -> None:
    two_peers.requests.clear()
    (tmp_path / "file").touch()
    done = run("--port", str(two_peers.port), "--report", str(tmp_path / "file" / "load.html"))
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr
    assert not two_peers.requests


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "simulator.cli", "load", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_stairs_by_the_command(grantor: Grantor, tmp_path: Path) -> None:
    files = ("--histogram", str(tmp_path / "a.hlog"), "--report", str(tmp_path / "a.html"))
    done = run("--rate", "20", "--to", "60", "--steps", "3", "--seconds", "0.5", "--port", str(grantor.port), "--json",
               *files)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [step["rate"] for step in found["steps"]] == [20, 40, 60]
    assert [step["answered"] for step in found["steps"]] == sorted(step["answered"] for step in found["steps"])
    lines = (tmp_path / "a.hlog").read_text().splitlines()
    assert len([line for line in lines if line[0].isdigit()]) == 3
    page = (tmp_path / "a.html").read_text()
    assert page.count("<svg") == 2
    assert "<td>2001 success</td>" in page


def test_a_search_without_a_rate_that_holds(grantor: Grantor, tmp_path: Path) -> None:
    report = tmp_path / "search.html"
    words = ("--search", "--rate", "30", "--p99-ms", "0.1", "--seconds", "0.3", "--port", str(grantor.port))
    done = run(*words, "--report", str(report))
    assert done.returncode == 1, done.stdout + done.stderr  # no server answers 99 % within 0.1 ms
    assert "no rate holds a p99 of 0.1 ms" in done.stdout
    assert "no rate holds" in report.read_text()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--to", "5"), "--to belongs to --rate"),
        (("--rate", "5", "--steps", "3"), "--steps needs --rate and --to"),
        (("--search", "--outstanding", "5"), "not both"),
        (("--search", "--records", "."), "--records is for one run"),
    ],
)
def test_options_that_exclude_each_other(words: tuple[str, ...], text: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert text in " ".join(done.stderr.replace("│", " ").split())
