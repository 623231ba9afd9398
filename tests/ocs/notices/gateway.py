"""A test SMS gateway: an HTTP server that shows each message once by its key, and counts what it gets.

As a process of its own (`python -m tests.ocs.notices.gateway FILE PORT`) it appends each message that it shows to a
file, and each request to `FILE.requests`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

Answer = tuple[int, dict[str, str]]
"""Status and headers."""


@dataclass
class Gateway:
    """`answer`: request number (from 1) and its fields → how it is answered; after a 2xx the message is shown."""

    answer: Callable[[int, dict[str, Any]], Answer] = lambda number, fields: (200, {})
    delay_s: float = 0.0
    in_pieces: bool = False
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By key."""
    file: Path | None = None
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((dict(request.headers), body))
        fields = json.loads(body)
        if self.file is not None:
            with self.file.with_name(self.file.name + ".requests").open("a") as file:
                file.write(fields["id"] + "\n")
        status, headers = self.answer(len(self.requests), fields)
        if 200 <= status < 300:
            self._show(request.headers["Idempotency-Key"], fields)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if not self.in_pieces:
            return web.json_response({"id": f"sms-{len(self.shown)}"}, status=status, headers=headers)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        for piece in (b'{"id": ', b'"sms-', b'1"}'):
            await response.write(piece)
            await asyncio.sleep(0.02)
        return response

    def _show(self, key: str, fields: dict[str, Any]) -> None:
        if key in self.shown:
            return
        self.shown[key] = fields
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(json.dumps(fields) + "\n")


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, port: int = 0) -> AsyncIterator[Gateway]:
    app = web.Application()
    app.router.add_post("/sms", gateway.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}/sms"
        yield gateway
    finally:
        await runner.cleanup()


async def serve_alone(file: Path, port: int) -> None:
    async with serving(Gateway(file=file), port) as gateway:
        print(gateway.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve_alone(Path(sys.argv[1]), int(sys.argv[2])))
