"""Measures the figures: each is the median of repeated runs."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis

from benchmarks.loads import MAXIMUM_AT, OPEN_PERCENT, Load, Sample, measure_load, medians, run_load
from benchmarks.processes import Machine, this_machine, wait_quiet
from benchmarks.systems import LOAD_ACCOUNTS, System, blind_grantor, charging_server, granting_server, provision
from simulator.pacing import Arrivals
from simulator.server_process import ServerError
from tests.protocol import codec_bench

OUTSTANDING = (1, 16, 64, 256)
SYSTEMS = ("server", "protocol", "python_diameter")
WARM_UP_S = 1.0
SETTLE_TIMEOUT_S = 120.0
SETTLED_LOOKS = 4
"""The system is settled after so many quiet samples in a row: all imports or charges have become records."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Duration and repeats of a measurement."""

    seconds: float = 6.0
    repeats: int = 3
    idle_accounts: int = 100_000
    outstanding: tuple[int, ...] = OUTSTANDING
    arrivals: Arrivals = Arrivals.POISSON

    @property
    def steps(self) -> int:
        closed = len(SYSTEMS) * len(self.outstanding) * self.repeats
        return closed + len(OPEN_PERCENT) * self.repeats + self.repeats + 3


QUICK = Effort(seconds=1.0, repeats=1, idle_accounts=2_000)
"""Only shows that the benchmark works; its figures mean nothing."""


@dataclass(slots=True)
class MemoryFigures:
    accounts: int
    octets_per_account: float
    import_s: float
    octets_per_remembered_session: float


@dataclass(slots=True)
class Figures:
    """All figures of `make bench`, as in out/bench.json."""

    made_at: str
    machine: Machine
    effort: Effort
    codec: dict[str, float] = field(default_factory=dict)
    load: dict[str, dict[int, Sample]] = field(default_factory=dict)
    open: dict[int, Sample] = field(default_factory=dict)
    """Open-loop figures of the charging server, by per cent of its closed-loop maximum."""
    memory: MemoryFigures | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "load": {name: {str(n): asdict(f) for n, f in rows.items()} for name, rows in self.load.items()},
            "open": {str(percent): asdict(f) for percent, f in self.open.items()},
        }


Advance = Callable[[str], None]
"""Called before each step with its name."""


def measure(folder: Path, effort: Effort, advance: Advance) -> Figures:
    """All figures in one run, about ten minutes at most. `folder` is emptied first and at the end."""
    figures = Figures(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), this_machine(), effort)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        figures.codec = _codec(effort, advance)
        with charging_server(folder / "server") as system:
            advance("provisioning")
            provision(system, LOAD_ACCOUNTS)
            figures.load["server"] = closed_loops("charging server", system, effort, advance)
            maximum = figures.load["server"][MAXIMUM_AT].ccr_per_s
            figures.open = open_loops(system, maximum, effort, advance)
            advance("memory of sessions")
            session_octets = _session_octets(system, effort)
        with granting_server(folder / "protocol") as system:
            figures.load["protocol"] = closed_loops("without ledger", system, effort, advance)
        with blind_grantor(folder / "grantor") as system:
            figures.load["python_diameter"] = closed_loops("python-diameter", system, effort, advance)
        advance(f"memory of {effort.idle_accounts:,} accounts")
        figures.memory = _memory(folder, effort, session_octets)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def _codec(effort: Effort, advance: Advance) -> dict[str, float]:
    runs = []
    for _ in range(effort.repeats):
        advance("codec")
        runs.append(codec_bench.run())
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def closed_loops(name: str, system: System, effort: Effort, advance: Advance) -> dict[int, Sample]:
    """Each repeat covers all levels, so that a slow minute of the machine affects every level."""
    run_load(system, Load(WARM_UP_S, outstanding=effort.outstanding[-1]))
    runs: dict[int, list[Sample]] = {outstanding: [] for outstanding in effort.outstanding}
    for _ in range(effort.repeats):
        for outstanding in effort.outstanding:
            advance(f"{name}, {outstanding} in the air")
            runs[outstanding].append(measure_load(system, Load(effort.seconds, outstanding=outstanding)))
    return {outstanding: medians(found) for outstanding, found in runs.items()}


def open_loops(system: System, maximum: float, effort: Effort, advance: Advance) -> dict[int, Sample]:
    """Runs at shares of the closed loop's maximum."""
    runs: dict[int, list[Sample]] = {percent: [] for percent in OPEN_PERCENT}
    for _ in range(effort.repeats):
        for percent in OPEN_PERCENT:
            rate = maximum * percent / 100
            advance(f"open loop, {rate:,.0f} a second")
            load = Load(effort.seconds, rate=rate, arrivals=effort.arrivals)
            runs[percent].append(measure_load(system, load))
    return {percent: medians(found) for percent, found in runs.items()}


# -- memory, as reported by Redis


def _memory(folder: Path, effort: Effort, session_octets: float) -> MemoryFigures:
    """Redis's used_memory before and after an import."""
    with charging_server(folder / "memory") as system:
        before = _settled_memory(system)
        import_s = provision(system, effort.idle_accounts)
        grown = _settled_memory(system) - before
    return MemoryFigures(effort.idle_accounts, grown / effort.idle_accounts, import_s, session_octets)


def _session_octets(system: System, effort: Effort) -> float:
    """Octets in Redis of a finished session of five requests, on accounts that have had many sessions."""
    before = _settled_memory(system)
    sessions = run_load(system, Load(effort.seconds, outstanding=MAXIMUM_AT))["sessions"]
    return float((_settled_memory(system) - before) / max(int(sessions), 1))


def _settled_memory(system: System) -> int:
    """used_memory of an idle system: nothing is left to do, and Redis does not rewrite its AOF."""
    end = time.monotonic() + SETTLE_TIMEOUT_S
    with redis.Redis.from_url(system.redis_url()) as client:
        while time.monotonic() < end:
            wait_quiet(system.roles(), SETTLED_LOOKS)
            if not int(client.info("persistence")["aof_rewrite_in_progress"]):
                return int(client.info("memory")["used_memory"])
    raise ServerError(f"Redis still rewrote its AOF after {SETTLE_TIMEOUT_S:g} s")
