"""The commands without their options: run a scenario, replay a capture, generate load; each with its audit."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from rich.console import Console

from simulator.elements import load_hosts
from simulator.engine import Engine, Target
from simulator.load_templates import LoadTemplates
from simulator.loadgen import LoadGenerator, LoadResult
from simulator.outside_audit import OutsideAudit, audit, check_totals, money_totals
from simulator.pacing import Arrivals
from simulator.plan import Plan
from simulator.prices import PriceList
from simulator.requests import Subscriber
from simulator.server_process import audit_books
from simulator.show import Progress
from simulator.stats import Latencies, LatencySummary, summarise
from simulator.summary import RunOutcome, summarise_run
from simulator.tally import SessionReport, UsedService
from simulator.timeline import by_second, pauses, percentile

DRAIN_S = 10.0
"""Seconds that the load generator waits for its last answers."""
LOAD_UPDATES = 3
"""Sessions are I + 3 U + T, as in the benchmark."""


def run_plan(
    plan: Plan,
    target: Target,
    *,
    name: str,
    seed: int,
    speed: float,
    console: Console | None = None,
    top_up: Callable[[str], None] | None = None,
) -> RunOutcome:
    """Plays the plan without an audit. `top_up` credits an MSISDN (see `Engine`). Raises PeerError."""

    async def work() -> tuple[Engine, float]:
        engine = Engine(plan, target, speed=speed, seed=seed, top_up=top_up)
        started = time.perf_counter()
        if console is None:
            await engine.run()
        else:
            with Progress(console, engine, name) as update:
                await engine.run(update)
        return engine, time.perf_counter() - started

    engine, wall_s = uvloop.run(work())
    summary = summarise_run(engine.tally, scenario=name, seed=seed, speed=speed, wall_s=wall_s)
    return RunOutcome(summary, engine.tally)


def add_audits(
    outcome: RunOutcome, *, records: Path | None, prices: PriceList | None, ocs_config: Path | None,
    more_sessions: Sequence[SessionReport] = (),
) -> None:  # fmt: skip
    """The audit from outside (records) and `ocs audit`, as far as their paths are given."""
    if ocs_config is not None:
        outcome.books = audit_books(ocs_config)
        outcome.money = money_totals(outcome.books)
        outcome.books_findings = check_totals(outcome.books)
    if records is not None and prices is not None:
        outcome.audit = audit([*outcome.tally.sessions, *more_sessions], records, prices)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of a load run. rate None = closed loop with `outstanding` pending requests."""

    target: Target
    subscribers: tuple[Subscriber, ...]
    seconds: float
    outstanding: int = 64
    rate: float | None = None
    peers: int = 1
    rating_group: int = 100
    octets: int = 1_048_576
    keep_usage: bool = False
    arrivals: Arrivals = Arrivals.EVEN
    slow_ms: float | None = None
    """Keep each request's times: the outcome then has each second, and the pauses of answers slower than this."""


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    result: LoadResult
    latency: LatencySummary
    seconds: float
    cpu_us_per_request: float
    cpu_share: float = 0.0
    """Share of one core that the generator used."""
    slow_ms: float | None = None

    @property
    def ccr_per_s(self) -> float:
        return self.result.measured / self.seconds if self.seconds else 0.0

    @property
    def unanswered(self) -> int:
        return self.result.sent - self.result.answered

    @property
    def ok(self) -> bool:
        """Everything was answered, and not with errors only: an overloaded server should answer some."""
        return not self.unanswered and any(code // 1000 == 2 for code in self.result.codes)

    def as_json(self) -> dict[str, object]:
        """Other programs rely on ccr_per_s, p50_ms, p99_ms, p999_ms and result_codes."""
        result, latency = self.result, self.latency
        return {
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
            "started_at": result.started_at,
            "unsent": result.unsent,
            "late_p99_ms": percentile(sorted(result.late_us), 99) / 1000,
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


def run_load(options: LoadOptions) -> LoadOutcome:
    """Raises PeerError, ValueError."""

    async def work() -> LoadOutcome:
        target = options.target
        templates = LoadTemplates(
            rating_group=options.rating_group,
            octets=options.octets,
            realm=target.realm,
            destination_realm=target.server_realm,
        )
        generator = LoadGenerator(
            subscribers=list(options.subscribers),
            templates=templates,
            outstanding=options.outstanding,
            updates=LOAD_UPDATES,
            keep_usage=options.keep_usage,
            keep_times=options.slow_ms is not None,
        )
        await generator.connect(target.host, target.port, load_hosts(options.peers, target.realm), target.realm)
        gc.collect()
        gc.freeze()  # a pause of the generator would count as the server's
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        if options.rate is None:
            seconds = await generator.run_outstanding(options.seconds, DRAIN_S)
        else:
            seconds = await generator.run_rate(options.rate, options.seconds, DRAIN_S, options.arrivals)
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
        gc.unfreeze()
        await generator.disconnect()
        result = generator.result
        latency = summarise(Latencies(result.latencies_us))
        used_us = cpu_s / max(result.sent, 1) * 1e6
        return LoadOutcome(result, latency, seconds, used_us, cpu_s / wall_s, options.slow_ms)

    return uvloop.run(work())


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
