"""`make bench`: every figure of docs/PERFORMANCE.md in one run, on this machine.

Exit status 0: it was measured (whether targets were met is printed, not judged), 1: it could not be, 2: the call was wrong.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.measure import QUICK, Effort, measure
from benchmarks.table import print_tables, write_into
from simulator.server_process import ServerError

ROOT = Path(__file__).parents[1]


def main(
    quick: Annotated[bool, typer.Option(help="One second a run, once: shows that it works.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0.5, max=60, help="Of each load run (6).")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, max=20, help="Runs of which the median counts (3).")] = None,
    accounts: Annotated[
        int | None, typer.Option(min=100, help="Idle accounts for the memory figure (100,000).")
    ] = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The figures as JSON.")] = ROOT / "out" / "bench.json",
    write_docs: Annotated[bool, typer.Option(help="Put the tables into docs/PERFORMANCE.md.")] = False,
) -> None:
    """Measure codec, server, protocol without ledger, python-diameter, and memory."""
    effort = QUICK if quick else Effort()
    effort = replace(
        effort,
        seconds=seconds or effort.seconds,
        repeats=repeats or effort.repeats,
        idle_accounts=accounts or effort.idle_accounts,
    )
    console = Console()
    with Progress(
        TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("starting", total=effort.steps)
        started = False

        def advance(what: str) -> None:
            nonlocal started
            progress.update(task, description=what, advance=1 if started else 0)
            started = True

        figures = measure(ROOT / "out" / "bench", ROOT / "config" / "catalogue.toml", effort, advance)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(orjson.dumps(figures.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    print_tables(console, figures)
    console.print(f"figures in {out}")
    if write_docs:
        write_into(ROOT / "docs" / "PERFORMANCE.md", figures)
        console.print("tables in docs/PERFORMANCE.md")


def run() -> None:
    try:
        typer.run(main)
    except (ServerError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
