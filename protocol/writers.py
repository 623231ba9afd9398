"""Generates one Python function per class that encodes the AVPs of an object, with one `if` per attribute.

The constants of an AVP (code, flags, vendor) are computed once. Whole AVPs of small numbers and identities, and
headers, are cached, because answers repeat them. AVPs are written in the order of the class's attributes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from protocol.avp import FLAG_MANDATORY, FLAG_VENDOR, PADDING, TIME_OFFSET_S, Kind, encode_address
from protocol.coders import FORMATS
from protocol.dictionary import Definition

Writer = Callable[[Any], bytes]
"""Object → its AVPs."""

MAX_CACHED_NUMBERS = 512
"""Cached AVPs with a number, per attribute: there are some tens of types, result codes, rating groups and validity
times.
"""
MAX_CACHED_IDENTITIES = 256
"""Cached AVPs with an identity, per attribute: hosts and realms are few, and ours is in every answer."""
MAX_CACHED_HEADERS = 512
"""Cached AVP headers per attribute, one per length: texts and groups are rarely longer."""

_TWO = struct.Struct(">II").pack


class _Cache(dict[Any, bytes]):
    """Value → octets. Missing values are computed, and stored while there is room."""

    __slots__ = ("_limit", "_make")

    def __init__(self, make: Callable[[Any], bytes], limit: int) -> None:
        self._make = make
        self._limit = limit

    def __missing__(self, value: Any) -> bytes:
        octets = self._make(value)
        if len(self) < self._limit:
            self[value] = octets
        return octets


class Group(Protocol):
    """The compiled class of a grouped AVP."""

    @property
    def write(self) -> Writer: ...


class Field(Protocol):
    """What a writer needs to know of a declared AVP (`compiler.Field`)."""

    @property
    def attribute(self) -> str: ...
    @property
    def definition(self) -> Definition: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def repeated(self) -> bool: ...
    @property
    def group(self) -> Group | None: ...


WRITTEN = "written"
"""Attribute in which an object may cache its AVPs (see `units.MultipleServicesCreditControl`)."""


def writer_of(fields: Iterable[Field], *, keeps: bool = False) -> Writer:
    """The encoder of a class with these fields. `keeps`: its objects may cache their AVPs."""
    source = _Source()
    for field in fields:
        source.field(field)
    before = [f"if message.{WRITTEN}:", f" return message.{WRITTEN}"] if keeps else []
    after = [f"if message.{WRITTEN} is None:", f" message.{WRITTEN} = octets"] if keeps else []
    lines = [
        *before,
        "parts = []",
        "add = parts.append",
        *source.lines,
        "octets = join(parts)",
        *after,
        "return octets",
    ]
    text = "\n ".join(lines)
    exec(f"def write(message):\n {text}\n", source.names)
    write: Writer = source.names["write"]
    return write


class _Source:
    """The source being generated: attribute names and names of constants, nothing else."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"join": b"".join, "PADDING": PADDING}

    def field(self, field: Field) -> None:
        attribute = f"message.{field.attribute}"
        if field.repeated:
            self.lines += [f"if {attribute}:", f" for value in {attribute}:"]
            self.lines += [f"  {line}" for line in self._one(field)]
            return
        payload = field.kind is Kind.GROUPED and field.group is None  # b"" = absent
        self.lines += [f"value = {attribute}", "if value:" if payload else "if value is not None:"]
        self.lines += [f" {line}" for line in self._one(field)]

    def _one(self, field: Field) -> list[str]:
        """Lines that add the AVP of `value`."""
        definition, kind = field.definition, field.kind
        if kind is Kind.RAW:
            return ["add(value)"]
        head = _header(definition)
        layout = FORMATS.get(kind)
        if layout is not None:
            pack = struct.Struct(layout).pack
            fixed = head(struct.calcsize(layout))
            if layout.lower() == ">i":
                known = _Cache(lambda value: fixed + pack(value), MAX_CACHED_NUMBERS)
                return [f"add({self._name(known)}[value])"]
            return [f"add({self._name(fixed)} + {self._name(pack)}(value))"]
        if kind is Kind.TIME:
            pack = struct.Struct(">I").pack
            return [f"add({self._name(head(4))} + {self._name(pack)}(value + {TIME_OFFSET_S} & 0xFFFFFFFF))"]
        if kind is Kind.IDENTITY:

            def whole(value: str) -> bytes:
                octets = value.encode("ascii")
                return head(len(octets)) + octets + PADDING[len(octets) & 3]

            return [f"add({self._name(_Cache(whole, MAX_CACHED_IDENTITIES))}[value])"]
        heads = self._name(_Cache(head, MAX_CACHED_HEADERS))
        if kind is Kind.GROUPED:
            inside = "value" if field.group is None else f"{self._name(field.group.write)}(value)"
            return [f"octets = {inside}", f"add({heads}[len(octets)] + octets)"]
        encode = {Kind.UTF8: "value.encode()", Kind.ADDRESS: f"{self._name(encode_address)}(value)"}
        lines = [f"octets = {encode.get(kind, 'value')}", "size = len(octets)"]
        return [*lines, f"add({heads}[size] + octets + PADDING[size & 3])"]

    def _name(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name


def _header(definition: Definition) -> Callable[[int], bytes]:
    """Number of payload octets → the AVP's header."""
    flags = (FLAG_MANDATORY if definition.mandatory else 0) | (FLAG_VENDOR if definition.vendor else 0)
    vendor = definition.vendor.to_bytes(4, "big") if definition.vendor else b""
    code, first = definition.code, flags << 24 | 8 + len(vendor)
    return lambda octets: _TWO(code, first + octets) + vendor
