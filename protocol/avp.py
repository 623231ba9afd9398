"""The AVP header and the data types of RFC 6733 §4.1–4.3, one AVP at a time. The hot path is in `compiler`.

Invariant: `decode_value` of what `encode_value` returns is the same value.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

FLAG_VENDOR = 0x80
FLAG_MANDATORY = 0x40
FLAG_PRIVATE = 0x20
MAX_NESTING = 16
"""Most levels of undeclared Grouped AVPs (RFC 6733 leaves the limit to the receiver); deeper ones get 5004. Real
messages have five levels; declared groups are limited by their declarations.
"""

TIME_OFFSET_S = 2_208_988_800
"""Seconds from 1900-01-01 to 1970-01-01. The 32-bit count wraps on 2036-02-07 (RFC 6733 §4.3.1, RFC 5905 §6)."""
PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

_U32 = struct.Struct(">I")
_I32 = struct.Struct(">i")
_U64 = struct.Struct(">Q")
_I64 = struct.Struct(">q")
_F32 = struct.Struct(">f")
_F64 = struct.Struct(">d")
_TWO = struct.Struct(">II")
_THREE = struct.Struct(">III")


class Kind(IntEnum):
    """The data types. The values order the branches of the decoder."""

    UNSIGNED32 = 0
    UTF8 = 1
    GROUPED = 2
    ENUMERATED = 3
    OCTETS = 4
    UNSIGNED64 = 5
    IDENTITY = 6
    TIME = 7
    ADDRESS = 8
    INTEGER32 = 9
    INTEGER64 = 10
    FLOAT32 = 11
    FLOAT64 = 12
    RAW = 13
    """Not a type of the standard: the whole AVP with header and padding, kept to be echoed (Proxy-Info)."""


FIXED_OCTETS = {
    Kind.UNSIGNED32: 4,
    Kind.ENUMERATED: 4,
    Kind.INTEGER32: 4,
    Kind.FLOAT32: 4,
    Kind.TIME: 4,
    Kind.UNSIGNED64: 8,
    Kind.INTEGER64: 8,
    Kind.FLOAT64: 8,
}


MAX_CACHED_ADDRESSES = 4_096
"""Size of the cache of decoded addresses: gateways and serving nodes are few and occur in every request."""
FAMILY_IPV4 = 1
FAMILY_IPV6 = 2
FAMILY_E164 = 8
"""IANA address family numbers (E.164 as digits: TS 32.299 §7.2)."""


class Address(NamedTuple):
    """RFC 6733 §4.3.1: an address family number and the address; other families keep their octets in hexadecimal."""

    family: int
    value: str


Value = int | str | bytes | float | Address


class BadLength(ValueError):
    """The type does not allow this number of octets (5014)."""


class BadValue(ValueError):
    """The octets are not a value of this type (5004)."""


class RawAvp(NamedTuple):
    """Offsets of an AVP in a buffer: header from `start`, data from `payload` to `stop`, padding excluded."""

    code: int
    vendor: int
    flags: int
    start: int
    payload: int
    stop: int


class AvpLengthError(ValueError):
    """An AVP Length shorter than the header, or beyond the end of the message or group (5014)."""

    def __init__(self, avp: RawAvp) -> None:
        super().__init__("AVP length")
        self.avp = avp


def walk(data: bytes, start: int, end: int) -> Iterator[RawAvp]:
    """The AVPs in data[start:end], one level. Raises AvpLengthError at the first wrong length."""
    while start < end:
        if end - start < 8:
            raise AvpLengthError(_truncated(data, start, end))
        code, flags_length = _TWO.unpack_from(data, start)
        flags, length = flags_length >> 24, flags_length & 0xFFFFFF
        vendor, payload = 0, start + 8
        if flags & FLAG_VENDOR:
            payload = start + 12
            if payload > end:
                raise AvpLengthError(RawAvp(code, 0, flags, start, end, end))
            vendor = _U32.unpack_from(data, start + 8)[0]
        stop = start + length
        avp = RawAvp(code, vendor, flags, start, payload, stop)
        if stop < payload or stop > end:
            raise AvpLengthError(avp)
        yield avp
        start = (stop + 3) & ~3


def _truncated(data: bytes, start: int, end: int) -> RawAvp:
    """An AVP whose header is truncated: the code if it is there, the rest zero (RFC 6733 §7.5)."""
    code, flags_length = _TWO.unpack_from(data[start:end] + bytes(8))
    return RawAvp(code, 0, flags_length >> 24 & ~FLAG_VENDOR, start, end, end)


def encode_avp(code: int, vendor: int, flags: int, payload: bytes) -> bytes:
    """Header, payload, padding. The V bit is set from `vendor`, whatever `flags` says."""
    size = len(payload)
    if vendor:
        return _THREE.pack(code, (flags | FLAG_VENDOR) << 24 | size + 12, vendor) + payload + PADDING[size & 3]
    return _TWO.pack(code, (flags & ~FLAG_VENDOR) << 24 | size + 8) + payload + PADDING[size & 3]


def encode_address(address: Address) -> bytes:
    family, value = address
    if family == FAMILY_IPV4:
        return b"\0\x01" + IPv4Address(value).packed
    if family == FAMILY_IPV6:
        return b"\0\x02" + IPv6Address(value).packed
    payload = value.encode() if family == FAMILY_E164 else bytes.fromhex(value)
    return family.to_bytes(2, "big") + payload


def decode_address(data: bytes, start: int, stop: int) -> Address:
    return address_of(data[start:stop])


@lru_cache(MAX_CACHED_ADDRESSES)
def address_of(payload: bytes) -> Address:
    if len(payload) < 2:
        raise BadLength
    family, octets = int.from_bytes(payload[:2], "big"), payload[2:]
    if family == FAMILY_IPV4:
        if len(octets) != 4:
            raise BadLength
        first, second, third, fourth = octets
        return Address(family, f"{first}.{second}.{third}.{fourth}")  # IPv4Address is slow, and there are many handsets
    if family == FAMILY_IPV6:
        if len(octets) != 16:
            raise BadLength
        return Address(family, IPv6Address(octets).compressed)
    if family == FAMILY_E164:
        try:
            return Address(family, octets.decode())
        except UnicodeDecodeError:
            raise BadValue from None
    return Address(family, octets.hex())


def encode_time(unix_s: int) -> bytes:
    """Payload of Time, from 1968-01-20 03:14:08 to 2104-02-26 09:42:23 UTC (the era of 1900 and that of 2036)."""
    return _U32.pack((unix_s + TIME_OFFSET_S) & 0xFFFFFFFF)


def decode_time(count: int) -> int:
    """Unix seconds. A count with the top bit clear belongs to the era that begins in 2036."""
    return (count if count & 0x80000000 else count + 0x100000000) - TIME_OFFSET_S


def encode_value(kind: Kind, value: Value) -> bytes:
    """The payload of one AVP that is not Grouped. TypeError or struct.error if the value has the wrong type."""
    return _ENCODERS[kind](value)


def decode_value(kind: Kind, data: bytes, start: int, stop: int) -> Value:
    """Raises BadLength or BadValue."""
    octets = FIXED_OCTETS.get(kind)
    if octets is not None and stop - start != octets:
        raise BadLength
    return _DECODERS[kind](data, start, stop)


def _decode_utf8(data: bytes, start: int, stop: int) -> str:
    try:
        return data[start:stop].decode()
    except UnicodeDecodeError:
        raise BadValue from None


def _decode_identity(data: bytes, start: int, stop: int) -> str:
    if start == stop:
        raise BadValue
    try:
        return data[start:stop].decode("ascii")
    except UnicodeDecodeError:
        raise BadValue from None


_ENCODERS: dict[Kind, Callable[[Any], bytes]] = {
    Kind.UNSIGNED32: _U32.pack,
    Kind.ENUMERATED: _I32.pack,
    Kind.INTEGER32: _I32.pack,
    Kind.UNSIGNED64: _U64.pack,
    Kind.INTEGER64: _I64.pack,
    Kind.FLOAT32: _F32.pack,
    Kind.FLOAT64: _F64.pack,
    Kind.TIME: encode_time,
    Kind.UTF8: str.encode,
    Kind.IDENTITY: lambda value: value.encode("ascii"),
    Kind.OCTETS: bytes,
    Kind.ADDRESS: encode_address,
}
_DECODERS: dict[Kind, Callable[[bytes, int, int], Value]] = {
    Kind.UNSIGNED32: lambda data, start, stop: int(_U32.unpack_from(data, start)[0]),
    Kind.ENUMERATED: lambda data, start, stop: int(_I32.unpack_from(data, start)[0]),
    Kind.INTEGER32: lambda data, start, stop: int(_I32.unpack_from(data, start)[0]),
    Kind.UNSIGNED64: lambda data, start, stop: int(_U64.unpack_from(data, start)[0]),
    Kind.INTEGER64: lambda data, start, stop: int(_I64.unpack_from(data, start)[0]),
    Kind.FLOAT32: lambda data, start, stop: float(_F32.unpack_from(data, start)[0]),
    Kind.FLOAT64: lambda data, start, stop: float(_F64.unpack_from(data, start)[0]),
    Kind.TIME: lambda data, start, stop: decode_time(_U32.unpack_from(data, start)[0]),
    Kind.UTF8: _decode_utf8,
    Kind.IDENTITY: _decode_identity,
    Kind.OCTETS: lambda data, start, stop: data[start:stop],
    Kind.ADDRESS: decode_address,
}
