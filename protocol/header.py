"""The Diameter header: 20 octets in network order (RFC 6733 §3)."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER_OCTETS = 20
VERSION = 1
FLAG_REQUEST = 0x80
FLAG_PROXIABLE = 0x40
FLAG_ERROR = 0x20
FLAG_RETRANSMITTED = 0x10

_new = tuple.__new__
_HEADER = struct.Struct(">IIIII")


class Header(NamedTuple):
    """The fields of a header. Version is always 1: `frame.FrameReader` refuses any other."""

    length: int
    flags: int
    command_code: int
    application_id: int
    hop_by_hop: int
    end_to_end: int

    @property
    def is_request(self) -> bool:
        return bool(self.flags & FLAG_REQUEST)

    @property
    def is_proxiable(self) -> bool:
        return bool(self.flags & FLAG_PROXIABLE)

    @property
    def is_error(self) -> bool:
        return bool(self.flags & FLAG_ERROR)

    @property
    def is_retransmission(self) -> bool:
        return bool(self.flags & FLAG_RETRANSMITTED)


def parse_header(frame: bytes) -> Header:
    """The header of a whole frame of at least 20 octets."""
    length, flags_command, application_id, hop_by_hop, end_to_end = _HEADER.unpack_from(frame)
    return _new(
        Header,
        (length & 0xFFFFFF, flags_command >> 24, flags_command & 0xFFFFFF, application_id, hop_by_hop, end_to_end),
    )


def build(body: bytes, flags: int, command_code: int, application_id: int, hop_by_hop: int, end_to_end: int) -> bytes:
    """A whole message. `body` is padded AVPs, so its length is a multiple of 4."""
    length = HEADER_OCTETS + len(body)
    assert length <= 0xFFFFFC, "a Diameter message is at most 2^24 - 4 octets"
    head = _HEADER.pack(VERSION << 24 | length, flags << 24 | command_code, application_id, hop_by_hop, end_to_end)
    return head + body
