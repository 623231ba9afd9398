"""Connections of the API: what a client may hold of them before it has shown a key.

uvicorn limits neither the head of a request nor the time that it takes. Here a head has at most MAX_HEAD_OCTETS and
HEAD_TIMEOUT_S. When there are `api.max_connections`, a new one takes the place of the one that has owed octets for
longest: clients that send nothing, or one octet a while, keep nobody out.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable
from typing import Any

from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ocs.api import problems
from ocs.api.problems import ProblemError

HEAD_TIMEOUT_S = 30
"""From the beginning of the connection, or the answer before, to the end of a request's head."""
MAX_HEAD_OCTETS = 32_768
"""Of the request line and the headers."""
STATUS_LINES = {400: b"HTTP/1.1 400 Bad Request\r\n", 431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n"}


class Connection(HttpToolsProtocol):
    """`owing`: the connections of the server whose clients owe octets, by time."""

    def __init__(self, *, owing: dict[Connection, None], max_connections: int, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._owing, self._max_connections = owing, max_connections
        self._heads, self._in_head, self._head_octets = 0, True, 0
        self._timer: asyncio.TimerHandle | None = None

    # -- life of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._max_connections and (oldest := next(iter(self._owing), None)) is not None:
            del self._owing[oldest]
            self.connections.discard(oldest)  # it is told of its end later
            oldest.transport.abort()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._owing.pop(self, None)
        self._stop_timer()
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
        heads = self._heads
        super().data_received(data)
        if self._in_head and heads == self._heads and not self.transport.is_closing():
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
        answer = _refusal(problem)
        headers = b"".join(b"%s: %s\r\n" % each for each in answer.raw_headers)
        self.transport.write(STATUS_LINES[status] + headers + b"\r\n" + bytes(answer.body))
        self.transport.close()


def _head_too_large() -> ProblemError:
    return ProblemError("head_too_large", f"request line and headers may have {MAX_HEAD_OCTETS} octets")


def _refusal(problem: ProblemError) -> JSONResponse:
    """An answer after which the connection ends."""
    answer = problems.answer(problem, secrets.token_hex(16))
    answer.headers["Connection"] = "close"
    return answer


def connections_of(max_connections: int) -> Callable[..., Connection]:
    """What uvicorn makes a connection with, for one server."""
    return functools.partial(Connection, owing={}, max_connections=max_connections)
