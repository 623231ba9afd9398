"""`make bench`: every figure of docs/PERFORMANCE.md in one run on this machine; with --against, this checkout and
another.

Exit status 0: measured (targets are printed, not judged), 1: failure, 2: wrong usage.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.against import compare, comparison_table, comparison_warnings, steps
from benchmarks.beside_api import CCR_RATE, QUICK_CCR_RATE, beside_api_table, beside_api_warnings, measure_beside_api
from benchmarks.beside_api import steps as beside_api_steps
from benchmarks.measure import QUICK, Effort, measure
from benchmarks.processes import Machine
from benchmarks.table import TableText, markdown_table, print_tables, rich_table, write_into
from benchmarks.trees import HERE, Tree
from simulator.pacing import Arrivals
from simulator.server_process import ServerError

OUT = HERE.root / "out"
INTERRUPTED = 130
"""Exit status of the command-line library for Ctrl-C; it is mapped to 1."""


def main(
    quick: Annotated[bool, typer.Option(help="One second a run, once: only shows that it works.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.5, max=60, help="Seconds of each load run (6).")] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, max=20, help="Runs per figure, of which the median is taken (3).")
    ] = None,
    accounts: Annotated[
        int | None, typer.Option(min=100, help="Idle accounts for the memory figure (100,000).")
    ] = None,
    arrivals: Annotated[Arrivals, typer.Option(help="Arrivals of the open loop.")] = Arrivals.POISSON,
    against: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Compare with this checkout of another commit.")
    ] = None,
    rich: Annotated[
        bool, typer.Option(help="With --against: this checkout's accounts have a pool, packs and more counters.")
    ] = False,
    api: Annotated[bool, typer.Option(help="Only 5,000 CCR/s without and with 200 API requests/s, in turns.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="The figures as JSON (out/bench.json, out/against.json, out/api.json)."),
    ] = None,
    write_docs: Annotated[bool, typer.Option(help="Write the tables to docs/PERFORMANCE.md.")] = False,
) -> None:
    """Measure codec, server, protocol without ledger, python-diameter and memory; or compare two checkouts."""
    if rich and not against:
        raise typer.BadParameter("--rich compares with another checkout: add --against")
    if (against or api) and write_docs:
        raise typer.BadParameter("--write-docs is for all figures of this checkout alone")
    if against and api:
        raise typer.BadParameter("--api measures this checkout alone")
    effort = QUICK if quick else Effort()
    effort = replace(
        effort,
        seconds=seconds or effort.seconds,
        repeats=repeats or effort.repeats,
        idle_accounts=accounts or effort.idle_accounts,
        arrivals=arrivals,
    )
    console = wide_console()
    if api:
        rate = QUICK_CCR_RATE if quick else CCR_RATE
        _measure_beside_api(console, effort, out or OUT / "api.json", rate)
    elif against:
        _compare(console, Tree(against.resolve()), effort, out or OUT / "against.json", rich=rich)
    else:
        _measure(console, effort, out or OUT / "bench.json", write_docs)


def _measure(console: Console, effort: Effort, out: Path, write_docs: bool) -> None:
    with progress_bar(console, effort.steps) as advance:
        figures = measure(OUT / "bench", effort, advance)
    _write(out, figures.as_json())
    print_tables(console, figures)
    console.print(f"figures in {out}")
    if write_docs:
        write_into(HERE.root / "docs" / "PERFORMANCE.md", figures)
        console.print("tables in docs/PERFORMANCE.md")


def _compare(console: Console, other: Tree, effort: Effort, out: Path, *, rich: bool) -> None:
    made_at = _now()
    with progress_bar(console, steps(effort)) as advance:
        comparison = compare(OUT / "against", other, effort, advance, made_at, rich=rich)
    _write(out, comparison.as_json())
    _say(console, out, comparison_table(comparison), comparison_warnings(comparison), made_at, comparison.machine)


def _measure_beside_api(console: Console, effort: Effort, out: Path, rate: float) -> None:
    made_at = _now()
    with progress_bar(console, beside_api_steps(effort)) as advance:
        found = measure_beside_api(OUT / "beside-api", effort, advance, made_at, rate)
    _write(out, found.as_json())
    _say(console, out, beside_api_table(found), beside_api_warnings(found), made_at, found.machine)
    console.print(f"answers of the API: {found.statuses}", highlight=False)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _say(
    console: Console, out: Path, table: TableText, warnings: Sequence[str], made_at: str, machine: Machine
) -> None:
    """The table, printed and beside `out` as Markdown."""
    page = out.with_suffix(".md")
    lines = [f"Measured {made_at} on {machine}. Load, server and Redis share the cores."]
    lines += [*markdown_table(table), *(f"\nWarning: {line}." for line in warnings)]
    page.write_text("\n".join(lines) + "\n", "utf-8")
    console.print(f"\n[bold]{machine}[/]")
    console.print(rich_table(table))
    for line in warnings:
        console.print(f"[yellow]warning[/] {line}")
    console.print(f"figures in {out}, table in {page}")


def wide_console() -> Console:
    """Tables are not cut to 80 columns in a file or a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=120)


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar on a terminal; the result is called with the name of each step before it."""
    columns = TextColumn("{task.description:40}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=total)
        started = False

        def advance(what: str) -> None:
            nonlocal started
            progress.update(task, description=what, advance=1 if started else 0)
            started = True

        yield advance


def _write(out: Path, figures: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def exit_status(program: str, command: Callable[..., Any]) -> None:
    """Runs the command; an error becomes one line and exit status 1."""
    try:
        typer.run(command)
    except (ServerError, OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        sys.exit(1 if end.code == INTERRUPTED else end.code)


if __name__ == "__main__":
    exit_status("bench", main)
