"""One load run on a running server, and its cost: latency, CPU time by process, octets on disk.

Closed loop: a fixed number of requests is always outstanding. Open loop: requests are sent at intended times, and
latency counts from these. A server that stalls does not delay them, so no latency is missed (no coordinated omission).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from benchmarks.aof import aof_files, octets_written
from benchmarks.processes import cpu_by_role, machine_cpu_s, wait_quiet
from benchmarks.sampling import Sampler
from benchmarks.systems import System, run_command
from benchmarks.trees import HERE
from simulator.load_run import generator_limit
from simulator.pacing import Arrivals
from simulator.server_process import ServerError

MAXIMUM_AT = 64
"""Outstanding requests of the closed loop's maximum."""
OPEN_PERCENT = (25, 50, 75)
"""Rates of the open loop, in per cent of that maximum."""
LOAD_TIMEOUT_S = 120.0
"""Added to the seconds of the load: for connecting and the last answers."""
CPU_LOOK_S = 0.05
"""How often CPU time is sampled while the generator starts, so that idle use of the server is not counted as load."""
OTHERS_CORES = 0.2
"""Cores used by other programs above which the machine is too busy to measure."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load: `outstanding` requests, or `rate` a second."""

    seconds: float
    outstanding: int = 0
    rate: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON

    def arguments(self) -> list[str]:
        if self.outstanding:
            how = ["--outstanding", str(self.outstanding)]
        else:
            how = ["--rate", f"{self.rate:.1f}", "--arrivals", self.arrivals.value]
        return ["load", *how, "--seconds", f"{self.seconds:g}", "--json"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Figures of one run, or medians of several."""

    offered_per_s: float
    """0 = closed loop."""
    ccr_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    cpu_us: dict[str, float]
    """Per CCR, by process of the server."""
    aof_octets: float | None
    """Per CCR; None: no AOF, or it was rewritten meanwhile."""
    generator_us: float
    generator_share: float
    """Share of a core."""
    generator_late_ms: float
    """Open loop: p99 delay of requests caused by the generator."""
    unsent: float = 0
    """Open loop: requests that were due but not sent, because all slots were taken."""
    others_cores: float = 0.0
    """Cores used by other programs (and interrupts) meanwhile."""
    runs: int = 1

    @property
    def server_us(self) -> float:
        """Sum over all processes of the server, including its Redis."""
        return sum(self.cpu_us.values())


def run_load(system: System, load: Load, more: Sequence[str] = ()) -> dict[str, Any]:
    """The load generator's JSON. Raises ServerError when a request was not granted."""
    command = HERE.module("simulator.cli", *load.arguments(), "--port", str(system.port), *more)
    result = json.loads(run_command(command, HERE, load.seconds + LOAD_TIMEOUT_S))
    assert isinstance(result, dict)
    for codes in (result["result_codes"], result["service_result_codes"]):
        wrong = {code: count for code, count in codes.items() if code != "2001"}
        if result["unanswered"] or wrong:
            raise ServerError(f"some requests were not served: {result['unanswered']} unanswered, results {wrong}")
    return result


def measure_load(
    system: System, load: Load, beside: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Sample:
    """Costs count from the first request until the server has finished the load's work (records, trimming). `beside`:
    what runs meanwhile; its work is in the costs.
    """
    roles = system.roles()
    wait_quiet(roles)
    aof_before = aof_files(system.data_dir) if system.data_dir else {}
    with beside(), Sampler(CPU_LOOK_S, lambda: (cpu_by_role(roles), machine_cpu_s())) as watched:
        result = run_load(system, load)
    cpu_before, machine_before = watched.last_before(result["started_at"])
    cpu_meanwhile, machine_meanwhile = watched.last_before(result["started_at"] + result["seconds"])
    ours_s = sum(cpu_meanwhile.values()) - sum(cpu_before.values()) + result["cpu_share"] * result["seconds"]
    wait_quiet(roles)
    cpu = cpu_by_role(roles)
    written = octets_written(aof_before, aof_files(system.data_dir)) if system.data_dir else None
    answered = max(result["answered"], 1)
    return Sample(
        offered_per_s=load.rate,
        ccr_per_s=result["ccr_per_s"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        p999_ms=result["p999_ms"],
        max_ms=result["max_ms"],
        cpu_us={role: (cpu[role] - cpu_before[role]) * 1e6 / answered for role in roles},
        aof_octets=None if written is None else written / answered,
        generator_us=result["cpu_us_per_request"],
        generator_share=result["cpu_share"],
        generator_late_ms=result["late_p99_ms"],
        unsent=result["unsent"],
        others_cores=max((machine_meanwhile - machine_before - ours_s) / result["seconds"], 0.0),
    )


def medians(samples: Sequence[Sample]) -> Sample:
    """The median of each figure by itself; of the use by other programs, the maximum."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(sample, name) for sample in samples))

    written = [sample.aof_octets for sample in samples if sample.aof_octets is not None]
    return Sample(
        offered_per_s=median("offered_per_s"),
        ccr_per_s=median("ccr_per_s"),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        p999_ms=median("p999_ms"),
        max_ms=median("max_ms"),
        cpu_us={
            role: statistics.median(sample.cpu_us.get(role, 0.0) for sample in samples) for role in samples[0].cpu_us
        },
        aof_octets=statistics.median(written) if written else None,
        generator_us=median("generator_us"),
        generator_share=median("generator_share"),
        generator_late_ms=median("generator_late_ms"),
        unsent=median("unsent"),
        others_cores=max(sample.others_cores for sample in samples),
        runs=len(samples),
    )


def warnings_of(samples: Sequence[tuple[str, Sample]]) -> list[str]:
    """Reasons to distrust the figures; `samples` by name."""
    found = [check(name, sample) for name, sample in samples for check in (generator_warning, server_warning)]
    busy = [(sample.others_cores, name) for name, sample in samples if sample.others_cores > OTHERS_CORES]
    if busy:
        worst, name = max(busy)
        found.append(
            f"the machine was not idle: other programs took up to {worst:.1f} cores ({name}), "
            f"over {OTHERS_CORES:g} in {len(busy)} of {len(samples)} rows"
        )
    return [line for line in found if line is not None]


def generator_warning(name: str, sample: Sample) -> str | None:
    """Reason to believe that the generator limited the figures."""
    reason = generator_limit(sample.generator_share, sample.generator_late_ms, sample.p99_ms)
    return f"{name}: {reason}" if reason else None


def server_warning(name: str, sample: Sample) -> str | None:
    if sample.unsent >= 1:
        return f"{name}: the server did not keep up, {sample.unsent:,.0f} requests were due and never sent"
    return None
