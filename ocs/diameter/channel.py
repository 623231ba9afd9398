"""The transport side of a connection: what is said is collected and written, reading pauses, one timer runs, and it ends.

Every buffer is bounded: unread answers by a limit above which the peer is cut off, requests that wait by one above which it is not read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ocs.diameter.accept_limits import PendingConnection
from ocs.diameter.outstanding import Outstanding
from ocs.diameter.peers import Peer
from ocs.diameter.tls import PeerCertificate
from protocol import commands
from protocol.answers import error_answer
from protocol.avp import FAMILY_IPV4, FAMILY_IPV6, Address
from protocol.errors import DiameterError
from protocol.frame import FrameReader
from protocol.header import Header, parse_header
from protocol.peer import PeerAction, PeerEvent
from protocol.watchdog import Watch

if TYPE_CHECKING:
    from ocs.diameter.server import DiameterServer

logger = logging.getLogger(__name__)

FLUSH_AT = 32
"""Answers collected before they are written: fewer cost system calls, more let the peer wait for the end of a long turn."""
READ_AHEAD_OCTETS = 512 * 1024
"""Requests of one peer that wait for their turn; above it the peer is not read. Enough to find a watchdog behind a burst of 2,000."""
MAX_ASKED = 8
"""CERs, DWRs and DPRs of ours that wait for their answers: more than the watchdog and the probe leave unanswered before they cut."""
HANG_UP_S = 1.0
"""How long a peer may take to notice that we have hung up."""
LINGER_S = 5.0
"""How long a closed connection may take to deliver what has been said: a peer that does not read must not keep it for ever."""
RATE, IN_FLIGHT, UNREAD, ELSEWHERE = "rate", "in flight", "unread answers", "another worker has the peer"
TURN = "turn"
"""Why requests of a peer wait."""
INITIATED = {
    PeerEvent.R_PEER_DISC: PeerEvent.I_PEER_DISC,
    PeerEvent.R_RCV_DPR: PeerEvent.I_RCV_DPR,
    PeerEvent.R_RCV_DPA: PeerEvent.I_RCV_DPA,
}
"""The same event on a connection that we have made."""
ENDS = (PeerEvent.R_PEER_DISC, PeerEvent.I_PEER_DISC, PeerEvent.I_RCV_NON_CEA)


class Channel(asyncio.Protocol):
    """`calling`: the peer that we call, None if it has called us."""

    def __init__(self, server: DiameterServer, *, calling: Peer | None = None) -> None:
        self._server = server
        self._config = server.config
        self._reader = FrameReader(server.config.max_message_octets)
        self._transport: asyncio.Transport | None = None
        self._backlog: deque[bytes] = deque()
        self._backlog_octets = 0
        self._out: list[bytes] = []
        self._flush_scheduled = False
        self._work_scheduled = False
        self._held: set[str] = set()
        self._reading = True
        self._listening_since = server.clock()
        self._taken = 0, 0.0
        """Octets that waited after the last write, or when some were last taken, and when that was. (How many were written says nothing:
        with TLS more wait than were.)"""
        self._over = False
        self._other_until: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watch = Watch()
        self._watch_deadline: float | None = None
        self._tw_s = 0.0
        self._probe_timer: asyncio.TimerHandle | None = None
        self._closing_reason = "closed_by_peer"
        self._dpa_received = False
        self._parted = False
        self._calling = calling
        self._certificate: PeerCertificate | None = None
        self._outstanding = Outstanding()
        self._partial_since: float | None = None
        self._fault: DiameterError | None = None
        """The stream is lost; the messages before it are handled first."""
        self._peer_leaves = False
        """It has said DPR: it gets the answers to what it has asked, and asks no more."""
        self._asked: dict[int, int] = {}
        """Hop-by-Hop → command of our CER, DWR and DPR that are not answered yet."""
        self._ending: asyncio.Transport | None = None
        self.before: PendingConnection | None = None
        """What stands for this connection at the entrance until its TLS handshake is done."""
        self.address = ""
        self.peer: Peer | None = None
        self.source: Peer
        """The same for who handles its requests: there are none before it is open."""
        self.in_flight = 0

    def _step(self, peer: Peer, event: PeerEvent) -> tuple[PeerAction, ...]:
        """Our events are named as those of the peer's connection (R); on one that we have made they are the I ones."""
        if self._calling is not None:
            event = INITIATED.get(event, event)
        actions = self._server.peers_table.step(peer, event, self._server.clock())
        if event in ENDS:
            self._server.act(peer, actions)
        return actions

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        if len(self._out) >= FLUSH_AT:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._server.loop.call_soon(self._flush)

    def _ask_base(self, request: object) -> None:
        """Send a CER, DWR or DPR. Its answer is known by the Hop-by-Hop (RFC 6733 §3: any other is discarded)."""
        hop, end = self._server.identifiers()
        frame = commands.encode(request, hop_by_hop=hop, end_to_end=end)
        if len(self._asked) >= MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[hop] = parse_header(frame).command_code
        self._send(frame)

    def _is_asked(self, frame: bytes) -> bool:
        """Whether a message is the answer to a CER, DWR or DPR of ours."""
        header = parse_header(frame)
        return not header.is_request and self._asked.get(header.hop_by_hop) == header.command_code

    def _send_error(self, frame: bytes, header: Header, error: DiameterError, label: str) -> None:
        self._server.metrics.answer(label, "", "", error.result_code, 0.0)
        self._send(error_answer(frame, header, error, self._config.origin_host, self._config.realm))

    def _flush(self) -> None:
        self._flush_scheduled = False
        transport, out = self._transport, self._out
        if transport is None or not out:
            return
        self._out = []
        data = b"".join(out) if len(out) > 1 else out[0]
        if UNREAD in self._held:
            self._taken_at()
        transport.write(data)
        self._taken = transport.get_write_buffer_size(), self._taken[1]
        if transport.get_write_buffer_size() > self._config.max_write_buffer_octets:
            self._cut("write_buffer")

    # --- what waits

    def _wait_in_line(self, frame: bytes) -> None:
        self._backlog.append(frame)
        self._backlog_octets += len(frame)

    def _first_in_line(self, frame: bytes) -> None:
        """It was taken out too early."""
        self._backlog.appendleft(frame)
        self._backlog_octets += len(frame)

    def _forget_backlog(self) -> None:
        self._backlog.clear()
        self._backlog_octets = 0

    def _hold(self, reason: str) -> None:
        self._held.add(reason)
        self._adjust_reading()

    def _let_go(self, reason: str) -> None:
        if reason in self._held:
            self._held.discard(reason)
            self._adjust_reading()

    def _adjust_reading(self) -> None:
        """While requests wait their turn the peer is read on, up to a bound; while it does not read its answers, not at all."""
        reading = UNREAD not in self._held and self._backlog_octets < READ_AHEAD_OCTETS
        if reading is self._reading or self._transport is None or self._over:
            return
        self._reading = reading
        if reading:
            self._listening_since = self._server.clock()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _count_taken(self) -> None:
        """From now on the peer does not take all at once."""
        assert self._transport is not None
        self._taken = self._transport.get_write_buffer_size(), self._server.clock()

    def _taken_at(self) -> float:
        """When the peer was last seen to take octets of ours. Asked often while it has not taken all."""
        assert self._transport is not None
        waits = self._transport.get_write_buffer_size()
        if waits < self._taken[0]:
            self._taken = waits, self._server.clock()
        return self._taken[1]

    def _listened_s(self) -> float:
        """How long the peer's silence is its own. What we do not read we cannot hear; but a peer that is not read because it does not
        read either is silent from when it last took something.
        """
        if self._reading:
            return self._server.clock() - self._listening_since
        return self._server.clock() - self._taken_at() if UNREAD in self._held else 0.0

    def _local_addresses(self) -> list[Address]:
        assert self._transport is not None
        host = str(self._transport.get_extra_info("sockname")[0]).partition("%")[0]
        return [Address(FAMILY_IPV6 if ":" in host else FAMILY_IPV4, host)]

    # --- ending

    def _end(self) -> None:
        """Close politely: what has been said is still sent, if the peer takes it in time."""
        self._flush()
        self._over = True
        self._forget_backlog()
        if self._transport is not None:
            self._transport.close()
            self._arm(LINGER_S, self._linger_over)

    def _linger_over(self) -> None:
        self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def _end_heard(self) -> None:
        """Close so that the last word is heard. The peer may be in the middle of a message, and to close with octets unread resets the
        connection and loses what was said: they are read and thrown away until it hangs up too, or for `HANG_UP_S`.
        """
        self._flush()
        self._over = True
        self._forget_backlog()
        self._disarm()
        transport, self._transport = self._transport, None  # nobody says anything more
        if transport is None:
            return
        self._ending = transport
        if not self._reading:
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._server.loop.call_later(HANG_UP_S, transport.close)
        self._server.loop.call_later(HANG_UP_S + LINGER_S, transport.abort)

    def cut_off(self) -> None:
        """Close now: what the peer has not taken is lost."""
        if self._ending is not None:
            self._ending.close()
        self._end()
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()

    @property
    def called(self) -> bool:
        """We have made this connection."""
        return self._calling is not None

    def turn_away(self, reason: str) -> None:
        """There is no room for it any more."""
        self._cut(reason)

    def _cut(self, reason: str) -> None:
        """Close abortively."""
        if self._closing_reason == "closed_by_peer":
            self._closing_reason = reason
        self._over = True
        self._forget_backlog()
        transport = self._transport or self._ending
        if transport is not None:
            transport.abort()

    # --- the one timer

    def _arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self._server.loop.call_later(max(0.0, delay_s), callback)

    def _arm_at(self, deadline: float | None, callback: Callable[[], None]) -> None:
        if deadline is not None:
            self._arm(deadline - self._server.clock(), callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
