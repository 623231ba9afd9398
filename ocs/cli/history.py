"""`ocs history`: the database of what people look up, and its loading (docs/HISTORY.md)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from csv import reader as csv_rows
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocs.accounts import inputs
from ocs.accounts.backend import Backend
from ocs.cli.common import (
    DEFAULT,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    counted,
    load_all,
    print_json,
    with_backend,
)
from ocs.compose import Paths
from ocs.ledger.redis.installation import OpenMode
from ocs.settings.schema import Settings
from ocs.values.money import format_eur

if TYPE_CHECKING:  # sqlalchemy takes a quarter of a second, and most commands need none
    from sqlalchemy import Engine

    from ocs.history.queries import UsageItem
    from ocs.history.service import History

app = typer.Typer(help="Look at the history in SQL.", no_args_is_help=True)
PAGE = 1_000
"""Rows that are asked for together."""
MsisdnArgument = Annotated[str, typer.Argument(metavar="MSISDN")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print a table for spreadsheets.")]


@contextmanager
def history_database(settings: Settings) -> Iterator[Engine]:
    """The database, with its tables. FailedError: it cannot be used."""
    from ocs.history.engine import history_engine
    from ocs.history.errors import DATABASE_ERRORS, reason
    from ocs.history.migrating import check

    engine = history_engine(settings.history, settings.data_dir)
    try:
        check(engine)
        yield engine
    except DATABASE_ERRORS as error:
        raise FailedError(f"the database of history.url cannot be used: {reason(error)}") from error
    finally:
        engine.dispose()


@app.command()
def show(config: ConfigOption = DEFAULT, json: JsonOption = False) -> None:
    """Show up to where the charging records are loaded."""
    from ocs.history.reader import waiting_octets
    from ocs.history.resume import standing

    settings, _ = load_all(config)
    with history_database(settings) as engine:
        position = standing(engine)
    waiting = waiting_octets(Paths(settings.data_dir).records, position)
    if json:
        print_json({"file": position.name, "octets": position.offset, "waiting_octets": waiting})
    elif position.number:
        print(f"loaded up to octet {position.offset} of {position.name}; {counted(waiting, 'octet')} wait")
    else:
        print(f"nothing is loaded yet; {counted(waiting, 'octet')} wait")


@app.command()
def resume(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file in the folder of records.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Go on loading with this file of records, when the one before it is lost or damaged.

    Records that are loaded already are passed over.
    """
    from ocs.history.resume import ResumeError
    from ocs.history.resume import resume as resume_with

    settings, _ = load_all(config)
    with history_database(settings) as engine:
        try:
            resume_with(engine, Paths(settings.data_dir).records, file)
        except ResumeError as error:
            raise FailedError(str(error)) from error
    print(f"the loading goes on with {file}")


@app.command()
def usage(
    msisdn: MsisdnArgument,
    period: Annotated[int, typer.Option(help="0 = the current billing period, 1 = the one before, …")] = 0,
    config: ConfigOption = DEFAULT,
    csv: CsvOption = False,
) -> None:
    """Print every charged use of a billing period."""
    from ocs.history.tables import usage_table

    async def work(backend: Backend, history: History) -> None:
        view, after = (await backend.accounts.read(inputs.msisdn(msisdn))).view, None
        items: list[UsageItem] = []
        while page := (await history.usage(view.ids, period, after=after, limit=PAGE)).items:
            items += page
            after = page[-1].position
        if csv:
            sys.stdout.write(usage_table(items, times(backend)))
        else:
            _print_usage(items, times(backend))

    with_history(config, work)


def statement(
    msisdn: MsisdnArgument,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-11.")],
    config: ConfigOption = DEFAULT,
    csv: CsvOption = False,
) -> None:
    """Print what moved an account's credit in a month: net, VAT and gross."""
    from ocs.history.service import parse_month
    from ocs.history.tables import statement_table

    async def work(backend: Backend, history: History) -> None:
        view = (await backend.accounts.read(inputs.msisdn(msisdn))).view
        found = await history.statement(view.ids, parse_month(month), view.credit_micro_eur)
        text = statement_table(found, times(backend))
        sys.stdout.write(text if csv else aligned(text))

    with_history(config, work)


def erase(
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    msisdn: Annotated[str, typer.Option(help="Number of the person.")] = "",
    account: Annotated[str, typer.Option(help="Or the id of an account whose number is lost.")] = "",
    config: ConfigOption = DEFAULT,
) -> None:
    """Erase what is known of a person and need not be kept (docs/HISTORY.md, Erasure)."""
    if bool(msisdn) == bool(account):
        raise WrongCallError("name either --msisdn or --account")

    async def work(backend: Backend, history: History) -> None:
        ids = (account,) if account else (await backend.accounts.read(inputs.msisdn(msisdn))).view.ids
        done = await history.erase(ids, reason=reason)
        rows, lines = counted(done.rows, "row"), counted(done.file_lines, "line")
        print(f"erased {rows}, and the other parties in {lines} of record files")
        begins = times(backend)(done.before)
        print(f"use from {begins} on is of the current billing period: it stays until that is over")

    with_history(config, work, mode=OpenMode.WRITE)


def with_history(
    config: Path, work: Callable[[Backend, History], Coroutine[Any, Any, None]], mode: OpenMode = OpenMode.READ
) -> None:
    """Run `work` with the ledger and the history. FailedError: the database cannot be used."""
    from ocs.history.service import HistoryUnavailableError, history_of

    loaded = load_all(config)

    async def with_both(backend: Backend) -> None:
        history = history_of(loaded[0], backend.ledger, backend.environment.now)
        try:
            await work(backend, history)
        except HistoryUnavailableError as error:
            raise FailedError(f"the database of history.url cannot be used: {error}") from error
        finally:
            history.close()

    with_backend(config, mode, with_both, loaded=loaded)


def times(backend: Backend) -> Callable[[int], str]:
    zone = backend.catalogue.time_zone
    return lambda unix_s: datetime.fromtimestamp(unix_s, zone).isoformat()


def _print_usage(items: Sequence[UsageItem], time: Callable[[int], str]) -> None:
    for each in items:
        money, towards = format_eur(each.micro_eur), f"{each.direction} {each.party}".strip()
        print(f"{time(each.started_at)}  {each.rate:<28} {each.used:>12} {money:>12} EUR  {towards}")
    print(f"{counted(len(items), 'line')}, {format_eur(sum(each.micro_eur for each in items))} EUR")


def aligned(text: str) -> str:
    """A CSV as columns of equal width."""
    rows = list(csv_rows(text.splitlines()))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )
