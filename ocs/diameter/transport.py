"""The transport of a connection: collects and writes frames, pauses reading, and closes in order or at once.

The buffer of answers that the peer has not read is bounded; above the limit the connection is aborted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from ocs.diameter.timer import Timer
from ocs.diameter.tls import PeerCertificate
from ocs.settings.diameter import DiameterConfig
from protocol.avp import FAMILY_IPV4, FAMILY_IPV6, Address

FLUSH_AT = 32
"""Frames collected before they are written. Fewer cost more system calls, more delay the first answers."""
HANG_UP_S = 1.0
"""How long a peer may take to close the connection after we have."""
LINGER_S = 5.0
"""How long a closed connection may take to send its buffer, in case the peer does not read."""


class TransportServer(Protocol):
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    config: DiameterConfig


class Transport:
    """`on_end` is called when the connection ends; no received message is handled afterwards.

    Ends: `end` sends the buffer first, `half_close` also reads on for a while, `close_now` closes at once, `cut` and
    `abort` reset the connection.
    """

    def __init__(self, server: TransportServer, timer: Timer, on_end: Callable[[], None]) -> None:
        self._clock = server.clock
        self._loop = server.loop
        self._max_write_buffer_octets = server.config.max_write_buffer_octets
        self._timer = timer
        self._on_end = on_end
        self.underlying: asyncio.Transport | None = None
        """asyncio's transport; None = nothing can be written, not yet or no longer."""
        self._ending: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._flush_scheduled = False
        self.unread = False
        """The peer does not read; answers wait in the buffer."""
        self._taken = 0, 0.0
        """Size of the write buffer when last looked at, and when it last shrank: the peer's last sign of reading.
        (Written octets cannot be used, as TLS buffers more than was written.)
        """
        self.reading = True
        self._reading_since = server.clock()
        self.over = False
        """The connection is being closed; received octets are ignored."""
        self.reason = "closed_by_peer"
        """Why the connection ends, by `reason` of the metric."""
        self.certificate: PeerCertificate | None = None
        """The peer's; None = plain TCP."""
        self.address = ""
        """IP address of the peer, without the port."""

    def connected(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        self.underlying = transport
        name = transport.get_extra_info("peername")
        self.address = str(name[0]) if isinstance(name, tuple) and name else ""
        if transport.get_extra_info("sslcontext") is not None:
            self.certificate = PeerCertificate(transport)
        else:
            # uvloop writes at once only above this mark, otherwise at the end of its iteration, which delays answers.
            # (With TLS a mark of 0 would count as always exceeded.)
            transport.set_write_buffer_limits(high=0)

    @property
    def open(self) -> bool:
        """Whether frames can be sent: connected, and not being closed."""
        return self.underlying is not None and not self.over

    def lost(self) -> None:
        """asyncio has closed the connection."""
        self.underlying = None
        self._timer.stop()
        self._out.clear()
        self._on_end()
        self._on_end = _nothing

    def local_addresses(self) -> list[Address]:
        """Host-IP-Address of a CER or CEA."""
        assert self.underlying is not None
        host = str(self.underlying.get_extra_info("sockname")[0]).partition("%")[0]
        return [Address(FAMILY_IPV6 if ":" in host else FAMILY_IPV4, host)]

    # --- writing

    def send(self, frame: bytes) -> None:
        """Write a frame, together with the other frames of this event loop iteration."""
        self._out.append(frame)
        if len(self._out) >= FLUSH_AT:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        transport, out = self.underlying, self._out
        if transport is None or not out:
            return
        self._out = []
        data = b"".join(out) if len(out) > 1 else out[0]
        if self.unread:
            self._taken_at()
        transport.write(data)
        self._taken = transport.get_write_buffer_size(), self._taken[1]
        if transport.get_write_buffer_size() > self._max_write_buffer_octets:
            self.cut("write_buffer")

    def pause_writing(self) -> None:
        """The peer has stopped reading: the write buffer fills."""
        if self.underlying is not None:
            self._taken = self.underlying.get_write_buffer_size(), self._clock()
        self.unread = True

    def resume_writing(self) -> None:
        self.unread = False

    def look(self) -> None:
        """Note whether the peer reads; called a few times a second."""
        if self.unread and self.underlying is not None:
            self._taken_at()

    def _taken_at(self) -> float:
        """When the peer was last seen to read. Must be called often while the write buffer is not empty."""
        if self.underlying is not None:
            waits = self.underlying.get_write_buffer_size()
            if waits < self._taken[0]:
                self._taken = waits, self._clock()
        return self._taken[1]

    # --- reading

    def read(self, reading: bool) -> None:
        """Resume or pause reading."""
        if reading is self.reading or self.underlying is None or self.over:
            return
        self.reading = reading
        if reading:
            self._reading_since = self._clock()
            self.underlying.resume_reading()
        else:
            self.underlying.pause_reading()

    def listened_s(self) -> float:
        """How long the peer has had the chance to be heard, in seconds; its silence may count for no longer.

        While we pause reading it is 0. If we pause because the peer does not read either, it counts from its last read.
        """
        if self.reading:
            return self._clock() - self._reading_since
        return self._clock() - self._taken_at() if self.unread else 0.0

    # --- ending

    def end(self, reason: str = "") -> None:
        """Close after the buffer is sent, or after LINGER_S."""
        if reason:
            self.reason = reason
        self._flush()
        self.over = True
        self._on_end()
        if self.underlying is not None:
            self.underlying.close()
            self._timer.start(LINGER_S, self._linger_over)

    def _linger_over(self) -> None:
        if self.underlying is not None:
            self.underlying.abort()

    def half_close(self, reason: str) -> None:
        """Close such that the peer receives our last message, though it may still be sending. Closing a socket with
        unread octets would reset the connection, so they are read and discarded until the peer closes, at most for
        `HANG_UP_S`.
        """
        self.reason = reason
        self._flush()
        self.over = True
        self._on_end()
        self._timer.stop()
        transport, self.underlying = self.underlying, None  # nothing more is sent
        if transport is None:
            return
        self._ending = transport
        if not self.reading:
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(HANG_UP_S, transport.close)
        self._loop.call_later(HANG_UP_S + LINGER_S, transport.abort)

    def close_now(self) -> None:
        """Close at once; data that the peer has not received is lost."""
        if self._ending is not None:
            self._ending.close()
        self.end()
        if self.underlying is not None and self.underlying.get_write_buffer_size():
            self.underlying.abort()

    def cut(self, reason: str) -> None:
        """Abort the connection. Only the first reason is kept."""
        if self.reason == "closed_by_peer":
            self.reason = reason
        self._on_end()
        self.abort()

    def abort(self) -> None:
        self.over = True
        transport = self.underlying or self._ending
        if transport is not None:
            transport.abort()


def _nothing() -> None:
    """Replaces a callback, so that it does not keep a connection alive that is gone."""
