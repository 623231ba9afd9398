"""Around each request: its id, its time, the limit of its body, headers of its answer. Plain ASGI: it holds no body."""

from __future__ import annotations

import asyncio
import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ocs.api.container import Container
from ocs.api.operation_route import failed
from ocs.api.problems import ProblemError

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
BODY_TIMEOUT_S = 30
"""For a whole body. A slow client holds one of `api.max_connections`."""
BODY_HEADERS = frozenset({b"content-length", b"transfer-encoding"})
UNKNOWN_ROUTE = "none"
"""Label of requests whose path no route has."""
HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Frame:
    """Middleware."""

    def __init__(self, app: ASGIApp, container: Container) -> None:
        self._app, self._container = app, container
        self._max_body = container.settings.api.max_body_octets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        has_body = _has_body(scope)
        scope.setdefault("state", {}).update(request_id=request_id, has_body=has_body)
        began, status, started = self._container.monotonic(), 500, False

        async def sent(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = _headers(message["headers"], request_id)
            await send(message)

        try:
            await self._app(scope, self._bounded(receive) if has_body else receive, sent)
        except Exception as error:  # noqa: BLE001 - a client gets an answer to everything
            response = failed(error, request_id)
            if not started:  # else the connection ends in the middle of the answer, so the client sees that it is cut
                await response(scope, receive, sent)
        finally:
            route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
            seconds = self._container.monotonic() - began
            self._container.metrics.api_request(route, scope["method"], status, seconds)

    def _bounded(self, receive: Receive) -> Receive:
        octets, whole, until = 0, False, 0.0

        async def received() -> Message:
            nonlocal octets, whole, until
            until = until or asyncio.get_running_loop().time() + BODY_TIMEOUT_S
            try:
                async with asyncio.timeout_at(None if whole else until):
                    message = await receive()
            except TimeoutError:
                raise ProblemError("slow", f"the body did not come within {BODY_TIMEOUT_S} s") from None
            whole = not message.get("more_body", False)
            octets += len(message.get("body", b""))
            if octets > self._max_body:
                raise ProblemError("too_large", f"a body may have {self._max_body} octets")
            return message

        return received


def _request_id(scope: Scope) -> str:
    """That of the client, if it can be one; else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _has_body(scope: Scope) -> bool:
    """Whether octets of a body may come (RFC 9112 §6)."""
    return any(name in BODY_HEADERS for name, _ in scope["headers"])


def _headers(headers: list[tuple[bytes, bytes]], request_id: str) -> list[tuple[bytes, bytes]]:
    named = {name.lower() for name, _ in headers}
    more = [each for each in HEADERS if each[0] not in named]
    return [*headers, *more, (b"x-request-id", request_id.encode())]
