"""Takes the figures: every one from repeated runs, of which the medians count."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import Machine, cpu_s, this_machine
from benchmarks.systems import (
    LOAD_ACCOUNTS,
    System,
    blind_grantor,
    charging_server,
    granting_server,
    provision,
    run_load,
)
from simulator.server_process import ServerError
from tests.protocol import codec_bench

OUTSTANDING = (1, 16, 64, 256)
SYSTEMS = ("server", "protocol", "python_diameter")
WARM_UP_S = 1.0
SETTLE_TIMEOUT_S = 120.0
"""For the records of what was imported or charged."""
SAMPLED_SESSIONS = 200


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    seconds: float = 6.0
    repeats: int = 3
    idle_accounts: int = 100_000
    outstanding: tuple[int, ...] = OUTSTANDING

    @property
    def steps(self) -> int:
        return len(SYSTEMS) * len(self.outstanding) * self.repeats + self.repeats + 2


QUICK = Effort(seconds=1.0, repeats=1, idle_accounts=2_000)
"""Shows that the benchmark works; its figures mean nothing."""


@dataclass(slots=True)
class LoadFigures:
    """Medians of the repeated runs of one system at one number of requests outstanding."""

    ccr_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    server_cpu_us: float
    redis_cpu_us: float | None
    generator_cpu_us: float
    runs: list[dict[str, float | None]]


@dataclass(slots=True)
class MemoryFigures:
    accounts: int
    octets_per_account: float
    import_s: float
    octets_per_remembered_session: float


@dataclass(slots=True)
class Figures:
    """Everything `make bench` prints, as out/bench.json has it."""

    made_at: str
    machine: Machine
    effort: Effort
    codec: dict[str, float] = field(default_factory=dict)
    load: dict[str, dict[int, LoadFigures]] = field(default_factory=dict)
    memory: MemoryFigures | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "load": {name: {str(n): asdict(f) for n, f in rows.items()} for name, rows in self.load.items()},
        }


Advance = Callable[[str], None]
"""Called after each step with the name of what comes next."""


def measure(folder: Path, catalogue: Path, effort: Effort, advance: Advance) -> Figures:
    """All figures in one run, about ten minutes at most. `folder` is emptied first and at the end."""
    figures = Figures(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), this_machine(), effort)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        figures.codec = _codec(effort, advance)
        with charging_server(folder / "server", catalogue) as system:
            advance("provisioning")
            provision(system, folder, LOAD_ACCOUNTS)
            figures.load["server"] = _loads("charging server", system, effort, advance)
            session_octets = _session_octets(system)
        with granting_server(folder / "protocol", catalogue) as system:
            figures.load["protocol"] = _loads("without ledger", system, effort, advance)
        with blind_grantor() as system:
            figures.load["python_diameter"] = _loads("python-diameter", system, effort, advance)
        advance(f"memory of {effort.idle_accounts:,} accounts")
        figures.memory = _memory(folder, catalogue, effort, session_octets)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return figures


def _codec(effort: Effort, advance: Advance) -> dict[str, float]:
    runs = []
    for _ in range(effort.repeats):
        advance("codec")
        runs.append(codec_bench.run())
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _loads(name: str, system: System, effort: Effort, advance: Advance) -> dict[int, LoadFigures]:
    """The repeats go round all levels, so that a slow minute of the machine hits every level."""
    run_load(system, outstanding=effort.outstanding[-1], seconds=WARM_UP_S)
    runs: dict[int, list[dict[str, float | None]]] = {outstanding: [] for outstanding in effort.outstanding}
    for _ in range(effort.repeats):
        for outstanding in effort.outstanding:
            advance(f"{name}, {outstanding} outstanding")
            runs[outstanding].append(_load(system, outstanding, effort.seconds))
    return {outstanding: _medians(found) for outstanding, found in runs.items()}


def _load(system: System, outstanding: int, seconds: float) -> dict[str, float | None]:
    redis_pid = system.redis_pid
    server_before = sum(map(cpu_s, processes := system.processes()))
    redis_before = cpu_s(redis_pid) if redis_pid else 0.0
    result = run_load(system, outstanding=outstanding, seconds=seconds)
    server_us = (sum(map(cpu_s, processes)) - server_before) * 1e6
    redis_us = (cpu_s(redis_pid) - redis_before) * 1e6 if redis_pid else None
    answered = max(result["answered"], 1)
    return {
        "ccr_per_s": result["ccr_per_s"],
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "p999_ms": result["p999_ms"],
        "server_cpu_us": server_us / answered,
        "redis_cpu_us": redis_us / answered if redis_us is not None else None,
        "generator_cpu_us": result["cpu_us_per_request"],
    }


def _medians(runs: list[dict[str, float | None]]) -> LoadFigures:
    def median(name: str) -> float:
        return statistics.median(value for run in runs if (value := run[name]) is not None)

    return LoadFigures(
        ccr_per_s=median("ccr_per_s"),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        p999_ms=median("p999_ms"),
        server_cpu_us=median("server_cpu_us"),
        redis_cpu_us=None if runs[0]["redis_cpu_us"] is None else median("redis_cpu_us"),
        generator_cpu_us=median("generator_cpu_us"),
        runs=runs,
    )


# -- memory


def _memory(folder: Path, catalogue: Path, effort: Effort, session_octets: float) -> MemoryFigures:
    """Redis's used_memory before and after an import, once the events have become records."""
    with charging_server(folder / "memory", catalogue) as system, _redis_of(system) as client:
        before = _settled_memory(client)
        import_s = provision(system, folder, effort.idle_accounts)
        grown = _settled_memory(client) - before
    return MemoryFigures(effort.idle_accounts, grown / effort.idle_accounts, import_s, session_octets)


def _redis_of(system: System) -> redis.Redis:
    assert system.data_dir is not None
    return redis.Redis.from_url(json.loads((system.data_dir / "redis" / "server.json").read_text("utf-8"))["url"])


def _settled_memory(client: redis.Redis) -> int:
    """used_memory when the outbox is empty and Redis does not rewrite its AOF: an idle system's."""
    end = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < end:
        waiting = sum(int(client.xlen(key)) for key in client.scan_iter("*:outbox", count=10_000))
        if not waiting and not int(client.info("persistence")["aof_rewrite_in_progress"]):
            return int(client.info("memory")["used_memory"])
        time.sleep(0.2)
    raise ServerError(f"the outbox was not empty after {SETTLE_TIMEOUT_S:g} s")


def _session_octets(system: System) -> float:
    """What Redis keeps of a finished session of five requests (MEMORY USAGE of its key), median of a sample."""
    with _redis_of(system) as client:
        sizes: list[int] = []
        for key in client.scan_iter("*:q:*", count=1000):
            if client.hlen(key) == 6:  # five outcomes and the account id
                sizes.append(int(client.memory_usage(key, samples=0) or 0))
            if len(sizes) >= SAMPLED_SESSIONS:
                break
    return statistics.median(sizes) if sizes else 0.0
