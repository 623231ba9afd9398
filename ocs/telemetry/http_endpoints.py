"""/health and /metrics over HTTP. Each has its own address, so that they can be in different networks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

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

    @property
    def ok(self) -> bool:
        return self.redis and self.workers > 0

    def encode(self) -> bytes:
        return orjson.dumps({"status": "ok" if self.ok else "unavailable", **asdict(self)})


class AddressError(Exception):
    """The server cannot listen on `section`.listen, because of `cause`."""

    def __init__(self, section: str, cause: OSError) -> None:
        super().__init__(str(cause))
        self.section = section
        self.cause = cause


class HttpApi:
    """Serves /health on one address and /metrics on another, or both on one if they are equal, until closed."""

    def __init__(self, health: Callable[[], Awaitable[Health]], metrics: Callable[[], Awaitable[bytes]]) -> None:
        self._health = health
        self._metrics = metrics
        self._runners: list[web.AppRunner] = []

    async def start(self, api: tuple[str, int], metrics: tuple[str, int]) -> tuple[tuple[str, int], tuple[str, int]]:
        """Listen. Returns both addresses with their actual ports. AddressError if one cannot be used."""
        if api == metrics and api[1] != 0:
            both = await self._listen("api", api, health=True, metrics=True)
            return both, both
        return await self._listen("api", api, health=True), await self._listen("metrics", metrics, metrics=True)

    async def _listen(
        self, section: str, address: tuple[str, int], *, health: bool = False, metrics: bool = False
    ) -> tuple[str, int]:
        app = web.Application(client_max_size=MAX_BODY_OCTETS)
        if health:
            app.router.add_get("/health", self._get_health)
        if metrics:
            app.router.add_get("/metrics", self._get_metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, *address).start()
        except OSError as error:
            raise AddressError(section, error) from error
        return address[0], int(runner.addresses[0][1])

    async def _get_health(self, request: web.Request) -> web.Response:
        health = await self._health()
        return web.Response(
            body=health.encode(), status=200 if health.ok else 503, content_type="application/json", charset="utf-8"
        )

    async def _get_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=await self._metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
