"""What comes in: octets become messages, messages wait for their turn, and a peer above its bounds waits longer.

Nothing a peer sends raises out of `data_received`, touches another peer or holds up the loop for longer than `TURN_S` and one
message. Every buffer is bounded: the frame reader by the message limit, what waits by `READ_AHEAD_OCTETS` and one read, requests in flight
by a cap above which the rest waits.
Watchdogs and answers do not wait in line with the requests: they say that the peer lives, and that we do.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from ocs.diameter.capabilities import Exchange
from ocs.diameter.channel import ELSEWHERE, IN_FLIGHT, RATE, TURN, UNREAD
from ocs.diameter.log_texts import IN_ORDER, LOST
from ocs.diameter.peers import Peer
from ocs.diameter.tls import PeerCertificate
from ocs.diameter.watchdog import WATCHDOG
from ocs.telemetry.logs import describe
from protocol import commands
from protocol.errors import DiameterError
from protocol.header import Header, parse_header
from protocol.peer import PeerEvent, PeerState

logger = logging.getLogger(__name__)

TURN_S = 0.005
"""A read may hold a thousand requests: after so long the other peers' turn comes, and the rest of it waits. About a hundred ordinary
requests, or one of the worst there are."""
WAITING = frozenset({RATE, ELSEWHERE, UNREAD})
"""While held for one of these nothing in line is worked on."""
WAITING_AT_LAST = WAITING - {UNREAD}
"""The same when the stream has broken off: what is in line is the last, whether or not the peer takes the answers."""
DISCONNECT = commands.DISCONNECT_PEER.to_bytes(3, "big")
BASE_REQUESTS = frozenset({commands.DEVICE_WATCHDOG, commands.DISCONNECT_PEER})
"""They do not count towards a peer's rate, but have a bound of their own (`peers.BASE_REQUESTS_PER_S`)."""


class Reading(Exchange):
    """`_message` and `_bad_stream` are the connection's."""

    def _message(self, frame: bytes, header: Header) -> None:
        raise NotImplementedError

    def _bad_stream(self, error: DiameterError) -> None:
        raise NotImplementedError

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.address = str(name[0]) if isinstance(name, tuple) and name else ""
        if transport.get_extra_info("sslcontext") is not None:
            self._certificate = PeerCertificate(transport)
        if not self._server.enter(self._itself):
            transport.abort()
            return
        if self._certificate is None:
            # uvloop writes at once only above this mark; else at the end of its turn, when the peer has long been idle. (With TLS a
            # mark of 0 would count as always exceeded.)
            transport.set_write_buffer_limits(high=0)
        self._arm(self._config.cer_timeout_s, self._cer_timeout)
        if self._calling is not None:
            self._call(self._calling)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._over or self._fault is not None:
            return
        try:
            frames = self._reader.feed(data)
        except DiameterError as fault:
            frames, self._fault = self._reader.rescued, fault
        if not self._reader.pending_octets:
            self._partial_since = None
        elif frames or self._partial_since is None:
            self._partial_since = self._server.clock()
        if frames:
            self._arrived(frames)
        if self._work_scheduled:
            self._adjust_reading()
        else:
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._disarm()
        self._forget_backlog()
        self._out.clear()
        self._server.leave(self._itself)
        self._part()

    def _part(self) -> None:
        """The peer is without this connection from now on, once: it may come again, while we still wait for it to hang up."""
        if self._parted:
            return
        self._parted = True
        server, peer = self._server, self.peer
        self._outstanding.give_up()
        if peer is not None and peer.connection is self:
            if self._closing_reason == "closed_by_peer" and peer.state is PeerState.CLOSING:
                self._closing_reason = "dpr"
            self._step(peer, PeerEvent.R_PEER_DISC)
            server.metrics.connection_lost(self._closing_reason)
            self._tell_end(peer.origin_host)
        elif self._calling is not None and self._calling.calling is self:
            self._calling.calling = None
            self._step(self._calling, PeerEvent.I_PEER_DISC)
        else:
            server.gone_before_open(self._itself)

    def _tell_end(self, peer: str) -> None:
        reason = self._closing_reason
        if reason in IN_ORDER:
            logger.info("peer %s: connection closed in order: %s", peer, IN_ORDER[reason])
        else:
            logger.warning("peer %s: connection lost: %s", peer, LOST.get(reason, reason))

    def pause_writing(self) -> None:
        self._count_taken()
        self._hold(UNREAD)

    def resume_writing(self) -> None:
        self._let_go(UNREAD)
        self._work_soon()

    # --- in line

    def _arrived(self, frames: list[bytes]) -> None:
        peer = self.peer
        if peer is None:
            for frame in frames:
                self._wait_in_line(frame)
            return
        backlog, octets = self._backlog, 0
        urgent, answers = [], []
        for frame in frames:
            is_request = frame[4] & 0x80
            if not is_request:
                answers.append(frame)
            if (is_request and frame[5:8] != WATCHDOG) or not self._is_urgent(peer, frame):
                backlog.append(frame)
                octets += len(frame)
            else:
                urgent.append(frame)
        self._backlog_octets += octets
        self._heard(answers)
        for frame in urgent:
            if not self._over:
                self._handle(frame, parse_header(frame))

    def _is_urgent(self, peer: Peer, frame: bytes) -> bool:
        """An answer to something of ours, or a DWR. A DPA is not: what came before it is handled first; nor is one DWR too many."""
        if frame[4] & 0x80:
            return peer.base_requests.take(self._server.clock())
        return frame[5:8] != DISCONNECT and (self._is_asked(frame) or self._outstanding.waits_for(parse_header(frame)))

    def _work(self) -> None:
        """Handle what is in line, up to the cap of requests in flight and the end of the turn; the rest waits."""
        self._work_scheduled = False
        clock, backlog, held = self._server.clock, self._backlog, self._held
        most = self._config.max_in_flight_per_peer
        ends = clock() + TURN_S if len(backlog) > 1 else 0.0
        waiting = WAITING if self._fault is None else WAITING_AT_LAST
        while backlog and self._transport is not None and (not held or held.isdisjoint(waiting)):
            if self.in_flight >= most:
                self._hold(IN_FLIGHT)
                return
            frame = backlog.popleft()
            self._backlog_octets -= len(frame)
            header = parse_header(frame)
            self._pace(header)
            self._handle(frame, header)
            if backlog and clock() >= ends:
                self._hold(TURN)
                self._work_soon()
                return
        self._let_go(IN_FLIGHT)
        self._let_go(TURN)
        self._adjust_reading()
        if self._backlog or self._over or self._transport is None:
            return
        if self._fault is not None and not self.in_flight:  # what came before it is answered first
            self._bad_stream(self._fault)
        elif self._dpa_received:
            self._itself._finish_stop()

    def _work_soon(self) -> None:
        if not self._work_scheduled:
            self._work_scheduled = True
            self._server.loop.call_soon(self._work)

    def _handle(self, frame: bytes, header: Header) -> None:
        try:
            self._message(frame, header)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not spread beyond this connection
            who = f"peer {self.peer.origin_host}" if self.peer is not None else f"connection from {self.address}"
            logger.error("%s: closed after an internal error, please report it: %s", who, describe(error))
            self._cut("error")

    # --- pace

    def _pace(self, header: Header) -> None:
        """A peer that is faster than it may be waits: this request is the last for a while, whatever becomes of it."""
        peer, (_, flags, command, _, _, _) = self.peer, header
        if peer is None or not flags & 0x80:
            return
        if command in BASE_REQUESTS:
            bucket = peer.base_requests
        elif peer.limited:
            bucket = peer.requests
        else:
            return
        pause_s = bucket.pause_s(self._server.clock())
        if pause_s:
            self._hold(RATE)
            self._server.loop.call_later(pause_s, self._rate_over)

    def _rate_over(self) -> None:
        self._let_go(RATE)
        self._work_soon()
