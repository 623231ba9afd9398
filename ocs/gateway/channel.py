"""The transport side of a connection: what is said is collected and written, reading pauses, one timer runs, and it ends.

Every buffer is bounded: unread answers by a limit above which the peer is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ocs.gateway.outstanding import Outstanding
from ocs.gateway.peers import Peer
from ocs.gateway.tls import PeerCertificate
from protocol import commands
from protocol.answers import error_answer
from protocol.avp import FAMILY_IPV4, FAMILY_IPV6, Address
from protocol.errors import DiameterError
from protocol.frame import FrameReader
from protocol.header import Header, parse_header
from protocol.peer import PeerAction, PeerEvent
from protocol.watchdog import Watch

if TYPE_CHECKING:
    from ocs.gateway.server import Gateway

logger = logging.getLogger(__name__)

FLUSH_AT = 32
"""Answers collected before they are written: fewer cost system calls, more let the peer wait for the end of a long turn."""
MAX_ASKED = 8
"""CERs, DWRs and DPRs of ours that wait for their answers: more than the watchdog and the probe leave unanswered before they cut."""
LINGER_S = 1.0
"""How long a peer may take to notice that we have hung up."""
INITIATED = {
    PeerEvent.R_PEER_DISC: PeerEvent.I_PEER_DISC,
    PeerEvent.R_RCV_DPR: PeerEvent.I_RCV_DPR,
    PeerEvent.R_RCV_DPA: PeerEvent.I_RCV_DPA,
}
"""The same event on a connection that we have made."""
ENDS = (PeerEvent.R_PEER_DISC, PeerEvent.I_PEER_DISC, PeerEvent.I_RCV_NON_CEA)


class Channel(asyncio.Protocol):
    """`calling`: the peer that we call, None if it has called us."""

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
        self._fault: DiameterError | None = None
        """The stream is lost; the messages before it are handled first."""
        self._peer_leaves = False
        """It has said DPR: it gets the answers to what it has asked, and asks no more."""
        self._asked: dict[int, int] = {}
        """Hop-by-Hop → command of our CER, DWR and DPR that are not answered yet."""
        self._ending: asyncio.Transport | None = None
        self.address = ""
        self.peer: Peer | None = None
        self.in_flight = 0

    def _step(self, peer: Peer, event: PeerEvent) -> tuple[PeerAction, ...]:
        """Our events are named as those of the peer's connection (R); on one that we have made they are the I ones."""
        if self._calling is not None:
            event = INITIATED.get(event, event)
        actions = self._gateway.peers_table.step(peer, event, self._gateway.clock())
        if event in ENDS:
            self._gateway.act(peer, actions)
        return actions

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        if len(self._out) >= FLUSH_AT:
            self._flush()
        elif not self._flush_scheduled:
            self._flush_scheduled = True
            self._gateway.loop.call_soon(self._flush)

    def _ask_base(self, request: object) -> None:
        """Send a CER, DWR or DPR. Its answer is known by the Hop-by-Hop (RFC 6733 §3: any other is discarded)."""
        hop, end = self._gateway.identifiers()
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
        self._gateway.metrics.answer(label, "", "", error.result_code, 0.0)
        self._send(error_answer(frame, header, error, self._config.origin_host, self._config.realm))

    def _flush(self) -> None:
        self._flush_scheduled = False
        transport, out = self._transport, self._out
        if transport is None or not out:
            return
        self._out = []
        transport.write(b"".join(out) if len(out) > 1 else out[0])
        if transport.get_write_buffer_size() > self._config.max_write_buffer_octets:
            self._cut("write_buffer")

    def _pause(self, reason: str) -> None:
        if not self._paused and self._transport is not None:
            self._transport.pause_reading()
        self._paused.add(reason)

    def _resume(self, reason: str) -> None:
        if reason in self._paused:
            self._paused.discard(reason)
            if not self._paused and self._transport is not None:
                self._transport.resume_reading()

    def _local_addresses(self) -> list[Address]:
        assert self._transport is not None
        host = str(self._transport.get_extra_info("sockname")[0]).partition("%")[0]
        return [Address(FAMILY_IPV6 if ":" in host else FAMILY_IPV4, host)]

    # --- ending

    def _end(self) -> None:
        """Close politely: what has been said is still sent."""
        self._flush()
        if self._transport is not None:
            self._backlog.clear()
            self._transport.close()

    def _end_heard(self) -> None:
        """Close so that the last word is heard. The peer may be in the middle of a message, and to close with octets unread resets the
        connection and loses what was said: they are read and thrown away until it hangs up too, or for `LINGER_S`.
        """
        self._flush()
        transport, self._transport = self._transport, None  # nobody says anything more
        if transport is None:
            return
        self._backlog.clear()
        self._ending = transport
        if self._paused:
            transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
        self._gateway.loop.call_later(LINGER_S, transport.close)

    def cut_off(self) -> None:
        """The grace period of a stop is over."""
        self._flush()
        if self._ending is not None:
            self._ending.close()
        if self._transport is not None:
            self._transport.close()

    def _cut(self, reason: str) -> None:
        """Close abortively."""
        if self._closing_reason == "closed_by_peer":
            self._closing_reason = reason
        self._backlog.clear()
        if self._transport is not None:
            self._transport.abort()

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
