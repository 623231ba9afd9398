"""Requests that a node refuses for now: ASK, MOVED, TRYAGAIN of a Redis Cluster; LOADING and the like.

While a slot migrates, a partition's keys are split between two nodes. The source answers requests whose keys it has,
and `ASK` if it has none of them: the request goes to the importing node once, after ASKING. A script with keys on both
nodes, or that creates a key, gets `TRYAGAIN` from either: it is sent again at short intervals until its time is up.
`MOVED` changes the route at once. Nothing is applied twice: the remembered answers migrate with the slot.

Requests with one order key (an account's) stay in order: while one waits to be sent again, later ones wait behind it.
(Redis Cluster specification, "ASK redirection", "Multiple keys operations".)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.metrics import LedgerMetrics
from ocs.ledger.redis.request import Request

AGAIN_FIRST_S = 0.005
"""First pause before a refused request is sent again; doubled each time."""
AGAIN_MOST_S = 0.04
"""Longest pause: a request waits at most this much longer than the slot's migration."""
FOLLOWED_AT_ONCE = 3
"""How often a request follows ASK or MOVED without a pause. Two nodes may send it to each other until both know which
has the slot."""

Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""


def address_text(address: Address) -> str:
    """For people: /run/redis.sock, 127.0.0.1:6379, [::1]:6379."""
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target(error: str, asked: Address) -> Address | None:
    """The node that "MOVED <slot> <host>:<port>" names; an empty host = that of the node `asked`. None = unknown."""
    host, _, port = error.split(" ")[-1].rpartition(":")
    if host == "?" or not port.isdigit():
        return None
    if not host:
        if isinstance(asked, str):
            return None
        host = asked[0]
    return host, int(port)


class RetryQueue:
    """Refused requests that wait to be sent again, one queue per order key."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        metrics: LedgerMetrics,
        max_waiting: int,
        route: Callable[[Request], None],
    ) -> None:
        self._loop = loop
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._route = route
        self._waiting = 0
        self.queues: dict[tuple[int, int], deque[Request]] = {}
        """By (slot, order key). Empty most of the time: the hot path only tests that."""

    def queued(self, request: Request) -> bool:
        """Queue the request if an earlier one with its order key waits. True = it was queued."""
        queue = self.queues.get((request.slot, request.order_key))
        if queue is not None:
            self._append(queue, request)
        return queue is not None

    def wait(self, request: Request) -> None:
        """Send the request again after a pause that grows with its refusals."""
        if not self.queued(request):
            queue = self.queues[request.slot, request.order_key] = deque()
            self._append(queue, request)
            pause_s = min(AGAIN_FIRST_S * 2 ** min(request.refusals, 8), AGAIN_MOST_S)
            self._loop.call_later(pause_s, self._release, (request.slot, request.order_key))

    def watch(self, request: Request) -> None:
        """Answer the request when its time is up, wherever it waits."""
        self._loop.call_at(request.expires, self._expire, request)

    def _append(self, queue: deque[Request], request: Request) -> None:
        if self._waiting >= self._max_waiting:
            self._metrics.ledger_error("overflow")
            self._loop.call_soon(
                request.finish, LedgerUnavailable("too many requests are waiting for the cluster to settle")
            )
        else:
            self._waiting += 1
            queue.append(request)
            if not request.refusals:
                request.refusals = 1
                self.watch(request)

    def _release(self, key: tuple[int, int]) -> None:
        queue = self.queues.pop(key, None)
        if queue is not None:
            self._waiting -= len(queue)
            for request in queue:
                if not request.answered:
                    self._route(request)

    def _expire(self, request: Request) -> None:
        if not request.answered:
            self._metrics.ledger_error("timeout")
            request.finish(LedgerUnavailable("Redis could not take the request in time"))

    def close(self) -> None:
        queues, self.queues = self.queues, {}
        for queue in queues.values():
            for request in queue:
                request.finish(LedgerUnavailable("the ledger's client was closed"))
