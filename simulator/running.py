"""Plays a scenario's plan, with its audits; `load_run` does the same for load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from simulator.catalogue_sheet import CatalogueSheet
from simulator.clocks import RunClock
from simulator.engine import Engine, Target
from simulator.metrics import SimulatorMetrics, TallySource
from simulator.outside_audit import audit, check_totals, money_totals
from simulator.plan import Plan
from simulator.prices import PriceList
from simulator.server_process import ServerError, audit_books
from simulator.show import Progress
from simulator.summary import RunOutcome, summarise_run
from simulator.tally import SessionReport


def run_plan(
    plan: Plan,
    target: Target,
    *,
    name: str,
    seed: int,
    speed: float,
    console: Console | None = None,
    top_up: Callable[[str], None] | None = None,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
    metrics: SimulatorMetrics | None = None,
    clock: RunClock | None = None,
) -> RunOutcome:
    """Plays the plan without an audit. `top_up` credits an MSISDN (see `Engine`). `beside` runs meanwhile, to its own
    end. `clock`: default: one at `speed`. Raises PeerError.
    """

    async def work() -> tuple[Engine, float]:
        engine = Engine(plan, target, speed=speed, seed=seed, top_up=top_up, clock=clock)
        if metrics is not None:
            metrics.intended_sessions_per_s = len(plan.sessions) * speed / max(plan.sessions[-1].start_s, 1.0)
            metrics.begin(TallySource(engine.tally))
        try:
            async with _running_beside(beside):
                started = time.perf_counter()
                if console is None:
                    await engine.run()
                else:
                    with Progress(console, engine, name) as update:
                        await engine.run(update)
                wall_s = time.perf_counter() - started
        finally:
            engine.clock.close()
        return engine, wall_s

    engine, wall_s = uvloop.run(work())
    summary = summarise_run(engine.tally, scenario=name, seed=seed, speed=speed, wall_s=wall_s)
    return RunOutcome(summary, engine.tally)


@asynccontextmanager
async def _running_beside(beside: Callable[[], Coroutine[Any, Any, None]] | None) -> AsyncIterator[None]:
    """Waits for its end, and raises its error; cancels it if the block fails."""
    if beside is None:
        yield
        return
    task = asyncio.create_task(beside())
    try:
        yield
        await task
    finally:
        task.cancel()


def add_audits(
    outcome: RunOutcome, *, records: Path | None, prices: PriceList | None, ocs_config: Path | None,
    more_sessions: Sequence[SessionReport] = (), sheet: CatalogueSheet | None = None,
) -> None:  # fmt: skip
    """The audit from outside (records) and `ocs audit`, as far as their paths are given. `sheet`: accounts are computed
    again.
    """
    if ocs_config is not None:
        try:
            outcome.books = audit_books(ocs_config)
        except ServerError as error:
            outcome.books_findings = [str(error)]  # the run has been played: its figures are worth telling
        else:
            outcome.money = money_totals(outcome.books)
            outcome.books_findings = check_totals(outcome.books)
    if records is not None and prices is not None:
        outcome.audit = audit([*outcome.tally.sessions, *more_sessions], records, prices, sheet=sheet)
