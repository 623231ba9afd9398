"""One load run: its options, its outcome, and the run itself in this process. `load_processes` divides it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from simulator.elements import load_hosts
from simulator.engine import Target
from simulator.identifiers import new_run
from simulator.interruption import Stop
from simulator.load_progress import LoadProgress
from simulator.load_templates import LoadTemplates
from simulator.loadgen import LoadGenerator, LoadResult
from simulator.metrics import LoadSource, RunMetrics
from simulator.outside_audit import OutsideAudit, audit
from simulator.pacing import Arrivals, Rate
from simulator.prices import PriceList
from simulator.requests import Subscriber
from simulator.stats import Interval, Latencies, LatencySummary, encoded, summarise
from simulator.summary import RESULT_NAMES
from simulator.tally import SessionReport, UsedService
from simulator.timeline import by_second, pauses, percentile

DRAIN_S = 10.0
"""Seconds that the load generator waits for its last answers."""
LOAD_UPDATES = 3
"""Sessions are I + 3 U + T, as in the benchmark."""
GENERATOR_SHARE = 0.8
"""Share of a core. A generator's process that uses more may be the limit itself."""
GENERATOR_LATE = 0.25
"""Share of the p99 latency. A generator whose p99 delay is more may measure itself …"""
GENERATOR_LATE_MS = 1.0
"""… unless the delay is less than this."""


ERROR_HINTS = {
    5003: ": the server's [[peer]] of this Origin-Host does not permit them",
    5030: ": are these subscribers provisioned? `ocs-sim subscribers FILE --load N`, then `ocs account import FILE`",
}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of a load run. rate None = closed loop with `outstanding` pending requests."""

    target: Target
    subscribers: tuple[Subscriber, ...]
    seconds: float
    outstanding: int = 64
    rate: Rate | None = None
    peers: int = 1
    rating_group: int = 100
    octets: int = 1_048_576
    keep_usage: bool = False
    arrivals: Arrivals = Arrivals.EVEN
    slow_ms: float | None = None
    """Keep each request's times: the outcome then has each second, and the pauses of answers slower than this."""
    metrics: RunMetrics | None = None
    progress: LoadProgress | None = None
    processes: int = 1
    hosts: tuple[str, ...] = ()
    """Origin-Hosts of the connections; () = those of `peers`."""
    run: int | None = None
    """Name of the run in its Session-Ids; None = a new one."""
    seed: int = 1
    first: float = 0.0
    """Number of the first even request, below 1: the requests of several processes alternate."""


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    result: LoadResult
    latency: LatencySummary
    seconds: float
    cpu_us_per_request: float
    cpu_share: float = 0.0
    """Share of one core that the generator used; of several processes, the busiest."""
    slow_ms: float | None = None
    processes: int = 1

    @property
    def ccr_per_s(self) -> float:
        return self.result.measured / self.seconds if self.seconds else 0.0

    @property
    def unanswered(self) -> int:
        return self.result.sent - self.result.answered

    @property
    def late_p99_ms(self) -> float:
        """Open loop: p99 delay of requests that the generator caused."""
        return percentile(sorted(self.result.late_us), 99) / 1000

    @property
    def ok(self) -> bool:
        """Everything was answered, and not with errors only: an overloaded server should answer some."""
        if self.unanswered or self.result.lost or self.result.interrupted:
            return False
        return any(code // 1000 == 2 for code in self.result.codes)

    @property
    def warnings(self) -> list[str]:
        """Reasons to distrust the figures."""
        limit = generator_limit(self.cpu_share, self.late_p99_ms, self.latency.p99_ms)
        found = [limit] if limit else []
        if self.result.lost:
            found.append(f"the connection to the server was lost after {self.seconds:.1f} s")
        if self.result.interrupted:
            found.append(f"interrupted after {self.seconds:.1f} s")
        found += error_warnings(self.result)
        if self.result.unsent:
            found.append(f"the server did not keep up, {self.result.unsent:,} requests were due and never sent")
        return found

    @property
    def interval(self) -> Interval:
        return Interval(self.result.started_at, self.seconds, Latencies(self.result.latencies_us))

    def as_json(self) -> dict[str, object]:
        """Other programs rely on ccr_per_s, p50_ms, p99_ms, p999_ms and result_codes."""
        result, latency = self.result, self.latency
        return {
            "ok": self.ok,
            "ccr_per_s": round(self.ccr_per_s, 1),
            "p50_ms": latency.p50_ms,
            "p90_ms": latency.p90_ms,
            "p99_ms": latency.p99_ms,
            "p999_ms": latency.p999_ms,
            "max_ms": latency.max_ms,
            "mean_ms": latency.mean_ms,
            "result_codes": {str(code): count for code, count in sorted(result.codes.items())},
            "service_result_codes": {str(code): count for code, count in sorted(result.service_codes.items())},
            "seconds": round(self.seconds, 3),
            "sent": result.sent,
            "answered": result.answered,
            "unanswered": self.unanswered,
            "sessions": result.sessions_started,
            "octets_reported": result.octets_reported,
            "cpu_us_per_request": round(self.cpu_us_per_request, 2),
            "cpu_share": round(self.cpu_share, 3),
            "processes": self.processes,
            "started_at": result.started_at,
            "unsent": result.unsent,
            "late_p99_ms": self.late_p99_ms,
            "lost": result.lost,
            "interrupted": result.interrupted,
            "warnings": self.warnings,
            "histogram": encoded(Latencies(result.latencies_us)),
            **self._over_time(),
        }

    def _over_time(self) -> dict[str, object]:
        if self.slow_ms is None:
            return {}
        result, slow_us = self.result, int(self.slow_ms * 1000)
        found = pauses(result.due_us, result.latencies_us, result.sent_late_us, slow_us=slow_us)
        return {
            "slow_ms": self.slow_ms,
            "timeline": [asdict(each) for each in by_second(result.due_us, result.latencies_us)],
            "pauses": [asdict(each) for each in found],
        }


def error_warnings(result: LoadResult) -> list[str]:
    """What the errors of a run are: protocol errors, permanent failures and what they say."""
    return [
        f"{count:,} of {result.answered:,} answers are {code} {RESULT_NAMES.get(code, 'error')}"
        + (f" ({result.texts[code]})" if result.texts.get(code) else "")
        + ERROR_HINTS.get(code, "")
        for code, count in sorted(result.codes.items())
        if code // 1000 not in (2, 4)
    ]


def generator_limit(cpu_share: float, late_p99_ms: float, p99_ms: float) -> str | None:
    """Reason to believe that the generator, not the server, limited a run. `cpu_share` of a core, by its busiest
    process.
    """
    if cpu_share > GENERATOR_SHARE:
        return f"the generator is the limit, it used {cpu_share:.0%} of a core"
    if late_p99_ms > max(GENERATOR_LATE * p99_ms, GENERATOR_LATE_MS):
        return f"the generator is late itself (p99 {late_p99_ms:.2f} of {p99_ms:.2f} ms): the cores are taken"
    return None


async def load_in_this_process(options: LoadOptions, ready: Callable[[Stop], Awaitable[float]]) -> LoadOutcome:
    """`ready` is called once all connections are open, with what ends the run early; it returns the start, a time of
    time.perf_counter.

    Raises PeerError, ValueError.
    """
    target = options.target
    hosts = options.hosts or load_hosts(options.peers, target.realm)
    generator = _generator(options, hosts)
    if options.metrics is not None:
        options.metrics.intended_per_s = options.rate.start if options.rate else 0.0
        options.metrics.begin(LoadSource(generator))
    await generator.connect(target.host, target.port, hosts, target.realm)
    start_at = await ready(generator.stop)
    gc.collect()
    gc.freeze()  # a pause of the generator would count as the server's
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    with _shown(options.progress, generator):
        if options.rate is None:
            seconds = await generator.run_outstanding(options.seconds, DRAIN_S, start_at)
        else:
            seconds = await generator.run_rate(
                options.rate, options.seconds, DRAIN_S, options.arrivals, options.seed, options.first, start_at
            )
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    gc.unfreeze()
    await generator.disconnect()
    result = generator.result
    used_us = cpu_s / max(result.sent, 1) * 1e6
    latency = summarise(Latencies(result.latencies_us))
    return LoadOutcome(result, latency, seconds, used_us, cpu_s / wall_s, options.slow_ms)


@contextlib.contextmanager
def _shown(progress: LoadProgress | None, generator: LoadGenerator) -> Iterator[None]:
    if progress is None:
        yield
        return
    progress.begin()
    task = asyncio.get_running_loop().create_task(progress.often(LoadSource(generator)))
    try:
        yield
    finally:
        task.cancel()
        progress.end()


def _generator(options: LoadOptions, hosts: tuple[str, ...]) -> LoadGenerator:
    run = new_run() if options.run is None else options.run
    templates = [
        LoadTemplates(
            rating_group=options.rating_group,
            octets=options.octets,
            realm=options.target.realm,
            destination_realm=options.target.server_realm,
            run=run,
            host=host,
        )
        for host in hosts
    ]
    return LoadGenerator(
        subscribers=list(options.subscribers),
        templates=templates,
        outstanding=options.outstanding,
        updates=LOAD_UPDATES,
        keep_usage=options.keep_usage,
        keep_times=options.slow_ms is not None,
    )


def audit_load(outcome: LoadOutcome, options: LoadOptions, records: Path, prices: PriceList) -> OutsideAudit:
    """Compares each session of the load with the records."""
    reports = [
        SessionReport(
            session_id, "data", "", "", "home", "", False, 0.0,
            services=[UsedService("data", options.rating_group, used)],
            closed=session_id not in outcome.result.unended,
            uncertain=bool(outcome.unanswered),
        )
        for session_id, used in outcome.result.used_by_session.items()
    ]  # fmt: skip
    return audit(reports, records, prices)
