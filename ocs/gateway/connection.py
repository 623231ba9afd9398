"""One transport connection: a thin asyncio shell around frame reader, peer state machine, watchdog and dispatcher.

In layers: `channel` sends, pauses and ends; `heartbeat` sees whether the peer lives; `exchange` opens; here is what an open
connection reads.
Nothing a peer sends raises out of `data_received`, touches another peer or holds up the loop for longer than `TURN_S` and one
message. Every buffer is bounded: the frame reader by the message limit, the backlog by one read, requests in flight by a cap
above which reading pauses, unread answers by a limit above which the peer is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from ocs.gateway.dispatch import describe
from ocs.gateway.exchange import Exchange
from ocs.gateway.initiator import AWAY_FACTOR
from ocs.gateway.outstanding import Asked, Done
from ocs.gateway.peers import Peer
from ocs.gateway.refusals import Kind
from ocs.gateway.tls import PeerCertificate
from protocol import commands
from protocol.capabilities import make_dwa
from protocol.errors import DiameterError, ResultCode
from protocol.header import Header, parse_header
from protocol.peer import OPEN_STATES, PeerEvent, PeerState
from protocol.pipeline import decode_request

logger = logging.getLogger(__name__)

RATE = "rate"
TURN = "turn"
TURN_S = 0.005
"""A read may hold a thousand requests: after so long the other peers' turn comes, and the rest of it waits. About a hundred ordinary
requests, or one of the worst there are."""
MAX_RATE_PAUSE_S = 5.0
"""However much a read brought: watchdogs must be answered."""
PARTIAL_MESSAGE_S = 10.0
"""How long the rest of a message may take: who sends an octet now and then holds a buffer and no more."""
LABELS = {257: "CER", 280: "DWR", 282: "DPR"}


class Connection(Exchange):
    """Open after its capabilities exchange; until then `peer` is None."""

    @property
    def source(self) -> Peer:
        """The peer, for the handler of its requests."""
        assert self.peer is not None
        return self.peer

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.address = str(name[0]) if isinstance(name, tuple) and name else ""
        if transport.get_extra_info("sslcontext") is not None:
            self._certificate = PeerCertificate(transport)
        if not self._gateway.enter(self):
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
        if self._transport is None:
            return
        try:
            frames = self._reader.feed(data)
        except DiameterError as fault:
            frames, self._fault = self._reader.rescued, fault
        if not self._reader.pending_octets:
            self._partial_since = None
        elif frames or self._partial_since is None:
            self._partial_since = self._gateway.clock()
        if frames and self.peer is not None:
            self._watch_event(self._liveness(frames))
        self._backlog.extend(frames)
        if not self._work_scheduled:
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._disarm()
        self._backlog.clear()
        self._out.clear()
        gateway, peer = self._gateway, self.peer
        gateway.leave(self)
        self._outstanding.give_up()
        if peer is not None and peer.connection is self:
            if self._closing_reason == "closed_by_peer" and peer.state is PeerState.CLOSING:
                self._closing_reason = "dpr"
            self._step(peer, PeerEvent.R_PEER_DISC)
            gateway.metrics.connection_lost(self._closing_reason)
            logger.info("peer %s: connection lost (%s)", peer.origin_host, self._closing_reason)
        elif self._calling is not None and self._calling.calling is self:
            self._calling.calling = None
            self._step(self._calling, PeerEvent.I_PEER_DISC)
        else:
            gateway.gone_before_open(self)

    def pause_writing(self) -> None:
        self._pause("unread answers")

    def resume_writing(self) -> None:
        self._resume("unread answers")

    # --- receiving

    def _work(self) -> None:
        """Handle what has arrived, up to the cap of requests in flight and the end of the turn; the rest waits and the peer is not read."""
        self._work_scheduled = False
        backlog, clock = self._backlog, self._gateway.clock
        ends = clock() + TURN_S if len(backlog) > 1 else 0.0
        while backlog and self._transport is not None and RATE not in self._paused:
            if self.in_flight >= self._config.max_in_flight_per_peer:
                self._pause("in flight")
                return
            frame = backlog.popleft()
            try:
                self._message(frame, parse_header(frame))
            except Exception as error:  # noqa: BLE001 - a fault of ours must not spread beyond this connection
                logger.error("a message could not be handled, the connection is closed: %s", describe(error))
                self._cut("error")
            if backlog and clock() >= ends:
                self._pause(TURN)
                self._work_soon()
                return
        self._resume("in flight")
        self._resume(TURN)
        if self._fault is not None and not backlog and self._transport is not None:
            self._bad_stream(self._fault)

    def _work_soon(self) -> None:
        if not self._work_scheduled:
            self._work_scheduled = True
            self._gateway.loop.call_soon(self._work)

    def _message(self, frame: bytes, header: Header) -> None:
        code = header.command_code
        if self.peer is None:
            self._before_open(frame, header)
        elif not header.flags & 0x80:
            self._answer(frame, header)
        elif self._peer_leaves:
            self._gateway.dispatcher.refusals.note(
                self.peer.label, Kind.AFTER_DPR
            )  # discarded: RFC 6733 §5.6, state Closing
        elif code == 272:
            self.in_flight += 1
            answer = self._gateway.dispatcher.request(self, frame, header)
            if answer is not None:
                self.in_flight -= 1
                self._send(answer)
        elif code in LABELS and header.application_id == commands.APPLICATION_COMMON:
            self._base_request(frame, header, self.peer)
        else:
            self._gateway.metrics.request("other", "", "")
            self._send(self._gateway.dispatcher.refuse(frame, header, self._objection(frame, header)))

    def _objection(self, frame: bytes, header: Header) -> DiameterError:
        try:
            decode_request(frame, header, limits=self._gateway.dispatcher.limits)
        except DiameterError as error:
            return error
        return DiameterError(ResultCode.COMMAND_UNSUPPORTED, "this command is not served in this application")

    def _answer(self, frame: bytes, header: Header) -> None:
        """Answers to what we asked; anything else is dropped (RFC 6733 §3, §6.2.1)."""
        code = header.command_code
        if code in (commands.RE_AUTH, commands.ABORT_SESSION):
            known = self._outstanding.answer(frame, header)
        else:
            known = self._is_asked(frame)
            self._asked.pop(header.hop_by_hop, None)
        if not known:
            self._gateway.metrics.dropped_answer()
        elif code == commands.DEVICE_WATCHDOG:
            self._origin_state_of_dwa(frame, header)
        elif code == commands.DISCONNECT_PEER and self._closing_reason == "stopped":
            self._finish_stop(answered=True)

    def _base_request(self, frame: bytes, header: Header, peer: Peer) -> None:
        gateway, label = self._gateway, LABELS[header.command_code]
        gateway.metrics.request(label, "", "")
        try:
            request = decode_request(frame, header, limits=gateway.dispatcher.limits)
        except DiameterError as error:
            self._send_error(frame, header, error, label)
            return
        if header.command_code == commands.CAPABILITIES_EXCHANGE:
            # RFC 6733 §5.6 knows no CER on a connection that is open: an error, answered and ended.
            again = DiameterError(ResultCode.UNABLE_TO_COMPLY, "capabilities were already exchanged", close=True)
            self._send_error(frame, header, again, label)
            self._closing_reason = "error"
            self._end()
            return
        answer: commands.DeviceWatchdogAnswer | commands.DisconnectPeerAnswer
        if header.command_code == commands.DEVICE_WATCHDOG:
            answer = make_dwa(gateway.local)
            gateway.origin_state(peer, request.origin_state_id)
        else:
            answer = commands.DisconnectPeerAnswer(
                int(ResultCode.SUCCESS), self._config.origin_host, self._config.realm
            )
            if request.disconnect_cause != commands.REBOOTING:
                peer.away_until = gateway.clock() + AWAY_FACTOR * self._config.reconnect_s
            self._peer_leaves = True
            self._step(peer, PeerEvent.R_RCV_DPR)
            self._arm_at(peer.deadline, self._closing_timeout)
        gateway.metrics.answer(label, "", "", ResultCode.SUCCESS, 0.0)
        self._send(commands.encode_answer(answer, header))

    # --- for the dispatcher and for requests of ours

    def answered(self, frame: bytes) -> bool:
        """A reply of the handler; sent together with the other replies of this turn of the event loop."""
        self.in_flight -= 1
        if self._transport is None:
            return False
        self._send(frame)
        if self._backlog:
            self._work_soon()
        elif self._paused and self.in_flight < self._config.max_in_flight_per_peer:
            self._resume("in flight")
        if self.in_flight == 0 and self._closing_reason == "stopped":
            self._gateway.loop.call_soon(self._finish_stop)
        return True

    def pause_for(self, seconds: float) -> None:
        """The peer is faster than it may be: what it sends meanwhile waits in its own buffers."""
        if RATE not in self._paused:
            self._pause(RATE)
            self._gateway.loop.call_later(min(seconds, MAX_RATE_PAUSE_S), self._rate_over)

    def _rate_over(self) -> None:
        self._resume(RATE)
        self._work_soon()

    def ask(self, request: Asked, done: Done, timeout_s: float) -> bool:
        """Send a request of ours; False if too many are unanswered."""
        if self._transport is None or self._outstanding.full:
            return False
        gateway = self._gateway
        hop, end = gateway.identifiers()
        self._outstanding.add(request, hop, done, gateway.clock() + timeout_s)
        self._send(commands.encode(request, hop_by_hop=hop, end_to_end=end, application_id=4))
        return True

    def look(self, now: float, unix_s: float) -> None:
        """A few times a second: what has taken too long."""
        self._outstanding.expire(now)
        if self._partial_since is not None and now - self._partial_since > PARTIAL_MESSAGE_S and not self._paused:
            self._cut("partial_message")
        elif self._certificate is not None and unix_s >= self._certificate.expires_at and self.peer is not None:
            logger.warning("peer %s: its certificate has expired", self.peer.origin_host)
            self.stop(commands.DO_NOT_WANT_TO_TALK_TO_YOU)

    # --- ending

    def stop(self, cause: int = commands.REBOOTING) -> None:
        """Send DPR; the requests in flight still get their answers."""
        peer, gateway = self.peer, self._gateway
        if self._transport is None:
            return
        if peer is None:
            gateway.metrics.connection_refused("stopping")
            self._cut("stopped")
            return
        if peer.state not in OPEN_STATES:
            return
        self._step(peer, PeerEvent.STOP)
        self._closing_reason = "stopped"
        self._arm_at(peer.deadline, self._closing_timeout)
        self._ask_base(commands.DisconnectPeerRequest(self._config.origin_host, self._config.realm, cause))

    def _finish_stop(self, answered: bool = False) -> None:
        """We asked to part (RFC 6733 §5.4: who receives the DPA closes), once nothing is in flight any more."""
        self._dpa_received = self._dpa_received or answered
        if self._dpa_received and self.in_flight == 0 and not self._backlog:
            self._end()

    def _bad_stream(self, error: DiameterError) -> None:
        """5011 or 5015, before a CER as well, then the end: the frames are lost (RFC 6733 §2.1, §7.1.5)."""
        broken = self._reader.broken
        header = parse_header(broken)
        if header.is_request:
            self._send(self._gateway.dispatcher.refuse(broken, header, error))
        if self.peer is None:
            self._gateway.metrics.connection_refused("bad_stream")
        self._closing_reason = "bad_stream"
        self._end_heard()

    def _closing_timeout(self) -> None:
        """The peer said DPR, got its DPA and did not hang up; or it does not answer ours."""
        self._timer = None
        if self._closing_reason == "closed_by_peer":
            self._closing_reason = "dpr"
        self._end()
