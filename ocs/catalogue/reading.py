"""Reads a catalogue file into its tables. Each table is checked by itself, so that all mistakes are reported."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ocs.catalogue.fair_use_model import FairUseTable
from ocs.catalogue.model import ID_PATTERN, REQUIRED_SECTIONS, SECTIONS, General, NoticesTable, Table
from ocs.catalogue.problems import CatalogueError, Problem, Problems, key_path

SINGLE_TABLES = ("catalogue", "fair_use", "notices")
"""Tables that are there once; the others are [SECTION.ID]."""
MAX_FILE_OCTETS = 8 * 1024 * 1024
"""A larger file is taken for a wrong path."""
_PATTERNS = {
    "holidays_country": "a country code such as SI",
    "home_country": "a country code such as SI",
    "countries": "country codes such as SI (001: networks and numbers of no country; *: all other countries)",
    "version": "a name of at most 24 letters, digits, points, - and _, such as 2026-12",
    "valid_from": "a local time without seconds, such as 2026-12-01T00:00, with an offset where it occurs twice",
    "quiet_from": "a time of day such as 21:00",
    "quiet_until": "a time of day such as 08:00",
    "event": "the name of an event, such as low_credit",
    "plmn": "5 or 6 digits of MCC and MNC, such as 29340",
    "numbers": "an international number with +, a short number of 2 to 6 digits, or a name in lower case",
    "prefixes": "+ and the first digits of a number, such as +38690",
    "bucket": "named with at most 24 letters, digits, - and _",
    "eur": "EUR with a point and at most 6 decimals, in quotes, such as 9.99",
    "when": "words of small letters, digits and -, at most 24 characters",
    "unless": "words of small letters, digits and -, at most 24 characters",
    "facts": "words of small letters, digits and -, at most 24 characters",
    "keyword": "capital letters and digits, words with a space between them",
    "until": "a date such as 2026-12-25",
    "from": "a date such as 2026-12-25",
    "holidays": "a date such as 2026-12-25",
    "benefits": "EUR with a point and at most 6 decimals, in quotes, such as 60.00",
    "networks": "a name of letters, digits, points, - and _, as in the table of ported numbers",
    "itemised": "a word of small letters, digits and -, at most 24 characters",
    "filter_ids": "Filter-Ids of printable ASCII without spaces, at most 64 characters",
    "apn": "an APN in lower case, without the operator identifier (.mnc….mcc….gprs)",
}
"""Key, or a word of it → what its pattern allows."""
_T = TypeVar("_T", bound=Table)


@dataclass(slots=True)
class Tables:
    """The tables of a catalogue file."""

    general: General | None = None
    sections: dict[str, dict[str, Table]] = field(default_factory=dict)
    """Section → id → table. Tables with mistakes are missing."""
    ids: dict[str, set[str]] = field(default_factory=dict)
    """Section → all ids, including tables with mistakes: a reference to one of those is not a second mistake."""
    raw: Mapping[str, object] = field(default_factory=dict)
    """The file as parsed."""
    fair_use: FairUseTable | None = None
    notices: NoticesTable = field(default_factory=NoticesTable)

    def of(self, section: str, kind: type[_T]) -> dict[str, _T]:
        return {id_: table for id_, table in self.sections.get(section, {}).items() if isinstance(table, kind)}


def read_tables(path: Path, problems: Problems) -> Tables:
    """All tables of the file. Mistakes go into `problems`; CatalogueError if the file cannot be read or is not TOML."""
    return tables_of(parse_toml(read_text(path, problems.file), problems.file), problems)


def tables_of(raw: Mapping[str, object], problems: Problems) -> Tables:
    """All tables of a parsed file. Mistakes go into `problems`."""
    tables = Tables(raw=raw)
    for section in raw.keys() - SECTIONS.keys() - set(SINGLE_TABLES):
        known = f"{', '.join(f'[{each}]' for each in SINGLE_TABLES)} and the tables {', '.join(SECTIONS)}"
        problems.add(key_path(section), f"unknown; the file has {known}")
    general = _check(General, raw.get("catalogue"), ("catalogue",), problems)
    tables.general = general
    if "fair_use" in raw:
        tables.fair_use = _check(FairUseTable, raw["fair_use"], ("fair_use",), problems)
    tables.notices = _check(NoticesTable, raw.get("notices", {}), ("notices",), problems) or tables.notices
    for section, model in SECTIONS.items():
        entries = raw.get(section, {})
        tables.sections[section], tables.ids[section] = {}, set()
        if not isinstance(entries, Mapping) or not all(isinstance(entry, Mapping) for entry in entries.values()):
            problems.add(key_path(section), f"must consist of tables [{section}.ID]", entries)
            continue
        if not entries and section in REQUIRED_SECTIONS:
            problems.add(key_path(section), f"is missing; at least one [{section}.ID] is needed")
        for id_, entry in entries.items():
            tables.ids[section].add(id_)
            if not re.match(ID_PATTERN, id_):
                problems.add(key_path(section, id_), "an identifier has at most 48 letters, digits, points, - and _")
            table = _check(model, entry, (section, id_), problems)
            if table is not None:
                tables.sections[section][id_] = table
    return tables


def read_text(path: Path, file: str) -> str:
    """The file's text; CatalogueError if it cannot be read."""
    try:
        if path.stat().st_size > MAX_FILE_OCTETS:
            raise CatalogueError(
                [Problem(file, "", "", f"is larger than {MAX_FILE_OCTETS} octets; is it a catalogue?")]
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CatalogueError([Problem(file, "", "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise CatalogueError([Problem(file, "", "", f"is not valid TOML: {error}")]) from error


def parse_toml(text: str, file: str) -> dict[str, object]:
    """CatalogueError if it is not TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, a number of thousands of digits, deep nesting
        raise CatalogueError([Problem(file, "", "", f"is not valid TOML: {error}")]) from error


def _check(model: type[_T], entry: object, at: tuple[str, ...], problems: Problems) -> _T | None:
    if entry is None:
        problems.add(key_path(*at), f"is missing; it has {_fields_of(model)}")
        return None
    try:
        return model.model_validate(entry)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _explain(model, detail, at, problems)
        return None


def _explain(model: type[BaseModel], detail: ErrorDetails, at: tuple[str, ...], problems: Problems) -> None:
    """Adds one mistake, worded for the author of the file instead of pydantic's message."""
    location = tuple(part for part in detail["loc"] if part != "[key]")
    key = key_path(*at, *location)
    if detail["type"] == "missing":
        problems.add(key, "is missing and required")
    elif detail["type"] == "extra_forbidden":
        problems.add(key, f"unknown; allowed here: {_fields_of(_model_at(model, location[:-1]))}", detail["input"])
    elif detail["type"] == "string_pattern_mismatch":
        allowed = _allowed_pattern(location)
        problems.add(key, f"must be {allowed}" if allowed else detail["msg"], detail["input"])
    else:
        problems.add(key, detail["msg"].replace("Input should be", "must be"), detail["input"])


def _allowed_pattern(location: tuple[str | int, ...]) -> str | None:
    """What the pattern of the innermost key allows that _PATTERNS knows. Identifiers do not count."""
    words = [part for part in location if isinstance(part, str)]
    if words[:1] == ["window"]:
        return "a time of day such as 06:00, at most 24:00"
    for word in reversed(words):
        parts = {word, *word.split("_"), *(part.removesuffix("s") for part in word.split("_"))}
        for key, allowed in _PATTERNS.items():
            if key in parts:
                return allowed
    return None


def _model_at(model: type[BaseModel], location: tuple[str | int, ...]) -> type[BaseModel]:
    """The model of the nested table at `location`."""
    nested = {
        "quota": "QuotaTable",
        "match": "MatchTable",
        "bucket": "BucketTable",
        "window": "WindowTable",
        "counter": "IncludedCounterTable",
        "commitment": "CommitmentTable",
        "caps": "CapTable",
    }
    for part in location:
        name = nested.get(str(part))
        found = next((sub for sub in Table.__subclasses__() if sub.__name__ == name), None)
        model = found or model
    return model


def _fields_of(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)
