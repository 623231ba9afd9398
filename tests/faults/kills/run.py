"""A run: the server, its surroundings, clients and the killer; then quiet; then the judge."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.kills.books import Books
from tests.faults.kills.client import Api, Line
from tests.faults.kills.driver import AutoTopUps, Lane
from tests.faults.kills.installation import Database, Installation, started, surroundings
from tests.faults.kills.judge import OPEN_NOTICES, Judge, Ledger, rows
from tests.faults.kills.killer import Killer

QUIET_S = 400.0
"""Longest wait for what the kills left: payments are asked for after 30 s, then after a minute, …"""

MOST_PAUSE_S = 4.0
"""Between two looks: each is a command, which takes much of the processor."""


@dataclass(frozen=True)
class Plan:
    kills: int = 500
    seed: int = 1
    minutes: float = 120.0
    """After these, it is ended with the kills that there were."""
    lanes: int = 3
    postgresql: bool = False
    auto_every_s: float = 4.0
    vouchers: int = 2000


@dataclass
class Report:
    plan: Plan
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    covered: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    known: dict[str, list[str]] = field(default_factory=dict)
    unserved_s: list[float] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    counts: dict[str, int] = field(default_factory=dict)
    checks: dict[str, list[str]] = field(default_factory=dict)
    judge: Judge | None = None

    @property
    def ok(self) -> bool:
        return bool(self.checks) and not any(self.checks.values())

    def as_json(self) -> str:
        steps = [
            {"victim": victim, "at": role, "step": step, "moment": moment, "kills": number}
            for (victim, role, step, moment), number in sorted(self.covered.items())
        ]
        facts: dict[str, Any] = {
            "ok": self.ok,
            "seed": self.plan.seed,
            "database": "PostgreSQL" if self.plan.postgresql else "SQLite",
            "seconds": round(self.seconds),
            "kills": dict(self.kills),
            "unserved_s": {
                "median": round(_median(self.unserved_s), 2),
                "most": round(max(self.unserved_s, default=0), 2),
            },
            "operations": dict(self.books.done),
            "refused": dict(self.books.refused),
            "repeated": self.books.repeated,
            "replayed": self.books.replayed,
            "counts": self.counts,
            "checks": self.checks,
            "steps": steps,
            "steps_never_hit": self.never_hit(),
        }
        return json.dumps(facts, indent=1, ensure_ascii=False)

    def never_hit(self) -> list[str]:
        """Steps of a role at which it was not killed, before or after."""
        hit = {(role, step) for victim, role, step, _ in self.covered if victim == role}
        return [f"{role}: {step}" for role, steps in self.known.items() for step in steps if (role, step) not in hit]

    def text(self) -> str:
        steps = sum(number for (_, _, _, moment), number in self.covered.items() if moment)
        known = sum(map(len, self.known.values()))
        lines = [
            f"{sum(self.kills.values())} kills in {self.seconds:.0f} s, seed {self.plan.seed}: "
            + ", ".join(f"{role} {number}" for role, number in self.kills.most_common()),
            f"{steps} at a named step, of {known} steps {known - len(self.never_hit())} were hit; "
            f"served again after {_median(self.unserved_s):.1f} s (median), {max(self.unserved_s, default=0):.1f} s",
            f"{self.books.operations} operations: "
            + ", ".join(f"{kind} {number}" for kind, number in self.books.done.most_common()),
            f"{self.books.repeated} requests were repeated, {self.books.replayed} of them had been done",
            ", ".join(f"{name} {number}" for name, number in self.counts.items()),
        ]
        for name, wrong in self.checks.items():
            lines += [f"{'FAILED' if wrong else 'ok':6} {name}", *(f"         {each}" for each in wrong[:10])]
        return "\n".join(lines) + "\n"


def _median(numbers: list[float]) -> float:
    return statistics.median(numbers) if numbers else 0.0


async def run(plan: Plan, folder: Path, progress: Callable[[Report], None] = lambda report: None) -> Report:
    """`folder`: a new one; its path must be short (the private Redis has a socket in it)."""
    report = Report(plan)
    begun = time.monotonic()
    database = Database() if plan.postgresql else None
    hosts = [f"pgw{number}.example.net" for number in range(plan.lanes + 1)]
    try:
        async with surroundings() as around:
            history = database.server.url() if database else ""
            installation = Installation(folder, hosts, around.gateway.url, around.provider.url, history)
            around.provider.webhook_url = f"{installation.base}/payments/webhook"
            try:
                await asyncio.to_thread(started, installation)
                key = await asyncio.to_thread(installation.done, "key", "create", "--role", "care", "--name", "kills")
                vouchers = await asyncio.to_thread(installation.vouchers, "SPAR", plan.vouchers, "10.00")
                api = Api(installation.base, key, report.books)
                lines = [Line(installation.address, host, report.books) for host in hosts]
                try:
                    await _traffic(plan, installation, report, api, lines, vouchers, database, progress)
                    await _quiet(installation, report)
                    ledger = await asyncio.to_thread(Ledger, installation.redis_url, report.books)
                    installation.audit = await asyncio.to_thread(installation.command, "audit")
                finally:
                    await api.close()
                    for line in lines:
                        line.close()
            finally:
                await asyncio.to_thread(installation.end)
            report.judge = judge = await asyncio.to_thread(Judge, installation, around, report.books, ledger)
            report.checks = await asyncio.to_thread(judge.checks)
    finally:
        if database:
            database.server.remove()
    report.counts, report.seconds = judge.counts, time.monotonic() - begun
    return report


async def _traffic(
    plan: Plan,
    installation: Installation,
    report: Report,
    api: Api,
    lines: list[Line],
    vouchers: list[str],
    database: Database | None,
    progress: Callable[[Report], None],
) -> None:
    share = len(vouchers) // plan.lanes
    lanes = [
        Lane(number, api, lines[number], report.books, vouchers[number * share : (number + 1) * share], plan.seed)
        for number in range(plan.lanes)
    ]
    await asyncio.gather(*(lane.prepare() for lane in lanes))
    autos = AutoTopUps(90, api, lines[-1], report.books, [], plan.seed)
    stop = asyncio.Event()
    killer = Killer(installation, report.books, plan.seed, database)
    report.kills, report.covered, report.unserved_s = killer.kills, killer.covered, killer.unserved_s
    async with asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(lane.run(stop))
        group.create_task(autos.run(stop, plan.auto_every_s))
        await killer.run(plan.kills, time.monotonic() + 60 * plan.minutes, lambda: progress(report))
        stop.set()
    for role in ("worker", "api", "housekeeper", "backoffice"):
        path = installation.steps / f"steps-{role}"
        report.known[role] = sorted(set(path.read_text(encoding="utf-8").split("\n")) - {""}) if path.exists() else []


async def _quiet(installation: Installation, report: Report) -> None:
    """Wait until everything that was begun is finished."""
    end, pause_s = time.monotonic() + QUIET_S, 0.5
    left = "?"
    while time.monotonic() < end:
        if not (left := await asyncio.to_thread(_left, installation)):
            return
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, MOST_PAUSE_S)
    report.books.faults.append(f"not finished after {QUIET_S:.0f} s: {left}")


def _left(installation: Installation) -> str:
    """What is not finished; "" = nothing."""
    if not installation.serves():
        return "a process is not ready"
    if (payments := json.loads(installation.done("payment", "list", "--json"))) != []:
        return f"{len(payments)} payments"
    loaded = rows(installation, "SELECT count(*) FROM events")[0][0]
    records = [each for each in installation.records() if each["kind"] not in ("use", "charge", "expired", "refund")]
    if loaded != len(records):
        return f"{len(records) - loaded} events to load"
    waiting = [rows(installation, query)[0][0] for query in ("SELECT count(*) FROM notice_events", OPEN_NOTICES)]
    return f"{waiting} events of notices and notices" if any(waiting) else ""
