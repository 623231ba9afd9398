"""`make soak`: the server under half of its maximum; memory must stay flat and nothing may pause (`soak_rules`).

Exit status 0: passed, 1: a rule is broken or measuring failed, 2: wrong usage.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
import redis
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.__main__ import OUT, exit_status, wide_console
from benchmarks.loads import MAXIMUM_AT, Load, run_load
from benchmarks.measure import WARM_UP_S
from benchmarks.processes import cpu_by_role, machine_cpu_s, memory_octets, roles_under
from benchmarks.sampling import Sampler
from benchmarks.soak_plot import draw
from benchmarks.soak_rules import WARM_UP_SHARE, Growth, RedisEvent, after_warm_up, cause, findings, growth
from benchmarks.systems import LOAD_ACCOUNTS, System, charging_server, provision
from benchmarks.table import rich_table
from benchmarks.trees import HERE
from simulator.pacing import Arrivals
from simulator.timeline import Pause, Second

MAXIMUM_RUNS, MAXIMUM_S = 3, 6.0
QUICK_S = 15.0
ANSWERS_S = 60
"""Setting for remembered answers of ended sessions; the ledger keeps them at least as long as tombstones."""
SAMPLES_PER_RUN = 60
"""Least memory samples of a run …"""
SAMPLE_S = 1.0
"""… and their distance in a long run."""
REDIS_EVENT_MS = 10
"""latency-monitor-threshold of Redis."""
PAUSES_SHOWN = 10
GENERATOR = "generator"
"""Plotted, not judged: it keeps its samples, 32 octets a request."""

Memory = dict[str, list[tuple[float, int]]]
"""Process → (seconds after the start, octets)."""


@dataclass(slots=True)
class Soak:
    """The measurements, as in out/soak.json."""

    commit: str
    seconds: float
    rate: float
    arrivals: Arrivals
    slow_ms: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    answered: int = 0
    unsent: int = 0
    generator_share: float = 0.0
    others_cores: float = 0.0
    """Cores used by other programs, including the start and the final sums of the generator."""
    growth: dict[str, Growth] = field(default_factory=dict)
    pauses: list[Pause] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=dict)
    timeline: list[Second] = field(default_factory=list)

    def judge(self) -> list[str]:
        return findings(
            memory=self.growth, pauses=after_warm_up(self.pauses, self.seconds), slow_ms=self.slow_ms,
            unsent=self.unsent, replaced=self.replaced,
        )  # fmt: skip


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration, including the warm-up of a third.")] = 16.0,
    quick: Annotated[bool, typer.Option(help="15 seconds: only shows that it works.")] = False,
    share: Annotated[int, typer.Option(min=1, max=100, help="Of the closed loop's maximum, in per cent.")] = 50,
    rate: Annotated[float | None, typer.Option(min=1, help="Requests per second, instead of the share.")] = None,
    arrivals: Annotated[Arrivals, typer.Option(help="How requests follow each other.")] = Arrivals.POISSON,
    slow_ms: Annotated[float, typer.Option(min=1, help="An answer later than this is a pause.")] = 50.0,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The figures; the plot is written beside it.")] = OUT
    / "soak.json",
) -> None:
    """Half load: flat memory and no pause, for ten minutes after the warm-up."""
    console, seconds = wide_console(), QUICK_S if quick else minutes * 60
    folder = OUT / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with charging_server(folder, ledger=(f"remember_sessions_s = {ANSWERS_S}",)) as system:
            provision(system, LOAD_ACCOUNTS)
            if rate is None:
                runs, each_s = (1, 1.0) if quick else (MAXIMUM_RUNS, MAXIMUM_S)
                console.print(f"finding the maximum: {runs} runs of {each_s:g} s with {MAXIMUM_AT} outstanding")
                maximum = find_maximum(system, runs, each_s)
                rate = maximum * share / 100
                console.print(f"maximum {maximum:,.0f} CCR/s; soaking at {share} % of it, {rate:,.0f} a second")
            soak = run_soak(console, system, Soak(HERE.commit, seconds, rate, arrivals, slow_ms))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    broken = soak.judge()
    out.write_bytes(orjson.dumps({**asdict(soak), "findings": broken}, option=orjson.OPT_APPEND_NEWLINE))
    _draw(soak, out.with_suffix(".png"))
    _print(console, soak, broken)
    console.print(f"figures in {out}, picture in {out.with_suffix('.png')}")
    raise typer.Exit(1 if broken else 0)


def find_maximum(system: System, runs: int, seconds: float) -> float:
    run_load(system, Load(WARM_UP_S, outstanding=MAXIMUM_AT))
    load = Load(seconds, outstanding=MAXIMUM_AT)
    return float(statistics.median(run_load(system, load)["ccr_per_s"] for _ in range(runs)))


def run_soak(console: Console, system: System, soak: Soak) -> Soak:
    """Runs the load and fills in `soak`."""
    roles = system.roles()
    processes = {f"{role} {n}" if n else role: pid for role, pids in roles.items() for n, pid in enumerate(pids)}

    def look() -> dict[str, int]:
        found = {name: memory_octets(pid) for name, pid in processes.items()}
        return {**found, GENERATOR: sum(map(memory_octets, generator_pids()))}

    load = Load(soak.seconds, rate=soak.rate, arrivals=soak.arrivals)
    with redis.Redis.from_url(system.redis_url()) as client:
        client.config_set("latency-monitor-threshold", REDIS_EVENT_MS)
        cpu_before, machine_before = cpu_by_role(roles), machine_cpu_s()
        with Sampler(min(SAMPLE_S, soak.seconds / SAMPLES_PER_RUN), look) as sampler:
            more = ("--slow-ms", f"{soak.slow_ms:g}")
            result = _with_progress(console, soak.seconds, sampler, lambda: run_load(system, load, more))
        ours_s = sum(cpu_by_role(roles).values()) - sum(cpu_before.values()) + result["cpu_share"] * soak.seconds
        soak.others_cores = max((machine_cpu_s() - machine_before - ours_s) / soak.seconds, 0.0)
        events = redis_events(client)
    soak.replaced = [role for role, pids in roles.items() if system.roles().get(role) != pids]
    _fill(soak, result, sampler.samples, events)
    return soak


def _fill(
    soak: Soak, result: dict[str, Any], samples: list[tuple[float, dict[str, int]]], events: list[RedisEvent]
) -> None:
    started_at = float(result["started_at"])
    soak.p50_ms, soak.p99_ms, soak.max_ms = (result[name] for name in ("p50_ms", "p99_ms", "max_ms"))
    soak.answered, soak.unsent, soak.generator_share = (result[name] for name in ("answered", "unsent", "cpu_share"))
    soak.timeline = [Second(**each) for each in result["timeline"]]
    soak.pauses = [Pause(**each) for each in result["pauses"]]
    soak.causes = [cause(pause, started_at, events) for pause in soak.pauses]
    for at, memory in samples:
        if 0 <= (since := at - started_at) <= soak.seconds:
            for name, octets in memory.items():
                soak.memory.setdefault(name, []).append((round(since, 2), octets))
    judged = {name: found for name, found in soak.memory.items() if name != GENERATOR}
    soak.growth = {name: growth(found, 0.0, soak.seconds) for name, found in judged.items()}


def redis_events(client: redis.Redis) -> list[RedisEvent]:
    """Events of Redis's latency monitor: fsync, fork, slow commands …"""
    found = []
    ask: Any = client.execute_command
    for latest in ask("LATENCY", "LATEST"):
        name = latest[0].decode()
        for at, ms in ask("LATENCY", "HISTORY", name):
            found.append(RedisEvent(name, float(at), float(ms)))
    return found


def _with_progress(
    console: Console, seconds: float, sampler: Sampler[dict[str, int]], work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Runs `work` in a thread, with a progress bar that shows the memory of each process."""
    columns = TextColumn("soaking"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    shown = TextColumn("{task.description}")
    with ThreadPoolExecutor(1) as pool, Progress(*columns, shown, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds)
        done, started = pool.submit(work), time.monotonic()
        try:
            while not done.done():
                memory = "  ".join(f"{name} {octets / 1e6:.0f} MB" for name, octets in sampler.samples[-1][1].items())
                progress.update(task, completed=min(time.monotonic() - started, seconds), description=memory)
                time.sleep(0.5)
        except BaseException:  # interrupted: the thread is still waiting for the generator
            for pid in generator_pids():
                os.kill(pid, signal.SIGTERM)
            raise
        return done.result()


def generator_pids() -> list[int]:
    """Our child process `python -m simulator.cli load`."""
    return roles_under(os.getpid()).get("cli", [])


def _draw(soak: Soak, path: Path) -> None:
    title = f"{soak.commit}: {soak.rate:,.0f} CCR/s, {soak.arrivals.value} arrivals, {soak.seconds / 60:g} minutes"
    draw(
        path, title=title, memory=soak.memory, timeline=soak.timeline, found=soak.pauses,
        seconds=soak.seconds, slow_ms=soak.slow_ms,
    )  # fmt: skip


def _print(console: Console, soak: Soak, broken: list[str]) -> None:
    between = (
        soak.rate * soak.seconds * (1 - WARM_UP_SHARE) * 2 / 3
    )  # CCR between the middles of the first and last third
    rows: list[tuple[str, ...]] = [
        (
            name, f"{each.first_octets / 1e6:.1f}", f"{each.last_octets / 1e6:.1f}", f"{each.octets / 1e6:+.1f}",
            f"{each.octets / between:+.1f}", f"{each.allowed_octets / 1e6:.1f}", "flat" if each.is_flat else "grows",
        )
        for name, each in soak.growth.items()
    ]  # fmt: skip
    columns = ("resident memory, MB", "first third", "last third", "growth", "octets a CCR", "allowed", "")
    console.print(rich_table(("After the warm-up", columns, rows)))
    console.print(
        f"{soak.answered:,} answers, p50 {soak.p50_ms:.2f}  p99 {soak.p99_ms:.2f}  max {soak.max_ms:.2f} ms; "
        f"the generator used {soak.generator_share:.0%} of a core, other programs {soak.others_cores:.1f} cores"
    )
    shown = sorted(zip(soak.pauses, soak.causes, strict=True), key=lambda each: -each[0].worst_ms)[:PAUSES_SHOWN]
    for pause, why in shown:
        console.print(
            f"pause at {pause.at_s:.1f} s: {pause.answers:,} answers, the worst {pause.worst_ms:.0f} ms; cause: {why}"
        )
    for line in broken:
        console.print(f"[red]broken[/] {line}")
    if not broken:
        console.print(f"[green]held[/]   flat memory, no answer over {soak.slow_ms:g} ms after the warm-up")


if __name__ == "__main__":
    exit_status("soak", main)
