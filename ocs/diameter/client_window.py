"""Whose turn is it? Requests of ours (RARs, or ASRs) to one connected peer, shared among the clients behind it.

A connection has MAX_OUTSTANDING requests of a command without an answer at most. A client behind a relay begins with a
small window of them, which each answer widens by one, so that a client that answers soon has its share, and a silent
one holds FIRST_WINDOW requests for one Tx, then one at a time, and leaves the rest to the others. Clients that wait are
served in turn.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ocs.diameter.outstanding import MAX_OUTSTANDING

FIRST_WINDOW = 4
"""Of a client of which nothing is known: 64 silent ones at once are needed to fill a connection."""
SILENT_WINDOW = 1
"""Of one that has left a request without an answer: enough to notice that it answers again."""
WIDEST_WINDOW = MAX_OUTSTANDING // 2
"""However fast a client answers, others find room."""

T = TypeVar("T")


@dataclass(slots=True)
class _Client(Generic[T]):
    window: int
    under_way: int = 0
    queue: OrderedDict[T, None] = field(default_factory=OrderedDict)
    lined_up: bool = False
    """It stands among those whose turn comes."""

    @property
    def has_room(self) -> bool:
        return self.under_way < self.window

    @property
    def idle(self) -> bool:
        return not self.under_way and not self.queue


class ClientWindows(Generic[T]):
    """The requests to one peer. A client that is the peer itself has nobody beside it, and all of the connection."""

    def __init__(self, peer: str) -> None:
        self._peer = peer.lower()
        self._under_way = 0
        self._clients: dict[str, _Client[T]] = {}
        self._turns: deque[str] = deque()
        """Clients that have something waiting, and room for it."""

    @property
    def idle(self) -> bool:
        return not self._clients

    def take(self, client: str) -> bool:
        """One more request to this client; False = it must `wait`."""
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
        """After a `take` that failed."""
        name = client.lower()
        self._clients[name].queue[waiting] = None
        self._line_up(name)

    def leave(self, client: str, waiting: T) -> None:
        """It waits no longer."""
        self._clients[client.lower()].queue.pop(waiting, None)

    def give_back(self, client: str, answered: bool | None) -> None:
        """One request less under way; None = it was not sent, and says nothing of the client."""
        name = client.lower()
        found = self._clients[name]
        found.under_way -= 1
        self._under_way -= 1
        if name != self._peer and answered is not None:
            found.window = min(found.window + 1, WIDEST_WINDOW) if answered else SILENT_WINDOW
        self._line_up(name)

    def next(self) -> tuple[str, T] | None:
        """The client whose turn it is, and what it has waiting, taken out of its queue; None = nobody's."""
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
        """Forget a client with nothing to do. One that has been silent begins anew then."""
        name = client.lower()
        found = self._clients.get(name)
        if found is not None and found.idle and not found.lined_up:
            del self._clients[name]

    def _line_up(self, name: str) -> None:
        found = self._clients[name]
        if found.queue and found.has_room and not found.lined_up:
            found.lined_up = True
            self._turns.append(name)
