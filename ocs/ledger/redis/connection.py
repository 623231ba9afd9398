"""One pipelined connection to a Redis node, for commands that are safe to repeat.

A general client library spends more time on a command than Redis does. Here commands go out in order, answers come back
in order (hiredis parses them), and a callback takes each. When the connection breaks, the commands in flight may or may
not have been applied. The ledger's commands are idempotent, so they are sent again in the same order when the
connection is back, until their time is up.

Durability "replicated": a flush with writes ends with one WAIT, and the answers of the writes are held back until the
WAIT is answered. Redis executes nothing for a client whose WAIT is open, so commands that come meanwhile are collected
and sent afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Protocol, cast

import hiredis
from hiredis import ReplyError

from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.metrics import LedgerMetrics
from ocs.ledger.redis.redirects import address_text
from ocs.ledger.redis.request import NO_SLOT, Answer, Request, command, ignore, resolve
from ocs.ledger.redis.script_call import MISSING, loaded

__all__ = ["Answer", "RedisConnection", "Request", "command", "resolve"]

log = logging.getLogger(__name__)

RECONNECT_FIRST_S = 0.02
RECONNECT_MOST_S = 0.5
CONNECT_TIMEOUT_S = 2.0
FLUSH_AT = 16
"""Commands collected before they are written. Fewer cost more system calls, more let Redis idle."""
COLLECT_MOST = 256
"""Writes collected for one WAIT: about 20 ms of work for Redis."""
RENEW_PAUSE_S = 0.5
"""Least time between two reconnections because the server has become a replica."""
TICK_S = 0.02
"""How often requests are checked for their time limit."""
_ELSEWHERE_OR_LATER = (
    *("MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN"),
    *("LOADING", "MASTERDOWN", "READONLY", "BUSY "),
)
"""Errors of a node that does not have the slot, or cannot answer yet (redirects.py)."""
_READONLY = "-READONLY "
"""Stands within the error of a script before Redis 7."""
_ASKING = command((b"ASKING",))


class OnRefused(Protocol):
    """Takes a request that this node has redirected or postponed."""

    def __call__(self, request: Request, error: str, connection: RedisConnection) -> None: ...


class RedisConnection(asyncio.Protocol):
    """Reconnects until closed. All methods are called from the event loop."""

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
        wait_ms: int,
        on_refused: OnRefused,
        stopwatch: Callable[[], float],
    ) -> None:
        self.address = address
        self._auth = auth
        self._tls = tls
        self._database = database
        self._scripts = scripts
        self._loop = loop
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._wait_ms = wait_ms
        self._on_refused = on_refused
        self._stopwatch = stopwatch
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._in_flight: deque[Request] = deque()
        self._waiting: deque[Request] = deque()
        self._outgoing: list[bytes] = []
        self._flush_planned = False
        self._replicas = 0  # needed by the writes in _outgoing
        self._waits_open = 0
        self._unconfirmed: deque[tuple[Request, Answer]] = deque()  # answered, but their WAIT is still open
        self._loaded_at = 0.0
        self._renewed_at = 0.0
        self.ready = False
        self.setup_refusal = ""
        """Redis's error if it refused the last set-up: the password, the database, the scripts."""
        self._closed = False
        self._lost = asyncio.Event()
        self._keeper = loop.create_task(self._keep_connected())
        self._ticker = loop.call_later(TICK_S, self._tick)

    # -- requests

    def send(self, request: Request) -> None:
        """Send, or queue until the connection is back. If the queue is full, LedgerUnavailable is the answer."""
        if len(self._in_flight) + len(self._waiting) >= self._max_waiting:
            self._metrics.ledger_error("overflow")
            self._loop.call_soon(request.finish, LedgerUnavailable("too many requests are waiting for Redis"))
        elif self.ready:
            self._write(request)
        else:
            self._waiting.append(request)

    def _write(self, request: Request) -> None:
        request.sent = self._stopwatch()
        if request.asking:
            self._in_flight.append(self._internal("asking", ignore))
            self._outgoing.append(_ASKING)
        self._in_flight.append(request)
        outgoing = self._outgoing
        outgoing.append(request.command)
        if request.wait_for:
            self._replicas = request.wait_for
        if len(outgoing) >= (COLLECT_MOST if self._replicas else FLUSH_AT):
            self._flush()
        elif not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._end_of_turn)

    def _internal(self, operation: str, callback: Callable[[Answer], None]) -> Request:
        return Request(b"", callback, operation, self._loop.time() + CONNECT_TIMEOUT_S, NO_SLOT, 0, 0)

    def _end_of_turn(self) -> None:
        self._flush_planned = False
        if not self._waits_open:
            self._flush()

    def _flush(self) -> None:
        """Write the commands collected in this turn of the event loop, or the first FLUSH_AT of a long turn."""
        outgoing = self._outgoing
        if not outgoing:
            return
        if self._replicas:
            outgoing.append(command((b"WAIT", self._replicas, self._wait_ms)))
            wait = self._internal("wait", partial(self._wait_answered, self._replicas))
            wait.expires = self._loop.time() + 2 * self._wait_ms / 1000  # as for the writes before it
            self._in_flight.append(wait)
            self._replicas = 0
            self._waits_open += 1
        if self._transport is not None:
            self._transport.write(b"".join(outgoing))
        outgoing.clear()

    def _wait_answered(self, needed: int, replicas: Answer) -> None:
        """The WAIT of a flush is answered: pass on the answers of its writes, which are all unconfirmed ones."""
        if not self._waits_open:  # the connection broke: the writes are sent again
            return
        self._waits_open -= 1
        unconfirmed, self._unconfirmed = self._unconfirmed, deque()
        enough = isinstance(replicas, int) and replicas >= needed
        now = self._stopwatch()
        for request, answer in unconfirmed:
            if enough:
                self._metrics.round_trip(request.operation, now - request.sent)
                request.finish(answer)
            else:
                self._metrics.ledger_error("replica")
                request.finish(LedgerUnavailable("too few replicas have the write"))
        if not self._waits_open and not self._flush_planned:
            self._flush_planned = True  # after this turn, so that the next commands go out with them
            self._loop.call_soon(self._end_of_turn)

    def _tick(self) -> None:
        now = self._loop.time()
        late = 0
        unconfirmed = (request for request, _ in self._unconfirmed)
        for request in chain(*(_overdue(each, now) for each in (unconfirmed, self._in_flight, self._waiting))):
            if not request.answered:
                late += 1
                self._metrics.ledger_error("timeout")
                request.finish(LedgerUnavailable("Redis did not answer in time"))
        while self._waiting and self._waiting[0].answered:
            self._waiting.popleft()
        if late and self._in_flight and self._transport is not None:
            first = self._in_flight[0]
            if first.answered or (first.slot == NO_SLOT and first.expires <= now):
                # Redis does not answer: reconnect and send again.
                self._transport.abort()
        self._ticker = self._loop.call_later(TICK_S, self._tick)

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            self._take_answers()
        except hiredis.ProtocolError:
            log.error(
                "Redis at %s: the answer is not in the Redis protocol (is redis.url right?); connecting again",
                address_text(self.address),
            )
            if self._transport is not None:
                self._transport.abort()

    def _take_answers(self) -> None:
        gets, in_flight, round_trip = self._reader.gets, self._in_flight, self._metrics.round_trip
        now = self._stopwatch()
        while (answer := gets()) is not False:  # False = incomplete: RESP2 has no booleans
            if not in_flight:
                return
            request = in_flight.popleft()
            if answer.__class__ is ReplyError:
                self._take_error(request, answer)
            elif request.wait_for:
                self._unconfirmed.append((request, answer))
            else:
                round_trip(request.operation, now - request.sent)
                if not request.answered:
                    request.answered = True
                    request.callback(answer)

    def _take_error(self, request: Request, error: ReplyError) -> None:
        text = str(error)
        if request.slot == NO_SLOT:
            request.finish(error)
        elif text.startswith(MISSING):
            # The scripts were flushed, or the library was deleted: load them before the request is sent again. If it
            # was sent before the last load command, they are loaded already.
            if request.sent >= self._loaded_at:
                self._loaded_at = self._stopwatch()
                for script in self._scripts:
                    self._write_internal(script, "load", ignore)
            self._write(request)
        elif text.startswith(_ELSEWHERE_OR_LATER) or _READONLY in text:
            self._on_refused(request, text[text.find(_READONLY) + 1 :] if _READONLY in text else text, self)
        else:
            self._metrics.ledger_error("script")
            request.finish(error)

    def _write_internal(self, packed: bytes, operation: str, callback: Callable[[Answer], None]) -> None:
        own = self._internal(operation, callback)
        own.command = packed
        self._write(own)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ready = False
        self._transport = None
        self._metrics.connected(-1)
        self._waits_open = self._replicas = 0
        # Requests that may have been applied are sent first, in their old order.
        ambiguous = [*(request for request, _ in self._unconfirmed), *self._in_flight]
        self._unconfirmed.clear()
        self._in_flight.clear()
        self._outgoing.clear()
        if ambiguous:
            self._metrics.ledger_error("lost")
        for request in ambiguous:
            if request.slot == NO_SLOT:
                request.finish(LedgerUnavailable("the connection to Redis broke while it was set up"))
        self._waiting.extendleft(r for r in reversed(ambiguous) if not r.answered and r.slot != NO_SLOT)
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
            if not self._lost.is_set():  # else it has broken again
                self._resume()
            await self._lost.wait()

    async def _connect(self) -> None:
        self._lost.clear()
        self.setup_refusal = ""
        self._reader = hiredis.Reader()
        if isinstance(self.address, str):
            transport, _ = await self._loop.create_unix_connection(lambda: self, self.address)
        else:
            transport, _ = await self._loop.create_connection(lambda: self, *self.address, ssl=self._tls)
        self._transport = transport
        self._metrics.connected(1)
        commands = [command((b"AUTH", *self._auth))] if self._auth else []
        if self._database:
            commands.append(command((b"SELECT", self._database)))
        for each in (*commands, *self._scripts):
            answered: asyncio.Future[Answer] = self._loop.create_future()
            self._write_internal(each, "load", partial(resolve, answered))
            answer = await answered
            if not loaded(answer):
                self.setup_refusal = str(answer)
                raise ConnectionError(str(answer))

    def _resume(self) -> None:
        self.ready = True
        waiting, self._waiting = self._waiting, deque()
        now = self._loop.time()
        for request in waiting:
            if request.answered:
                continue
            if request.expires > now:
                self._write(request)
            else:  # its client is answered as if Redis were away
                self._metrics.ledger_error("timeout")
                request.finish(LedgerUnavailable("Redis did not answer in time"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it
        self._transport.set_write_buffer_limits(high=0)  # write at once

    def renew(self) -> None:
        """Reconnect: the server is no longer a master, and its name may lead to the new one."""
        now = self._loop.time()
        if self.ready and self._transport is not None and now >= self._renewed_at + RENEW_PAUSE_S:
            self._renewed_at = now
            self._transport.abort()

    async def wait_ready(self, timeout_s: float) -> bool:
        """True when the connection is usable; False if it is not in time."""
        end = self._loop.time() + timeout_s
        while not self.ready:
            if self._loop.time() >= end:
                return False
            await asyncio.sleep(RECONNECT_FIRST_S)
        return True

    def _unanswered(self) -> list[Request]:
        return [*(request for request, _ in self._unconfirmed), *self._in_flight, *self._waiting]

    def take_waiting(self) -> list[Request]:
        """Remove and return the requests that are not answered, to be sent elsewhere."""
        left = [r for r in self._unanswered() if not r.answered and r.slot != NO_SLOT]
        for each in (self._unconfirmed, self._in_flight, self._waiting, self._outgoing):
            each.clear()
        return left

    async def close(self) -> None:
        self._closed = True
        self._waits_open = 0
        self._ticker.cancel()
        for request in self._unanswered():
            request.finish(LedgerUnavailable("the ledger's client was closed"))
        self._keeper.cancel()
        if self._transport is not None:
            self._transport.abort()
        await asyncio.gather(self._keeper, return_exceptions=True)


def _overdue(requests: Iterable[Request], now: float) -> Iterator[Request]:
    """Requests at the front whose time is up, without the connection's own."""
    for request in requests:
        if request.slot != NO_SLOT:
            if request.expires > now:
                return
            yield request
