"""`ocs-sim compare`: two runs side by side."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from simulator.cli_options import JsonOption, writable
from simulator.comparison import compare_runs, rows, write_comparison
from simulator.show import output, print_json

RunArgument = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="What load, run or replay printed (--json).")
]


def compare_files(
    before: RunArgument,
    after: RunArgument,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Exit status 1 if a figure is worse by more than this, in per cent.")
    ] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write an HTML report here.")] = None,
    json: JsonOption = False,
) -> None:
    """Compare two runs by their --json: latency, rates, result codes, money."""
    writable(report)
    comparison = compare_runs(before, after)
    share = None if tolerance is None else tolerance / 100
    if report:
        write_comparison(comparison, report, tolerance=share, made_at=datetime.datetime.now().astimezone())
    if json:
        print_json(comparison.as_json(share))
    else:
        table = Table(title=f"{before} → {after}", title_justify="left", box=None, header_style="dim")
        for name in ("figure", "before", "after", "change", ""):
            table.add_column(name, justify="left" if name in ("figure", "") else "right")
        for row in rows(comparison, share):
            table.add_row(*row)
        output().print(table)
    raise typer.Exit(1 if share is not None and comparison.worse(share) else 0)
