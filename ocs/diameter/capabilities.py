"""The capabilities exchange of one connection, whichever side has made it (RFC 6733 §5.3, §5.6): who is it, and may it come in?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from ocs.diameter.channel import ELSEWHERE
from ocs.diameter.peers import Peer
from ocs.diameter.watchdog import Heartbeat
from ocs.settings.diameter import PeerConfig
from ocs.values.text import shown
from protocol import commands
from protocol.capabilities import check_cea, check_cer, make_cea, make_cer, refusal
from protocol.compiler import Fault
from protocol.errors import DiameterError, ResultCode
from protocol.header import Header
from protocol.peer import PeerAction, PeerEvent, PeerState
from protocol.pipeline import decode_request

if TYPE_CHECKING:
    from ocs.diameter.connection import Connection

logger = logging.getLogger(__name__)

SECURITY = {int(ResultCode.NO_COMMON_SECURITY): "no_common_security"}
OBJECTIONS = {
    int(ResultCode.NO_COMMON_APPLICATION): "no_common_application",
    int(ResultCode.NO_COMMON_SECURITY): "no_common_security",
}
OTHER_S = 1.0
"""How long a connection of ours that the peer has taken waits for another worker to lose the peer's own."""
OTHER_LOOK_S = 0.02


def _already_connected() -> DiameterError:
    reason = "this peer is already connected; the old connection is being probed"
    return DiameterError(ResultCode.UNABLE_TO_COMPLY, reason, close=True)


class Exchange(Heartbeat):
    """Before it is open, a connection is a CER, a CEA, or nothing we listen to."""

    @property
    def _itself(self) -> Connection:
        return cast("Connection", self)

    def _before_open(self, frame: bytes, header: Header) -> None:
        """RFC 6733 §5.6.1: before its CER a peer is unknown; anything else is discarded with the connection."""
        if self._calling is not None:
            self._called(frame, header, self._calling)
            return
        metrics = self._server.metrics
        if header.command_code != commands.CAPABILITIES_EXCHANGE or not header.is_request or self._waits:
            self._server.accept_limits.refused(self.address, "not_a_cer")
            self._cut("bad_stream")
            return
        metrics.request("CER", "", "")
        try:
            limits = self._server.peers_table.limits_of(frame)
            request: commands.CapabilitiesExchangeRequest = decode_request(frame, header, limits=limits)
        except DiameterError as error:
            self._refuse(header, error, "bad_cer")
            return
        server = self._server
        error_found = server.peers_table.admit(request.origin_host, request.origin_realm, self.address)
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
        peer = server.peers_table.get(request.origin_host)
        actions = self._step(peer, PeerEvent.R_CONN_CER)
        if PeerAction.R_REJECT in actions:
            if peer.connection is not None:
                peer.connection.probe()
            self._refuse(header, _already_connected(), "duplicate", request)
            return
        server.origin_state(peer, request.origin_state_id)
        if PeerAction.R_SND_CEA in actions:
            self.accept(peer, header)
            return
        # We are calling this peer ourselves: one of the two connections will be the one (§5.6.4).
        peer.waiting = self._itself, header
        server.opened(self._itself)
        if peer.connecting is not None and not peer.connecting.expired():
            # The peer's connection is there and ours is not: it would only keep the peer waiting.
            peer.connecting.reschedule(server.loop.time())
        if PeerAction.ELECT in actions:
            server.elect(peer)

    @property
    def _waits(self) -> bool:
        """Its CER was taken, and the election is still to come."""
        return any(peer.waiting is not None and peer.waiting[0] is self for peer in self._server.peers_table.all())

    def _security(self, config: PeerConfig) -> DiameterError | None:
        """TLS where the peer's entry says so, and a certificate that is the peer's (RFC 6733 §13)."""
        if self._certificate is None:
            if config.tls:
                return DiameterError(ResultCode.NO_COMMON_SECURITY, "this peer must come with TLS", close=True)
            return None
        if config.tls is False:
            return DiameterError(ResultCode.NO_COMMON_SECURITY, "this peer must come without TLS", close=True)
        if not self._certificate.is_of(config.origin_host):
            return DiameterError(ResultCode.UNKNOWN_PEER, "the certificate is not this Origin-Host's", close=True)
        if self._certificate.expires_at <= self._server.unix_clock():
            # A handshake of TLS 1.2 that goes on with a session from before does not look at it again.
            return DiameterError(ResultCode.UNKNOWN_PEER, "the certificate has expired", close=True)
        return None

    def _call(self, peer: Peer) -> None:
        """Our connection is up: say who we are."""
        server = self._server
        peer.calling = self._itself
        faster = server.locks.taken_elsewhere(peer.origin_host)
        actions = self._step(peer, PeerEvent.I_RCV_CONN_NACK if faster else PeerEvent.I_RCV_CONN_ACK)
        if PeerAction.I_SND_CER not in actions:
            self._cut("closed_by_peer")  # the peer was faster: its connection is open
            return
        self._ask_base(make_cer(server.local, self._local_addresses()))
        if PeerAction.ELECT in actions:
            server.elect(peer)

    def _called(self, frame: bytes, header: Header, peer: Peer) -> None:
        """The CEA, or something else that ends it (RFC 6733 §5.6, Wait-I-CEA). An answer to nothing of ours is dropped (§6.2.1)."""
        if not header.is_request and not self._is_asked(frame):
            self._server.metrics.dropped_answer()
            return
        objection: DiameterError | None
        try:
            answer = commands.decode_answer(commands.CapabilitiesExchangeAnswer, frame, header)
            if isinstance(answer, commands.ErrorMessage):
                objection = DiameterError(answer.code, f"the peer refused our CER with {answer.code}", close=True)
            else:
                objection = check_cea(answer, self._server.local, peer.origin_host)
        except Fault:
            objection = DiameterError(ResultCode.UNABLE_TO_COMPLY, "the peer did not answer our CER", close=True)
        if objection is None and self._certificate is not None and not self._certificate.is_of(peer.origin_host):
            objection = DiameterError(ResultCode.UNKNOWN_PEER, "the certificate is not the peer's", close=True)
        if objection is not None:
            logger.warning("peer %s: we called it, and it is not taken: %s", peer.origin_host, objection.message)
            self._step(peer, PeerEvent.I_RCV_NON_CEA)
            self._cut("bad_stream")
            return
        if not self._server.locks.hold(peer.origin_host):
            self._wait_for_the_other(peer, frame)
            return
        self._asked.pop(header.hop_by_hop, None)
        actions = self._step(peer, PeerEvent.I_RCV_CEA)
        if peer.state is not PeerState.I_OPEN:
            self._server.locks.follow(peer.origin_host, peer.state)
            self._cut("error")
            return
        peer.calling = None
        if not isinstance(answer, commands.ErrorMessage):
            self._server.origin_state(peer, answer.origin_state_id)
        self._opened(peer)
        self._server.act(peer, actions)

    def _wait_for_the_other(self, peer: Peer, cea: bytes) -> None:
        """The peer has called another worker while we called it, and has taken our connection: it drops its own (§5.6.4), or that one is
        dead. A peer that keeps both keeps the one that was first.
        """
        server, now = self._server, self._server.clock()
        if self._other_until is None:
            self._other_until = now + OTHER_S
            server.locks.ask_to_probe(peer.origin_host)
        if now >= self._other_until:
            logger.info("peer %s: our call is not needed, it has called another worker itself", peer.origin_host)
            self._step(peer, PeerEvent.I_RCV_NON_CEA)
            self._cut("closed_by_peer")
            return
        self._first_in_line(cea)
        self._hold(ELSEWHERE)
        server.loop.call_later(OTHER_LOOK_S, self._look_at_the_other)

    def _look_at_the_other(self) -> None:
        self._let_go(ELSEWHERE)
        self._itself._work()

    def accept(self, peer: Peer, header: Header) -> None:
        """Open with the CEA that the peer waits for."""
        cea = make_cea(self._server.local, self._local_addresses(), ResultCode.SUCCESS)
        self._send(commands.encode_answer(cea, header))
        self._opened(peer)
        self._server.metrics.answer("CER", "", "", ResultCode.SUCCESS, 0.0)

    def _opened(self, peer: Peer) -> None:
        self.peer = self.source = peer
        peer.connection = self._itself
        self._server.opened(self._itself)
        self._disarm()
        self._watch_from_the_start(peer)
        how = "TLS" if self._certificate is not None else "TCP"
        logger.info(
            "peer %s: open %s %s over %s", peer.origin_host, "to" if self._calling else "from", self.address, how
        )

    def _refuse(
        self,
        header: Header,
        error: DiameterError,
        reason: str,
        request: commands.CapabilitiesExchangeRequest | None = None,
    ) -> None:
        """An error CEA, then the connection ends. The log says more than the peer is told."""
        server, words, known = self._server, error.message, ""
        if request is not None:
            words, known = server.peers_table.refusal(request.origin_host, request.origin_realm, error.message)
        if request is not None and self._certificate is not None and error.result_code == ResultCode.UNKNOWN_PEER:
            words += f"; its certificate is of {', '.join(map(shown, self._certificate.some_names)) or 'nobody'}"
        server.accept_limits.refused(self.address, reason, words, known)
        server.metrics.answer("CER", "", "", error.result_code, 0.0)
        self._send(refusal(header, server.local, self._local_addresses(), error))
        self._end()

    def _cer_timeout(self) -> None:
        self._timer = None
        if self.peer is None:
            self._server.accept_limits.refused(self.address, "cer_timeout")
            self._cut("cer_timeout")
