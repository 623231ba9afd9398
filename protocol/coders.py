"""The closures that read and write one AVP of a declared kind: what `compiler` fills its tables with.

They are made once at import; what is constant about an AVP (header, vendor, allowed values) is bound in them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from protocol.avp import (
    FLAG_MANDATORY,
    FLAG_VENDOR,
    PADDING,
    BadLength,
    BadValue,
    Kind,
    address_of,
    decode_time,
    decode_value,
    encode_address,
    encode_time,
)
from protocol.dictionary import Definition

REMEMBERED_IDENTITIES = 256
ReadOne = Callable[[bytes, int, int, int], Any]
"""(data, start of the AVP, start of its payload, its end) → value. Raises BadLength, BadValue or UnicodeDecodeError."""
WriteOne = Callable[[Any], bytes]
"""value → the whole AVP with header and padding."""

_TWO = struct.Struct(">II").pack
FORMATS = {
    Kind.UNSIGNED32: ">I",
    Kind.ENUMERATED: ">i",
    Kind.INTEGER32: ">i",
    Kind.UNSIGNED64: ">Q",
    Kind.INTEGER64: ">q",
    Kind.FLOAT32: ">f",
    Kind.FLOAT64: ">d",
}


def reader_of(kind: Kind, allowed: frozenset[int] | None) -> ReadOne:
    """For the kinds that the reading loop does not handle itself."""
    if kind is Kind.RAW:
        return _read_raw
    if kind is Kind.ADDRESS:
        return lambda data, position, start, stop: address_of(data[start:stop])
    if kind is Kind.IDENTITY:
        return _read_identity
    if kind is Kind.TIME:
        return _read_time
    if kind in (Kind.ENUMERATED, Kind.UNSIGNED32) and allowed is not None:
        return _enumeration_reader(allowed)

    def read(data: bytes, position: int, start: int, stop: int) -> Any:
        value = decode_value(kind, data, start, stop)
        if allowed is not None and value not in allowed:
            raise BadValue
        return value

    return read


def _read_raw(data: bytes, position: int, start: int, stop: int) -> bytes:
    raw = data[position:stop]
    return raw + PADDING[len(raw) & 3]


def _read_identity(data: bytes, position: int, start: int, stop: int) -> str:
    return data[start:stop].decode("ascii")


def _read_time(data: bytes, position: int, start: int, stop: int) -> int:
    if stop - start != 4:
        raise BadLength
    return decode_time(int.from_bytes(data[start:stop], "big"))


def _enumeration_reader(allowed: frozenset[int]) -> ReadOne:
    """Few values, so their octets are looked up instead of unpacked."""
    known = {value.to_bytes(4, "big"): value for value in allowed}

    def read(data: bytes, position: int, start: int, stop: int) -> int:
        value = known.get(data[start:stop])
        if value is None:
            raise BadValue
        return value

    return read


def read_payload(data: bytes, position: int, start: int, stop: int) -> bytes:
    """A Grouped AVP of which only the bytes inside are kept (Failed-AVP)."""
    return data[start:stop]


def read_forbidden(data: bytes, position: int, start: int, stop: int) -> Any:
    """An AVP that must not come here."""
    raise BadValue


def writer_of(definition: Definition, kind: Kind, group: Callable[[Any], bytes] | None, repeated: bool) -> WriteOne:
    """`group`: writes the inside of a Grouped AVP; None with a Grouped one: its value is the bytes inside."""
    one = _writer_of_one(definition, kind, group)
    if not repeated:
        return one
    return lambda values: b"".join([one(value) for value in values]) if values else b""


def _writer_of_one(definition: Definition, kind: Kind, group: Callable[[Any], bytes] | None) -> WriteOne:
    flags = (FLAG_MANDATORY if definition.mandatory else 0) | (FLAG_VENDOR if definition.vendor else 0)
    vendor = definition.vendor.to_bytes(4, "big") if definition.vendor else b""
    code, first = definition.code, flags << 24 | 8 + len(vendor)
    layout = FORMATS.get(kind)
    if layout is not None:
        pack = struct.Struct(layout).pack
        fixed = _TWO(code, first + struct.calcsize(layout)) + vendor
        return lambda value: fixed + pack(value)
    if kind is Kind.TIME:
        fixed = _TWO(code, first + 4) + vendor
        return lambda value: fixed + encode_time(value)
    if kind is Kind.RAW:
        return bytes
    if kind is Kind.GROUPED:
        return _group_writer(code, first, vendor, group)
    if kind is Kind.UTF8:
        return _text_writer(code, first, vendor, "utf-8")
    if kind is Kind.IDENTITY:  # hosts and realms are few, and ours is in every answer
        return lru_cache(REMEMBERED_IDENTITIES)(_text_writer(code, first, vendor, "ascii"))
    encode: Callable[[Any], bytes] = encode_address if kind is Kind.ADDRESS else bytes

    def write(value: Any) -> bytes:
        payload = encode(value)
        size = len(payload)
        return _TWO(code, first + size) + vendor + payload + PADDING[size & 3]

    return write


def _text_writer(code: int, first: int, vendor: bytes, encoding: str) -> WriteOne:
    def write(value: str) -> bytes:
        payload = value.encode(encoding)
        size = len(payload)
        return _TWO(code, first + size) + vendor + payload + PADDING[size & 3]

    return write


def _group_writer(code: int, first: int, vendor: bytes, group: Callable[[Any], bytes] | None) -> WriteOne:
    if group is None:
        return lambda payload: _TWO(code, first + len(payload)) + vendor + payload if payload else b""

    def write(value: Any) -> bytes:
        payload = group(value)
        return _TWO(code, first + len(payload)) + vendor + payload

    return write
