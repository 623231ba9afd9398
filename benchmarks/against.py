"""Compares two checkouts: this one and another, each with its own server, under the same load in turn.

Both servers run all the time, each on its own data. The order alternates from round to round, so that a slow minute of
the machine affects both. The open loop sends both the same rates: shares of the other checkout's closed-loop maximum.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.loads import MAXIMUM_AT, OPEN_PERCENT, Load, Sample, measure_load, medians, run_load, warnings_of
from benchmarks.measure import WARM_UP_S, Advance, Effort
from benchmarks.processes import Machine, this_machine
from benchmarks.rich_accounts import enrich, rich_catalogue
from benchmarks.systems import LOAD_ACCOUNTS, System, charging_server, provision
from benchmarks.table import ROLES, TableText
from benchmarks.trees import HERE, Tree

CLOSED = (MAXIMUM_AT, 1)
BEFORE, AFTER = "before", "after"


@dataclass(slots=True)
class Comparison:
    """Medians of each checkout's runs, by load: "64", "1", "25 %" …"""

    made_at: str
    machine: Machine
    effort: Effort
    commits: dict[str, str]
    samples: dict[str, dict[str, Sample]] = field(default_factory=dict)
    """Load → (before, after)."""
    rich: bool = False
    """The accounts of `after` have a pool, packs and more counters."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def steps(effort: Effort) -> int:
    return 2 + 2 * effort.repeats * (len(CLOSED) + len(OPEN_PERCENT)) + 2


def compare(
    folder: Path, other: Tree, effort: Effort, advance: Advance, made_at: str, *, rich: bool = False
) -> Comparison:
    """`folder` is emptied first and at the end. `rich`: the accounts of this checkout have a lot
    (`benchmarks.rich_accounts`), those of the other one are plain."""
    commits = {BEFORE: other.commit, AFTER: HERE.commit}
    comparison = Comparison(made_at, this_machine(), effort, commits, rich=rich)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with ExitStack() as stack:
            systems = {}
            for name, tree in ((BEFORE, other), (AFTER, HERE)):
                advance(f"starting {name}: {commits[name]}")
                has_a_lot = rich and name == AFTER
                folder.mkdir(parents=True, exist_ok=True)
                catalogue = rich_catalogue(tree.catalogue, folder / "rich.toml") if has_a_lot else None
                systems[name] = stack.enter_context(charging_server(folder / name, tree, catalogue=catalogue))
                provision(systems[name], LOAD_ACCOUNTS)
                if has_a_lot:
                    enrich(systems[name])
            comparison.samples = _rounds(systems, effort, advance)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return comparison


def _rounds(systems: dict[str, System], effort: Effort, advance: Advance) -> dict[str, dict[str, Sample]]:
    maximum = 0.0
    for name, system in systems.items():
        advance(f"{name}: warming up, finding the maximum")
        run_load(system, Load(WARM_UP_S, outstanding=MAXIMUM_AT))
        found = run_load(system, Load(effort.seconds, outstanding=MAXIMUM_AT))["ccr_per_s"]
        maximum = found if name == BEFORE else maximum
    loads = {str(outstanding): Load(effort.seconds, outstanding=outstanding) for outstanding in CLOSED}
    for percent in OPEN_PERCENT:
        loads[f"{percent} %"] = Load(effort.seconds, rate=maximum * percent / 100, arrivals=effort.arrivals)
    runs: dict[str, dict[str, list[Sample]]] = {title: {name: [] for name in systems} for title in loads}
    for number in range(effort.repeats):
        order = list(systems) if number % 2 == 0 else list(reversed(systems))
        for title, load in loads.items():
            for name in order:
                advance(f"round {number + 1}, {title}, {name}")
                runs[title][name].append(measure_load(systems[name], load))
    return {title: {name: medians(found) for name, found in both.items()} for title, both in runs.items()}


# -- the table


Figure = tuple[str, Callable[[Sample], float | None], str]
"""(name, accessor, format)."""


def comparison_table(comparison: Comparison) -> TableText:
    effort = comparison.effort
    rows: list[tuple[str, ...]] = []
    for title, both in comparison.samples.items():
        before, after = both[BEFORE], both[AFTER]
        closed = not before.offered_per_s
        where = f"{title} in the air" if closed else f"open loop, {before.offered_per_s:,.0f}/s ({title})"
        for name, value, form in _figures(before, after, closed=closed):
            rows.append((f"{where}: {name}", *ratio_row(value(before), value(after), form)))
    title = (
        f"Before and after: medians of {effort.repeats} interleaved rounds of {effort.seconds:g} s; "
        f"open loop: {effort.arrivals.value} arrivals, % of the maximum before"
        + ("; accounts after: pool, two packs, four counters" if comparison.rich else "")
    )
    return title, ("", *(f"{name} {comparison.commits[name]}" for name in (BEFORE, AFTER)), "ratio"), rows


def ratio_row(before: float | None, after: float | None, form: str) -> tuple[str, str, str]:
    ratio = f"{after / before:.2f}" if before and after is not None else "–"
    return (*("–" if value is None else format(value, form) for value in (before, after)), ratio)  # type: ignore[return-value]


def _figures(before: Sample, after: Sample, *, closed: bool) -> list[Figure]:
    found: list[Figure] = [("CCR/s", lambda row: row.ccr_per_s, ",.0f")] if closed else []
    found += [("p50 ms", lambda row: row.p50_ms, ".2f"), ("p99 ms", lambda row: row.p99_ms, ".2f")]
    found.append(("server µs a CCR", lambda row: row.server_us, ".0f"))
    if not closed:
        return found
    roles = [*ROLES, *sorted({*before.cpu_us, *after.cpu_us} - {*ROLES})]
    found += [(f"  {role} µs", lambda row, role=role: row.cpu_us.get(role), ".0f") for role in roles]  # type: ignore[misc]
    found.append(("AOF octets a CCR", lambda row: row.aof_octets, ",.0f"))
    found.append(("load µs a CCR", lambda row: row.generator_us, ".0f"))
    return found


def comparison_warnings(comparison: Comparison) -> list[str]:
    named = [(f"{name}, {title}", row) for title, both in comparison.samples.items() for name, row in both.items()]
    return warnings_of(named)
