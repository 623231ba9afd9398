"""Closures that decode one AVP of a declared kind, for the tables of `compiler` (encoding: `writers`).

They are created once at import; the constants of an AVP (header, vendor, allowed values) are bound in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.avp import (
    PADDING,
    BadLength,
    BadValue,
    Kind,
    address_of,
    decode_time,
    decode_value,
)

ReadOne = Callable[[bytes, int, int, int], Any]
"""(data, start of the AVP, start of its payload, its end) → value. Raises BadLength, BadValue or UnicodeDecodeError."""
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
    """The decoder for kinds that the decode loop does not handle itself."""
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
    if start == stop:
        raise BadValue  # a DiameterIdentity is never empty (RFC 6733 §4.3.1)
    return data[start:stop].decode("ascii")


def _read_time(data: bytes, position: int, start: int, stop: int) -> int:
    if stop - start != 4:
        raise BadLength
    return decode_time(int.from_bytes(data[start:stop], "big"))


def _enumeration_reader(allowed: frozenset[int]) -> ReadOne:
    """Enumerations have few values, so their octets are looked up instead of unpacked."""
    known = {value.to_bytes(4, "big"): value for value in allowed}

    def read(data: bytes, position: int, start: int, stop: int) -> int:
        value = known.get(data[start:stop])
        if value is None:
            raise BadValue
        return value

    return read


def read_payload(data: bytes, position: int, start: int, stop: int) -> bytes:
    """The octets inside a Grouped AVP (Failed-AVP)."""
    return data[start:stop]


def read_forbidden(data: bytes, position: int, start: int, stop: int) -> Any:
    """An AVP that is not allowed here."""
    raise BadValue
