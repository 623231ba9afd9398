"""The capabilities exchange of one connection, incoming or outgoing (RFC 6733 §5.3, §5.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ocs.diameter.accept_limits import AcceptLimits, PendingConnection
from ocs.diameter.locks import PeerLocks
from ocs.diameter.metrics import DiameterMetrics
from ocs.diameter.origin_state import OriginStates
from ocs.diameter.outstanding import BaseRequests
from ocs.diameter.peer_connections import PeerConnections
from ocs.diameter.peers import Peer, PeerConnection, PeerTable
from ocs.diameter.transport import Transport
from ocs.settings.diameter import PeerConfig
from ocs.values.text import quoted
from protocol import commands
from protocol.capabilities import LocalNode, check_cea, check_cer, make_cea, make_cer, refusal
from protocol.compiler import Fault
from protocol.errors import DiameterError, ResultCode
from protocol.header import Header
from protocol.peer import PeerAction, PeerEvent, PeerState
from protocol.pipeline import decode_request

logger = logging.getLogger(__name__)

SECURITY = {int(ResultCode.NO_COMMON_SECURITY): "no_common_security"}
OBJECTIONS = {
    int(ResultCode.NO_COMMON_APPLICATION): "no_common_application",
    int(ResultCode.NO_COMMON_SECURITY): "no_common_security",
}
OTHER_S = 1.0
"""How long an outgoing connection waits after its CEA for another worker to lose the peer's incoming connection."""
OTHER_LOOK_S = 0.02
"""Interval at which it looks."""


def _already_connected() -> DiameterError:
    reason = "this peer is already connected; the old connection is being probed"
    return DiameterError(ResultCode.UNABLE_TO_COMPLY, reason, close=True)


class CapabilitiesServer(Protocol):
    clock: Callable[[], float]
    unix_clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    metrics: DiameterMetrics
    local: LocalNode
    locks: PeerLocks
    accept_limits: AcceptLimits
    origin_states: OriginStates
    peers_table: PeerTable
    peer_connections: PeerConnections


class OpeningConnection(PeerConnection, PendingConnection, Protocol):
    """The connection whose capabilities are exchanged."""

    def opened(self, peer: Peer) -> None:
        """The capabilities exchange has succeeded."""


class MessageQueue(Protocol):
    """The connection's queue of received messages (`receive.Receiver`)."""

    def put_back(self, frame: bytes) -> None: ...

    def go_on(self) -> None: ...


class Capabilities:
    """Handles the messages of a connection until it is open.

    `calling`: the peer that we have connected to; None = an incoming connection.
    """

    def __init__(
        self,
        server: CapabilitiesServer,
        connection: OpeningConnection,
        transport: Transport,
        queue: MessageQueue,
        base_requests: BaseRequests,
        calling: Peer | None,
    ) -> None:
        self._server = server
        self._connection = connection
        self._transport = transport
        self._queue = queue
        self._base_requests = base_requests
        self._calling = calling
        self._other_until: float | None = None

    def message(self, frame: bytes, header: Header) -> None:
        """Only a CER, or the CEA to ours, is accepted; anything else ends the connection (RFC 6733 §5.6.1)."""
        server = self._server
        if self._calling is not None:
            self._called(frame, header, self._calling)
        elif (
            header.command_code != commands.CAPABILITIES_EXCHANGE
            or not header.is_request
            or server.peer_connections.waits(self._connection)
        ):
            server.accept_limits.refused(self._transport.address, "not_a_cer")
            self._transport.cut("bad_stream")
        else:
            server.metrics.request("CER", "", "")
            self._cer(frame, header)

    def timed_out(self) -> None:
        """No CER or CEA has come in time."""
        self._server.accept_limits.refused(self._transport.address, "cer_timeout")
        self._transport.cut("cer_timeout")

    def lost(self) -> None:
        """The connection is gone: drop the reference cycle."""
        del self._connection

    # --- incoming connections

    def _cer(self, frame: bytes, header: Header) -> None:
        server = self._server
        try:
            limits = server.peers_table.limits_of(frame)
            request: commands.CapabilitiesExchangeRequest = decode_request(frame, header, limits=limits)
        except DiameterError as error:
            self._refuse(header, error, "bad_cer")
            return
        error_found = server.peers_table.admit(request.origin_host, request.origin_realm, self._transport.address)
        if error_found is None:
            error_found = self._security(server.peers_table.entry(request.origin_host))
        if error_found is not None:
            self._refuse(header, error_found, SECURITY.get(error_found.result_code, "unknown_peer"), request)
            return
        error_found = check_cer(request, server.local)
        if error_found is not None:
            self._refuse(header, error_found, OBJECTIONS.get(error_found.result_code, "bad_cer"), request)
            return
        if not server.locks.hold(request.origin_host):
            server.locks.ask_to_probe(request.origin_host)
            self._refuse(header, _already_connected(), "duplicate", request)
            return
        self._take(header, request)

    def _security(self, config: PeerConfig) -> DiameterError | None:
        """Check that TLS is used as configured, and that the certificate is the peer's (RFC 6733 §13)."""
        certificate = self._transport.certificate
        if certificate is None:
            if config.tls:
                return DiameterError(ResultCode.NO_COMMON_SECURITY, "this peer must come with TLS", close=True)
            return None
        if config.tls is False:
            return DiameterError(ResultCode.NO_COMMON_SECURITY, "this peer must come without TLS", close=True)
        if not certificate.is_of(config.origin_host):
            return DiameterError(ResultCode.UNKNOWN_PEER, "the certificate is not this Origin-Host's", close=True)
        if certificate.expires_at <= self._server.unix_clock():
            # A resumed session of TLS 1.2 does not check the certificate again.
            return DiameterError(ResultCode.UNKNOWN_PEER, "the certificate has expired", close=True)
        return None

    def _take(self, header: Header, request: commands.CapabilitiesExchangeRequest) -> None:
        """The peer is admitted: accept its connection, unless it has one already."""
        server = self._server
        peer = server.peers_table.get(request.origin_host)
        actions = self._step(peer, PeerEvent.R_CONN_CER)
        if PeerAction.R_REJECT in actions:
            if peer.connection is not None:
                peer.connection.probe()
            self._refuse(header, _already_connected(), "duplicate", request)
            return
        server.origin_states.peer_said(peer, request.origin_state_id)
        if PeerAction.R_SND_CEA in actions:
            self.accept(peer, header)
            return
        # We are connecting to this peer too: the election keeps one of the two connections (§5.6.4).
        peer.waiting = self._connection, header
        server.accept_limits.heard(self._connection)
        if peer.connecting is not None and not peer.connecting.expired():
            # Our connection is not established yet: give it up, rather than let the peer wait for the election.
            peer.connecting.reschedule(server.loop.time())
        if PeerAction.ELECT in actions:
            server.peer_connections.elect(peer)

    def accept(self, peer: Peer, cer: Header) -> None:
        """Send the CEA; the connection is open."""
        cea = make_cea(self._server.local, self._transport.local_addresses(), ResultCode.SUCCESS)
        self._transport.send(commands.encode_answer(cea, cer))
        self._connection.opened(peer)
        self._server.metrics.answer("CER", "", "", ResultCode.SUCCESS, 0.0)

    def _refuse(
        self,
        header: Header,
        error: DiameterError,
        reason: str,
        request: commands.CapabilitiesExchangeRequest | None = None,
    ) -> None:
        """Send an error CEA and close the connection. The log says more than the CEA."""
        server, transport, text, known = self._server, self._transport, error.message, ""
        if request is not None:
            text, known = server.peers_table.refusal(request.origin_host, request.origin_realm, error.message)
        if request is not None and transport.certificate is not None and error.result_code == ResultCode.UNKNOWN_PEER:
            text += f"; its certificate is of {', '.join(map(quoted, transport.certificate.some_names)) or 'nobody'}"
        server.accept_limits.refused(transport.address, reason, text, known)
        server.metrics.answer("CER", "", "", error.result_code, 0.0)
        transport.send(refusal(header, server.local, transport.local_addresses(), error))
        transport.end()

    # --- outgoing connections

    def call(self, peer: Peer) -> None:
        """The transport connection is established: send the CER, unless the peer has connected to us meanwhile."""
        server = self._server
        peer.calling = self._connection
        taken = server.locks.taken_elsewhere(peer.origin_host)
        actions = self._step(peer, PeerEvent.I_RCV_CONN_NACK if taken else PeerEvent.I_RCV_CONN_ACK)
        if PeerAction.I_SND_CER not in actions:
            self._transport.cut("closed_by_peer")
            return
        self._base_requests.ask(make_cer(server.local, self._transport.local_addresses()))
        if PeerAction.ELECT in actions:
            server.peer_connections.elect(peer)

    def _called(self, frame: bytes, header: Header, peer: Peer) -> None:
        """Handle the CEA. Any other message ends the connection (RFC 6733 §5.6, Wait-I-CEA), except answers that match
        no request, which are dropped (§6.2.1).
        """
        server = self._server
        if not header.is_request and not self._base_requests.wait_for(frame):
            server.metrics.dropped_answer()
            return
        answer = self._cea(frame, header, peer)
        if isinstance(answer, DiameterError):
            logger.warning("peer %s: our connection to it could not be opened: %s", peer.origin_host, answer.message)
            self._step(peer, PeerEvent.I_RCV_NON_CEA)
            self._transport.cut("bad_stream")
            return
        if not server.locks.hold(peer.origin_host):
            self._wait_for_the_other(peer, frame)
            return
        self._base_requests.answered(header)
        actions = self._step(peer, PeerEvent.I_RCV_CEA)
        if peer.state is not PeerState.I_OPEN:
            server.locks.follow(peer.origin_host, peer.state)
            self._transport.cut("error")
            return
        peer.calling = None
        server.origin_states.peer_said(peer, answer.origin_state_id)
        self._connection.opened(peer)
        server.peer_connections.act(peer, actions)

    def _cea(self, frame: bytes, header: Header, peer: Peer) -> commands.CapabilitiesExchangeAnswer | DiameterError:
        """The CEA, or what is wrong with it."""
        certificate = self._transport.certificate
        try:
            answer = commands.decode_answer(commands.CapabilitiesExchangeAnswer, frame, header)
        except Fault:
            return DiameterError(ResultCode.UNABLE_TO_COMPLY, "the peer did not answer our CER", close=True)
        if isinstance(answer, commands.ErrorMessage):
            return DiameterError(answer.code, f"the peer refused our CER with {answer.code}", close=True)
        objection = check_cea(answer, self._server.local, peer.origin_host)
        if objection is None and certificate is not None and not certificate.is_of(peer.origin_host):
            objection = DiameterError(ResultCode.UNKNOWN_PEER, "the certificate is not the peer's", close=True)
        return objection or answer

    def _wait_for_the_other(self, peer: Peer, cea: bytes) -> None:
        """The peer has accepted our connection, but another worker has a connection from it. Wait until the peer drops
        that one (§5.6.4), or until it proves dead; after OTHER_S close ours.
        """
        server, now = self._server, self._server.clock()
        if self._other_until is None:
            self._other_until = now + OTHER_S
            server.locks.ask_to_probe(peer.origin_host)
        if now >= self._other_until:
            logger.info("peer %s: our connection is not needed, it has connected to another worker", peer.origin_host)
            self._step(peer, PeerEvent.I_RCV_NON_CEA)
            self._transport.cut("closed_by_peer")
            return
        self._queue.put_back(cea)
        server.loop.call_later(OTHER_LOOK_S, self._queue.go_on)

    def _step(self, peer: Peer, event: PeerEvent) -> tuple[PeerAction, ...]:
        return self._server.peer_connections.step(peer, event, initiated=self._calling is not None)
