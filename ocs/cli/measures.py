"""`ocs measure …`: bars, facts and muted notices on one account, or on all of a file at once (HOT-ROA-8)."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from ocs.accounts import inputs
from ocs.accounts.errors import AccountError, InputError
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    counted,
    print_json,
    with_backend,
)
from ocs.cli.show import measure_json, measure_text
from ocs.ledger.redis.installation import OpenMode
from ocs.values.csv_text import dict_reader
from ocs.values.identities import MSISDN_EXAMPLE, Msisdn
from ocs.values.measures import AccountMeasure

app = typer.Typer(help="Put measures on accounts, such as a bar with an end, and lift them.", no_args_is_help=True)
COLUMN = "msisdn"
BATCH = 200
"""Accounts that are asked for at once."""
MAX_SHOWN_ROWS = 50
"""Bad rows that are listed; the rest is counted."""

NumberArgument = Annotated[str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.", metavar="[MSISDN]")]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file", exists=True, dir_okay=False, readable=True, help=f"CSV of accounts, with a column {COLUMN}."
    ),
]
KindOption = Annotated[str, typer.Option(help="bar (its name is a bar), fact (a word that rates ask for) or mute.")]
NameOption = Annotated[str, typer.Option(help='A bar, a fact, or a notice to mute such as "roaming-data:80".')]
Work = Callable[[Backend, Msisdn], Coroutine[Any, Any, tuple[bool, str]]]
"""Does it for one account: whether that changed something, and what is said of it."""


@app.command("set")
def set_(
    kind: KindOption,
    name: NameOption,
    reason: Annotated[str, typer.Option(help="Why: it stands in the record.")],
    msisdn: NumberArgument = "",
    since: Annotated[str, typer.Option("--from", help="2026-12-01 or 2026-12-01T18:00; without it, now.")] = "",
    until: Annotated[str, typer.Option(help="When it ends; without it, when it is lifted.")] = "",
    file: FileOption = None,
    config: ConfigOption = DEFAULT,
) -> None:
    """Put a measure on an account, or on all of a file. It replaces one of its kind and name."""
    wanted = inputs.measure_kind(kind)

    async def work(backend: Backend) -> None:
        now, zone = backend.environment.now(), backend.catalogue.time_zone
        begins = inputs.moment(since, zone) if since else now
        ends = inputs.moment(until, zone) if until else 0
        names = backend.accounts.measure_names(wanted)
        measure = inputs.measure(wanted, name, reason, begins, ends, names)
        if ends and ends <= now:
            raise InputError("until", f"{until!r} is past")

        async def one(backend: Backend, number: Msisdn) -> tuple[bool, str]:
            await backend.accounts.set_measure(number, measure=measure)
            return True, _text_of(measure, now)

        await _for_each(backend, msisdn, file, one, "set")

    with_backend(config, OpenMode.WRITE, work)


def _text_of(measure: AccountMeasure, now: int) -> str:
    return f"{measure.kind} {measure.name}" + (" is planned" if measure.since > now else " is in force")


@app.command()
def lift(
    kind: KindOption,
    name: NameOption,
    msisdn: NumberArgument = "",
    file: FileOption = None,
    config: ConfigOption = DEFAULT,
) -> None:
    """End a measure of an account, or of all of a file, now."""
    wanted = inputs.measure_kind(kind)

    async def one(backend: Backend, number: Msisdn) -> tuple[bool, str]:
        lifted = await backend.accounts.lift_measure(number, kind=wanted, name=name)
        if not lifted:  # one of a name that the catalogue no longer has can be lifted too
            inputs.measure_name(wanted, name, backend.accounts.measure_names(wanted))
        return lifted, f"{wanted} {name} {'is lifted' if lifted else 'was not there: no change'}"

    async def work(backend: Backend) -> None:
        await _for_each(backend, msisdn, file, one, "lifted")

    with_backend(config, OpenMode.WRITE, work)


@app.command("list")
def list_(msisdn: NumberArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show an account's measures, planned ones too."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        view = (await backend.accounts.read(number)).view
        if json:
            print_json([measure_json(each) for each in view.measures])
            return
        for each in view.measures:
            print(measure_text(each))

    with_backend(config, OpenMode.READ, work)


async def _for_each(backend: Backend, msisdn: str, file: Path | None, one: Work, done: str) -> None:
    if (file is None) == (not msisdn):
        raise WrongCallError("name an account, or a file of accounts with --file")
    if file is None:
        number = inputs.msisdn(msisdn)
        print(f"{number}: {(await one(backend, number))[1]}")
        return
    bad: list[tuple[int, str]] = []
    unchanged: list[int] = []

    async def row(line: int, text: str) -> None:
        try:
            changed, _ = await one(backend, inputs.msisdn(text))
            if not changed:
                unchanged.append(line)
        except AccountError as error:
            bad.append((line, str(error)))

    rows = _rows(file)
    for first in range(0, len(rows), BATCH):
        await asyncio.gather(*(row(*each) for each in rows[first : first + BATCH]))
    for line, reason in sorted(bad)[:MAX_SHOWN_ROWS]:
        print(f"{file}, line {line}: {reason}", file=sys.stderr)
    if len(bad) > MAX_SHOWN_ROWS:
        print(f"… and {len(bad) - MAX_SHOWN_ROWS} more bad rows", file=sys.stderr)
    without = f", {counted(len(unchanged), 'account')} had none" if unchanged else ""
    changed_count = len(rows) - len(bad) - len(unchanged)
    print(f"{done} on {counted(changed_count, 'account')}{without}, {counted(len(bad), 'bad row')}")
    if bad:
        raise FailedError("it was not done for every row: correct the rows above, then run the command again")


def _rows(file: Path) -> list[tuple[int, str]]:
    """(line, MSISDN)."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = dict_reader(text)
            if COLUMN not in (reader.fieldnames or ()):
                found = ",".join(reader.fieldnames or ())
                raise WrongCallError(
                    f"{file}, line 1 = {found!r}: must name a column {COLUMN}, with commas, semicolons or tabs between "
                    "columns"
                )
            return [(reader.line_num, (row[COLUMN] or "").strip()) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FailedError(f"{file} is no CSV file in UTF-8: {error}; nothing was done") from None
