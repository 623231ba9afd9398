"""Receives messages on one connection: splits the octets into frames, queues them, and limits the peer's rate.

Whatever a peer sends, `data_received` does not raise, other peers are not affected, and the event loop is not held for
longer than `TURN_S` and one message. All buffers are bounded: the frame reader by the message limit, the queue by
`READ_AHEAD_OCTETS` and one read, requests in flight by `max_in_flight_per_peer`. DWRs and answers overtake the queued
requests, so that a busy connection is not taken for a dead one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ocs.diameter.outstanding import BaseRequests, Outstanding
from ocs.diameter.peers import Peer
from ocs.diameter.transport import Transport
from ocs.diameter.watchdog import WATCHDOG
from ocs.settings.diameter import DiameterConfig
from ocs.telemetry.logs import describe
from protocol import commands
from protocol.errors import DiameterError
from protocol.frame import FrameReader
from protocol.header import Header, parse_header

logger = logging.getLogger(__name__)

TURN_S = 0.005
"""How long the messages of one read are handled before other connections go on: about a hundred ordinary requests, or
one of the most expensive.
"""
READ_AHEAD_OCTETS = 512 * 1024
"""Queued octets above which the peer is not read. Enough to find a DWR behind 2,000 requests."""
PARTIAL_MESSAGE_S = 10.0
"""How long the rest of a message may take; then the connection is closed."""
RATE, IN_FLIGHT, ELSEWHERE, TURN = "rate", "in flight", "another worker has the peer", "turn"
"""Reasons why a peer's requests are held, besides answers that it does not read."""
WAITING = frozenset({RATE, ELSEWHERE})
"""Reasons for which no queued message is handled."""
DISCONNECT = commands.DISCONNECT_PEER.to_bytes(3, "big")
BASE_REQUESTS = frozenset({commands.DEVICE_WATCHDOG, commands.DISCONNECT_PEER})
"""Commands that do not count towards a peer's rate, but have their own limit (`peers.BASE_REQUESTS_PER_S`)."""


class ReceiveServer(Protocol):
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    config: DiameterConfig


class Messages(Protocol):
    """Handles the messages; the connection."""

    def message(self, frame: bytes, header: Header) -> None: ...

    def bad_stream(self, head: bytes, error: DiameterError) -> None:
        """The frame boundaries are lost; `head`: the header at which they were."""


class ReadListener(Protocol):
    """Is told of every read; the watchdog."""

    def heard(self, answers: list[bytes]) -> None: ...


class Receiver:
    """One per connection, between its `transport` and `messages`."""

    def __init__(
        self,
        server: ReceiveServer,
        transport: Transport,
        watchdog: ReadListener,
        base_requests: BaseRequests,
        outstanding: Outstanding,
        messages: Messages,
    ) -> None:
        self._clock = server.clock
        self._loop = server.loop
        self._max_in_flight = server.config.max_in_flight_per_peer
        self._transport = transport
        self._watchdog = watchdog
        self._base_requests = base_requests
        self._outstanding = outstanding
        self._messages = messages
        self._message = messages.message
        self._reader = FrameReader(server.config.max_message_octets)
        self._peer: Peer | None = None
        """None until the connection is open."""
        self._backlog: deque[bytes] = deque()
        self.backlog_octets = 0
        self._work_scheduled = False
        self._held: set[str] = set()
        self._partial_since: float | None = None
        self._fault: DiameterError | None = None
        """Why the frame boundaries are lost; the messages before are handled first."""
        self.in_flight = 0
        """Requests without a reply from the handler."""
        self.when_done: Callable[[], None] | None = None
        """Called when the queue is empty."""

    @property
    def queued(self) -> int:
        """Number of queued messages."""
        return len(self._backlog)

    def opened(self, peer: Peer) -> None:
        self._peer = peer

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport.underlying is None or transport.over or self._fault is not None:
            return
        try:
            frames = self._reader.feed(data)
        except DiameterError as fault:
            frames, self._fault = self._reader.rescued, fault
        if not self._reader.pending_octets:
            self._partial_since = None
        elif frames or self._partial_since is None:
            self._partial_since = self._clock()
        if frames:
            self._arrived(frames)
        if self._work_scheduled:
            self._adjust_reading()
        else:
            self._work()

    def look(self, now: float) -> None:
        """Close if the rest of a message takes too long; called a few times a second."""
        since, transport = self._partial_since, self._transport
        if since is not None and transport.reading and min(now - since, transport.listened_s()) > PARTIAL_MESSAGE_S:
            transport.cut("partial_message")

    # --- queue

    def _arrived(self, frames: list[bytes]) -> None:
        peer, backlog, octets = self._peer, self._backlog, 0
        if peer is None:
            backlog.extend(frames)
            self.backlog_octets += sum(map(len, frames))
            return
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
        self.backlog_octets += octets
        self._watchdog.heard(answers)
        for frame in urgent:
            if not self._transport.over:
                self._handle(frame, parse_header(frame))

    def _is_urgent(self, peer: Peer, frame: bytes) -> bool:
        """Whether the message overtakes the queue: a DWR within its rate limit, or an answer to our request. A DPA does
        not: the messages before it are handled first.
        """
        if frame[4] & 0x80:
            return peer.base_requests.take(self._clock())
        if frame[5:8] == DISCONNECT:
            return False
        return self._base_requests.wait_for(frame) or self._outstanding.waits_for(parse_header(frame))

    def _work(self) -> None:
        """Handle queued messages, until too many requests are in flight or TURN_S is over."""
        self._work_scheduled = False
        clock, backlog, held, transport = self._clock, self._backlog, self._held, self._transport
        most = self._max_in_flight
        ends = clock() + TURN_S if len(backlog) > 1 else 0.0
        # If the frame boundaries are lost, the queue is handled to its end, even if the peer does not read the answers.
        last = self._fault is not None
        while (
            backlog
            and transport.underlying is not None
            and (not transport.unread or last)
            and (not held or held.isdisjoint(WAITING))
        ):
            if self.in_flight >= most:
                self._hold(IN_FLIGHT)
                return
            frame = backlog.popleft()
            self.backlog_octets -= len(frame)
            header = parse_header(frame)
            self._pace(header)
            self._handle(frame, header)
            if backlog and clock() >= ends:
                self._hold(TURN)
                self.work_soon()
                return
        if held:
            self._let_go(IN_FLIGHT)
            self._let_go(TURN)
        self._adjust_reading()
        if last or self.when_done is not None:
            self._done()

    def _done(self) -> None:
        if self._backlog or not self._transport.open:
            return
        if self._fault is not None and not self.in_flight:  # earlier requests are answered first
            self._messages.bad_stream(self._reader.broken, self._fault)
        elif self.when_done is not None:
            self.when_done()

    def work_soon(self) -> None:
        if not self._work_scheduled:
            self._work_scheduled = True
            self._loop.call_soon(self._work)

    def answered(self) -> None:
        """The answer to a request in flight was sent."""
        if self._backlog or self._fault is not None:
            self.work_soon()
        elif self._held and self.in_flight < self._max_in_flight:
            self._let_go(IN_FLIGHT)

    def _handle(self, frame: bytes, header: Header) -> None:
        try:
            self._message(frame, header)
        except Exception as error:  # noqa: BLE001 - an internal error must not affect other connections
            peer, address = self._peer, self._transport.address
            who = f"peer {peer.origin_host}" if peer is not None else f"connection from {address}"
            logger.error("%s: closed after an internal error, please report it: %s", who, describe(error))
            self._transport.cut("error")

    def forget(self) -> None:
        """The connection ends: discard the queue."""
        self._backlog.clear()
        self.backlog_octets = 0

    def lost(self) -> None:
        """The connection is gone: drop the reference cycles, as the garbage collector runs rarely."""
        self.forget()
        self.when_done = None
        del self._messages, self._message

    # --- pace

    def put_back(self, frame: bytes) -> None:
        """Put a message back to the front of the queue; nothing is handled until `go_on`."""
        self._backlog.appendleft(frame)
        self.backlog_octets += len(frame)
        self._hold(ELSEWHERE)

    def go_on(self) -> None:
        self._let_go(ELSEWHERE)
        self._work()

    def writing_paused(self) -> None:
        """The peer has stopped reading its answers."""
        self._adjust_reading()

    def writing_resumed(self) -> None:
        """The peer reads its answers again."""
        self._adjust_reading()
        self.work_soon()

    def _pace(self, header: Header) -> None:
        """Count the request towards the peer's rate; above it the next ones are held."""
        peer, (_, flags, command, _, _, _) = self._peer, header
        if peer is None or not flags & 0x80:
            return
        if command in BASE_REQUESTS:
            bucket = peer.base_requests
        elif peer.limited:
            bucket = peer.requests
        else:
            return
        pause_s = bucket.pause_s(self._clock())
        if pause_s:
            self._hold(RATE)
            self._loop.call_later(pause_s, self._rate_over)

    def _rate_over(self) -> None:
        self._let_go(RATE)
        self.work_soon()

    def _hold(self, reason: str) -> None:
        self._held.add(reason)
        self._adjust_reading()

    def _let_go(self, reason: str) -> None:
        if reason in self._held:
            self._held.discard(reason)
            self._adjust_reading()

    def _adjust_reading(self) -> None:
        """Read from the peer unless its queue is too long, or it does not read its answers."""
        transport = self._transport
        reading = not transport.unread and self.backlog_octets < READ_AHEAD_OCTETS
        if reading is not transport.reading:
            transport.read(reading)
