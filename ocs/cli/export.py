"""`ocs export`: the charging records of a time range as CSV, JSON lines or Parquet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ocs.accounts import inputs
from ocs.catalogue.versions import Catalogues
from ocs.cli.common import DEFAULT, ConfigOption, FailedError, WrongCallError, counted, load_all, user
from ocs.compose import Paths, environment_of
from ocs.history.exports.export import Wanted, export, files_of, units_of
from ocs.history.exports.schema import Kind
from ocs.history.exports.writers import STANDARD_OUTPUT, ExportError, Format
from ocs.outbox.disclosures import note_disclosure
from ocs.outbox.files import RecordsError
from ocs.outbox.reading import Range, Source
from ocs.values.moment import utc_text

RecordsOption = Annotated[
    Path | None, typer.Option("--records", help="Folder of records; default: that of the data folder.")
]
FromOption = Annotated[str, typer.Option("--from", help="From 2026-11-01 or 2026-11-01T18:00, local time.")]
ToOption = Annotated[str, typer.Option("--to", help="Before this moment: 2026-12-01 is the end of November.")]


def export_command(
    since: FromOption,
    until: ToOption,
    output: Annotated[str, typer.Option("--output", "-o", help="The new file; - is standard output.")],
    form: Annotated[Format, typer.Option("--format", help="How the rows are written.")] = Format.CSV,
    kind: Annotated[Kind, typer.Option(help="usage: what use cost; money: what moved credit; all.")] = Kind.ALL,
    full: Annotated[bool, typer.Option("--full", help="With the last digits of numbers; needs --reason.")] = False,
    reason: Annotated[str, typer.Option(help="Why --full: it stands in disclosures.jsonl.")] = "",
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Though files of records are missing.")] = False,
    records: RecordsOption = None,
    config: ConfigOption = DEFAULT,
) -> None:
    """Write the charging records of a time range in a stable form (docs/RECORDS.md)."""
    settings, catalogues = load_all(config)
    paths = Paths(settings.data_dir)
    wanted = Wanted(range_of(since, until, catalogues), kind, full)
    if full != bool(reason.strip()):
        raise WrongCallError("--full and --reason belong together: whole numbers are for a reason that is kept")
    if output == STANDARD_OUTPUT and form is Format.PARQUET:
        raise WrongCallError("Parquet needs a file: name it with --output")
    started = time.monotonic()
    try:
        files = files_of(records or paths.records, wanted, gaps=allow_gaps)
        if full:
            now = environment_of(settings).now()
            note_disclosure(paths.disclosures, who=user(), why=reason, at=now, what=_what(wanted, output))
        with reading_bar("exporting", files) as advanced:
            done = export(files, wanted, units_of(catalogues), form=form, output=output, advanced=advanced)
    except (ExportError, RecordsError) as error:
        raise FailedError(str(error)) from None
    took = time.monotonic() - started
    text = f"{counted(done.rows, 'row')} of {counted(done.records, 'record')} in {took:.1f} s"
    print(text if output == STANDARD_OUTPUT else f"{output}: {text}", file=sys.stderr)


def range_of(since: str, until: str, catalogues: Catalogues) -> Range:
    """InputError, WrongCallError."""
    begins, ends = (inputs.moment(each, catalogues.time_zone) for each in (since, until))
    if ends <= begins:
        raise WrongCallError(f"--to {until!r} must be later than --from {since!r}")
    return Range(begins, ends)


def _what(wanted: Wanted, output: str) -> dict[str, object]:
    """Of a disclosure."""
    since, until = utc_text(wanted.range.since), utc_text(wanted.range.until)
    return {"from": since, "to": until, "kind": wanted.kind.value, "output": output}


@contextmanager
def reading_bar(what: str, files: list[Source]) -> Iterator[Callable[[int], None]]:
    """A progress bar in octets of the files, on standard error. Gives what to call with octets that were read."""
    columns = TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=sum(each.octets for each in files))
        yield lambda octets: progress.advance(task, octets)
