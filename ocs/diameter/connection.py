"""One transport connection: a thin asyncio shell around frame reader, peer state machine, watchdog and dispatcher.

In layers: `channel` sends, pauses and ends; `heartbeat` sees whether the peer lives; `exchange` opens; `reading` takes octets and paces the
peer; here is what an open connection does with a message.
"""

from __future__ import annotations

import logging

from ocs.diameter.channel import IN_FLIGHT, UNREAD
from ocs.diameter.outstanding import Asked, Done
from ocs.diameter.peers import Peer
from ocs.diameter.receive import Reading
from ocs.diameter.refusals import Kind
from protocol import commands
from protocol.capabilities import make_dwa
from protocol.errors import DiameterError, ResultCode
from protocol.header import Header, parse_header
from protocol.peer import OPEN_STATES, PeerEvent
from protocol.pipeline import decode_request

logger = logging.getLogger(__name__)

PARTIAL_MESSAGE_S = 10.0
"""How long the rest of a message may take: who sends an octet now and then holds a buffer and no more."""
LABELS = {257: "CER", 280: "DWR", 282: "DPR"}


class Connection(Reading):
    """Open after its capabilities exchange; until then `peer` is None."""

    # --- receiving

    def _message(self, frame: bytes, header: Header) -> None:
        code = header.command_code
        if self.peer is None:
            self._before_open(frame, header)
        elif not header.flags & 0x80:
            self._answer(frame, header)
        elif self._peer_leaves:
            # Discarded: RFC 6733 §5.6, state Closing.
            self._server.dispatcher.refusals.note(self.peer.label, Kind.AFTER_DPR)
        elif code == 272:
            self.in_flight += 1
            answer = self._server.dispatcher.request(self, frame, header)
            if answer is not None:
                self.in_flight -= 1
                self._send(answer)
        elif code in LABELS and header.application_id == commands.APPLICATION_COMMON:
            self._base_request(frame, header, self.peer)
        else:
            self._server.metrics.request("other", "", "")
            self._send(self._server.dispatcher.refuse(frame, header, _objection(frame, header, self.peer)))

    def _answer(self, frame: bytes, header: Header) -> None:
        """Answers to what we asked; anything else is dropped (RFC 6733 §3, §6.2.1)."""
        code = header.command_code
        if code in (commands.RE_AUTH, commands.ABORT_SESSION):
            known = self._outstanding.answer(frame, header)
        else:
            known = self._is_asked(frame)
            self._asked.pop(header.hop_by_hop, None)
        if not known:
            self._server.metrics.dropped_answer()
        elif code == commands.DEVICE_WATCHDOG:
            self._origin_state_of_dwa(frame, header)
        elif code == commands.DISCONNECT_PEER and self._closing_reason == "stopped":
            self._finish_stop(answered=True)

    def _base_request(self, frame: bytes, header: Header, peer: Peer) -> None:
        server, label = self._server, LABELS[header.command_code]
        server.metrics.request(label, "", "")
        try:
            request = decode_request(frame, header, limits=peer.limits_of(frame))
        except DiameterError as error:
            self._send_error(frame, header, error, label)
            return
        if header.command_code == commands.CAPABILITIES_EXCHANGE:
            # RFC 6733 §5.6 knows no CER on a connection that is open: an error, answered and ended.
            again = DiameterError(ResultCode.UNABLE_TO_COMPLY, "capabilities were already exchanged", close=True)
            self._send_error(frame, header, again, label)
            self._closing_reason = "error"
            self._end()
            self._part()
            return
        answer: commands.DeviceWatchdogAnswer | commands.DisconnectPeerAnswer
        if header.command_code == commands.DEVICE_WATCHDOG:
            answer = make_dwa(server.local)
            server.origin_state(peer, request.origin_state_id)
        else:
            answer = commands.DisconnectPeerAnswer(
                int(ResultCode.SUCCESS), self._config.origin_host, self._config.realm
            )
            if request.disconnect_cause != commands.REBOOTING:
                server.shared_peer_state.leave_alone(peer, self._config.reconnect_s)
            self._peer_leaves = True
            self._step(peer, PeerEvent.R_RCV_DPR)
            self._arm_at(peer.deadline, self._closing_timeout)
        server.metrics.answer(label, "", "", ResultCode.SUCCESS, 0.0)
        self._send(commands.encode_answer(answer, header))

    # --- for the dispatcher and for requests of ours

    def answered(self, frame: bytes) -> bool:
        """A reply of the handler; sent together with the other replies of this turn of the event loop."""
        self.in_flight -= 1
        if self._transport is None:
            return False
        self._send(frame)
        if self._backlog or self._fault is not None:
            self._work_soon()
        elif self._held and self.in_flight < self._config.max_in_flight_per_peer:
            self._let_go(IN_FLIGHT)
        if self.in_flight == 0 and self._closing_reason == "stopped":
            self._server.loop.call_soon(self._finish_stop)
        return True

    def ask(self, request: Asked, done: Done, timeout_s: float) -> bool:
        """Send a request of ours; False if too many are unanswered, or the watchdog doubts this connection."""
        if self._transport is None or self._outstanding.full(request) or not self.trusted:
            return False
        server = self._server
        hop, end = server.identifiers()
        self._outstanding.add(request, hop, done, server.clock() + timeout_s)
        self._send(commands.encode(request, hop_by_hop=hop, end_to_end=end, application_id=4))
        return True

    def look(self, now: float, unix_s: float) -> None:
        """A few times a second: what has taken too long."""
        self._outstanding.expire(now)
        if UNREAD in self._held and self._transport is not None:
            self._taken_at()
        if (
            self._partial_since is not None
            and self._reading
            and min(now - self._partial_since, self._listened_s()) > PARTIAL_MESSAGE_S
        ):
            self._cut("partial_message")
        elif self._certificate is not None and unix_s >= self._certificate.expires_at:
            self._certificate_expired()

    def _certificate_expired(self) -> None:
        if self.peer is not None and self.peer.state in OPEN_STATES:
            logger.warning("peer %s: its certificate has expired: we ask it to part", self.peer.origin_host)
            self.stop(commands.DO_NOT_WANT_TO_TALK_TO_YOU)

    # --- ending

    def stop(self, cause: int = commands.REBOOTING) -> None:
        """Send DPR; the requests in flight still get their answers."""
        peer, server = self.peer, self._server
        if self._transport is None:
            return
        if peer is None:
            server.accept_limits.refused(self.address, "stopping")
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
            self._send(self._server.dispatcher.refuse(broken, header, error))
        if self.peer is None:
            self._server.accept_limits.refused(self.address, "bad_stream")
        self._closing_reason = "bad_stream"
        self._end_heard()
        self._part()

    def _closing_timeout(self) -> None:
        """The peer said DPR, got its DPA and did not hang up; or it does not answer ours, perhaps because it reads nothing."""
        self._timer = None
        self._cut("dpr")


def _objection(frame: bytes, header: Header, peer: Peer) -> DiameterError:
    """To a request that is not served."""
    try:
        decode_request(frame, header, limits=peer.limits_of(frame))
    except DiameterError as error:
        return error
    return DiameterError(ResultCode.COMMAND_UNSUPPORTED, "this command is not served in this application")
