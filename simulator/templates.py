"""Requests at high rates: encoded once by python-diameter, then patched at known offsets.

A template is compiled by encoding a request whose variable fields have marker values of the final width, and finding
the markers in the octets. `Template.render` gives exactly the octets of python-diameter (a test checks it), at a
hundredth of the cost. Fields have a fixed width; a text of another length needs another template, so widths are part of
the cache key.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simulator.wire import SECONDS_1900_TO_1970

Value = int | str
Values = Mapping[str, Value]
Encode = Callable[[Values], bytes]
"""Encodes one request with python-diameter from the values of its fields."""

_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")
_U32_MARK = 0x5AA50000
_U64_MARK = 0x5AA5_C33C_0000_0000
_TIME_MARK = 1_577_836_800
"""2020-01-01T00:00:00Z; each marker is one second later."""
HOP_BY_HOP_OFFSET, END_TO_END_OFFSET, FLAGS_OFFSET = 12, 16, 4


@dataclass(frozen=True, slots=True)
class Field:
    """A field that changes from request to request. kind: "u32", "u64", "time" (Unix seconds) or "text"."""

    name: str
    kind: str
    width: int = 0
    """Octets of a text."""


@dataclass(frozen=True, slots=True)
class Slot:
    field: Field
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """An encoded request and the offsets of its fields."""

    octets: bytes
    slots: tuple[Slot, ...]

    def render(self, values: Values, *, hop_by_hop: int, end_to_end: int) -> bytearray:
        """The request with these values; every field must be given, in its exact width."""
        frame = bytearray(self.octets)
        _U32.pack_into(frame, HOP_BY_HOP_OFFSET, hop_by_hop)
        _U32.pack_into(frame, END_TO_END_OFFSET, end_to_end)
        for slot in self.slots:
            data = _octets(slot.field, values[slot.field.name])
            for offset in slot.offsets:
                frame[offset : offset + len(data)] = data
        return frame

    def offset(self, name: str) -> int:
        """Offset of a field that occurs once."""
        (slot,) = (slot for slot in self.slots if slot.field.name == name)
        (offset,) = slot.offsets
        return offset


def compile_template(encode: Encode, fields: tuple[Field, ...]) -> Template:
    """Encodes markers and finds them. Raises ValueError if a field is not in the encoded request."""
    markers: dict[str, Value] = {field.name: _marker(index, field) for index, field in enumerate(fields)}
    octets = encode(markers)
    slots = []
    for field in fields:
        offsets = tuple(_find_all(octets, _octets(field, markers[field.name])))
        if not offsets:
            raise ValueError(f"field {field.name!r} does not occur in the encoded request")
        slots.append(Slot(field, offsets))
    return Template(octets, tuple(slots))


def to_datetime(unix_s: int) -> datetime.datetime:
    """The type that python-diameter expects for a Time AVP."""
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC)


def _marker(index: int, field: Field) -> Value:
    if field.kind == "u32":
        return _U32_MARK + index
    if field.kind == "u64":
        return _U64_MARK + index
    if field.kind == "time":
        return _TIME_MARK + index
    if field.width < 3:
        raise ValueError(f"field {field.name!r}: a text of {field.width} octets is too short to be found again")
    return f"~{index:02x}".ljust(field.width, "~")


def _octets(field: Field, value: Value) -> bytes:
    if field.kind == "text":
        text = str(value).encode()
        if len(text) != field.width:
            raise ValueError(f"field {field.name!r} is {field.width} octets wide, {value!r} is {len(text)}")
        return text
    if field.kind == "u64":
        return _U64.pack(value)
    if field.kind == "time":
        return _U32.pack((int(value) + SECONDS_1900_TO_1970) & 0xFFFFFFFF)
    return _U32.pack(value)


def _find_all(octets: bytes, wanted: bytes) -> list[int]:
    found, at = [], octets.find(wanted)
    while at >= 0:
        found.append(at)
        at = octets.find(wanted, at + len(wanted))
    return found
