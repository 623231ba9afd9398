"""HTTP/1.1 over kept connections, at little cost: the machine's cores are the server's too.

Each connection has one request at a time; answers must have a Content-Length. A library's client takes several times
the CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

HEAD_ENDS = b"\r\n\r\n"
LENGTH = b"content-length:"

Answered = Callable[[int], None]
"""Called with the status; 0 = the connection was lost."""


class HttpConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: Answered | None = None
        self._buffer = b""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, octets: bytes, answered: Answered) -> None:
        assert self._transport is not None and self._answered is None
        self._answered = answered
        self._transport.write(octets)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(HEAD_ENDS)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(LENGTH)
        length = int(head[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) >= end + len(HEAD_ENDS) + length:
            self._buffer = b""
            self._finish(int(head[9:12]))

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(0)

    def _finish(self, status: int) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status)


def request(method: str, path: str, key: str, *, body: bytes = b"", once: str = "") -> bytes:
    """The octets. `once`: the Idempotency-Key."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if once:
        lines.append(f"Idempotency-Key: {once}")
    return "\r\n".join([*lines, "", ""]).encode() + body
