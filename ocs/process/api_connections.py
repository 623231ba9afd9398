"""Connections of the API: what a client may hold of them before it has shown a key.

uvicorn limits neither the head of a request nor the time that it takes. Here a head has at most MAX_HEAD_OCTETS and
HEAD_TIMEOUT_S, as has a TLS handshake. When there are `api.max_connections`, handshakes among them, a new one takes the
place of the one that has owed octets for longest: clients that send nothing, or one octet a while, keep nobody out.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ocs.api import problems
from ocs.api.problems import ProblemError
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

ACCEPT_AGAIN_S = 0.1
HEAD_TIMEOUT_S = 30
"""From the beginning of the connection, or the answer before, to the end of a request's head."""
MAX_HEAD_OCTETS = 32_768
"""Of the request line and the headers."""
LINGER_S = 1.0
"""After a refusal what still comes is dropped so long: a client that is sending would lose the answer to a reset."""
STATUS_LINES = {400: b"HTTP/1.1 400 Bad Request\r\n", 431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n"}


class Owing(dict["Connection | Handshake", None]):
    """Connections and handshakes of a server whose clients owe octets, by time."""


class Connection(HttpToolsProtocol):
    """`handshake`: that of its TLS."""

    def __init__(
        self, *, owing: Owing, max_connections: int, handshake: Handshake | None = None, **of_uvicorn: Any
    ) -> None:
        super().__init__(**of_uvicorn)
        self._owing, self._max_connections, self._handshake = owing, max_connections, handshake
        self._heads, self._in_head, self._head_octets = 0, True, 0
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False

    # -- life of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._handshake is not None:
            self._handshake.end()
        _make_room(self._owing, self.connections, self._max_connections)
        self._wait_for_head()

    def abort(self) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owing.pop(self, None)
        self._stop_timer()
        if self.transport is not None:  # uvloop calls it too if the handshake has failed
            super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._owing.pop(self, None)
        self._owing[self] = None
        self._stop_timer()
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self.timeout_keep_alive_handler)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- a request

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        heads = self._heads
        super().data_received(data)
        if self._in_head and heads == self._heads and not self._refused and not self.transport.is_closing():
            self._head_octets += len(data)
            if self._head_octets > MAX_HEAD_OCTETS:
                self._refuse_unread(_head_too_large(), 431)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._heads += 1
        self._in_head, self._head_octets = False, 0
        self._stop_timer()
        octets = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if octets > MAX_HEAD_OCTETS:
            self.app = _refusal(_head_too_large())
        elif len(self.connections) > self._max_connections:
            self.app = _refusal(ProblemError("connections", "all connections are in use", {"Retry-After": "1"}))
        else:
            self.app = self.config.loaded_app
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self.cycle.response_complete:
            self._owing.pop(self, None)

    # -- refusals

    def send_400_response(self, msg: str) -> None:
        self._refuse_unread(ProblemError("not_http", "the request is not HTTP/1.1"), 400)

    def _refuse_unread(self, problem: ProblemError, status: int) -> None:
        """Answer a request whose head is not known, and end the connection."""
        self._refused = True
        answer = _refusal(problem)
        headers = b"".join(b"%s: %s\r\n" % each for each in answer.raw_headers)
        self.transport.write(STATUS_LINES[status] + headers + b"\r\n" + bytes(answer.body))
        if self.transport.can_write_eof():  # not over TLS
            self.transport.write_eof()
        self._stop_timer()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)


def _head_too_large() -> ProblemError:
    return ProblemError("head_too_large", f"request line and headers may have {MAX_HEAD_OCTETS} octets")


def _refusal(problem: ProblemError) -> JSONResponse:
    """An answer after which the connection ends."""
    answer = problems.answer(problem, secrets.token_hex(16))
    answer.headers["Connection"] = "close"
    return answer


class Handshake:
    """A connection before its TLS handshake has ended. It is one of uvicorn's connections, so it counts."""

    def __init__(self, accepted: socket.socket, owing: Owing, connections: set[Any]) -> None:
        self._accepted, self._owing, self._connections = accepted, owing, connections
        self._task: asyncio.Task[None] | None = None

    def begin(self, make: Callable[[Handshake], Connection], context: ssl.SSLContext, max_connections: int) -> None:
        self._connections.add(self)
        _make_room(self._owing, self._connections, max_connections)
        self._owing[self] = None
        self._task = asyncio.get_running_loop().create_task(self._run(make, context))

    async def _run(self, make: Callable[[Handshake], Connection], context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: make(self), self._accepted, ssl=context, ssl_handshake_timeout=HEAD_TIMEOUT_S
            )
        except OSError:  # it did not come, was no TLS, or the connection has ended
            self._accepted.close()
        finally:
            self.end()

    def end(self) -> None:
        """The connection takes its place, or there is none."""
        self._owing.pop(self, None)
        self._connections.discard(self)

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._accepted.shutdown(socket.SHUT_RDWR)
        if self._task is not None:
            self._task.cancel()

    shutdown = abort
    """What uvicorn calls when the server ends."""


async def accept_tls(
    listening: socket.socket, context: ssl.SSLContext, server: uvicorn.Server, max_connections: int
) -> None:
    """Accept connections with TLS for ever, on a socket that listens. uvicorn's server would count them only after
    their handshakes.
    """
    loop, config, owing = asyncio.get_running_loop(), server.config, Owing()

    def make(handshake: Handshake) -> Connection:
        return Connection(
            owing=owing,
            max_connections=max_connections,
            handshake=handshake,
            config=config,
            server_state=server.server_state,
            app_state=server.lifespan.state,
        )

    throttled_log = ThrottledLog(loop.time)
    listening.setblocking(False)
    while True:
        try:
            accepted, _ = await loop.sock_accept(listening)
        except OSError as error:  # no descriptor is left
            if (more := throttled_log.allow("accept")) is not None:
                log.error("the API accepts no connection for a moment: %s%s", error.strerror or error, more)
            await asyncio.sleep(ACCEPT_AGAIN_S)
        else:
            Handshake(accepted, owing, server.server_state.connections).begin(make, context, max_connections)


def _make_room(owing: Owing, connections: set[Any], max_connections: int) -> None:
    """End the connection that has owed octets for longest, if there is one too many."""
    if len(connections) > max_connections and (oldest := next(iter(owing), None)) is not None:
        del owing[oldest]
        connections.discard(oldest)  # it is told of its end later
        oldest.abort()


def connections_of(max_connections: int) -> Callable[..., Connection]:
    """What uvicorn makes a connection with, for one server."""
    return functools.partial(Connection, owing=Owing(), max_connections=max_connections)
