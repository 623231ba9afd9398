"""Cuts a byte stream into Diameter messages (RFC 6733 §3; header first, memory after the length check)."""

from __future__ import annotations

import struct

from protocol.errors import DiameterError, ResultCode
from protocol.header import HEADER_OCTETS, VERSION

_WORD = struct.Struct(">I").unpack_from
"""Version and length."""
MAX_MESSAGE_OCTETS = 65_536
"""Far above any charging message; below it a peer cannot make us hold more than one buffer of this size."""


class FrameReader:
    """Feed it what the transport gives, in any pieces; it never holds more than one incomplete message.

    After it has raised, the stream has lost its frame and the connection must be closed: it takes nothing more.
    Messages that were complete before the fault are kept in `rescued`, and `broken` holds the header of the one that is
    wrong, so that it can be answered: nothing is said of a message before its header has come.
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
        """The messages completed by `data`. Raises DiameterError (5011, 5015; close) on a stream that cannot be
        parsed.
        """
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
