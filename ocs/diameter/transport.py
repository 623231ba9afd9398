"""The transport side of a connection: answers are collected and written, reading pauses, the end comes politely or at
once.

The buffer of unread answers is bounded: a peer above it is cut off.
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
"""Answers collected before they are written: fewer cost system calls, more let the peer wait for the end of a long
turn.
"""
HANG_UP_S = 1.0
"""How long a peer may take to notice that we have hung up."""
LINGER_S = 5.0
"""How long a closed connection may take to deliver what has been said: a peer that does not read must not keep it for
ever.
"""


class TransportServer(Protocol):
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    config: DiameterConfig


class Transport:
    """`on_end` is called when the connection ends: of what has come in, nothing more is handled."""

    def __init__(self, server: TransportServer, timer: Timer, on_end: Callable[[], None]) -> None:
        self._clock = server.clock
        self._loop = server.loop
        self._max_write_buffer_octets = server.config.max_write_buffer_octets
        self._timer = timer
        self._on_end = on_end
        self.underlying: asyncio.Transport | None = None
        """asyncio's; None = nothing can be said: not yet, or not any more."""
        self._ending: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._flush_scheduled = False
        self.unread = False
        """The peer does not read: answers wait in the buffer."""
        self._taken = 0, 0.0
        """Octets that waited after the last write, or when some were last taken, and when that was. (How many were
        written says nothing: with TLS more wait than were.)"""
        self.reading = True
        self._reading_since = server.clock()
        self.over = False
        """It ends: what comes in is not read any more."""
        self.reason = "closed_by_peer"
        """Why it ends, by the label of the metrics."""
        self.certificate: PeerCertificate | None = None
        """Of a peer that has come with TLS."""
        self.address = ""
        """The peer's, without the port."""

    def connected(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        self.underlying = transport
        name = transport.get_extra_info("peername")
        self.address = str(name[0]) if isinstance(name, tuple) and name else ""
        if transport.get_extra_info("sslcontext") is not None:
            self.certificate = PeerCertificate(transport)
        else:
            # uvloop writes at once only above this mark; else at the end of its turn, when the peer has long been idle.
            # (With TLS a mark of 0 would count as always exceeded.)
            transport.set_write_buffer_limits(high=0)

    @property
    def open(self) -> bool:
        """It can be written, and does not end."""
        return self.underlying is not None and not self.over

    def lost(self) -> None:
        """asyncio has closed it."""
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
        """Together with the other frames of this turn of the event loop."""
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
        """From now on the peer does not take all at once."""
        if self.underlying is not None:
            self._taken = self.underlying.get_write_buffer_size(), self._clock()
        self.unread = True

    def resume_writing(self) -> None:
        self.unread = False

    def look(self) -> None:
        """A few times a second: does the peer take what waits for it?"""
        if self.unread and self.underlying is not None:
            self._taken_at()

    def _taken_at(self) -> float:
        """When the peer was last seen to take octets of ours. Asked often while it has not taken all."""
        if self.underlying is not None:
            waits = self.underlying.get_write_buffer_size()
            if waits < self._taken[0]:
                self._taken = waits, self._clock()
        return self._taken[1]

    # --- reading

    def read(self, reading: bool) -> None:
        """Read the peer from now on, or do not."""
        if reading is self.reading or self.underlying is None or self.over:
            return
        self.reading = reading
        if reading:
            self._reading_since = self._clock()
            self.underlying.resume_reading()
        else:
            self.underlying.pause_reading()

    def listened_s(self) -> float:
        """How long the peer's silence is its own. What we do not read we cannot hear; but a peer that is not read
        because it does not read either is silent from when it last took something.
        """
        if self.reading:
            return self._clock() - self._reading_since
        return self._clock() - self._taken_at() if self.unread else 0.0

    # --- ending

    def end(self, reason: str = "") -> None:
        """Close politely: what has been said is still sent, if the peer takes it in time."""
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

    def end_heard(self, reason: str) -> None:
        """Close so that the last word is heard. The peer may be in the middle of a message, and to close with octets
        unread resets the connection and loses what was said: they are read and thrown away until it hangs up too, or
        for `HANG_UP_S`.
        """
        self.reason = reason
        self._flush()
        self.over = True
        self._on_end()
        self._timer.stop()
        transport, self.underlying = self.underlying, None  # nobody says anything more
        if transport is None:
            return
        self._ending = transport
        if not self.reading:
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(HANG_UP_S, transport.close)
        self._loop.call_later(HANG_UP_S + LINGER_S, transport.abort)

    def cut_off(self) -> None:
        """Close now: what the peer has not taken is lost."""
        if self._ending is not None:
            self._ending.close()
        self.end()
        if self.underlying is not None and self.underlying.get_write_buffer_size():
            self.underlying.abort()

    def cut(self, reason: str) -> None:
        """Close abortively. The first reason is the one that counts."""
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
    """In place of a callback that would keep a connection that is gone."""
