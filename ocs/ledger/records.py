"""Records of named fields, kept as msgpack arrays: how `ocs.ledger.layout` declares them, and how Python reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

EMPTY: tuple[object, ...] = ()
Reader = Callable[[list[Any]], dict[str, Any]]


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
    _readers: dict[str, Reader] = field(default_factory=dict, init=False, compare=False, repr=False)
    """For `read`, by record."""

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
        reader = self._readers.get(record) or self._make_reader(record)
        return reader(row)

    def _make_reader(self, record: str) -> Reader:
        """A function for `read`, and those of the nested records. Made once: trying the kind of each field of each row
        takes longer than all else that is done with a document.
        """
        declared = self.records[record]
        self._readers[record] = lambda row: self._readers[record](row)  # for a record within itself
        names: dict[str, Any] = {"unpacked": _unpacked, "defaults": [each.default for each in declared]}
        for each in declared:
            if each.record:
                names[f"read_{each.record}"] = self._readers.get(each.record) or self._make_reader(each.record)
        count = len(declared)
        values = [f"v{at}" for at in range(count)]
        named = ", ".join(f"{each.name!r}: {_value(each, name)}" for each, name in zip(declared, values, strict=True))
        lines = (
            "def reader(row):",
            f"    if len(row) != {count}: row = row[:{count}] + defaults[len(row):]",
            f"    {', '.join(values)}, = row",
            f"    return {{{named}}}",
        )
        exec("\n".join(lines), names)
        made: Reader = names["reader"]
        self._readers[record] = made
        return made


def _value(declared: Field, value: str) -> str:
    """A Python expression for `Layout.read`."""
    read = f"read_{declared.record}"
    if declared.packed:
        return f"[{read}(each) for each in unpacked({value})] if {value} else []"
    if declared.many:
        return f"[{read}(each) for each in {value}]"
    if declared.each:  # an empty map is packed as an empty array
        return f"{{name: {read}(each) for name, each in {value}.items()}} if isinstance({value}, dict) else {{}}"
    if declared.packed_one:
        return f"{read}(unpacked({value})) if {value} else None"
    return f"{read}({value}) if {value} else None" if declared.one else value
