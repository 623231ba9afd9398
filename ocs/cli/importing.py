"""`ocs account import FILE.csv`: opens many accounts. Columns: msisdn, imsi, package, credit; puk and limit if
there are some.

A bad row is reported with its line and the reason, and the other rows are imported. With --all-or-nothing every row is
checked first, against the file, the catalogue and the ledger; one bad row, and nothing is imported.
"""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.accounts.errors import InputError, RefusedError
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    WrongCallError,
    counted,
    progress_bar,
    with_backend,
)
from ocs.ledger.redis.installation import OpenMode
from ocs.values.csv_text import decimal_point, dict_reader
from ocs.values.identities import Imsi, Msisdn, by_imsi, by_msisdn
from ocs.values.products import DEFAULT_LIMIT_MICRO_EUR, PackageTerms

COLUMNS = ("msisdn", "imsi", "package", "credit")
PUK, LIMIT = MORE_COLUMNS = ("puk", "limit")
"""May be left out, and empty in a row: PUK1 of the SIM (HOT-GRP-1), spending limit in EUR or "off" (HOT-CC-1)."""
BATCH = 500
"""Rows sent to Redis together."""
MAX_SHOWN_ROWS = 50
"""Bad rows that are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    msisdn: Msisdn
    imsi: Imsi
    package: PackageTerms | None
    credit_micro_eur: int
    puk: str = field(default="", repr=False)
    limit_micro_eur: int | None = DEFAULT_LIMIT_MICRO_EUR


@dataclass(slots=True)
class ImportResult:
    """How many rows were opened, skipped and bad."""

    opened: int = 0
    skipped: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """(line, reason) of the first MAX_SHOWN_ROWS bad rows."""
    bad_count: int = 0

    def add_bad(self, line: int, reason: str) -> None:
        self.bad_count += 1
        if len(self.bad) < MAX_SHOWN_ROWS:
            self.bad.append((line, reason))


def import_accounts(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV with a header line.")],
    all_or_nothing: Annotated[bool, typer.Option(help="Import nothing if a row is bad.")] = False,
    skip_existing: Annotated[bool, typer.Option(help="Skip rows whose MSISDN or IMSI has an account.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Open the accounts of a CSV file (columns msisdn, imsi, package, credit, and if you like puk, limit)."""

    async def work(backend: Backend) -> None:
        result = ImportResult()
        total = _count_rows(file)
        if all_or_nothing:
            await _check_all(backend, file, total, result, skip_existing)
        if not result.bad_count:
            with progress_bar("importing", total) as progress:
                rows = _rows(file, backend.catalogue.packages, result, "the rows before are imported")
                while batch := list(islice(rows, BATCH)):
                    await asyncio.gather(*(_open(backend, row, result, skip_existing) for row in batch))
                    progress.advance(progress.task_ids[0], len(batch))
        _report(file, result, all_or_nothing)

    with_backend(config, OpenMode.CREATE, work)


async def _open(backend: Backend, row: Row, result: ImportResult, skip_existing: bool) -> None:
    try:
        await backend.accounts.open_without_reading(
            msisdn=row.msisdn,
            imsi=row.imsi,
            credit_micro_eur=row.credit_micro_eur,
            package=row.package,
            puk=row.puk,
            limit_micro_eur=row.limit_micro_eur,
        )
        result.opened += 1
    except RefusedError as error:
        if error.code == "exists" and skip_existing:
            result.skipped += 1
        else:
            result.add_bad(row.line, str(error))


async def _check_all(backend: Backend, file: Path, total: int, result: ImportResult, skip_existing: bool) -> None:
    """Check every row without writing anything."""
    with progress_bar("checking", total) as progress:
        rows = _rows(file, backend.catalogue.packages, result, "nothing was imported")
        while batch := list(islice(rows, BATCH)):
            if not skip_existing:
                found = await asyncio.gather(*(backend.accounts.taken_ids(row.msisdn, row.imsi) for row in batch))
                for row, taken in zip(batch, found, strict=True):
                    for _ in taken:
                        result.add_bad(row.line, "the number or the IMSI belongs to an account already")
            progress.advance(progress.task_ids[0], len(batch))


def _count_rows(file: Path) -> int:
    """About how many rows the file has, for the progress bar."""
    with file.open("rb") as lines:
        return max(sum(1 for _ in lines) - 1, 0)


def _rows(file: Path, packages: Mapping[str, PackageTerms], result: ImportResult, so_far: str) -> Iterator[Row]:
    """The good rows of the file. The bad ones are added to `result`. `so_far`: what was done if the rest is no CSV."""
    seen: set[str] = set()
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = dict_reader(text)
            if set(reader.fieldnames or ()).difference(MORE_COLUMNS) != set(COLUMNS):
                found = ",".join(reader.fieldnames or ())
                raise WrongCallError(
                    f"{file}, line 1 = {found!r}: must name the columns {','.join(COLUMNS)}, and if you like "
                    f"{' and '.join(MORE_COLUMNS)}, with commas, semicolons or tabs between them"
                )
            for fields in reader:
                try:
                    yield _row(fields, reader.line_num, packages, seen, reader.reader.dialect.delimiter)
                except InputError as error:
                    result.add_bad(reader.line_num, str(error))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FailedError(f"{file}: is no CSV file in UTF-8: {error}; {so_far}") from None


def _row(
    fields: dict[str, str], line: int, packages: Mapping[str, PackageTerms], seen: set[str], delimiter: str
) -> Row:
    if None in fields or None in fields.values():
        raise InputError("columns", f"must have {len(fields.keys() - {None})} columns")
    msisdn, imsi = inputs.msisdn(fields["msisdn"]), inputs.imsi(fields["imsi"])
    name = fields["package"].strip()
    package = inputs.package(name, packages) if name else None
    credit = inputs.opening_credit(decimal_point(fields["credit"], delimiter))
    texts = {by_msisdn(msisdn): f"MSISDN {msisdn}", by_imsi(imsi): f"IMSI {imsi}"}
    for subscriber_id, text in texts.items():
        if subscriber_id in seen:
            raise InputError("row", f"{text} is in an earlier row too")
    seen.update(texts)
    puk, limit = (fields.get(name, "").strip() for name in MORE_COLUMNS)
    row = Row(line, msisdn, imsi, package, credit, inputs.puk(puk) if puk else "")
    return replace(row, limit_micro_eur=inputs.limit(decimal_point(limit, delimiter))) if limit else row


def _report(file: Path, result: ImportResult, all_or_nothing: bool) -> None:
    for line, reason in sorted(result.bad):
        print(f"{file}, line {line}: {reason}", file=sys.stderr)
    if result.bad_count > len(result.bad):
        print(f"… and {result.bad_count - len(result.bad)} more bad rows", file=sys.stderr)
    skipped = f", {result.skipped} were there already" if result.skipped else ""
    print(f"{counted(result.opened, 'account')} opened{skipped}, {counted(result.bad_count, 'bad row')}")
    if result.bad_count:
        raise FailedError(
            "nothing was imported: correct the rows above, then import the file again"
            if all_or_nothing and not result.opened
            else "not every row was imported: correct the rows above, then import the file again with --skip-existing"
        )
