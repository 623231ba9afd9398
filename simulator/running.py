"""Plays a scenario's plan, with its audits; `load_run` does the same for load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from simulator.engine import Engine, Target
from simulator.outside_audit import audit, check_totals, money_totals
from simulator.plan import Plan
from simulator.prices import PriceList
from simulator.server_process import audit_books
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
