"""`ocs account import FILE.csv`: many accounts at once. Columns msisdn, imsi, package, credit.

A row that cannot go in is reported with its line and the reason; the others go in, or with --all-or-nothing none do:
then every row is checked before the first is written, against the file, the catalogue and the ledger.
"""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.accounts.errors import InputError, RefusedError
from ocs.cli.common import (
    DEFAULT,
    ConfigOption,
    FailedError,
    Office,
    WrongCallError,
    counted,
    progress_bar,
    with_office,
)
from ocs.ledger.redis.installation import Use
from ocs.values.identities import Imsi, Msisdn, by_imsi, by_msisdn
from ocs.values.products import PackageTerms

COLUMNS = ("msisdn", "imsi", "package", "credit")
BATCH = 500
"""Rows that are on their way to Redis at once."""
MAX_SHOWN_ROWS = 50
"""Bad rows that are listed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    msisdn: Msisdn
    imsi: Imsi
    package: PackageTerms | None
    credit_micro_eur: int


@dataclass(slots=True)
class Tally:
    """What became of the rows."""

    opened: int = 0
    skipped: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """(line, reason) of the first, at most MAX_SHOWN_ROWS."""
    bad_count: int = 0

    def refuse(self, line: int, reason: str) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_SHOWN_ROWS:
            self.bad.append((line, reason))


def import_accounts(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV with a header line.")],
    all_or_nothing: Annotated[bool, typer.Option(help="Write nothing when any row is bad.")] = False,
    skip_existing: Annotated[bool, typer.Option(help="A number that has an account already is no bad row.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Open the accounts of a CSV file (columns msisdn, imsi, package, credit)."""

    async def work(office: Office) -> None:
        tally = Tally()
        total = _count_rows(file)
        if all_or_nothing:
            await _check_all(office, file, total, tally, skip_existing)
        if not tally.bad_count:
            with progress_bar("importing", total) as progress:
                rows = _rows(file, office.catalogue.packages, tally)
                while batch := list(islice(rows, BATCH)):
                    await asyncio.gather(*(_open(office, row, tally, skip_existing) for row in batch))
                    progress.advance(progress.task_ids[0], len(batch))
        _report(tally, all_or_nothing)

    with_office(config, Use.FOUND, work)


async def _open(office: Office, row: Row, tally: Tally, skip_existing: bool) -> None:
    try:
        await office.accounts.open_without_reading(
            msisdn=row.msisdn, imsi=row.imsi, credit_micro_eur=row.credit_micro_eur, package=row.package
        )
        tally.opened += 1
    except RefusedError as error:
        if error.code == "exists" and skip_existing:
            tally.skipped += 1
        else:
            tally.refuse(row.line, str(error))


async def _check_all(office: Office, file: Path, total: int, tally: Tally, skip_existing: bool) -> None:
    """Every row as far as it can be checked without writing."""
    with progress_bar("checking", total) as progress:
        rows = _rows(file, office.catalogue.packages, tally)
        while batch := list(islice(rows, BATCH)):
            if not skip_existing:
                found = await asyncio.gather(*(office.accounts.taken_ids(row.msisdn, row.imsi) for row in batch))
                for row, taken in zip(batch, found, strict=True):
                    for _ in taken:
                        tally.refuse(row.line, "the number or the IMSI belongs to an account already")
            progress.advance(progress.task_ids[0], len(batch))


def _count_rows(file: Path) -> int:
    """About how many rows there are, for the progress bar."""
    with file.open("rb") as lines:
        return max(sum(1 for _ in lines) - 1, 0)


def _rows(file: Path, packages: Mapping[str, PackageTerms], tally: Tally) -> Iterator[Row]:
    """The good rows of the file; the bad ones go to the tally."""
    seen: set[str] = set()
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            if set(reader.fieldnames or ()) != set(COLUMNS):
                raise WrongCallError(f"{file}: the first line must name the columns {','.join(COLUMNS)}")
            for fields in reader:
                try:
                    yield _row(fields, reader.line_num, packages, seen)
                except InputError as error:
                    tally.refuse(reader.line_num, str(error))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FailedError(f"{file}: is no CSV file in UTF-8: {error}; the rows before it are imported") from None


def _row(fields: dict[str, str], line: int, packages: Mapping[str, PackageTerms], seen: set[str]) -> Row:
    if None in fields or None in fields.values():
        raise InputError("columns", f"must have {len(COLUMNS)} columns")
    msisdn, imsi = inputs.msisdn(fields["msisdn"]), inputs.imsi(fields["imsi"])
    name = fields["package"].strip()
    package = inputs.package(name, packages) if name else None
    credit = inputs.opening_credit(fields["credit"])
    names = {by_msisdn(msisdn): f"MSISDN {msisdn}", by_imsi(imsi): f"IMSI {imsi}"}
    for name, text in names.items():
        if name in seen:
            raise InputError("row", f"{text} is in an earlier row too")
    seen.update(names)
    return Row(line, msisdn, imsi, package, credit)


def _report(tally: Tally, all_or_nothing: bool) -> None:
    for line, reason in sorted(tally.bad):
        print(f"line {line}: {reason}", file=sys.stderr)
    if tally.bad_count > len(tally.bad):
        print(f"… and {tally.bad_count - len(tally.bad)} more bad rows", file=sys.stderr)
    skipped = f", {tally.skipped} were there already" if tally.skipped else ""
    print(f"{counted(tally.opened, 'account')} opened{skipped}, {counted(tally.bad_count, 'bad row')}")
    if tally.bad_count:
        raise FailedError(
            "nothing was imported: put the rows above right, then import the file again"
            if all_or_nothing and not tally.opened
            else "not every row was imported: put the rows above right, then import the file again with --skip-existing"
        )
