"""A Diameter server on loopback and peers with raw sockets, for tests of everything before charging."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from ocs.charging.source import Source
from ocs.diameter.connection import Connection
from ocs.diameter.dispatch import Reply
from ocs.diameter.server import DiameterServer
from ocs.settings.diameter import DiameterConfig, PeerConfig
from protocol import commands
from protocol.avp import FAMILY_IPV4, Address, walk
from protocol.credit_control import (
    CreditControlRequest,
    MultipleServicesCreditControl,
    encode_ccr,
)
from protocol.frame import FrameReader
from protocol.header import HEADER_OCTETS, Header, parse_header
from tests.waiting import PATIENCE_S

HOST, REALM = "ocs.example.org", "example.org"


class NullMetrics:
    """Counts nothing."""

    def request(self, command: str, type: str, context: str) -> None:
        pass

    def answer(self, command: str, type: str, context: str, result_code: int, seconds: float) -> None:
        pass

    def peer_answer(self, origin_host: str, result_code: int) -> None:
        pass

    def dropped_answer(self) -> None:
        pass

    def in_flight(self, delta: int) -> None:
        pass

    def peer_state(self, origin_host: str, state: str) -> None:
        pass

    def connection_refused(self, reason: str) -> None:
        pass

    def request_refused(self, kind: str) -> None:
        pass

    def overload(self, reduction_percent: int) -> None:
        pass

    def connection_lost(self, reason: str) -> None:
        pass


class Metrics(NullMetrics):
    def __init__(self) -> None:
        self.refused: list[str] = []
        self.requests_refused: list[str] = []
        self.lost: list[str] = []
        self.codes: list[int] = []
        self.dropped = 0
        self.running = 0

    def answer(self, command: str, type: str, context: str, result_code: int, seconds: float) -> None:
        self.codes.append(result_code)

    def dropped_answer(self) -> None:
        self.dropped += 1

    def in_flight(self, delta: int) -> None:
        self.running += delta

    def connection_refused(self, reason: str) -> None:
        self.refused.append(reason)

    def request_refused(self, kind: str) -> None:
        self.requests_refused.append(kind)

    def overload(self, reduction_percent: int) -> None:
        pass

    def connection_lost(self, reason: str) -> None:
        self.lost.append(reason)


class Client:
    """A raw-socket peer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames = FrameReader()
        self.arrived: list[bytes] = []

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def read(self) -> tuple[Header, bytes]:
        while not self.arrived:
            data = await asyncio.wait_for(self.reader.read(65_536), PATIENCE_S)
            if not data:
                raise EOFError
            self.arrived += self.frames.feed(data)
        frame = self.arrived.pop(0)
        return parse_header(frame), frame

    async def ended(self) -> bool:
        try:
            header, _ = await self.read()
        except (EOFError, ConnectionError):
            return True
        raise AssertionError(f"unexpected {header}")

    async def open(self, name: str = "pgw.example.org", **changes: object) -> int:
        self.send(cer(name, **changes))
        return code_of((await self.read())[1])


def cer(name: str = "pgw.example.org", **changes: object) -> bytes:
    message = commands.CapabilitiesExchangeRequest(
        name, REALM, [Address(FAMILY_IPV4, "127.0.0.1")], 0, "test", auth_application_id=[4]
    )
    for key, value in changes.items():
        setattr(message, key, value)
    return commands.encode(message, hop_by_hop=1, end_to_end=1)


def ccr(
    number: int = 0, type: int = 1, session: str = "pgw.example.org;1;1", host: str = "pgw.example.org", **more: object
) -> bytes:
    request = CreditControlRequest(session, host, REALM, REALM, 4, "32251@3gpp.org", type, number)
    request.multiple_services_credit_control.append(MultipleServicesCreditControl(rating_group=100))
    if type == 4:
        request.requested_action = 0
    for key, value in more.items():
        setattr(request, key, value)
    return encode_ccr(request, hop_by_hop=1_000 + number, end_to_end=2_000 + number)


def code_of(frame: bytes) -> int:
    for avp in walk(frame, HEADER_OCTETS, len(frame)):
        if avp.code == 268:
            return int.from_bytes(frame[avp.payload : avp.stop], "big")
    raise AssertionError("no Result-Code")


def at_once(request: CreditControlRequest, source: Source, reply: Reply) -> None:
    reply(request.answer(2001))


class Listener:
    """A peer to which the server connects."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: asyncio.Queue[Client] = asyncio.Queue()
        self.clients: list[Client] = []

    async def start(self, **more: Any) -> str:
        self.server = await asyncio.start_server(self._called, "127.0.0.1", 0, **more)
        return "{}:{}".format(*self.server.sockets[0].getsockname()[:2])

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients.append(Client(reader, writer))
        self.calls.put_nowait(self.clients[-1])

    async def call(self) -> Client:
        return await asyncio.wait_for(self.calls.get(), PATIENCE_S)

    async def welcome(self, code: int = 2001, name: str = "") -> Client:
        """Accepts a connection and answers its CER."""
        client = await self.call()
        header, frame = await client.read()
        commands.decode(commands.CapabilitiesExchangeRequest, frame, header)
        client.send(self.cea(header, code, name))
        return client

    def cea(self, header: Any, code: int = 2001, name: str = "") -> bytes:
        address = [Address(FAMILY_IPV4, "127.0.0.1")]
        answer = commands.CapabilitiesExchangeAnswer(code, name or self.name, REALM, address, 0, "test")
        answer.auth_application_id = [4]
        return commands.encode_answer(answer, header)

    def close(self) -> None:
        self.server.close()
        for client in self.clients:
            client.writer.close()


class Site:
    """A Diameter server with its clients; the fixture stops everything."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.servers: list[DiameterServer] = []
        self.clients: list[Client] = []
        self.sockets: list[socket.socket] = []

    async def server(
        self,
        handler: Callable[[CreditControlRequest, Source, Reply], None] = at_once,
        *,
        worker: str = "",
        **changes: object,
    ) -> DiameterServer:
        """Starts a server. `worker` is its name among several that share a folder of locks."""
        settings: dict[str, object] = {
            "origin_host": HOST,
            "realm": REALM,
            "listen": (("127.0.0.1", 0),),
            "peers": (PeerConfig("pgw.example.org"), PeerConfig("b.example.org", REALM, ("127.0.0.0/8",))),
            "watchdog_s": 0.0,
        }
        server = DiameterServer(
            DiameterConfig(**{**settings, **changes}),
            handler,
            self.metrics,
            time.monotonic,
            random.Random(7),
        )
        if worker:
            server.locks._name = worker
        await server.start()
        self.servers.append(server)
        return server

    async def client(self, server: DiameterServer | None = None) -> Client:
        """A client of this server, by default of the last one started."""
        client = Client(*await asyncio.open_connection(*(server or self.servers[-1]).listening[0]))
        self.clients.append(client)
        return client

    async def opened(self) -> Client:
        client = await self.client()
        assert await client.open() == 2001
        return client

    async def close(self) -> None:
        for client in self.clients:
            client.writer.close()
        for sock in self.sockets:
            sock.close()
        for server in self.servers:
            await server.stop(0.2)


def connection_of(server: DiameterServer, peer: str = "pgw.example.org") -> Connection:
    """The server's open connection to the peer."""
    found = server.peers_table.get(peer).connection
    assert isinstance(found, Connection)
    return found


def on_uvloop(scenario: Callable[..., Coroutine[Any, Any, None]], *needs: object) -> None:
    """Runs a test on uvloop, as the workers do; its transports differ from asyncio's in details."""

    async def main() -> None:
        site = Site()
        try:
            await scenario(site, *needs)
        finally:
            await site.close()

    uvloop.run(main())
