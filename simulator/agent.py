"""A simulated relay agent, as DRAs are: network elements connect to it, and it to the server (RFC 6733 §2.8.1, §6.1).

A request gets a Route-Record with the host that it came from and a new Hop-by-Hop Identifier; all else stays. Its
answer gets the old identifier back. RAR and ASR go to the element that Destination-Host names. What cannot be delivered
is answered 3002 (DIAMETER_UNABLE_TO_DELIVER). In its CER the agent offers the relay application.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
from typing import Any, cast

from diameter.message._base import Message
from diameter.message.avp.avp import Avp

from simulator.peer import DiameterPeer, Identity, PeerError, capabilities_answer
from simulator.wire import (
    AVP_DESTINATION_HOST,
    AVP_ORIGIN_HOST,
    AVP_ROUTE_RECORD,
    AVP_SESSION_ID,
    CMD_CER,
    CMD_DPR,
    CMD_DWR,
    FLAG_REQUEST,
    HEADER_OCTETS,
    FrameSplitter,
    WireError,
    avps,
    read_head,
)

RELAY_APPLICATION = 0xFFFFFFFF
"""RFC 6733 §2.4."""
UNABLE_TO_DELIVER = 3002
RECONNECT_PAUSE_S = 0.1
MAX_FORWARDED = 65_536
"""Requests of the server that wait for an element's answer; the oldest is then forgotten."""
_U32 = struct.Struct("!I")


class Agent:
    """`host` is its Origin-Host. Elements connect to `port` of the loopback."""

    def __init__(self, host: str, realm: str, server: tuple[str, int], rng: random.Random) -> None:
        self.host, self.port = host, 0
        self.forwarded = self.undeliverable = 0
        """Requests of elements that went on to the server, and requests of either side answered 3002."""
        self._identity = Identity(host, realm, product="ocs-sim agent", application=RELAY_APPLICATION)
        self._server, self._rng = server, rng
        self._up: DiameterPeer | None = None
        self._listener: asyncio.Server | None = None
        self._clients: dict[str, _ElementSide] = {}
        self._connections: set[_ElementSide] = set()
        self._from_server: dict[int, int] = {}
        """Our Hop-by-Hop Identifier → that of the server's request."""
        self._next_hop_by_hop = rng.getrandbits(32)
        self._keeper: asyncio.Task[None] | None = None
        self._may_connect = False

    async def start(self) -> None:
        """Connects to the server, then listens. Raises PeerError, OSError."""
        self._may_connect = True
        await self._connect()
        await self._listen()

    async def stop(self) -> None:
        """Disconnects with DPR."""
        self._may_connect = False
        self._end_keeper()
        if self._up is not None:
            await self._up.disconnect()
        self._close_listener()

    async def cut(self, *, server_only: bool) -> None:
        """Loses its connections at once: to the server only, or all. `restore` brings them back."""
        self._may_connect = False
        self._end_keeper()
        if not server_only:
            self._close_listener()
        if self._up is not None:
            self._up.abort()
            await self._up.closed

    async def restore(self) -> None:
        self._may_connect = True
        if self._listener is None:
            await self._listen()
        self._keep()

    # -- connections --------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        up = await DiameterPeer.connect(self._identity, *self._server, rng=self._rng, relayed=self._request_of_server)
        self._up = up
        up.closed.add_done_callback(lambda _: self._keep())

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _ElementSide(self), "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in list(self._connections):
            connection.abort()

    def _keep(self) -> None:
        """Connects to the server again."""
        if self._may_connect and (self._keeper is None or self._keeper.done()):
            self._keeper = asyncio.get_running_loop().create_task(self._reconnect())

    async def _reconnect(self) -> None:
        while self._up is None or not self._up.is_open:
            with contextlib.suppress(PeerError):
                await self._connect()
                return
            await asyncio.sleep(RECONNECT_PAUSE_S)

    def _end_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

    # -- messages -----------------------------------------------------------------------------------------------------

    def of_element(self, side: _ElementSide, frame: bytes) -> None:
        """A request of an element: to the server, else 3002."""
        up, theirs = self._up, read_head(frame).hop_by_hop
        if up is None or not up.is_open:
            self._undeliverable(frame, side.write)
            return
        self.forwarded += 1
        ours = up.next_hop_by_hop()

        def done(answer: bytes, _: float) -> None:
            if answer:
                side.write(_with_hop_by_hop(answer, theirs))
            else:
                self._undeliverable(frame, side.write)

        up.send(_routed(frame, side.host, ours), ours, done)

    def _request_of_server(self, frame: bytes) -> None:
        """RAR or ASR: to the element that Destination-Host names, else 3002."""
        up = self._up
        assert up is not None
        side = self._clients.get(_text(frame, AVP_DESTINATION_HOST).lower())
        if side is None:
            self._undeliverable(frame, up.write)
            return
        self._next_hop_by_hop = ours = (self._next_hop_by_hop + 1) & 0xFFFFFFFF
        if len(self._from_server) >= MAX_FORWARDED:
            del self._from_server[next(iter(self._from_server))]
        self._from_server[ours] = read_head(frame).hop_by_hop
        side.write(_routed(frame, up.server_host, ours))

    def answer_of_element(self, frame: bytes) -> None:
        theirs = self._from_server.pop(read_head(frame).hop_by_hop, None)
        if theirs is not None and self._up is not None:
            self._up.write(_with_hop_by_hop(frame, theirs))

    def _undeliverable(self, frame: bytes, write: Any) -> None:
        self.undeliverable += 1
        request: Any = Message.from_bytes(frame)
        answer: Any = Message(request.to_answer().header)
        answer.header.is_error = True
        session_id = _text(frame, AVP_SESSION_ID)
        told = (
            (AVP_SESSION_ID, session_id),
            (268, UNABLE_TO_DELIVER),
            (AVP_ORIGIN_HOST, self.host.encode()),
            (296, self._identity.realm.encode()),
        )
        answer.avps = [Avp.new(code, 0, value) for code, value in told if value]
        write(answer.as_bytes())

    def joined(self, side: _ElementSide) -> None:
        self._clients[side.host.lower()] = side

    def left(self, side: _ElementSide) -> None:
        self._connections.discard(side)
        if self._clients.get(side.host.lower()) is side:
            del self._clients[side.host.lower()]

    def accepted(self, side: _ElementSide) -> None:
        self._connections.add(side)

    @property
    def is_connected(self) -> bool:
        """To the server."""
        return self._up is not None and self._up.is_open

    @property
    def identity(self) -> Identity:
        return self._identity


class _ElementSide(asyncio.Protocol):
    """The connection of one element."""

    def __init__(self, agent: Agent) -> None:
        self.host = ""
        """Its Origin-Host, from the CER."""
        self._agent = agent
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._agent.accepted(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._agent.left(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def write(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._splitter.feed(data):
                self._take(frame)
        except WireError:
            self.abort()

    def _take(self, frame: bytes) -> None:
        head = read_head(frame)
        if not head.flags & FLAG_REQUEST:
            self._agent.answer_of_element(frame)
        elif head.command == CMD_CER:
            self.host = _text(frame, AVP_ORIGIN_HOST)
            assert self._transport is not None
            address = str(self._transport.get_extra_info("sockname")[0])
            self.write(capabilities_answer(frame, self._agent.identity, address))
            self._agent.joined(self)
        elif head.command in (CMD_DWR, CMD_DPR):
            self._base_answer(frame)
        else:
            self._agent.of_element(self, frame)

    def _base_answer(self, frame: bytes) -> None:
        answer: Any = Message.from_bytes(frame).to_answer()
        answer.origin_host = self._agent.identity.host.encode()
        answer.origin_realm = self._agent.identity.realm.encode()
        answer.result_code = 2001
        self.write(answer.as_bytes())


def _routed(frame: bytes, came_from: str, hop_by_hop: int) -> bytes:
    """The request with a Route-Record more and another Hop-by-Hop Identifier (RFC 6733 §6.1.9)."""
    name = came_from.encode()
    record = _U32.pack(AVP_ROUTE_RECORD) + _U32.pack(0x40000000 | 8 + len(name)) + name + bytes(-len(name) % 4)
    first = _U32.pack(1 << 24 | len(frame) + len(record))
    return first + frame[4:12] + _U32.pack(hop_by_hop) + frame[16:] + record


def _with_hop_by_hop(frame: bytes, hop_by_hop: int) -> bytes:
    return frame[:12] + _U32.pack(hop_by_hop) + frame[16:]


def _text(frame: bytes, wanted: int) -> str:
    for code, vendor, at, end in avps(frame, HEADER_OCTETS):
        if code == wanted and not vendor:
            return frame[at:end].decode("utf-8", "replace")
    return ""
