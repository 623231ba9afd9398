"""Reads the host's usage file as CSV, by the mapping of the settings. Lines stream; a bad one is told, not fatal."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from ocs.history.reconcile.line import BadLine, Line, WholesaleFileError
from ocs.settings.reconciliation import ISO, UNITS, UNIX, ReconcileSection
from ocs.values.csv_text import delimiter_of
from ocs.values.money import MICRO
from ocs.values.quantity import unit_factors

MAX_UNITS = 2**53
Read = Callable[[int], None]


def csv_lines(path: Path, mapping: ReconcileSection, advanced: Read = lambda octets: None) -> Iterator[Line | BadLine]:
    """WholesaleFileError: no header with the columns of the mapping, or no CSV. `advanced`: octets that were read."""
    with path.open(encoding=mapping.encoding, newline="") as text:
        skipped = sum(1 for _ in islice(text, mapping.skip_lines))
        header = text.readline()
        delimiter = mapping.delimiter or delimiter_of(header)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if missing := sorted(set(mapping.columns.values()) - set(names)):
            raise WholesaleFileError(
                f"{path}: the header lacks {', '.join(missing)}; it has {', '.join(names)}: see [reconcile] columns"
            )
        row_of = _Rows(mapping, names)
        reader = csv.reader(_counted(text, advanced), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield row_of.line(skipped + 1 + reader.line_num, cells)
        except (csv.Error, UnicodeDecodeError) as error:
            raise WholesaleFileError(f"{path}, line {skipped + 1 + reader.line_num}: is no CSV: {error}") from None


def _counted(text: Iterator[str], advanced: Read) -> Iterator[str]:
    read = 0
    for line in text:
        read += len(line)
        if read >= 1_048_576:
            advanced(read)
            read = 0
        yield line
    advanced(read)


class _Rows:
    """Cells → Line."""

    def __init__(self, mapping: ReconcileSection, names: list[str]) -> None:
        self._place = {column: names.index(name) for column, name in mapping.columns.items()}
        self._width = len(names)
        self._services = {text.strip().casefold(): service for text, service in mapping.services.items()}
        self._service = mapping.service
        self._factor: dict[str, int] = {
            service: unit_factors(unit, kilo=mapping.kilo)[mapping.units[service]] if service in mapping.units else 1
            for service, unit in UNITS.items()
        }
        self._decimal = mapping.decimal
        self._format = mapping.time_format
        self._zone = ZoneInfo(mapping.time_zone)

    def line(self, number: int, cells: list[str]) -> Line | BadLine:
        if len(cells) != self._width:
            return BadLine(number, f"has {len(cells)} columns, the header {self._width}")
        try:
            return self._line(number, cells)
        except ValueError as error:
            return BadLine(number, str(error))

    def _line(self, number: int, cells: list[str]) -> Line:
        def cell(name: str) -> str:
            place = self._place.get(name)  # type: ignore[call-overload]
            return "" if place is None else cells[place].strip()

        msisdn, imsi = _digits(cell("msisdn")), _digits(cell("imsi"))
        if not msisdn and not imsi:
            raise ValueError("names no subscriber")
        service = self._service or self._services.get(cell("service").casefold())
        if service is None:
            raise ValueError(f"service {cell('service')!r} is none of [reconcile] services")
        start = self._time(cell("start"), "start")
        units = cell("units")
        amount = self._number(units, "units") if "units" in self._place else Decimal(0)
        if not units:
            amount = self._number(cell("up"), "up") + self._number(cell("down"), "down")
        octets = int((amount * self._factor[service]).to_integral_value())
        if not 0 <= octets < MAX_UNITS:
            raise ValueError(f"units {octets} are not from 0 to 2^53")
        end = start + int(self._number(cell("duration"), "duration"))
        if cell("end"):
            end = self._time(cell("end"), "end")
        if end < start:
            raise ValueError("ends before it starts")
        micro_eur = int((self._number(cell("amount"), "amount") * MICRO).to_integral_value())
        session, charging, record = cell("session"), cell("charging"), cell("record")
        return Line(number, msisdn, imsi, service, start, end, octets, micro_eur, session, charging, record)

    def _number(self, text: str, column: str) -> Decimal:
        """0 if the cell is empty."""
        if not text:
            return Decimal(0)
        if self._decimal == ",":
            text = text.replace(".", "").replace(",", ".")
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("nan")
        if not value.is_finite() or abs(value) > MAX_UNITS:
            raise ValueError(f"{column} {text!r} is no number")
        return value

    def _time(self, text: str, column: str) -> int:
        try:
            if self._format == UNIX:
                return int(text)
            at = datetime.fromisoformat(text) if self._format == ISO else datetime.strptime(text, self._format)  # noqa: DTZ007 - it gets the zone below
            return int((at if at.tzinfo else at.replace(tzinfo=self._zone)).timestamp())
        except (ValueError, OverflowError):
            raise ValueError(f"{column} {text!r} is no time of the form {self._format}") from None


def _digits(text: str) -> str:
    """A number without its prefix: "+386…" and "00386…" → "386…"."""
    return text.removeprefix("+").removeprefix("00")
