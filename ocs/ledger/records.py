"""Records of named fields, kept as msgpack arrays: how `ocs.ledger.layout` declares them, and how Python reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

EMPTY: tuple[object, ...] = ()


def _unpacked(value: str | bytes) -> list[Any]:
    """A value that is packed within a document. Octets that are no UTF-8 come as surrogates."""
    octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    rows: list[Any] = msgpack.unpackb(octets, strict_map_key=False, unicode_errors="surrogateescape")
    return rows


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record. What else than a plain value it may hold:

    - `many`: a list of records;
    - `each`: a map of text to records;
    - `one`: one record, or false;
    - `packed`: a list of records as msgpack octets ("" = empty), so that a reader who does not need it does not unpack
      it;
    - `packed_one`: one record, packed in the same way.

    `since`: the layout that added the field.
    """

    name: str
    default: object = 0
    many: str = ""
    each: str = ""
    one: str = ""
    packed: str = ""
    packed_one: str = ""
    since: int = 2

    @property
    def record(self) -> str:
        return self.many or self.each or self.one or self.packed or self.packed_one


def fields(text: str, *more: Field, default: object = 0, since: int = 2) -> tuple[Field, ...]:
    return (*(Field(name, default, since=since) for name in text.split()), *more)


@dataclass(frozen=True, slots=True)
class Layout:
    version: int
    readable_from: int
    """Oldest version whose scripts can work on what this one writes."""
    records: dict[str, tuple[Field, ...]] = field(default_factory=dict)

    def index(self, record: str, name: str) -> int:
        """Position of a field, from 0. KeyError: the record has no such field."""
        for at, each in enumerate(self.records[record]):
            if each.name == name:
                return at
        raise KeyError(f"{record} has no field {name!r}; it has {', '.join(f.name for f in self.records[record])}")

    def new(self, record: str, **values: object) -> list[Any]:
        """A row of defaults and `values`. KeyError: the record has no such field."""
        row: list[Any] = []
        for each in self.records[record]:
            default = each.default
            row.append(values.pop(each.name, [] if default == EMPTY else default))
        if values:
            raise KeyError(f"{record} has no field {next(iter(values))!r}")
        return row

    def writer(self, record: str, arguments: str, names: Mapping[str, Any], **values: str) -> Callable[..., list[Any]]:
        """A function that makes a row from `arguments`. `values`: a Python expression for each field. KeyError: a field
        has none, or the record has no such field."""
        wanted = [each.name for each in self.records[record]]
        if missing := set(wanted) ^ values.keys():
            raise KeyError(f"{record}: {', '.join(sorted(missing))}")
        row = ", ".join(values[name] for name in wanted)
        made: Callable[..., list[Any]] = eval(f"lambda {arguments}: [{row}]", dict(names))
        return made

    def read(self, record: str, row: list[Any]) -> dict[str, Any]:
        """A row by field names, nested records too. Fields newer than the row have their defaults."""
        named: dict[str, Any] = {}
        for at, each in enumerate(self.records[record]):
            value: Any = row[at] if at < len(row) else each.default
            if each.packed:
                value = _unpacked(value) if value else []
            if each.many or each.packed:
                value = [self.read(each.record, inner) for inner in value]
            elif each.each:
                pairs = value.items() if isinstance(value, dict) else ()  # an empty map is packed as an empty array
                value = {name: self.read(each.each, inner) for name, inner in pairs}
            elif each.packed_one:
                value = self.read(each.packed_one, _unpacked(value)) if value else None
            elif each.one:
                value = self.read(each.one, value) if value else None
            named[each.name] = value
        return named
