"""`ocs reconcile`: compares the host's wholesale usage file with our charging records."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ocs.accounts import inputs
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
    with_backend,
)
from ocs.cli.export import RecordsOption, reading_bar
from ocs.cli.show import PIPED_COLUMNS, units_text
from ocs.compose import Paths
from ocs.history.exports.writers import ExportError, new_file
from ocs.history.reconcile.csv_lines import csv_lines
from ocs.history.reconcile.line import BadLine, Line, WholesaleFileError
from ocs.history.reconcile.our_sessions import service_of
from ocs.history.reconcile.outcome import DIFFERENCES, Outcome, Result
from ocs.history.reconcile.published import publish
from ocs.history.reconcile.reconcile import OpenSession, add_ours, compare, days_of, read_lines, tolerances
from ocs.history.reconcile.store import Difference, Store, open_store
from ocs.history.reconcile.tap_lines import tap_lines
from ocs.ledger.redis.installation import OpenMode
from ocs.outbox import reading
from ocs.outbox.files import RecordsError
from ocs.outbox.legs import second_legs
from ocs.outbox.reading import Range
from ocs.settings.loading import load_mapping
from ocs.settings.reconciliation import UNITS, ReconcileSection
from ocs.values.moment import utc_text
from ocs.values.money import format_eur

SHOWN = 20
"""Differences that are printed; --csv has all."""
SUBSCRIBERS_AT_ONCE = 200


def reconcile_command(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The host's usage file.")],
    mapping: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="TOML with the keys of [reconcile].")
    ] = None,
    since: Annotated[str, typer.Option("--from", help="Default: the first day on which a line begins.")] = "",
    until: Annotated[str, typer.Option("--to", help="Before this moment. Default: the end of the last day.")] = "",
    csv_file: Annotated[str, typer.Option("--csv", help="New file for all differences; - is standard output.")] = "",
    work_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder for temporary files.")
    ] = None,
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Though files of records are missing.")] = False,
    json: JsonOption = False,
    records: RecordsOption = None,
    config: ConfigOption = DEFAULT,
) -> None:
    """Compare the host's usage file with our records, session by session: exit status 1 if they differ."""
    loaded = load_all(config)
    settings, paths = loaded[0], Paths(loaded[0].data_dir)
    how = load_mapping(mapping) if mapping else settings.reconcile
    if bool(since) != bool(until):
        raise WrongCallError("--from and --to belong together")
    if work_dir is not None:
        os.environ["SQLITE_TMPDIR"] = str(work_dir)
    run = _Run(file, how, records or paths.records, since, until, csv_file, allow_gaps)

    async def work(backend: Backend) -> None:
        with open_store(work_dir) as store:
            result = await run.compare(store, backend)
            publish(result, paths.reconciliation, backend.environment.now())
            if csv_file:
                _write_csv(store, csv_file)
            _show(result, list(store.differences(SHOWN)), json=json, quiet=csv_file == "-")
        if not result.ok:
            raise FailedError(
                f"{counted(result.differences, 'difference')}, {counted(result.bad_lines, 'line')} that cannot be read"
            )

    try:
        with_backend(config, OpenMode.READ, work, loaded=loaded)
    except (WholesaleFileError, RecordsError, ExportError) as error:
        raise FailedError(str(error)) from None


@dataclass(frozen=True, slots=True)
class _Run:
    """One comparison."""

    file: Path
    how: ReconcileSection
    records: Path
    since: str
    until: str
    csv_file: str
    allow_gaps: bool

    async def compare(self, store: Store, backend: Backend) -> Result:
        with _file_bar(self.file) as advanced:
            result = read_lines(self._lines(advanced), store)
        wanted = self._range(store, backend)
        if wanted is None:
            raise FailedError(f"{self.file}: has no line that can be read" + _bad_text(result))
        await _resolve(store, backend)
        from_then_on = Range(max(wanted.since - self.how.tolerance_s, 0), reading.LATEST)
        files = reading.sources(self.records, from_then_on)
        lacks = reading.missing(files, from_then_on)
        if lacks and not self.allow_gaps:
            raise FailedError(f"{self.records}: {lacks}: bring them back, or compare what there is with --allow-gaps")
        with reading_bar("our records", files) as advanced:
            found = reading.read(files, from_then_on, advanced)
            add_ours(store, found, second_legs(backend.catalogue), wanted)
        is_open = _open_sessions(backend, asyncio.get_running_loop())
        await asyncio.to_thread(compare, store, result, wanted, tolerances(self.how), is_open)
        return result

    def _lines(self, advanced: Callable[[int], None]) -> Iterator[Line | BadLine]:
        if self.how.form == "tap":
            return tap_lines(self.file, advanced)
        return csv_lines(self.file, self.how, advanced)

    def _range(self, store: Store, backend: Backend) -> Range | None:
        if self.since:
            zone = backend.catalogue.time_zone
            begins, ends = inputs.moment(self.since, zone), inputs.moment(self.until, zone)
            if ends <= begins:
                raise WrongCallError(f"--to {self.until!r} must be later than --from {self.since!r}")
            return Range(begins, ends)
        return days_of(store, ZoneInfo(self.how.time_zone))


async def _resolve(store: Store, backend: Backend) -> None:
    """Asks the ledger for the accounts of the file's subscribers."""
    for batch in store.subscribers():
        for first in range(0, len(batch), SUBSCRIBERS_AT_ONCE):
            some = batch[first : first + SUBSCRIBERS_AT_ONCE]
            accounts = await asyncio.gather(*(backend.ledger.find_subscriber(each) for each in some))
            store.know({each: account for each, account in zip(some, accounts, strict=True) if account})


def _open_sessions(backend: Backend, loop: asyncio.AbstractEventLoop) -> Callable[[str], list[OpenSession]]:
    """To be called from another thread: asks the ledger in `loop`."""

    async def read(account: str) -> list[OpenSession]:
        view = await backend.ledger.read(account, **backend.when())
        sessions = () if view is None else view.sessions
        return [OpenSession(each.session_id, service_of(each.context), each.started_at) for each in sessions]

    return lambda account: asyncio.run_coroutine_threadsafe(read(account), loop).result()


# -- output

COLUMNS = (
    "outcome", "service", "account", "session_id", "line", "start", "our_units", "their_units", "charged_micro_eur",
    "billed_micro_eur", "stake_micro_eur", "why",
)  # fmt: skip


def _write_csv(store: Store, name: str) -> None:
    with new_file(name) as binary:
        text = io.TextIOWrapper(binary, "utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for each in store.differences():
            writer.writerow((
                each.outcome, each.service, each.account, each.session, each.line or "", utc_text(each.start),
                each.ours, each.theirs, each.charged, each.billed, each.stake, each.why,
            ))  # fmt: skip
        text.detach()  # the file is closed by who opened it


def _show(result: Result, differences: list[Difference], *, json: bool, quiet: bool) -> None:
    if json:
        shown = [{**asdict(each), "start": utc_text(each.start)} for each in differences]
        print_json({**result.as_json(), "first_differences": shown})
        return
    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    console = Console(stderr=quiet, width=width, soft_wrap=True, highlight=False)
    console.print(
        f"{utc_text(result.since)} to {utc_text(result.until)}: {counted(result.lines, 'line')}, "
        f"{result.bad_lines} of them cannot be read"
    )
    for number, reason in result.bad:
        console.print(f"  line {number}: {reason}", markup=False)
    console.print(_totals_table(result))
    disputed = [each for each in differences if each.outcome in set(DIFFERENCES)]
    if disputed:
        console.print(_differences_table(disputed))
        if result.differences > len(disputed):
            console.print(f"… and {result.differences - len(disputed)} more: --csv FILE writes all")


def _totals_table(result: Result) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("outcome", "service"):
        table.add_column(name)
    for name in ("sessions", "our units", "their units", "charged EUR", "billed EUR", "at stake EUR"):
        table.add_column(name, justify="right")
    order = list(Outcome)
    for (outcome, service), total in sorted(result.totals.items(), key=lambda row: (order.index(row[0][0]), row[0][1])):
        units = [units_text(each, UNITS[service].value) for each in (total.ours, total.theirs)]
        money = [format_eur(each) for each in (total.charged, total.billed, total.stake)]
        table.add_row(outcome.value, service, str(total.count), *units, *money)
    return table


def _differences_table(differences: list[Difference]) -> Table:
    table = Table(box=None, pad_edge=False, title="differences, those with most at stake first", title_justify="left")
    for name in ("outcome", "service", "start", "line", "account", "session"):
        table.add_column(name, overflow="fold")
    for name in ("ours", "theirs", "at stake EUR"):
        table.add_column(name, justify="right")
    for each in differences:
        amounts = str(each.ours), str(each.theirs), format_eur(each.stake)
        place = each.outcome, each.service, utc_text(each.start), str(each.line or ""), each.account, each.session
        table.add_row(*place, *amounts)
    return table


def _bad_text(result: Result) -> str:
    return f"; line {result.bad[0][0]}: {result.bad[0][1]}" if result.bad else ""


@contextmanager
def _file_bar(file: Path) -> Iterator[Callable[[int], None]]:
    columns = TextColumn("the host's file"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading", total=file.stat().st_size)
        yield lambda octets: progress.advance(task, octets)
