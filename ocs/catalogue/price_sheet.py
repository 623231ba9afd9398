"""A price list as a spreadsheet's CSV: one row a zone, its countries or prefixes and its prices.

Delimiter (semicolon, comma, tab) and decimal sign (comma, point) are found out; headers are Slovene or English
(`HEADERS`). Every mistake is told with row and column, as the spreadsheet counts them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import phonenumbers

from ocs.catalogue.countries import MCC_COUNTRY, NO_COUNTRY
from ocs.catalogue.model import ID_PATTERN
from ocs.catalogue.price import MAX_MONEY_MICRO_EUR
from ocs.catalogue.problems import CatalogueError, Problem
from ocs.values.csv_text import delimiter_of
from ocs.values.money import MICRO, format_eur

MAX_ROWS = 2_000
ZONE, COUNTRIES, PREFIXES, FIRST, NEXT, INTERVAL, DATA_STEP = (
    *("zone", "countries", "prefixes", "first", "next", "interval", "data step"),
)
MINUTE, MINUTE_IN, SMS, MMS, MB = "minute", "received minute", "sms", "mms", "mb"
PRICES = (MINUTE, MINUTE_IN, SMS, MMS, MB)
HEADERS: dict[str, tuple[str, ...]] = {
    ZONE: ("zone", "cona", "območje", "obmocje", "skupina", "group"),
    COUNTRIES: ("countries", "country", "države", "drzave", "država", "drzava", "države v coni"),
    PREFIXES: ("prefixes", "prefix", "predpone", "predpona", "klicne številke", "klicne stevilke", "omrežne skupine"),
    MINUTE: ("minute", "price per minute", "call", "minuta", "cena na minuto", "cena minute", "klic", "odhodni klic"),
    MINUTE_IN: ("received minute", "incoming minute", "dohodna minuta", "dohodni klic", "cena dohodne minute"),
    SMS: ("sms", "price per sms", "cena sms", "sporočilo sms", "sporocilo sms"),
    MMS: ("mms", "price per mms", "cena mms", "sporočilo mms"),
    MB: ("mb", "price per mb", "data", "cena mb", "cena na mb", "podatki", "prenos podatkov"),
    FIRST: ("first", "first interval", "prvi interval", "prvi obračunski interval"),
    NEXT: ("next", "next interval", "naslednji interval", "naslednji obračunski interval"),
    INTERVAL: ("interval", "intervals", "obračunski interval", "obracunski interval", "intervali"),
    DATA_STEP: ("data step", "data interval", "interval podatkov", "korak podatkov"),
}
"""Column → headers that mean it, in small letters; what stands in brackets behind a header (a unit) does not count."""
_BY_HEADER = {header: column for column, headers in HEADERS.items() for header in headers}
_AMOUNT = re.compile(r"([0-9]{1,6})(?:[.,]([0-9]{1,6}))?")
"""No marks between thousands: no price is so high, and 1.000 may mean either."""
_STEP = re.compile(r"([0-9]{1,6})\s*(s|sek|sec|min|kb|mb)?\.?")
_SECONDS = {"": 1, "s": 1, "sek": 1, "sec": 1, "min": 60}
_AMOUNTS_ALLOWED = "must be an amount in EUR with at most 6 decimals, such as 0,49 or 0.49"


@dataclass(slots=True)
class Zone:
    """One row, read. Prices in micro-EUR, steps as quantities of the catalogue."""

    row: int
    id: str
    countries: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    prices: dict[str, int] = field(default_factory=dict)
    """By column of PRICES; only those that the row states."""
    first: str = "60 s"
    next: str = ""
    data_step: str = ""


class SheetReader:
    """`gross`: an amount of the sheet in micro-EUR → the gross one."""

    def __init__(self, name: str, gross: Callable[[int], int] = lambda amount: amount) -> None:
        self._name = name
        self._gross = gross
        self.problems: list[Problem] = []
        self._titles: dict[str, str] = {}
        """Column → header as it is written."""

    def read(self, octets: bytes) -> list[Zone]:
        """CatalogueError lists every mistake by row and column."""
        try:
            text = _text(octets)
        except UnicodeDecodeError as error:
            allowed = f"must be a text file in UTF-8, UTF-16 or Windows-1250: {error}"
            raise CatalogueError([Problem(self._name, "", "", allowed)]) from None
        rows = self._rows(text)
        zones = [self._zone(number, cells) for number, cells in rows]
        self._check_owners(zones)
        if not zones and not self.problems:
            self.problems.append(Problem(self._name, "", "", "has no row below its header"))
        if self.problems:
            raise CatalogueError(self.problems)
        return zones

    def _rows(self, text: str) -> Iterator[tuple[int, Mapping[str, str]]]:
        lines = self._lines(text)
        start = next((n for n, cells in enumerate(lines) if any(cell.strip() for cell in cells)), None)
        if start is None or not (columns := self._columns(start + 1, lines[start])):
            return
        if len(lines) - start > MAX_ROWS:
            self.problems.append(Problem(self._name, "", "", f"has more than {MAX_ROWS} rows"))
            return
        for number, cells in enumerate(lines[start + 1 :], start + 2):
            if any(cell.strip() for cell in cells[len(columns) :]):
                surplus = "has more cells than the header: put amounts with a decimal comma into quotes"
                self._add(number, "", "", surplus)
            elif any(cell.strip() for cell in cells):
                yield number, {column: cell.strip() for column, cell in zip(columns, cells, strict=False) if column}

    def _lines(self, text: str) -> list[list[str]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        try:
            return list(reader)
        except csv.Error as error:
            self.problems.append(Problem(self._name, f"line {reader.line_num}", "", f"is not CSV: {error}"))
            return []

    def _columns(self, row: int, header: Sequence[str]) -> list[str]:
        """The column of each cell, "" of those that are passed over; [] and problems where the header is no header."""
        found: list[str] = []
        for title in header:
            bare = re.sub(r"\s*[(\[].*", "", title).strip().lower()
            column = _BY_HEADER.get(" ".join(bare.split()), "")
            if column in found and column:
                self._add(row, title.strip(), title, f"is a second column of {column}")
            found.append(column)
            if column:
                self._titles.setdefault(column, title.strip())
        missing = [] if ZONE in found else [ZONE]
        if not set(PRICES) & set(found):
            missing.append(" or ".join(PRICES))
        for column in missing:
            known = ", ".join(f'"{each}"' for each in HEADERS.get(column, (column,)))
            self._add(row, "", "", f"has no column {known}")
        return [] if missing else found

    def _zone(self, row: int, cells: Mapping[str, str]) -> Zone:
        zone = Zone(row, cells.get(ZONE, "").strip())
        zone.id = re.sub(r"\s+", "-", zone.id)
        if not re.match(ID_PATTERN, zone.id):
            allowed = "must be an identifier of letters, digits, points, - and _, such as zone2"
            self._add(row, ZONE, cells.get(ZONE, ""), allowed)
        zone.countries = self._listed(row, COUNTRIES, cells, self._country)
        zone.prefixes = self._listed(row, PREFIXES, cells, self._prefix)
        for column in PRICES:
            if text := cells.get(column, ""):
                amount = self._amount(row, column, text)
                if amount is not None:
                    zone.prices[column] = amount
        self._steps(row, zone, cells)
        if not any(cells.get(column) for column in PRICES):
            self._add(row, ZONE, zone.id, "has no price")
        return zone

    def _listed(
        self, row: int, column: str, cells: Mapping[str, str], read: Callable[[int, str], str | None]
    ) -> list[str]:
        texts = [text for text in re.split(r"[,;/|\n]+|\s+(?=[A-Z+0])", cells.get(column, "")) if text.strip()]
        found = [read(row, text.strip()) for text in texts]
        return list(dict.fromkeys(each for each in found if each is not None))

    def _country(self, row: int, text: str) -> str | None:
        known = phonenumbers.SUPPORTED_REGIONS | set(MCC_COUNTRY.values()) | {NO_COUNTRY}
        code = text.upper()
        if code in known or code == "*":
            return code
        self._add(row, COUNTRIES, text, "must be country codes (ISO 3166-1 alpha-2), such as RS, or * for all others")
        return None

    def _prefix(self, row: int, text: str) -> str | None:
        digits = re.sub(r"[\s()-]", "", text)
        digits = "+" + digits[2:] if digits.startswith("00") else digits if digits.startswith("+") else "+" + digits
        if re.fullmatch(r"\+[1-9][0-9]{0,14}", digits):
            return digits
        self._add(row, PREFIXES, text, "must be the first digits of international numbers, such as +38164 or 0038164")
        return None

    def _amount(self, row: int, column: str, text: str) -> int | None:
        bare = re.sub(r"^(EUR|€)|(EUR|€)$", "", text.replace("\xa0", " ").strip(), flags=re.IGNORECASE).strip()
        found = _AMOUNT.fullmatch(bare)
        if found is None:
            self._add(row, column, text, _AMOUNTS_ALLOWED)
            return None
        micro_eur = int(found[1]) * MICRO + int((found[2] or "").ljust(6, "0"))
        micro_eur = self._gross(micro_eur)
        if micro_eur > MAX_MONEY_MICRO_EUR:
            self._add(row, column, text, f"must be at most {format_eur(MAX_MONEY_MICRO_EUR)} EUR")
            return None
        return micro_eur

    def _steps(self, row: int, zone: Zone, cells: Mapping[str, str]) -> None:
        first, next_ = cells.get(FIRST, ""), cells.get(NEXT, "")
        if interval := cells.get(INTERVAL, ""):
            first, _, next_ = (part.strip() for part in interval.partition("/"))
        zone.first = self._seconds(row, INTERVAL if interval else FIRST, first) or zone.first
        zone.next = self._seconds(row, INTERVAL if interval else NEXT, next_) or zone.first
        if step := cells.get(DATA_STEP, ""):
            found = _STEP.fullmatch(step.lower())
            if found is None or found[2] not in ("kb", "mb") or not int(found[1]):
                self._add(row, DATA_STEP, step, "must be a quantity in kB or MB, such as 100 kB")
            else:
                zone.data_step = f"{int(found[1])} {'kB' if found[2] == 'kb' else 'MB'}"

    def _seconds(self, row: int, column: str, text: str) -> str:
        if not text:
            return ""
        found = _STEP.fullmatch(text.lower())
        if found is None or (found[2] or "") not in _SECONDS or not int(found[1]):
            allowed = "must be seconds, such as 60, 60 s or 1 min" + (", twice: 60/1" if column == INTERVAL else "")
            self._add(row, column, text, allowed)
            return ""
        return f"{int(found[1]) * _SECONDS[found[2] or '']} s"

    def _check_owners(self, zones: Sequence[Zone]) -> None:
        """A zone, a country and a prefix stand once."""
        owners: dict[tuple[str, str], Zone] = {}
        for zone in zones:
            names = [(ZONE, zone.id), *((COUNTRIES, each) for each in zone.countries)]
            for column, name in [*names, *((PREFIXES, each) for each in zone.prefixes)]:
                before = owners.setdefault((column, name), zone)
                if before is not zone:
                    self._add(zone.row, column, name, f"row {before.row} ({before.id}) has it already")

    def _add(self, row: int, column: str, value: str, allowed: str) -> None:
        title = self._titles.get(column, column)
        key = f"row {row}, column {title}" if title else f"row {row}"
        self.problems.append(Problem(self._name, key, repr(value) if value else "", allowed))


def _text(octets: bytes) -> str:
    """UTF-8 with or without a byte order mark, UTF-16 with one, else what Windows writes in Slovenia."""
    if octets.startswith((b"\xff\xfe", b"\xfe\xff")):
        return octets.decode("utf-16")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        return octets.decode("cp1250", errors="replace")


def _delimiter(text: str) -> str:
    """That of which the first line that is not empty has most."""
    header = next((line for line in text.splitlines() if line.strip(" ;,\t")), "")
    return delimiter_of(header)
