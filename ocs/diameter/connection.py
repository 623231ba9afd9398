"""One connection with a peer: the asyncio protocol, the messages of an open connection, and its end.

Its parts are `transport` (writing, reading, closing), `receive` (incoming messages), `watchdog`, and `capabilities`
(until it is open). Its states are those of the tables in `protocol.peer` and `protocol.watchdog`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from ocs.diameter.accept_limits import PendingConnection
from ocs.diameter.capabilities import Capabilities, CapabilitiesServer
from ocs.diameter.dispatch import Dispatcher
from ocs.diameter.log_texts import IN_ORDER, LOST
from ocs.diameter.outstanding import Asked, BaseRequests, Done, Identifiers, Outstanding
from ocs.diameter.peers import Peer
from ocs.diameter.receive import Receiver
from ocs.diameter.refusals import Kind
from ocs.diameter.timer import Timer
from ocs.diameter.transport import Transport
from ocs.diameter.watchdog import Watchdog, WatchdogServer
from protocol import commands
from protocol.answers import error_answer
from protocol.capabilities import make_dwa
from protocol.compiler import Fault
from protocol.errors import DiameterError, ResultCode
from protocol.header import Header, parse_header
from protocol.peer import OPEN_STATES, PeerEvent, PeerState
from protocol.pipeline import decode_request

logger = logging.getLogger(__name__)

LABELS = {257: "CER", 280: "DWR", 282: "DPR"}


class ConnectionServer(CapabilitiesServer, WatchdogServer, Protocol):
    """What a connection needs of its server."""

    dispatcher: Dispatcher
    identifiers: Identifiers

    def enter(self, connection: Connection) -> bool:
        """Admit a new connection; False = close it at once."""

    def leave(self, connection: Connection) -> None:
        """The connection is gone."""


class Connection(asyncio.Protocol):
    """`peer` is None until the capabilities exchange has succeeded. `calling`: the peer that we have connected to;
    None = an incoming connection.
    """

    def __init__(self, server: ConnectionServer, *, calling: Peer | None = None) -> None:
        self._server = server
        self._config = server.config
        self._dispatcher = server.dispatcher
        self._calling = calling
        self._timer = Timer(server.loop, server.clock)
        self._outstanding = Outstanding()
        self.transport = Transport(server, self._timer, self._forget)
        self._send = self.transport.send
        self._base_requests = BaseRequests(server.identifiers, self._send)
        self.watchdog = Watchdog(server, self.transport, self._timer, self._base_requests, self._outstanding)
        self.receiver = Receiver(server, self.transport, self.watchdog, self._base_requests, self._outstanding, self)
        self._capabilities = Capabilities(server, self, self.transport, self.receiver, self._base_requests, calling)
        self._dpr_received = False
        """The peer has sent DPR: its earlier requests are still answered, new ones are discarded."""
        self._dpa_received = False
        self._detached = False
        self.before: PendingConnection | None = None
        """The TLS handshake whose place in `accept_limits` this connection takes."""
        self.peer: Peer | None = None
        self.source: Peer
        """`peer`, for the dispatcher; unset until the connection is open, and no request comes before."""

    @property
    def address(self) -> str:
        """IP address of the peer, without the port."""
        return self.transport.address

    @property
    def called(self) -> bool:
        """Whether this is an outgoing connection."""
        return self._calling is not None

    def _forget(self) -> None:
        self.receiver.forget()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport.connected(transport)
        if not self._server.enter(self):
            self.transport.abort()
            return
        self._timer.start(self._config.cer_timeout_s, self._capabilities.timed_out)
        if self._calling is not None:
            self._capabilities.call(self._calling)

    def data_received(self, data: bytes) -> None:
        self.receiver.data_received(data)

    def pause_writing(self) -> None:
        self.transport.pause_writing()
        self.receiver.writing_paused()

    def resume_writing(self) -> None:
        self.transport.resume_writing()
        self.receiver.writing_resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport.lost()
        self._server.leave(self)
        self._detach()
        self.receiver.lost()
        self._capabilities.lost()

    # --- opening

    def accept(self, peer: Peer, cer: Header) -> None:
        """Send the CEA; the connection is open."""
        self._capabilities.accept(peer, cer)

    def opened(self, peer: Peer) -> None:
        """The capabilities exchange has succeeded."""
        self.peer = self.source = peer
        peer.connection = self
        self._server.accept_limits.heard(self)
        self._timer.stop()
        self.receiver.opened(peer)
        self.watchdog.start(peer)
        how = "TLS" if self.transport.certificate is not None else "TCP"
        way = "to" if self._calling else "from"
        logger.info("peer %s: open %s %s over %s", peer.origin_host, way, self.address, how)

    # --- messages

    def message(self, frame: bytes, header: Header) -> None:
        """Handle one message."""
        code = header.command_code
        if self.peer is None:
            self._capabilities.message(frame, header)
        elif not header.flags & 0x80:
            self._answer(frame, header, self.peer)
        elif self._dpr_received:
            # Discarded (RFC 6733 §5.6, state Closing).
            self._dispatcher.refusals.note(self.peer.label, Kind.AFTER_DPR)
        elif code == 272:
            self.receiver.in_flight += 1
            answer = self._dispatcher.request(self, frame, header)
            if answer is not None:
                self.receiver.in_flight -= 1
                self._send(answer)
        elif code in LABELS and header.application_id == commands.APPLICATION_COMMON:
            self._base_request(frame, header, self.peer)
        else:
            self._server.metrics.request("other", "", "")
            self._send(self._dispatcher.refuse(frame, header, _objection(frame, header, self.peer)))

    def _answer(self, frame: bytes, header: Header, peer: Peer) -> None:
        """Handle an answer; one that matches no request is dropped (RFC 6733 §3, §6.2.1)."""
        code = header.command_code
        if code in (commands.RE_AUTH, commands.ABORT_SESSION):
            known = self._outstanding.answer(frame, header)
        else:
            known = self._base_requests.wait_for(frame)
            self._base_requests.answered(header)
        if not known:
            self._server.metrics.dropped_answer()
        elif code == commands.DEVICE_WATCHDOG:
            self._origin_state_of_dwa(frame, header, peer)
        elif code == commands.DISCONNECT_PEER and self.transport.reason == "stopped":
            self._dpa_received = True
            self.receiver.when_done = self._finish_stop
            self._finish_stop()

    def _origin_state_of_dwa(self, frame: bytes, header: Header, peer: Peer) -> None:
        try:
            answer = commands.decode_answer(commands.DeviceWatchdogAnswer, frame, header)
        except Fault:
            return
        self._server.origin_states.peer_said(peer, answer.origin_state_id)

    def _base_request(self, frame: bytes, header: Header, peer: Peer) -> None:
        server, label = self._server, LABELS[header.command_code]
        server.metrics.request(label, "", "")
        try:
            request = decode_request(frame, header, limits=peer.limits_of(frame))
        except DiameterError as error:
            self._send_error(frame, header, error, label)
            return
        if header.command_code == commands.CAPABILITIES_EXCHANGE:
            # RFC 6733 §5.6 has no CER on an open connection: answer with an error, then close.
            again = DiameterError(ResultCode.UNABLE_TO_COMPLY, "capabilities were already exchanged", close=True)
            self._send_error(frame, header, again, label)
            self.transport.end("error")
            self._detach()
            return
        answer: commands.DeviceWatchdogAnswer | commands.DisconnectPeerAnswer
        if header.command_code == commands.DEVICE_WATCHDOG:
            answer = make_dwa(server.local)
            server.origin_states.peer_said(peer, request.origin_state_id)
        else:
            answer = self._dpr(request, peer)
        server.metrics.answer(label, "", "", ResultCode.SUCCESS, 0.0)
        self._send(commands.encode_answer(answer, header))

    def _dpr(self, request: commands.DisconnectPeerRequest, peer: Peer) -> commands.DisconnectPeerAnswer:
        """The peer sends DPR (RFC 6733 §5.4): it closes the connection after our DPA."""
        config = self._config
        if request.disconnect_cause != commands.REBOOTING:
            self._server.shared_peer_state.leave_alone(peer, config.reconnect_s)
        self._dpr_received = True
        self._step(peer, PeerEvent.R_RCV_DPR)
        self._timer.start_at(peer.deadline, self._closing_timeout)
        return commands.DisconnectPeerAnswer(int(ResultCode.SUCCESS), config.origin_host, config.realm)

    def _send_error(self, frame: bytes, header: Header, error: DiameterError, label: str) -> None:
        self._server.metrics.answer(label, "", "", error.result_code, 0.0)
        self._send(error_answer(frame, header, error, self._config.origin_host, self._config.realm))

    def bad_stream(self, head: bytes, error: DiameterError) -> None:
        """Message boundaries are lost: answer 5011 or 5015, even before a CER, and close (RFC 6733 §2.1, §7.1.5)."""
        header = parse_header(head)
        if header.is_request:
            self._send(self._dispatcher.refuse(head, header, error))
        if self.peer is None:
            self._server.accept_limits.refused(self.address, "bad_stream")
        self.transport.half_close("bad_stream")
        self._detach()

    # --- for the dispatcher, and for RAR and ASR

    def answered(self, frame: bytes) -> bool:
        """Send the answer to a request, together with others of this event loop iteration. False = connection gone."""
        receiver, transport = self.receiver, self.transport
        receiver.in_flight -= 1
        if transport.underlying is None:
            return False
        self._send(frame)
        receiver.answered()
        if receiver.in_flight == 0 and transport.reason == "stopped":
            self._server.loop.call_soon(self._finish_stop)
        return True

    def ask(self, request: Asked, done: Done, timeout_s: float) -> bool:
        """Send a RAR or ASR. False if too many are unanswered, or the watchdog is not in OKAY."""
        if self.transport.underlying is None or self._outstanding.full(request) or not self.watchdog.trusted:
            return False
        server = self._server
        hop, end = server.identifiers.next()
        self._outstanding.add(request, hop, done, server.clock() + timeout_s)
        self._send(commands.encode(request, hop_by_hop=hop, end_to_end=end, application_id=4))
        return True

    def probe(self) -> None:
        """Check that this connection is alive: its peer has sent a CER on another one."""
        self.watchdog.probe()

    def look(self, now: float, unix_s: float) -> None:
        """Check timeouts; called a few times a second."""
        self._outstanding.expire(now)
        self.transport.look()
        self.receiver.look(now)
        certificate = self.transport.certificate
        if certificate is not None and unix_s >= certificate.expires_at and self.transport.open:
            self._certificate_expired()

    def _certificate_expired(self) -> None:
        peer = self.peer
        if peer is not None and peer.state in OPEN_STATES:
            logger.warning("peer %s: its certificate has expired: sending DPR", peer.origin_host)
            self.stop(commands.DO_NOT_WANT_TO_TALK_TO_YOU)

    # --- ending

    def stop(self, cause: int = commands.REBOOTING) -> None:
        """Send DPR; requests in flight are still answered."""
        peer, transport = self.peer, self.transport
        if transport.underlying is None:
            return
        if peer is None:
            self._server.accept_limits.refused(self.address, "stopping")
            transport.cut("stopped")
            return
        if peer.state not in OPEN_STATES:
            return
        self._step(peer, PeerEvent.STOP)
        transport.reason = "stopped"
        self._timer.start_at(peer.deadline, self._closing_timeout)
        self._base_requests.ask(commands.DisconnectPeerRequest(self._config.origin_host, self._config.realm, cause))

    def _finish_stop(self) -> None:
        """Close once the DPA has come and nothing is in flight (RFC 6733 §5.4: the receiver of the DPA closes)."""
        if self._dpa_received and self.receiver.in_flight == 0 and not self.receiver.queued:
            self.transport.end()

    def _closing_timeout(self) -> None:
        """The peer has not closed the connection after its DPR, or has not answered ours."""
        self.transport.cut("dpr")

    def close_now(self) -> None:
        """Close at once; data that the peer has not received is lost."""
        self.transport.close_now()

    def turn_away(self, reason: str) -> None:
        """Abort: its place is needed for another connection."""
        self.transport.cut(reason)

    def _detach(self) -> None:
        """Release the peer, once: it may connect again while this connection is still being closed."""
        if self._detached:
            return
        self._detached = True
        peer, calling, transport = self.peer, self._calling, self.transport
        self._outstanding.give_up()
        if peer is not None and peer.connection is self:
            if transport.reason == "closed_by_peer" and peer.state is PeerState.CLOSING:
                transport.reason = "dpr"
            self._step(peer, PeerEvent.R_PEER_DISC)
            self._server.metrics.connection_lost(transport.reason)
            _log_end(peer.origin_host, transport.reason)
        elif calling is not None and calling.calling is self:
            calling.calling = None
            self._step(calling, PeerEvent.I_PEER_DISC)
        else:
            self._server.peer_connections.gone_before_open(self)

    def _step(self, peer: Peer, event: PeerEvent) -> None:
        self._server.peer_connections.step(peer, event, initiated=self._calling is not None)


def _log_end(peer: str, reason: str) -> None:
    if reason in IN_ORDER:
        logger.info("peer %s: connection closed: %s", peer, IN_ORDER[reason])
    else:
        logger.warning("peer %s: connection lost: %s", peer, LOST.get(reason, reason))


def _objection(frame: bytes, header: Header, peer: Peer) -> DiameterError:
    """The error for a request whose command or application is not supported."""
    try:
        decode_request(frame, header, limits=peer.limits_of(frame))
    except DiameterError as error:
        return error
    return DiameterError(ResultCode.COMMAND_UNSUPPORTED, "this command is not served in this application")
