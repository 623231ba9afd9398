"""Splits a byte stream into Diameter messages (RFC 6733 §3). The length is checked before memory is used."""

from __future__ import annotations

import struct

from protocol.errors import DiameterError, ResultCode
from protocol.header import HEADER_OCTETS, VERSION

_WORD = struct.Struct(">I").unpack_from
"""Version and length of a header."""
MAX_MESSAGE_OCTETS = 65_536
"""Far above any charging message. A peer cannot make us buffer more than this per connection."""


class FrameReader:
    """Takes octets in any pieces; buffers at most one incomplete message.

    After an exception the stream is out of step: the connection must be closed, and no more octets are accepted.
    `rescued` has the messages that were complete before the fault, and `broken` the header of the wrong one, so that it
    can be answered.
    """

    def __init__(self, max_message_octets: int = MAX_MESSAGE_OCTETS) -> None:
        assert max_message_octets >= HEADER_OCTETS
        self.max_message_octets = max_message_octets
        self.rescued: list[bytes] = []
        self.broken = b""
        self._buffer = b""
        self._dead = False

    @property
    def pending_octets(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages completed by `data`. Raises DiameterError (5011, 5015; close) if the stream cannot be parsed."""
        if self._dead:
            return []
        buffer = self._buffer + data if self._buffer else bytes(data)
        frames: list[bytes] = []
        position, end = 0, len(buffer)
        while end - position >= HEADER_OCTETS:
            (word,) = _WORD(buffer, position)
            length = word & 0xFFFFFF
            if word >> 24 != VERSION or length < HEADER_OCTETS or length & 3 or length > self.max_message_octets:
                self._fail(buffer, position, length, frames)
            if end - position < length:
                break
            frames.append(buffer[position : position + length])
            position += length
        self._buffer = buffer[position:] if position else buffer
        return frames

    def _fail(self, buffer: bytes, position: int, length: int, frames: list[bytes]) -> None:
        self._dead = True
        self._buffer = b""
        self.rescued = frames
        self.broken = buffer[position : position + HEADER_OCTETS]
        version = buffer[position]
        if version != VERSION:
            raise DiameterError(
                ResultCode.UNSUPPORTED_VERSION,
                f"Diameter version {version} is not supported; send version 1",
                close=True,
            )
        raise DiameterError(
            ResultCode.INVALID_MESSAGE_LENGTH,
            f"message length {length} is not a multiple of 4 between {HEADER_OCTETS} and {self.max_message_octets}",
            close=True,
        )
