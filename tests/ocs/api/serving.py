"""The API served over HTTP from a thread of this process, for programs that speak HTTP only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from ocs.process.api import Server
from tests.ocs.api.desk import Desk, desk_on
from tests.ports import free_port
from tests.waiting import PATIENCE_S


class Served:
    """A desk in another thread: `desk.keys` may be read, all else is done over HTTP."""

    def __init__(self, url: str, **api: Any) -> None:
        self.desk: Desk | None = None
        self.port = free_port()
        self._redis, self._api = url, api
        self._up, self._failed = threading.Event(), ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(PATIENCE_S), "the API did not start"
        assert not self._failed, self._failed

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failed = repr(error)
            self._up.set()
            raise

    async def _serve(self) -> None:
        async with desk_on(self._redis, **self._api) as desk:
            self.desk = desk
            config = uvicorn.Config(
                desk.app, host="127.0.0.1", port=self.port, lifespan="off", log_config=None, access_log=False, ws="none"
            )
            server = self._server = Server(config)
            serving = asyncio.create_task(server.serve())
            await server.up.wait()
            self._up.set()
            await serving


@contextmanager
def served(url: str, **api: Any) -> Iterator[Served]:
    made = Served(url, **api)
    made.start()
    try:
        yield made
    finally:
        made.stop()
