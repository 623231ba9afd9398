"""What becomes of a request that a node refuses for now: ASK, MOVED, TRYAGAIN of a Redis Cluster, LOADING and its like.

While a slot is moved slowly, a partition's keys are split between two nodes. The source answers what it has whole, and
`ASK` for what it has none of: the request goes to the importing node once, after ASKING. A script whose keys are on
both, or that makes a key, gets `TRYAGAIN` from either: it comes again at short intervals until its time is up. `MOVED`
changes the route at once.
A request keeps its key wherever it goes, so nothing is applied twice: the remembered answers move with the slot.

Requests of one lane (an account's) stay in order as far as possible: while one waits to come again, the later ones wait
behind it. (Redis Cluster specification, "ASK redirection", "Multiple keys operations".)
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.metrics import LedgerMetrics
from ocs.ledger.redis.request import Request

AGAIN_FIRST_S = 0.005
"""First pause before a refused request comes again; doubled each time."""
AGAIN_MOST_S = 0.04
"""Longest pause: a request waits at most so much longer than the slot's migration."""
FOLLOWED_AT_ONCE = 3
"""Times a request follows ASK or MOVED without a pause; two nodes may send it to each other until both know whose the
slot is.
"""

Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""


def address_text(address: Address) -> str:
    """For people: /run/redis.sock, 127.0.0.1:6379, [::1]:6379."""
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target(error: str, asked: Address) -> Address | None:
    """The node that "MOVED <slot> <host>:<port>" names; an empty host is that of the node that was `asked`. None = it
    does not say.
    """
    host, _, port = error.split(" ")[-1].rpartition(":")
    if host == "?" or not port.isdigit():
        return None
    if not host:
        if isinstance(asked, str):
            return None
        host = asked[0]
    return host, int(port)


class Comeback:
    """Refused requests that wait to come again, by lane."""

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
        self.lanes: dict[tuple[int, int], deque[Request]] = {}
        """Empty but for seldom moments: the hot path only looks whether it is."""

    def queued(self, request: Request) -> bool:
        """True if a request of its lane waits already: it waits behind that one."""
        lane = self.lanes.get((request.slot, request.lane))
        if lane is not None:
            self._append(lane, request)
        return lane is not None

    def wait(self, request: Request) -> None:
        """Come again after a pause that grows with the request's refusals."""
        if not self.queued(request):
            lane = self.lanes[request.slot, request.lane] = deque()
            self._append(lane, request)
            pause_s = min(AGAIN_FIRST_S * 2 ** min(request.refusals, 8), AGAIN_MOST_S)
            self._loop.call_later(pause_s, self._release, (request.slot, request.lane))

    def watch(self, request: Request) -> None:
        """See to it that the request is answered in time, wherever it waits."""
        self._loop.call_at(request.expires, self._expire, request)

    def _append(self, lane: deque[Request], request: Request) -> None:
        if self._waiting >= self._max_waiting:
            self._metrics.ledger_error("overflow")
            self._loop.call_soon(
                request.give, LedgerUnavailable("too many requests are waiting for the cluster to settle")
            )
        else:
            self._waiting += 1
            lane.append(request)
            if not request.refusals:
                request.refusals = 1
                self.watch(request)

    def _release(self, key: tuple[int, int]) -> None:
        lane = self.lanes.pop(key, None)
        if lane is not None:
            self._waiting -= len(lane)
            for request in lane:
                if not request.taken:
                    self._route(request)

    def _expire(self, request: Request) -> None:
        if not request.taken:
            self._metrics.ledger_error("timeout")
            request.give(LedgerUnavailable("Redis could not take the request in time"))

    def close(self) -> None:
        lanes, self.lanes = self.lanes, {}
        for lane in lanes.values():
            for request in lane:
                request.give(LedgerUnavailable("the ledger's client was closed"))
