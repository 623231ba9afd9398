"""One pipelined connection to a Redis node, for requests that are safe to send again.

A general client library spends more time on a command than Redis does, and retries on its own; here neither is wanted. Commands
go out in order, answers come back in order (hiredis parses them), a callback takes each. When the connection breaks, what was
under way is ambiguous: it may or may not have been applied. Every command of the ledger carries its own key, so it is simply sent
again, in the same order, when the connection is back, until its time is up.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import hiredis

from ocs.ledger.contract import LedgerUnavailable
from ocs.ledger.metrics import LedgerMetrics

log = logging.getLogger(__name__)

RECONNECT_FIRST_S = 0.02
RECONNECT_MOST_S = 0.5
CONNECT_TIMEOUT_S = 2.0
FLUSH_AT = 16
"""Commands collected before they are written: fewer cost system calls, more leave Redis idle while we work, and the other way round."""
TICK_S = 0.02
"""How often waiting requests are checked against their time."""
_NOT_NOW = ("LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "READONLY", "BUSY ")
"""Errors of a node that will be able to answer soon: sent again."""
_ELSEWHERE = ("MOVED", "ASK ")
"""Errors of a node that does not hold the slot (Redis Cluster)."""

command: Callable[[tuple[bytes | str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
"""RESP of one command. (The library's own annotation allows only one part.)"""

Answer = Any
"""bytes, int, list, None, a hiredis.ReplyError, or LedgerUnavailable."""


def resolve(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


class Request:
    """One command under way. `taken` once its callback was called."""

    __slots__ = ("answers", "callback", "command", "expires", "lane", "operation", "sent", "slot", "taken", "wait_for")

    def __init__(
        self,
        command: bytes,
        callback: Callable[[Answer], None],
        operation: str,
        expires: float,
        slot: int,
        lane: int,
        wait_for: int,
    ) -> None:
        self.command = command
        self.callback = callback
        self.operation = operation
        self.expires = expires
        self.slot = slot
        """The partition; -1 for commands that set a connection up."""
        self.lane = lane
        """Requests of one lane stay in order."""
        self.sent = 0.0
        self.taken = False
        self.wait_for = wait_for
        """Replicas that must have the write (the command is followed by WAIT), or 0."""
        self.answers: list[Answer] = []

    def give(self, answer: Answer) -> None:
        if not self.taken:
            self.taken = True
            self.callback(answer)


class RedisConnection(asyncio.Protocol):
    """Keeps itself connected until closed. All methods are called from the event loop."""

    def __init__(
        self,
        *,
        address: str | tuple[str, int],
        auth: Sequence[bytes] | None,
        tls: ssl.SSLContext | None,
        database: int,
        scripts: Sequence[bytes],
        loop: asyncio.AbstractEventLoop,
        metrics: LedgerMetrics,
        max_waiting: int,
        on_moved: Callable[[Request], None],
        stopwatch: Callable[[], float],
    ) -> None:
        self._address = address
        self._auth = auth
        self._tls = tls
        self._database = database
        self._scripts = scripts
        self._loop = loop
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._on_moved = on_moved
        self._stopwatch = stopwatch
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._under_way: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        self._outgoing: list[bytes] = []
        self._flush_planned = False
        self._loaded_at = 0.0
        self.ready = False
        self._closed = False
        self._lost = asyncio.Event()
        self._keeper = loop.create_task(self._keep_connected())
        self._ticker = loop.call_later(TICK_S, self._tick)

    # -- requests

    def send(self, request: Request) -> None:
        """Send, or keep until the connection is back. A full queue answers LedgerUnavailable."""
        if len(self._under_way) + len(self._waiting) >= self._max_waiting:
            self._metrics.ledger_error("overflow")
            self._loop.call_soon(request.give, LedgerUnavailable("too many requests are waiting for Redis"))
        elif self.ready:
            self._put(request)
        else:
            self._waiting.append(request)

    def _put(self, request: Request) -> None:
        request.sent = self._stopwatch()
        request.answers = []
        self._under_way.append(request)
        self._outgoing.append(request.command)
        if len(self._outgoing) >= FLUSH_AT:
            self._flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Commands of one turn of the loop go out together, but a long turn does not keep Redis waiting for its end."""
        self._flush_planned = False
        if self._transport is not None and self._outgoing:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def _tick(self) -> None:
        now = self._loop.time()
        late = 0
        for request in chain(_overdue(self._under_way, now), _overdue(self._waiting, now)):
            if not request.taken:
                late += 1
                self._metrics.ledger_error("timeout")
                request.give(LedgerUnavailable("Redis did not answer in time"))
        while self._waiting and self._waiting[0].taken:
            self._waiting.popleft()
        if late and self._under_way and self._under_way[0].taken and self._transport is not None:
            # Redis is silent: what it still holds of ours is answered on a fresh connection, by key.
            self._transport.abort()
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            self._take_answers()
        except hiredis.ProtocolError:
            log.error("Redis at %s sent what is no RESP; reconnecting", self._address)
            if self._transport is not None:
                self._transport.abort()

    def _take_answers(self) -> None:
        gets = self._reader.gets
        under_way = self._under_way
        now = self._stopwatch()
        while (answer := gets()) is not False:  # False means "not whole yet": RESP2 has no booleans
            if not under_way:
                return
            request = under_way[0]
            if request.wait_for and not request.answers:
                request.answers.append(answer)
                continue
            under_way.popleft()
            if request.wait_for:
                first = request.answers[0]
                if not isinstance(first, hiredis.ReplyError) and (
                    not isinstance(answer, int) or answer < request.wait_for
                ):
                    self._metrics.ledger_error("replica")
                    request.give(LedgerUnavailable("too few replicas have the write"))
                    continue
                answer = first
            if isinstance(answer, hiredis.ReplyError):
                self._take_error(request, answer)
            else:
                self._metrics.round_trip(request.operation, now - request.sent)
                request.give(answer)

    def _take_error(self, request: Request, error: hiredis.ReplyError) -> None:
        text = str(error)
        if text.startswith("NOSCRIPT"):
            # Someone flushed the scripts: load them again, in order, before the repetition. A request that was sent before the
            # last loading went out misses nothing now.
            if request.sent >= self._loaded_at:
                self._loaded_at = self._loop.time()
                for script in self._scripts:
                    self._put(Request(script, lambda _: None, "load", self._loaded_at + CONNECT_TIMEOUT_S, -1, 0, 0))
            self._put(request)
        elif text.startswith(_ELSEWHERE):
            self._metrics.ledger_error("moved")
            self._on_moved(request)
        elif text.startswith(_NOT_NOW):
            self._metrics.ledger_error("not_now")
            self._loop.call_later(RECONNECT_FIRST_S, self._again, request)
        else:
            self._metrics.ledger_error("script")
            request.give(error)

    def _again(self, request: Request) -> None:
        if not request.taken:
            if self._loop.time() >= request.expires or self._closed:
                request.give(LedgerUnavailable("Redis could not take the request in time"))
            else:
                self.send(request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready = False
        self._transport = None
        self._metrics.connected(-1)
        if self._under_way:
            self._metrics.ledger_error("lost")
        for request in self._under_way:
            if request.slot < 0:
                request.give(LedgerUnavailable("the connection to Redis broke while it was set up"))
        # Ambiguous requests go first, in their old order.
        again = [request for request in self._under_way if not request.taken and request.slot >= 0]
        self._under_way.clear()
        self._outgoing.clear()
        self._waiting.extendleft(reversed(again))
        self._lost.set()

    # -- connecting

    async def _keep_connected(self) -> None:
        pause = RECONNECT_FIRST_S
        while not self._closed:
            try:
                await asyncio.wait_for(self._connect(), CONNECT_TIMEOUT_S)
            except (OSError, TimeoutError, hiredis.HiredisError, ConnectionError):
                if self._transport is not None:
                    self._transport.abort()
                await asyncio.sleep(pause)
                pause = min(pause * 2, RECONNECT_MOST_S)
                continue
            pause = RECONNECT_FIRST_S
            if not self._lost.is_set():  # else it broke again in between
                self._resume()
            await self._lost.wait()

    async def _connect(self) -> None:
        self._lost.clear()
        self._reader = hiredis.Reader()
        if isinstance(self._address, str):
            transport, _ = await self._loop.create_unix_connection(lambda: self, self._address)
        else:
            transport, _ = await self._loop.create_connection(lambda: self, *self._address, ssl=self._tls)
        self._transport = transport
        self._metrics.connected(1)
        commands = [command((b"AUTH", *self._auth))] if self._auth else []
        if self._database:
            commands.append(command((b"SELECT", self._database)))
        for each in (*commands, *self._scripts):
            answered: asyncio.Future[Answer] = self._loop.create_future()
            self._put(
                Request(each, partial(resolve, answered), "load", self._loop.time() + CONNECT_TIMEOUT_S, -1, 0, 0)
            )
            answer = await answered
            if isinstance(answer, LedgerUnavailable | hiredis.ReplyError):
                raise ConnectionError(str(answer))

    def _resume(self) -> None:
        self.ready = True
        waiting, self._waiting = self._waiting, deque()
        now = self._loop.time()
        for request in waiting:
            if request.taken:
                continue
            if request.expires > now:
                self._put(request)
            else:  # its client has been told that nothing was done, or will be
                self._metrics.ledger_error("timeout")
                request.give(LedgerUnavailable("Redis did not answer in time"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(high=0)  # write when told to, not at the end of the loop's turn

    async def wait_ready(self, timeout_s: float) -> bool:
        """True once the connection can be used, False if it cannot in time."""
        end = self._loop.time() + timeout_s
        while not self.ready:
            if self._loop.time() >= end:
                return False
            await asyncio.sleep(RECONNECT_FIRST_S)
        return True

    def take_waiting(self) -> list[Request]:
        """Give up what is not answered yet, to be sent elsewhere."""
        left = [r for r in chain(self._under_way, self._waiting) if not r.taken and r.slot >= 0]
        self._under_way.clear()
        self._waiting.clear()
        return left

    async def close(self) -> None:
        self._closed = True
        self._ticker.cancel()
        for request in chain(self._under_way, self._waiting):
            request.give(LedgerUnavailable("the ledger's client was closed"))
        self._keeper.cancel()
        if self._transport is not None:
            self._transport.abort()
        await asyncio.gather(self._keeper, return_exceptions=True)


def _overdue(requests: Iterable[Request], now: float) -> Iterator[Request]:
    """Those at the front whose time is up; what sets the connection up has a time of its own."""
    for request in requests:
        if request.slot >= 0:
            if request.expires > now:
                return
            yield request
