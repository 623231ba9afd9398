"""/health and /metrics over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics import exposition as openmetrics

OPEN_METRICS = "application/openmetrics-text"
"""Media type of OpenMetrics, in an Accept header."""
MAX_BODY_OCTETS = 64 * 1024
"""Limit of a request body; no endpoint reads one."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the server can charge: Redis answers and a worker is ready."""

    redis: bool
    workers: int
    workers_wanted: int
    housekeeper: bool | None
    """Whether it is ready; None = another node runs it."""
    backoffice: bool | None
    """As `housekeeper`."""
    api: bool | None
    """Whether it is ready; None = it is off."""

    @property
    def ok(self) -> bool:
        return self.redis and self.workers > 0

    def encode(self) -> bytes:
        return orjson.dumps({"status": "ok" if self.ok else "unavailable", **asdict(self)})


class HttpEndpoints:
    """Serves /health and /metrics on one address until closed."""

    def __init__(self, health: Callable[[], Awaitable[Health]], metrics: Callable[[bool], Awaitable[bytes]]) -> None:
        """`metrics` is told whether the reader takes OpenMetrics."""
        self._health = health
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self, address: tuple[str, int]) -> tuple[str, int]:
        """Listen. Returns the address with its actual port. OSError: it cannot be used."""
        app = web.Application(client_max_size=MAX_BODY_OCTETS)
        app.router.add_get("/health", self._get_health)
        app.router.add_get("/metrics", self._get_metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, *address).start()
        return address[0], int(self._runner.addresses[0][1])

    async def _get_health(self, request: web.Request) -> web.Response:
        health = await self._health()
        return web.Response(
            body=health.encode(), status=200 if health.ok else 503, content_type="application/json", charset="utf-8"
        )

    async def _get_metrics(self, request: web.Request) -> web.Response:
        wanted = OPEN_METRICS in request.headers.get("Accept", "")
        content_type = openmetrics.CONTENT_TYPE_LATEST if wanted else CONTENT_TYPE_LATEST
        return web.Response(body=await self._metrics(wanted), headers={"Content-Type": content_type})

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
