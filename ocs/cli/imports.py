"""`ocs import topups FILE`: credits a retailer's daily file, and reconciles it by reference (HOT-TOP-1)."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ocs.accounts.top_up_files import (
    DIFFERENCES,
    Difference,
    Outcome,
    Report,
    TopUpFile,
    TopUpImport,
    Totals,
    read_top_ups,
)
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    counted,
    load_all,
    print_json,
    progress_bar,
    with_backend,
)
from ocs.ledger.redis.installation import OpenMode
from ocs.settings.schema import Settings
from ocs.settings.top_up_files import DEFAULT_COLUMNS, TopUpFileSection
from ocs.values.money import format_eur

app = typer.Typer(help="Import files of others.", no_args_is_help=True)

MAX_SHOWN = 50
"""Differences that are printed; --report writes all."""
COLUMNS = ("line", "outcome", "reason", "reference", "msisdn", "amount_eur", "detail")


@app.callback()
def _import() -> None:
    """Import files of others."""


@app.command()
def topups(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV with a header line.")],
    form: Annotated[str, typer.Option("--format", help="Table [top_up_file.NAME] of the settings.")] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="msisdn=NAME, amount=NAME or reference=NAME: a column of the file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would become of each row.")] = False,
    ignore_trailer: Annotated[
        bool, typer.Option("--ignore-trailer", help="Credit it though the trailer differs.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="New CSV file with all differences.")] = None,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Credit the top-ups of a file, each once per reference. A file may be imported again: after a crash, this finishes
    it. Exit status 1 if a row was not credited, now or before.
    """
    loaded = load_all(config)
    found = read_top_ups(file, _form(loaded[0], form, column or ()))
    if found.trailer_differs and not (ignore_trailer or dry_run):
        raise FailedError(f"{file}: {found.trailer_differs}; nothing was credited (--ignore-trailer credits it anyway)")
    if report is not None and report.exists():
        raise WrongCallError(f"{report} exists already")

    async def work(backend: Backend) -> None:
        importing = TopUpImport(backend.accounts, backend.ledger, backend.when)
        with progress_bar("checking" if dry_run else "importing", found.total.rows) as progress:
            done = await importing.run(
                found, dry_run=dry_run, done=lambda rows: progress.advance(progress.task_ids[0], rows)
            )
        if report is not None:
            _write(report, done.differences)
        if json:
            print_json(_as_json(file, found, done, dry_run))
        else:
            _print(file, found, done, dry_run)
        if done.differences or found.trailer_differs:
            raise FailedError(f"{file}: differs from what is credited: see above")

    with_backend(config, OpenMode.READ if dry_run else OpenMode.WRITE, work, loaded=loaded)


def _form(settings: Settings, name: str, columns: Sequence[str]) -> TopUpFileSection:
    forms = settings.top_up_file
    if name and name not in forms:
        raise WrongCallError(f"--format {name}: there is no table [top_up_file.{name}]; there are {', '.join(forms)}")
    form = forms[name] if name else TopUpFileSection()
    own = dict(form.columns)
    for each in columns:
        what, sign, title = each.partition("=")
        if what not in DEFAULT_COLUMNS or not sign or not title:
            raise WrongCallError(f"--column {each}: must be {', '.join(DEFAULT_COLUMNS)}, =, and a column's name")
        own[what] = title
    return form.model_copy(update={"columns": own})


def _write(report: Path, differences: Sequence[Difference]) -> None:
    with report.open("x", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for each in differences:
            writer.writerow([_cells(each)[name] for name in COLUMNS])


def _cells(each: Difference) -> dict[str, object]:
    return {
        "line": each.line,
        "outcome": each.outcome.value,
        "reason": each.reason,
        "reference": each.reference,
        "msisdn": each.msisdn,
        "amount_eur": format_eur(each.amount_micro_eur) if each.amount_micro_eur else "",
        "detail": each.detail,
    }


def _totals(totals: Totals) -> dict[str, int]:
    return {"rows": totals.rows, "amount_micro_eur": totals.amount_micro_eur}


def _as_json(file: Path, found: TopUpFile, done: Report, dry_run: bool) -> dict[str, object]:
    return {
        "file": str(file),
        "dry_run": dry_run,
        **_totals(found.total),
        "trailer": _totals(found.trailer) if found.trailer else None,
        "trailer_differs": found.trailer_differs or None,
        "outcomes": {each.value: _totals(done.totals.get(each, Totals())) for each in Outcome},
        "differences": [_cells(each) for each in done.differences],
    }


def _print(file: Path, found: TopUpFile, done: Report, dry_run: bool) -> None:
    for each in done.differences[:MAX_SHOWN]:
        what = f"{each.reference} {each.msisdn} {format_eur(each.amount_micro_eur)} EUR: " if each.reference else ""
        print(f"{file}, line {each.line}: {each.outcome}: {what}{each.detail}", file=sys.stderr)
    if len(done.differences) > MAX_SHOWN:
        print(f"… and {len(done.differences) - MAX_SHOWN} more (--report writes all)", file=sys.stderr)
    if found.trailer_differs:
        print(f"{file}: {found.trailer_differs}", file=sys.stderr)
    print(f"{file}: {counted(found.total.rows, 'row')}, {format_eur(found.total.amount_micro_eur)} EUR")
    verb = "would be " if dry_run else ""
    words = {Outcome.APPLIED: f"{verb}credited", Outcome.AGAIN: "credited before"}
    for outcome in Outcome:
        totals = done.totals.get(outcome)
        if totals is not None or outcome not in DIFFERENCES:
            totals = totals or Totals()
            print(f"  {totals.rows} {words.get(outcome, outcome)}: {format_eur(totals.amount_micro_eur)} EUR")
