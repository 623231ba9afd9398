"""A retailer's file of top-ups (HOT-TOP-1): read, checked against its trailer, credited once per reference, reconciled.

A file may be imported again at any time: what was credited stays as it is. So an import that was interrupted is
finished by repeating it.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path

from ocs.accounts import inputs
from ocs.accounts.errors import InputError, RefusedError, UnknownError, raising_refused
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountOperations
from ocs.ledger.contract.operations import AccountLedger
from ocs.settings.top_up_files import TopUpFileSection
from ocs.values.identities import Msisdn
from ocs.values.moment import When, when_of
from ocs.values.money import CENT, CREDIT_CEILING_MICRO_EUR, format_eur
from ocs.values.top_ups import Channel

MAX_ROWS = 1_000_000
"""Of one file; all are in memory while it is imported."""
TOGETHER = 32
"""Rows that are credited at the same time. Charging waits for Redis's fsync after each few."""


class Outcome(StrEnum):
    """What became of a row."""

    APPLIED = "applied"
    """Credited now (of a dry run: it would be)."""
    AGAIN = "again"
    """This reference was credited before, to the same account and by the same amount."""
    REPEATED = "repeated"
    """An earlier row of the file is the same."""
    DIFFERENT = "different"
    """The reference was used for another account or amount: here, or in an earlier row of the file."""
    REFUSED = "refused"
    UNREADABLE = "unreadable"


DIFFERENCES = (Outcome.REPEATED, Outcome.DIFFERENT, Outcome.REFUSED, Outcome.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    msisdn: Msisdn
    amount_micro_eur: int
    reference: Reference


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that was not credited, and was not credited before."""

    line: int
    outcome: Outcome
    reason: str
    """A stable code, such as "account" or "ceiling"."""
    detail: str
    reference: str = ""
    msisdn: str = ""
    amount_micro_eur: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    rows: int = 0
    amount_micro_eur: int = 0

    def plus(self, micro_eur: int) -> Totals:
        return Totals(self.rows + 1, self.amount_micro_eur + micro_eur)


@dataclass(slots=True)
class TopUpFile:
    """What stands in a file."""

    rows: list[Row] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    """Rows that cannot be read, or occur twice."""
    total: Totals = field(default_factory=Totals)
    """Of all rows, also those of `differences`, as the retailer counts them."""
    without_amount: int = 0
    """Rows whose amount cannot be read, and is not in `total`."""
    trailer: Totals | None = None
    trailer_differs: str = ""
    """How the trailer differs from the rows; "" = it agrees, or there is none."""


@dataclass(slots=True)
class Report:
    """What an import did."""

    totals: dict[Outcome, Totals] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def add(self, outcome: Outcome, micro_eur: int) -> None:
        self.totals[outcome] = self.totals.get(outcome, Totals()).plus(micro_eur)

    def differs(self, difference: Difference) -> None:
        self.add(difference.outcome, difference.amount_micro_eur)
        self.differences.append(difference)


# -- reading


def read_top_ups(path: Path, form: TopUpFileSection) -> TopUpFile:
    """InputError "file": it is no such file at all."""
    found, seen = TopUpFile(), dict[str, tuple[str, int]]()
    try:
        with path.open(encoding=form.encoding, newline="") as text:
            for _ in range(form.skip_lines):
                text.readline()
            reader = csv.reader(text, delimiter="\t" if form.delimiter == "tab" else form.delimiter, strict=True)
            places = _places(next(reader, []), form)
            for fields in reader:
                if found.total.rows >= MAX_ROWS:
                    raise InputError("file", f"{path}: has more than {MAX_ROWS} rows: split it")
                _take(found, fields, form.skip_lines + reader.line_num, places, form, seen)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("file", f"{path}: is no CSV file in {form.encoding}: {error}") from None
    _check_trailer(found, form)
    return found


def _places(header: Sequence[str], form: TopUpFileSection) -> dict[str, int]:
    names = [name.strip() for name in header]
    missing = [name for name in form.columns.values() if name not in names]
    if missing:
        has = " | ".join(names)
        told = f"the header line has no column {', '.join(missing)}; separated by {form.delimiter!r} it has {has}"
        raise InputError("file", told)
    return {what: names.index(name) for what, name in form.columns.items()}


def _take(
    found: TopUpFile,
    fields: Sequence[str],
    line: int,
    places: dict[str, int],
    form: TopUpFileSection,
    seen: dict[str, tuple[str, int]],
) -> None:
    """Add one line of the file. `seen`: reference → number and amount of the rows before."""
    if not any(each.strip() for each in fields):
        return
    if form.trailer and fields[0].strip() == form.trailer:
        found.trailer = _trailer(fields, line, form)
        return
    if found.trailer is not None:
        raise InputError("file", f"line {line}: follows the trailer, which is the last line")
    try:
        row = _row(fields, line, places, form)
    except InputError as error:
        micro_eur = _amount_alone(fields, places, form)
        found.total = found.total.plus(micro_eur or 0)
        found.without_amount += micro_eur is None
        found.differences.append(
            Difference(line, Outcome.UNREADABLE, error.code, str(error), amount_micro_eur=micro_eur or 0)
        )
        return
    found.total = found.total.plus(row.amount_micro_eur)
    purpose = (row.msisdn, row.amount_micro_eur)
    if (before := seen.get(row.reference)) is None:
        seen[row.reference] = purpose
        found.rows.append(row)
    elif before == purpose:
        found.differences.append(_difference(row, Outcome.REPEATED, "file", "an earlier row is the same"))
    else:
        what = "an earlier row has this reference with another number or amount"
        found.differences.append(_difference(row, Outcome.DIFFERENT, "file", what))


def _row(fields: Sequence[str], line: int, places: dict[str, int], form: TopUpFileSection) -> Row:
    if len(fields) <= max(places.values()):
        raise InputError("columns", f"has {len(fields)} columns, too few")
    number = fields[places["msisdn"]].strip().removeprefix("+")
    return Row(
        line,
        inputs.msisdn(number.removeprefix("00")),
        _amount(fields[places["amount"]], form),
        inputs.reference(form.prefix + fields[places["reference"]].strip()),
    )


def _amount_alone(fields: Sequence[str], places: dict[str, int], form: TopUpFileSection) -> int | None:
    """Of a row whose other columns cannot be read: the retailer's sum has it. None = it cannot be read either."""
    try:
        return _amount(fields[places["amount"]], form)
    except (InputError, IndexError):
        return None


def _amount(text: str, form: TopUpFileSection) -> int:
    """Micro-EUR."""
    text = text.strip()
    if form.unit == "cent":
        if not (text.isascii() and text.isdigit()):
            raise InputError("amount", f"{text!r} is no number of cents")
        return inputs.amount(str(int(text) * CENT // 1_000_000) + f".{int(text) * CENT % 1_000_000:06d}")
    if form.decimal == ",":
        if "." in text:
            raise InputError("amount", f"{text!r} has a point; the file's decimal sign is a comma")
        text = text.replace(",", ".")
    return inputs.amount(text)


def _trailer(fields: Sequence[str], line: int, form: TopUpFileSection) -> Totals:
    def cell(column: int) -> str:
        if len(fields) < column:
            raise InputError("file", f"line {line}: the trailer has no column {column}")
        return fields[column - 1].strip()

    rows = cell(form.trailer_rows) if form.trailer_rows else "0"
    if not (rows.isascii() and rows.isdigit()):
        raise InputError("file", f"line {line}: {rows!r} is no number of rows")
    amount = _amount(cell(form.trailer_amount), form) if form.trailer_amount and int(rows or 0) else 0
    return Totals(int(rows), amount)


def _check_trailer(found: TopUpFile, form: TopUpFileSection) -> None:
    if not form.trailer:
        return
    if found.trailer is None:
        found.trailer_differs = f"there is no trailer line {form.trailer!r}: the file may have been cut off"
    elif form.trailer_rows and found.trailer.rows != found.total.rows:
        found.trailer_differs = f"the trailer says {found.trailer.rows} rows, the file has {found.total.rows}"
    elif form.trailer_amount and found.trailer.amount_micro_eur != found.total.amount_micro_eur:
        says, has = (format_eur(each.amount_micro_eur) for each in (found.trailer, found.total))
        found.trailer_differs = f"the trailer's sum is {says} EUR, that of the rows {has} EUR"
        if found.without_amount:
            found.trailer_differs += f", without {found.without_amount} whose amount cannot be read"


def _difference(row: Row, outcome: Outcome, reason: str, detail: str) -> Difference:
    return Difference(row.line, outcome, reason, detail, row.reference, row.msisdn, row.amount_micro_eur)


# -- importing


class TopUpImport:
    """Credits the rows of a file, or tells what would become of them."""

    def __init__(self, accounts: AccountOperations, ledger: AccountLedger, when: Callable[[], dict[str, int]]) -> None:
        self._accounts, self._ledger, self._at = accounts, ledger, when
        self._planned: dict[str, int] = {}
        """Account → credit that the rows before would have left it, of a dry run."""

    def _when(self) -> When:
        return when_of(self._at())

    async def run(
        self, file: TopUpFile, *, dry_run: bool = False, done: Callable[[int], None] = lambda rows: None
    ) -> Report:
        """`done` is told how many more rows are finished. LedgerUnavailable: repeat the import."""
        report = Report()
        for each in file.differences:
            report.differs(each)
        done(len(file.differences))
        for rows in _batches(file.rows, 1 if dry_run else TOGETHER):
            work = self._foretell if dry_run else self._credit
            found = await asyncio.gather(*(work(row) for row in rows))
            for row, outcome in zip(rows, found, strict=True):
                if isinstance(outcome, Difference):
                    report.differs(outcome)
                else:
                    report.add(outcome, row.amount_micro_eur)
            done(len(rows))
        report.differences.sort(key=lambda each: each.line)
        return report

    async def _credit(self, row: Row) -> Outcome | Difference:
        try:
            after = await self._accounts.top_up(
                row.msisdn,
                amount_micro_eur=row.amount_micro_eur,
                reference=row.reference,
                channel=Channel.IMPORT,
            )
        except (RefusedError, UnknownError) as error:
            outcome = Outcome.DIFFERENT if error.code == "reference" else Outcome.REFUSED
            return _difference(row, outcome, error.code, str(error))
        return Outcome.APPLIED if after.applied else Outcome.AGAIN

    async def _foretell(self, row: Row) -> Outcome | Difference:
        try:
            view = (await self._accounts.read(row.msisdn)).view
        except UnknownError as error:
            return _difference(row, Outcome.REFUSED, error.code, str(error))
        with raising_refused():
            used = await self._ledger.top_up_of(row.reference, month=self._when()["month"])
        uid = view.account_id.partition("-")[2]
        if used is not None:
            if used == (uid, row.amount_micro_eur):
                return Outcome.AGAIN
            return _difference(
                row,
                Outcome.DIFFERENT,
                "reference",
                "this reference was used for another account or amount, or for other credit",
            )
        credit = self._planned.get(uid, view.credit_micro_eur) + row.amount_micro_eur
        if credit > CREDIT_CEILING_MICRO_EUR:
            return _difference(row, Outcome.REFUSED, "ceiling", "the credit would exceed 200 EUR (HOT-ACC-7)")
        self._planned[uid] = credit
        return Outcome.APPLIED


def _batches(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    left = iter(rows)
    while some := list(islice(left, size)):
        yield some
