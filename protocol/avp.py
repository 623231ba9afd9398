"""The AVP header and the data types of RFC 6733 §4.1–4.3, one AVP at a time. The hot path is in `compiler`.

Invariant: what `encode_value` makes, `decode_value` reads back to an equal value.
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
"""Grouped AVPs inside each other where no class says what may be in them (RFC 6733 leaves the limit to the receiver):
deeper ones are refused with 5004. Real messages have five levels; what classes declare is bounded by them, and by this
too."""

TIME_OFFSET_S = 2_208_988_800
"""From 1900-01-01 to 1970-01-01; the 32-bit count wraps on 2036-02-07 (RFC 6733 §4.3.1, RFC 5905 §6)."""
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
    """The data types; numbers are only an order for the decoder's branches."""

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
    """Not a type of the standard: the whole AVP with header and padding, kept to be sent on as it is (Proxy-Info)."""


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


REMEMBERED_ADDRESSES = 4_096
"""Read addresses that are kept: gateways and serving nodes are few and come with every request."""
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
    """The octets cannot be of this type because of how many there are (5014)."""


class BadValue(ValueError):
    """The octets are no value of this type (5004)."""


class RawAvp(NamedTuple):
    """Where one AVP lies in a buffer: from `start` (its header) over `payload` to `stop`, padding excluded."""

    code: int
    vendor: int
    flags: int
    start: int
    payload: int
    stop: int


class AvpLengthLie(ValueError):
    """An AVP Length that is shorter than its header or runs past the end of what holds it (5014)."""

    def __init__(self, avp: RawAvp) -> None:
        super().__init__("AVP length")
        self.avp = avp


def walk(data: bytes, start: int, end: int) -> Iterator[RawAvp]:
    """The AVPs in data[start:end], one level. Raises AvpLengthLie at the first header that lies."""
    while start < end:
        if end - start < 8:
            raise AvpLengthLie(_truncated(data, start, end))
        code, flags_length = _TWO.unpack_from(data, start)
        flags, length = flags_length >> 24, flags_length & 0xFFFFFF
        vendor, payload = 0, start + 8
        if flags & FLAG_VENDOR:
            payload = start + 12
            if payload > end:
                raise AvpLengthLie(RawAvp(code, 0, flags, start, end, end))
            vendor = _U32.unpack_from(data, start + 8)[0]
        stop = start + length
        avp = RawAvp(code, vendor, flags, start, payload, stop)
        if stop < payload or stop > end:
            raise AvpLengthLie(avp)
        yield avp
        start = (stop + 3) & ~3


def _truncated(data: bytes, start: int, end: int) -> RawAvp:
    """What can be told of an AVP whose header is cut off: the code if it is there (RFC 6733 §7.5: pad with zeros)."""
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


@lru_cache(REMEMBERED_ADDRESSES)
def address_of(payload: bytes) -> Address:
    if len(payload) < 2:
        raise BadLength
    family, octets = int.from_bytes(payload[:2], "big"), payload[2:]
    if family == FAMILY_IPV4:
        if len(octets) != 4:
            raise BadLength
        first, second, third, fourth = octets
        return Address(family, f"{first}.{second}.{third}.{fourth}")  # handsets are many, and IPv4Address is slow
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
    """1968-01-20 03:14:08 to 2104-02-26 09:42:23 UTC: what one era and its neighbour can say."""
    return _U32.pack((unix_s + TIME_OFFSET_S) & 0xFFFFFFFF)


def decode_time(count: int) -> int:
    """Counts with the top bit clear are of the era that begins in 2036."""
    return (count if count & 0x80000000 else count + 0x100000000) - TIME_OFFSET_S


def encode_value(kind: Kind, value: Value) -> bytes:
    """The payload of one AVP that is not Grouped. A value of the wrong type is a programmer's error (TypeError,
    struct.error).
    """
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
