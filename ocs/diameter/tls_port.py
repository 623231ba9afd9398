"""A TLS port. A connection is checked by `accept_limits` at accept, and becomes a `Connection` after its TLS handshake.

asyncio's own TLS server reports a connection only after the handshake, too late to limit, count or log it. Here the
limits and the addresses of the peers are checked before any TLS; the handshake has a timeout, and its failure is
counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ocs.diameter.accept_limits import AcceptLimits
from ocs.diameter.connection import Connection
from ocs.diameter.log_texts import address_text
from ocs.diameter.tls import TlsMaterial
from ocs.settings.diameter import DiameterConfig
from ocs.telemetry.logs import reason_of

logger = logging.getLogger(__name__)

SHUTDOWN_S = 5.0
"""How long the peer may take to answer close_notify before the connection is closed."""
ACCEPT_PAUSE_S = 1.0
"""Pause if accept fails, as when no file descriptor is left. Connections wait in the backlog meanwhile."""


class TlsServer(Protocol):
    loop: asyncio.AbstractEventLoop
    config: DiameterConfig
    tls: TlsMaterial | None
    accept_limits: AcceptLimits

    def connection(self) -> Connection: ...


class TlsPort:
    """Listens on the addresses of one host:port."""

    def __init__(self, server: TlsServer) -> None:
        self._server = server
        self._listeners: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._handshakes: set[Handshake] = set()

    async def open(self, host: str, port: int, backlog: int) -> None:
        """Listen. OSError if an address cannot be bound; then none is left open."""
        loop, reuse = self._server.loop, self._server.config.reuse_port
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                listener = socket.create_server(address, family=family, backlog=backlog, reuse_port=reuse)
                listener.setblocking(False)
                self._listeners.append(listener)
        except OSError:
            for listener in self._listeners:
                listener.close()
            raise
        for listener in self._listeners:
            task = loop.create_task(self._accept(listener))
            task.add_done_callback(partial(_close, listener))
            self._tasks.append(task)

    @property
    def listening(self) -> list[tuple[str, int]]:
        return [listener.getsockname()[:2] for listener in self._listeners]

    def _where(self, listener: socket.socket) -> str:
        return address_text(*listener.getsockname()[:2])

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                accepted, address = await self._server.loop.sock_accept(listener)
            except ConnectionError:
                continue  # the peer has closed it already
            except OSError as error:
                logger.error(
                    "no connection can be accepted on %s (TLS), trying again: %s", *(self._where(listener), error)
                )
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            handshake = Handshake(self._server, accepted, str(address[0]))
            if self._server.accept_limits.enter(handshake):
                self._handshakes.add(handshake)
                handshake.start(self._handshakes.discard)
            else:
                accepted.close()

    def close(self) -> None:
        """Accept no more connections. Each task closes its listener once the event loop no longer uses it."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._listeners.clear()

    def give_up(self) -> None:
        """Abort the handshakes under way."""
        for handshake in list(self._handshakes):
            handshake.turn_away("stopping")


def _close(listener: socket.socket, task: asyncio.Task[None]) -> None:
    listener.close()


class Handshake:
    """One connection during its TLS handshake; afterwards a `Connection` takes its place."""

    def __init__(self, server: TlsServer, accepted: socket.socket, address: str) -> None:
        self._server = server
        self._accepted = accepted
        self._connection = server.connection()
        self._connection.before = self
        self._begun = False
        self._turned_away = False
        self._failure = "the connection ended"
        self._task: asyncio.Task[None]
        self.address = address

    def start(self, ended: Callable[[Handshake], None]) -> None:
        self._task = self._server.loop.create_task(self._run())
        self._task.add_done_callback(lambda task: self._done())
        self._task.add_done_callback(lambda task: ended(self))

    def turn_away(self, reason: str) -> None:
        """Abort the handshake; the caller has counted it."""
        self._turned_away = True
        self._task.cancel()

    async def _run(self) -> None:
        """Do the handshake; then asyncio calls the connection's `connection_made`."""
        server = self._server
        assert server.tls is not None, "the settings require [tls] for listen_tls"
        self._begun = True
        try:
            await server.loop.connect_accepted_socket(
                lambda: self._connection,
                self._accepted,
                ssl=server.tls.server,
                ssl_handshake_timeout=server.config.cer_timeout_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except OSError as error:  # ssl.SSLError is one
            self._failure = reason_of(error)

    def _done(self) -> None:
        if not self._begun:  # otherwise asyncio closes the socket
            self._accepted.close()
        if self._connection.before is self:  # the handshake has failed
            self._server.accept_limits.leave(self)
            if not self._turned_away:
                self._server.accept_limits.refused(self.address, "tls", f"TLS: {self._failure}")
