"""One transport connection: a thin asyncio shell around frame reader, peer state machine, watchdog and dispatcher.

Nothing a peer sends raises out of `data_received` or touches another peer. Every buffer is bounded: the frame reader by the
message limit, the backlog by one read, requests in flight by a cap above which reading pauses, unread answers by a limit
above which the peer is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from ocs.gateway.dispatch import describe
from ocs.gateway.initiator import AWAY_FACTOR
from ocs.gateway.outstanding import Asked, Done, Outstanding
from ocs.gateway.peers import Peer
from ocs.gateway.tls import PeerCertificate
from protocol import commands
from protocol.answers import error_answer
from protocol.avp import FAMILY_IPV4, FAMILY_IPV6, Address
from protocol.capabilities import check_cea, check_cer, make_cea, make_cer, make_dwa, make_dwr, refusal
from protocol.compiler import Fault
from protocol.errors import DiameterError, ResultCode
from protocol.frame import FrameReader
from protocol.header import HEADER_OCTETS, Header, parse_header
from protocol.peer import OPEN_STATES, PeerAction, PeerEvent, PeerState
from protocol.pipeline import decode_request
from protocol.watchdog import Watch, WatchAction, WatchEvent
from protocol.watchdog import step as watch_step

if TYPE_CHECKING:
    from ocs.gateway.server import Gateway

logger = logging.getLogger(__name__)

FLUSH_AT = 32
"""Answers collected before they are written: fewer cost system calls, more let the peer wait for the end of a long turn."""
PROBE_S = 2.0
"""How long an old connection may take to show that it lives when its peer asks for a new one."""
RATE = "rate"
MAX_RATE_PAUSE_S = 5.0
"""However much a read brought: watchdogs must be answered."""
PARTIAL_MESSAGE_S = 10.0
"""How long the rest of a message may take: who sends an octet now and then holds a buffer and no more."""
LABELS = {257: "CER", 280: "DWR", 282: "DPR"}
SECURITY = {int(ResultCode.NO_COMMON_SECURITY): "no_common_security"}
OBJECTIONS = {
    int(ResultCode.NO_COMMON_APPLICATION): "no_common_application",
    int(ResultCode.NO_COMMON_SECURITY): "no_common_security",
}
INITIATED = {
    PeerEvent.R_PEER_DISC: PeerEvent.I_PEER_DISC,
    PeerEvent.R_RCV_DPR: PeerEvent.I_RCV_DPR,
    PeerEvent.R_RCV_DPA: PeerEvent.I_RCV_DPA,
}
"""The same event on a connection that we have made."""
ENDS = (PeerEvent.R_PEER_DISC, PeerEvent.I_PEER_DISC, PeerEvent.I_RCV_NON_CEA)


def _already_connected() -> DiameterError:
    reason = "this peer is already connected; the old connection is being probed"
    return DiameterError(ResultCode.UNABLE_TO_COMPLY, reason, close=True)


class Connection(asyncio.Protocol):
    """Open after its capabilities exchange; until then `peer` is None. `calling`: the peer that we call, None if it has called us."""

    def __init__(self, gateway: Gateway, *, calling: Peer | None = None) -> None:
        self._gateway = gateway
        self._config = gateway.config
        self._reader = FrameReader(gateway.config.max_message_octets)
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[bytes] = deque()
        self._out: list[bytes] = []
        self._flush_scheduled = False
        self._work_scheduled = False
        self._paused: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._watch = Watch()
        self._watch_deadline: float | None = None
        self._probing = False
        self._closing_reason = "closed_by_peer"
        self._dpa_received = False
        self._calling = calling
        self._certificate: PeerCertificate | None = None
        self._outstanding = Outstanding()
        self._partial_since: float | None = None
        self.address = ""
        self.peer: Peer | None = None
        self.in_flight = 0

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
        error: DiameterError | None = None
        try:
            frames = self._reader.feed(data)
        except DiameterError as fault:
            frames, error = self._reader.rescued, fault
        if not self._reader.pending_octets:
            self._partial_since = None
        elif frames or self._partial_since is None:
            self._partial_since = self._gateway.clock()
        if frames and self.peer is not None:
            self._watch_event(self._liveness(frames))
        self._backlog.extend(frames)
        self._work()
        if error is not None and self._transport is not None:
            self._bad_stream(error)

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

    # --- sending

    def answered(self, frame: bytes) -> bool:
        """A reply of the handler; sent together with the other replies of this turn of the event loop."""
        self.in_flight -= 1
        if self._transport is None:
            return False
        self._send(frame)
        if self._backlog:
            if not self._work_scheduled:
                self._work_scheduled = True
                self._gateway.loop.call_soon(self._work)
        elif self._paused and self.in_flight < self._config.max_in_flight_per_peer:
            self._resume("in flight")
        if self.in_flight == 0 and self._closing_reason == "stopped":
            self._gateway.loop.call_soon(self._finish_stop)
        return True

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        if len(self._out) >= FLUSH_AT:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._gateway.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        transport, out = self._transport, self._out
        if transport is None or not out:
            return
        self._out = []
        transport.write(b"".join(out) if len(out) > 1 else out[0])
        if transport.get_write_buffer_size() > self._config.max_write_buffer_octets:
            self._cut("write_buffer")

    def pause_for(self, seconds: float) -> None:
        """The peer is faster than it may be: what it sends meanwhile waits in its own buffers."""
        if RATE not in self._paused:
            self._pause(RATE)
            self._gateway.loop.call_later(min(seconds, MAX_RATE_PAUSE_S), self._rate_over)

    def _rate_over(self) -> None:
        self._resume(RATE)
        self._work()

    def _pause(self, reason: str) -> None:
        if not self._paused and self._transport is not None:
            self._transport.pause_reading()
        self._paused.add(reason)

    def _resume(self, reason: str) -> None:
        if reason in self._paused:
            self._paused.discard(reason)
            if not self._paused and self._transport is not None:
                self._transport.resume_reading()

    # --- receiving

    def _work(self) -> None:
        """Handle what has arrived, up to the cap of requests in flight; the rest waits and the peer is not read."""
        self._work_scheduled = False
        backlog = self._backlog
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
        self._resume("in flight")

    def _message(self, frame: bytes, header: Header) -> None:
        code = header.command_code
        if self.peer is None:
            self._before_open(frame, header)
        elif not header.flags & 0x80:
            self._answer(frame, header)
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
            decode_request(frame, header)
        except DiameterError as error:
            return error
        return DiameterError(ResultCode.COMMAND_UNSUPPORTED, "this command is not served in this application")

    def _answer(self, frame: bytes, header: Header) -> None:
        """Answers to what we asked; anything else is dropped (RFC 6733 §6.2.1)."""
        if header.command_code == commands.DEVICE_WATCHDOG:
            self._origin_state_of_dwa(frame, header)
        elif header.command_code in (commands.RE_AUTH, commands.ABORT_SESSION):
            if not self._outstanding.answer(frame, header):
                self._gateway.metrics.dropped_answer()
        elif header.command_code == commands.DISCONNECT_PEER and self._closing_reason == "stopped":
            self._finish_stop(answered=True)

    # --- opening

    def _before_open(self, frame: bytes, header: Header) -> None:
        """RFC 6733 §5.6.1: before its CER a peer is unknown; anything else is discarded with the connection."""
        if self._calling is not None:
            self._called(frame, header, self._calling)
            return
        metrics = self._gateway.metrics
        if header.command_code != commands.CAPABILITIES_EXCHANGE or not header.is_request or self._waits:
            metrics.connection_refused("not_a_cer")
            self._cut("bad_stream")
            return
        metrics.request("CER", "", "")
        try:
            request: commands.CapabilitiesExchangeRequest = decode_request(frame, header)
        except DiameterError as error:
            self._refuse(header, error, "bad_cer")
            return
        gateway = self._gateway
        error_found = gateway.peers_table.admit(request.origin_host, request.origin_realm, self.address)
        if error_found is None:
            error_found = self._security(request.origin_host)
        if error_found is not None:
            self._refuse(header, error_found, SECURITY.get(error_found.result_code, "unknown_peer"))
            return
        error_found = check_cer(request, gateway.local)
        if error_found is not None:
            self._refuse(header, error_found, OBJECTIONS.get(error_found.result_code, "bad_cer"))
            return
        peer = gateway.peers_table.get(request.origin_host)
        if not gateway.locks.hold(peer.origin_host):
            gateway.locks.ask_to_probe(peer.origin_host)
            self._refuse(header, _already_connected(), "duplicate")
            return
        actions = self._step(peer, PeerEvent.R_CONN_CER)
        if PeerAction.R_REJECT in actions:
            if peer.connection is not None:
                peer.connection.probe()
            self._refuse(header, _already_connected(), "duplicate")
            return
        if not peer.config.relay:
            gateway.origin_states.seen(request.origin_host, request.origin_state_id)
        if PeerAction.R_SND_CEA in actions:
            self.accept(peer, header)
            return
        # We are calling this peer ourselves: one of the two connections will be the one (§5.6.4).
        peer.waiting = self, header
        if PeerAction.ELECT in actions:
            gateway.elect(peer)

    @property
    def _waits(self) -> bool:
        """Its CER was taken, and the election is still to come."""
        return any(peer.waiting is not None and peer.waiting[0] is self for peer in self._gateway.peers_table.all())

    def _security(self, origin_host: str) -> DiameterError | None:
        """TLS where the peer's entry says so, and a certificate that is the peer's (RFC 6733 §13)."""
        config = self._gateway.peers_table.get(origin_host).config
        if self._certificate is None:
            if config.tls:
                return DiameterError(ResultCode.NO_COMMON_SECURITY, "this peer must come with TLS", close=True)
            return None
        if config.tls is False:
            return DiameterError(ResultCode.NO_COMMON_SECURITY, "this peer must come without TLS", close=True)
        if not self._certificate.is_of(origin_host):
            return DiameterError(ResultCode.UNKNOWN_PEER, "the certificate is not this Origin-Host's", close=True)
        return None

    def _call(self, peer: Peer) -> None:
        """Our connection is up: say who we are."""
        gateway = self._gateway
        peer.calling = self
        actions = self._step(peer, PeerEvent.I_RCV_CONN_ACK)
        if PeerAction.I_SND_CER not in actions:
            self._cut("closed_by_peer")  # the peer was faster: its connection is open
            return
        hop, end = gateway.identifiers()
        cer = make_cer(gateway.local, self._local_addresses())
        self._send(commands.encode(cer, hop_by_hop=hop, end_to_end=end))
        if PeerAction.ELECT in actions:
            gateway.elect(peer)

    def _called(self, frame: bytes, header: Header, peer: Peer) -> None:
        """The CEA, or something else that ends it (RFC 6733 §5.6, Wait-I-CEA)."""
        objection: DiameterError | None
        try:
            answer = commands.decode_answer(commands.CapabilitiesExchangeAnswer, frame, header)
            if isinstance(answer, commands.ErrorMessage):
                objection = DiameterError(answer.code, f"the peer refused our CER with {answer.code}", close=True)
            else:
                objection = check_cea(answer, self._gateway.local, peer.origin_host)
        except Fault:
            objection = DiameterError(ResultCode.UNABLE_TO_COMPLY, "the peer did not answer our CER", close=True)
        if objection is None and self._certificate is not None and not self._certificate.is_of(peer.origin_host):
            objection = DiameterError(ResultCode.UNKNOWN_PEER, "the certificate is not the peer's", close=True)
        if objection is not None:
            logger.warning("peer %s: our connection is of no use: %s", peer.origin_host, objection.message)
            self._step(peer, PeerEvent.I_RCV_NON_CEA)
            self._cut("bad_stream")
            return
        actions = self._step(peer, PeerEvent.I_RCV_CEA)
        if peer.state is not PeerState.I_OPEN:
            self._cut("error")
            return
        peer.calling = None
        if not isinstance(answer, commands.ErrorMessage) and not peer.config.relay:
            self._gateway.origin_states.seen(peer.origin_host, answer.origin_state_id)
        self._opened(peer)
        self._gateway.act(peer, actions)

    def accept(self, peer: Peer, header: Header) -> None:
        """Open with the CEA that the peer waits for."""
        self._opened(peer)
        cea = make_cea(self._gateway.local, self._local_addresses(), ResultCode.SUCCESS)
        self._send(commands.encode_answer(cea, header))
        self._gateway.metrics.answer("CER", "", "", ResultCode.SUCCESS, 0.0)

    def _opened(self, peer: Peer) -> None:
        self.peer = peer
        peer.connection = self
        self._gateway.opened(self)
        self._disarm()
        self._watch_event(WatchEvent.CONNECTION_UP)
        how = "TLS" if self._certificate is not None else "TCP"
        logger.info(
            "peer %s: open %s %s over %s", peer.origin_host, "to" if self._calling else "from", self.address, how
        )

    def _step(self, peer: Peer, event: PeerEvent) -> tuple[PeerAction, ...]:
        """Our events are named as those of the peer's connection (R); on one that we have made they are the I ones."""
        if self._calling is not None:
            event = INITIATED.get(event, event)
        actions = self._gateway.peers_table.step(peer, event, self._gateway.clock())
        if event in ENDS:
            self._gateway.act(peer, actions)
        return actions

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

    def _local_addresses(self) -> list[Address]:
        assert self._transport is not None
        host = str(self._transport.get_extra_info("sockname")[0]).partition("%")[0]
        return [Address(FAMILY_IPV6 if ":" in host else FAMILY_IPV4, host)]

    def _refuse(self, header: Header, error: DiameterError, reason: str) -> None:
        """An error CEA, then the connection ends."""
        gateway = self._gateway
        gateway.metrics.connection_refused(reason)
        gateway.say_refused(self.address, reason, error.message)
        gateway.metrics.answer("CER", "", "", error.result_code, 0.0)
        self._send(refusal(header, gateway.local, self._local_addresses(), error))
        self._end()

    # --- the base protocol's requests on an open connection

    def _base_request(self, frame: bytes, header: Header, peer: Peer) -> None:
        gateway, label = self._gateway, LABELS[header.command_code]
        gateway.metrics.request(label, "", "")
        try:
            request = decode_request(frame, header)
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
            if not peer.config.relay:
                gateway.origin_states.seen(peer.origin_host, request.origin_state_id)
        else:
            answer = commands.DisconnectPeerAnswer(
                int(ResultCode.SUCCESS), self._config.origin_host, self._config.realm
            )
            if request.disconnect_cause != commands.REBOOTING:
                peer.away_until = gateway.clock() + AWAY_FACTOR * self._config.reconnect_s
            self._step(peer, PeerEvent.R_RCV_DPR)
            self._arm_at(peer.deadline, self._closing_timeout)
        gateway.metrics.answer(label, "", "", ResultCode.SUCCESS, 0.0)
        self._send(commands.encode_answer(answer, header))

    def _send_error(self, frame: bytes, header: Header, error: DiameterError, label: str) -> None:
        self._gateway.metrics.answer(label, "", "", error.result_code, 0.0)
        self._send(error_answer(frame, header, error, self._config.origin_host, self._config.realm))

    # --- watchdog (RFC 3539)

    @staticmethod
    def _liveness(frames: list[bytes]) -> WatchEvent:
        """A read counts once; it counts as DWA if one is in it."""
        for frame in frames:
            if not frame[4] & 0x80 and frame[5:8] == b"\x00\x01\x18":
                return WatchEvent.RECEIVED_DWA
        return WatchEvent.RECEIVED_OTHER

    def _watch_event(self, event: WatchEvent) -> None:
        twinit_s = self._config.watchdog_s
        self._probing = False
        if twinit_s <= 0:
            return
        now = self._gateway.clock()
        self._watch, actions, deadline = watch_step(self._watch, event, now, self._gateway.watchdog_interval_s())
        if deadline is not None:
            self._watch_deadline = deadline
        for action in actions:
            if action is WatchAction.SEND_DWR:
                self._send_dwr()
            elif action is WatchAction.CLOSE_CONNECTION:
                self._cut("watchdog")
        if self._timer is None and self._transport is not None and self.peer is not None:
            self._arm_at(self._watch_deadline, self._watch_timer)

    def _watch_timer(self) -> None:
        """The timer is not moved at every message: when it fires early, it is set again."""
        self._timer = None
        if self._watch_deadline is None or self._transport is None:
            return
        if self._gateway.clock() < self._watch_deadline:
            self._arm_at(self._watch_deadline, self._watch_timer)
        else:
            self._watch_event(WatchEvent.TIMER)

    def _send_dwr(self) -> None:
        hop, end = self._gateway.identifiers()
        self._send(commands.encode(make_dwr(self._gateway.local), hop_by_hop=hop, end_to_end=end))

    def _origin_state_of_dwa(self, frame: bytes, header: Header) -> None:
        assert self.peer is not None
        if self.peer.config.relay:
            return
        with contextlib.suppress(Fault):
            answer = commands.decode_answer(commands.DeviceWatchdogAnswer, frame, header)
            self._gateway.origin_states.seen(self.peer.origin_host, answer.origin_state_id)

    def probe(self) -> None:
        """The peer has come with another connection: is this one dead? Silence for PROBE_S says so (digest §2.3)."""
        if self._probing or self._transport is None:
            return
        self._probing = True
        self._send_dwr()
        self._watch = self._watch._replace(pending=True)
        self._gateway.loop.call_later(PROBE_S, self._probe_over)

    def _probe_over(self) -> None:
        if self._probing and self._transport is not None:
            self._cut("watchdog")

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
        hop, end = gateway.identifiers()
        self._send(
            commands.encode(
                commands.DisconnectPeerRequest(self._config.origin_host, self._config.realm, cause),
                hop_by_hop=hop,
                end_to_end=end,
            )
        )

    def _finish_stop(self, answered: bool = False) -> None:
        """We asked to part (RFC 6733 §5.4: who receives the DPA closes), once nothing is in flight any more."""
        self._dpa_received = self._dpa_received or answered
        if self._dpa_received and self.in_flight == 0 and not self._backlog:
            self._end()

    def _end(self) -> None:
        """Close politely: what has been said is still sent."""
        self._flush()
        if self._transport is not None:
            self._backlog.clear()
            self._transport.close()

    def cut_off(self) -> None:
        """The grace period of a stop is over."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _cut(self, reason: str) -> None:
        """Close abortively."""
        if self._closing_reason == "closed_by_peer":
            self._closing_reason = reason
        self._backlog.clear()
        if self._transport is not None:
            self._transport.abort()

    def _bad_stream(self, error: DiameterError) -> None:
        """5011 or 5015 if enough of the header came to answer to, then the end: the frames are lost (RFC 6733 §2.1, §7.1.5)."""
        broken = self._reader.broken
        if len(broken) >= HEADER_OCTETS and self.peer is not None:
            header = parse_header(broken)
            if header.is_request:
                self._send(self._gateway.dispatcher.refuse(broken, header, error))
        if self.peer is None:
            self._gateway.metrics.connection_refused("bad_stream")
        self._closing_reason = "bad_stream"
        self._end()

    def _cer_timeout(self) -> None:
        self._timer = None
        if self.peer is None:
            self._gateway.metrics.connection_refused("cer_timeout")
            self._cut("cer_timeout")

    def _closing_timeout(self) -> None:
        """The peer said DPR, got its DPA and did not hang up; or it does not answer ours."""
        self._timer = None
        if self._closing_reason == "closed_by_peer":
            self._closing_reason = "dpr"
        self._end()

    # --- the one timer

    def _arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self._gateway.loop.call_later(max(0.0, delay_s), callback)

    def _arm_at(self, deadline: float | None, callback: Callable[[], None]) -> None:
        if deadline is not None:
            self._arm(deadline - self._gateway.clock(), callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
