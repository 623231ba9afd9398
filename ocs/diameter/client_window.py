"""Windows of unanswered RARs (or ASRs) per client, on the connection of one peer.

A connection has at most MAX_OUTSTANDING unanswered requests of a command. A client behind a relay begins with a window
of FIRST_WINDOW requests; each answer widens it by one. A silent client holds FIRST_WINDOW requests for one Tx, then one
at a time, so that the others can go on. Clients that wait are served in turn.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ocs.diameter.outstanding import MAX_OUTSTANDING

FIRST_WINDOW = 4
"""Window of a new client: only 64 silent clients at once can fill a connection."""
SILENT_WINDOW = 1
"""Window of a client that has not answered a request: enough to notice that it answers again."""
WIDEST_WINDOW = MAX_OUTSTANDING // 2
"""Limit of the window, so that a fast client leaves room for others."""

T = TypeVar("T")


@dataclass(slots=True)
class _Client(Generic[T]):
    window: int
    under_way: int = 0
    queue: OrderedDict[T, None] = field(default_factory=OrderedDict)
    lined_up: bool = False
    """The client is in `ClientWindows._turns`."""

    @property
    def has_room(self) -> bool:
        return self.under_way < self.window

    @property
    def idle(self) -> bool:
        return not self.under_way and not self.queue


class ClientWindows(Generic[T]):
    """Windows of the clients behind one peer. A client that is the peer itself may use the whole connection."""

    def __init__(self, peer: str) -> None:
        self._peer = peer.lower()
        self._under_way = 0
        self._clients: dict[str, _Client[T]] = {}
        self._turns: deque[str] = deque()
        """Clients with a queued item and room in their window."""

    @property
    def idle(self) -> bool:
        return not self._clients

    def take(self, client: str) -> bool:
        """Count one more request to this client; False = the window is full, `wait`."""
        name = client.lower()
        found = self._clients.get(name)
        if found is None:
            found = self._clients[name] = _Client(MAX_OUTSTANDING if name == self._peer else FIRST_WINDOW)
        if self._under_way >= MAX_OUTSTANDING or not found.has_room:
            return False
        found.under_way += 1
        self._under_way += 1
        return True

    def wait(self, client: str, waiting: T) -> None:
        """Queue an item after `take` has returned False."""
        name = client.lower()
        self._clients[name].queue[waiting] = None
        self._line_up(name)

    def leave(self, client: str, waiting: T) -> None:
        """Remove an item from the queue."""
        self._clients[client.lower()].queue.pop(waiting, None)

    def give_back(self, client: str, answered: bool | None) -> None:
        """A request has ended; `answered`: None = it was not sent, so the window stays."""
        name = client.lower()
        found = self._clients[name]
        found.under_way -= 1
        self._under_way -= 1
        if name != self._peer and answered is not None:
            found.window = min(found.window + 1, WIDEST_WINDOW) if answered else SILENT_WINDOW
        self._line_up(name)

    def next(self) -> tuple[str, T] | None:
        """Take the next item that may be sent out of its queue, with its client; None = there is none."""
        while self._turns and self._under_way < MAX_OUTSTANDING:
            name = self._turns.popleft()
            found = self._clients[name]
            found.lined_up = False
            if found.queue and found.has_room:
                waiting, _ = found.queue.popitem(last=False)
                self._line_up(name)
                return name, waiting
            self.tidy(name)
        return None

    def tidy(self, client: str) -> None:
        """Forget a client without requests and queue. Its next request begins with FIRST_WINDOW."""
        name = client.lower()
        found = self._clients.get(name)
        if found is not None and found.idle and not found.lined_up:
            del self._clients[name]

    def _line_up(self, name: str) -> None:
        found = self._clients[name]
        if found.queue and found.has_room and not found.lined_up:
            found.lined_up = True
            self._turns.append(name)
