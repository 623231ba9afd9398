"""Recording live: a proxy between clients and server, and the standard input as a stream that can be stopped.

The proxy passes octets on as they come, in both directions, and records what they say. It never holds a message back:
what is not Diameter is passed on too, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from simulator.errors import SimulatorError
from simulator.packets import CapturedMessage, Losses
from simulator.pseudonyms import Pseudonyms
from simulator.recorder import Recorder, RecordingSummary, Tell, finished
from simulator.recording import RecordingWriter
from simulator.wire import FrameSplitter, WireError

CHUNK_OCTETS = 65_536
MAX_CONNECTIONS = 1_000
"""A further one is closed."""
CONNECT_TIMEOUT_S = 5.0
TICK_S = 0.5
"""Between looks whether to stop, and between progress lines."""

Address = tuple[str, int]


class ProxyError(SimulatorError):
    """The proxy cannot listen."""


class Stop:
    """SIGINT or SIGTERM asks to stop in order; a second SIGINT interrupts. A context manager."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __call__(self) -> bool:
        return self.requested

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


class StoppableInput(io.RawIOBase):
    """A file descriptor that ends when `stopped`; `tick` is called at least each TICK_S while nothing comes."""

    def __init__(self, descriptor: int, stopped: Callable[[], bool], tick: Callable[[], None]) -> None:
        super().__init__()
        self._descriptor, self._stopped, self._tick = descriptor, stopped, tick

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._stopped():
            ready, _, _ = select.select([self._descriptor], [], [], TICK_S)
            if ready:
                return os.readv(self._descriptor, [buffer])
            self._tick()
        return 0


async def record_as_proxy(
    listen: Address, server: Address, out: Path, pseudonyms: Pseudonyms, *, stopped: Callable[[], bool], tell: Tell
) -> RecordingSummary:
    """Until `stopped`. Raises ProxyError, CaptureError."""
    losses = Losses()
    with RecordingWriter(out) as writer:
        proxy = _Proxy(server, Recorder(pseudonyms), writer, losses)
        try:
            listening = await asyncio.start_server(proxy.serve, *listen)
        except OSError as error:
            raise ProxyError(f"cannot listen on {listen[0]}:{listen[1]} ({error})") from error
        async with listening:
            while not stopped():
                await asyncio.sleep(TICK_S)
                tell(proxy.recorder)
            listening.close()
            await proxy.close()
        for request in proxy.recorder.finish():
            writer.write(request)
        return finished(proxy.recorder, out, losses)


class _Proxy:
    def __init__(self, server: Address, recorder: Recorder, writer: RecordingWriter, losses: Losses) -> None:
        self.recorder = recorder
        self._server, self._writer, self._losses = server, writer, losses
        self._connections: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, with one of its own to the server."""
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError), contextlib.closing(writer):
            if len(self._connections) >= MAX_CONNECTIONS:
                return
            self._connections.add(task)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    from_server, to_server = await asyncio.open_connection(*self._server)
                with contextlib.closing(to_server):
                    await self._pass_on((reader, to_server), (from_server, writer))
            finally:
                self._connections.discard(task)

    async def _pass_on(
        self,
        up: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        down: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Until either side closes."""
        name = str(next(self._numbers))
        directions = [
            asyncio.create_task(self._pump(*ends, _Tap(self, name, to_server)))
            for ends, to_server in ((up, True), (down, False))
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tap: _Tap) -> None:
        while data := await reader.read(CHUNK_OCTETS):
            writer.write(data)
            tap.take(data)
            await writer.drain()

    def heard(self, message: CapturedMessage) -> None:
        for request in self.recorder.take(message):
            self._writer.write(request)

    def broke(self) -> None:
        self._losses.broken += 1

    async def close(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


class _Tap:
    """What one direction of a connection says. After octets that are not Diameter it hears nothing more."""

    def __init__(self, proxy: _Proxy, name: str, to_server: bool) -> None:
        self._proxy, self._name, self._to_server = proxy, name, to_server
        self._splitter: FrameSplitter | None = FrameSplitter()

    def take(self, data: bytes) -> None:
        for frame in self._frames(data):
            self._proxy.heard(CapturedMessage(frame, time.time(), self._name, "server", self._to_server))

    def _frames(self, data: bytes) -> Iterator[bytes]:
        if self._splitter is None:
            return
        try:
            yield from self._splitter.feed(data)
        except WireError:
            self._splitter = None
            self._proxy.broke()
