"""The simulator's own metrics for Prometheus: what was meant, what was reached, what came back, and differences.

They are read from the counts of the run at each scrape, so that traffic costs nothing more. Rounds of a run add up:
counters do not fall when the next round begins.
"""

from __future__ import annotations

import contextlib
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from simulator.errors import SimulatorError
from simulator.loadgen import LoadGenerator
from simulator.tally import Tally

BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BUCKETS_US = tuple(int(bound * 1e6) for bound in BUCKETS_S)
NAMES = {
    "ocs_sim_intended_requests_per_second": (),
    "ocs_sim_intended_sessions_per_second": (),
    "ocs_sim_sessions_total": (),
    "ocs_sim_requests_total": ("traffic", "type"),
    "ocs_sim_answers_total": ("result",),
    "ocs_sim_unanswered_total": (),
    "ocs_sim_repeats_total": (),
    "ocs_sim_differences_total": ("kind",),
    "ocs_sim_sessions_open": (),
    "ocs_sim_cpu_seconds_total": (),
    "ocs_sim_latency_seconds_bucket": ("le",),
    "ocs_sim_late_seconds_bucket": ("le",),
}
"""Samples and their labels, which are words of the simulator and Result-Codes."""
CALL_TYPES = "IUTE"


class Source(Protocol):
    """Counts of one round."""

    def requests(self) -> Counter[tuple[str, str]]: ...

    def answers(self) -> Counter[int]: ...

    def others(self) -> Counter[str]:
        """ "unanswered", "repeats", and differences by kind."""

    def latencies_us(self) -> array[int]: ...

    def late_us(self) -> array[int]: ...

    def sessions_open(self) -> int: ...

    def sessions_begun(self) -> int: ...

    def cpu_s(self) -> float:
        """Processor time of other processes."""


class RunMetrics(Protocol):
    """What a run tells."""

    intended_per_s: float

    def begin(self, source: Source) -> None: ...


class TallySource:
    """A scenario that is being played."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def requests(self) -> Counter[tuple[str, str]]:
        return Counter(self._tally.requests)

    def answers(self) -> Counter[int]:
        return Counter(self._tally.results)

    def others(self) -> Counter[str]:
        tally = self._tally
        return Counter(unanswered=tally.unanswered, repeats=tally.repeats, unequal_repetition=tally.unequal_repeats)

    def latencies_us(self) -> array[int]:
        return self._tally.latencies.samples_us

    def late_us(self) -> array[int]:
        return array("Q")

    def sessions_open(self) -> int:
        return self._tally.live_sessions

    def sessions_begun(self) -> int:
        return len(self._tally.sessions)

    def cpu_s(self) -> float:
        return 0.0


class LoadSource:
    """A load generator. Its sessions have one kind of traffic; types of requests are not counted apart."""

    def __init__(self, generator: LoadGenerator) -> None:
        self._generator = generator

    def requests(self) -> Counter[tuple[str, str]]:
        return Counter({("data", ""): self._generator.result.sent})

    def answers(self) -> Counter[int]:
        return Counter(self._generator.result.codes)

    def others(self) -> Counter[str]:
        return Counter(unanswered=self._generator.result.unsent)

    def latencies_us(self) -> array[int]:
        return self._generator.result.latencies_us

    def late_us(self) -> array[int]:
        return self._generator.result.late_us

    def sessions_open(self) -> int:
        result = self._generator.result
        return result.sessions_started - result.sessions_finished

    def sessions_begun(self) -> int:
        return self._generator.result.sessions_started

    def cpu_s(self) -> float:
        return 0.0


class Buckets:
    """A histogram that reads a growing list of samples in µs, each sample once."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS_US) + 1)
        self.sum_s = 0.0
        self._read = 0

    def read(self, samples_us: array[int]) -> None:
        new = samples_us[self._read :]
        self._read += len(new)
        for each in new:
            self.counts[bisect_left(_BUCKETS_US, each)] += 1
        self.sum_s += sum(new) / 1e6

    def begin_again(self) -> None:
        """The next samples are those of another list."""
        self._read = 0

    def cumulative(self) -> list[tuple[str, float]]:
        total, rows = 0, []
        for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], self.counts, strict=True):
            total += count
            rows.append((bound, float(total)))
        return rows


class SimulatorMetrics(Collector):
    """Of a process that plays one round after the other."""

    def __init__(self) -> None:
        self.intended_per_s = 0.0
        """Requests a second that the run is meant to send; 0 = as many as are answered."""
        self.intended_sessions_per_s = 0.0
        self._source: Source | None = None
        self._sessions, self._cpu_s = 0, 0.0
        self._requests: Counter[tuple[str, str]] = Counter()
        self._answers: Counter[int] = Counter()
        self._others: Counter[str] = Counter()
        self._latency, self._late = Buckets(), Buckets()

    def begin(self, source: Source) -> None:
        """Count this round from now on, and keep the counts of the one before."""
        self._requests, self._answers, self._others = self._totals()
        if self._source is not None:
            self._sessions += self._source.sessions_begun()
            self._cpu_s += self._source.cpu_s()
        for buckets in (self._latency, self._late):
            buckets.begin_again()
        self._source = source

    def differ(self, kind: str, number: int) -> None:
        """Differences that an audit has found."""
        self._others[kind] += number

    def _totals(self) -> tuple[Counter[tuple[str, str]], Counter[int], Counter[str]]:
        source = self._source
        if source is None:
            return self._requests, self._answers, self._others
        self._latency.read(source.latencies_us())
        self._late.read(source.late_us())
        return (
            self._requests + source.requests(),
            self._answers + source.answers(),
            self._others + source.others(),
        )

    def collect(self) -> Iterator[Metric]:
        requests, answers, others = self._totals()
        yield _gauge(
            "intended_requests_per_second", "Requests a second that are meant; 0 = no rate", self.intended_per_s
        )
        yield _counter("requests", "Requests sent, without repetitions", ("traffic", "type"), requests)
        results = {(str(code),): count for code, count in answers.items()}
        yield _counter("answers", "Answers by Result-Code of the command", ("result",), results)
        yield _counter(
            "unanswered", "Requests that nobody answered or that could not be sent", (), {(): others["unanswered"]}
        )
        yield _counter("repeats", "Requests sent again with the T flag", (), {(): others["repeats"]})
        found = {(kind,): count for kind, count in others.items() if kind not in ("unanswered", "repeats")}
        found.setdefault(("unequal_repetition",), 0)
        yield _counter("differences", "Differences from what was expected", ("kind",), found)
        open_now, begun = (self._source.sessions_open(), self._source.sessions_begun()) if self._source else (0, 0)
        yield _gauge("intended_sessions_per_second", "Sessions a second that are meant", self.intended_sessions_per_s)
        yield _counter("sessions", "Sessions that have begun", (), {(): self._sessions + begun})
        yield _gauge("sessions_open", "Sessions that are open", open_now)
        cpu_s = self._cpu_s + time.process_time() + (self._source.cpu_s() if self._source else 0.0)
        yield _counter("cpu_seconds", "Processor time of the simulator", (), {(): cpu_s})
        yield _histogram("latency_seconds", "From the intended time of a request to its answer", self._latency)
        yield _histogram("late_seconds", "From the intended time of a request to its sending", self._late)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"ocs_sim_{name}", text, value=value)


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(f"ocs_sim_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, buckets: Buckets) -> Metric:
    family = HistogramMetricFamily(f"ocs_sim_{name}", text)
    family.add_metric((), buckets=buckets.cumulative(), sum_value=buckets.sum_s)
    return family


@contextlib.contextmanager
def serving(metrics: SimulatorMetrics, port: int) -> Iterator[int]:
    """/metrics on this port of loopback (0 = any free one), by a thread of its own. OSError: it is in use."""
    registry = CollectorRegistry()
    registry.register(metrics)
    server, thread = start_http_server(port, "127.0.0.1", registry)
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving_on(port: int | None) -> Iterator[SimulatorMetrics | None]:
    """Metrics that are served on this port; None without one. Raises SimulatorError."""
    if port is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        metrics = SimulatorMetrics()
        try:
            stack.enter_context(serving(metrics, port))
        except OSError as error:
            raise SimulatorError(f"--metrics-port {port}: {error.strerror}") from error
        yield metrics
