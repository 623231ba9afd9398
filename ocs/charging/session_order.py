"""Requests of one session are worked on one after another, in the order in which they came.

A client may send the next request of a session before the last one is answered: after a pause of the network, or an
opening and an end in one segment. What the first still has to ask the ledger (whose account, which place) must not let
the second overtake it: an end that is refused as unknown before its session is opened leaves units held until Tcc.

Each request under way is known by its session; one that comes meanwhile waits for its answer. A session with one
request at a time is looked up, put in and taken out of one dictionary, and nothing else. One-off requests are under way
for this only while an account is looked for: an element may use one Session-Id for all of them.
What waits is part of what is in flight, and bounded with it; of one session by MAX_WAITING.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ocs.charging.source import Source
from ocs.telemetry.logs import describe
from ocs.telemetry.throttled_log import ThrottledLog
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from protocol.errors import DiameterError, ResultCode

log = logging.getLogger(__name__)

MAX_WAITING = 256
"""Requests of one session that wait for an answer to an earlier one; one more is answered 3004 or 3002."""

Reply = Callable[[CreditControlAnswer | DiameterError], None]
SessionKey = tuple[str, str]
"""Whose session it is (others may not go on with it), and its Session-Id."""
Waiting = tuple[CreditControlRequest, Source, Reply, float]
"""As it came, and when (Unix seconds)."""


def busy(request: CreditControlRequest, reason: str) -> DiameterError:
    """3004 for a request pinned to this server, else 3002: both send the client to another (RFC 6733 §7.1.3)."""
    code = ResultCode.UNABLE_TO_DELIVER if request.destination_host is None else ResultCode.TOO_BUSY
    return DiameterError(code, reason)


class UnderWay(Protocol):
    """A request that is being worked on."""

    session: SessionKey
    waiting: deque[Waiting] | None
    """Later requests of its session."""

    @property
    def since(self) -> float:
        """Unix seconds, whole."""


T = TypeVar("T", bound=UnderWay)


class SessionOrder(Generic[T]):
    """One per worker. `handle` works on a request; `patience_s`: after it the gateway has answered for one that was not
    handled.
    """

    def __init__(
        self,
        handle: Callable[[CreditControlRequest, Source, Reply], None],
        clock: Callable[[], float],
        patience_s: float,
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._patience_s = patience_s
        self._throttled_log = ThrottledLog(clock)
        self.under_way: dict[SessionKey, T] = {}
        """The request of each session that the others wait for."""

    def begin(self, job: T) -> None:
        """It is worked on. If another one of its session is already, nobody waits for this one."""
        self.under_way.setdefault(job.session, job)

    def wait(self, session: SessionKey, request: CreditControlRequest, source: Source, reply: Reply) -> bool:
        """Take a request whose session has one under way; False = go on with it, that one is lost."""
        ahead, now = self.under_way[session], self._clock()
        if now - ahead.since > self._patience_s + 1:  # `since` is in whole seconds
            self._fault(
                "internal error, please report it: a request of a session was not answered, the next ones go on "
                "without it"
            )
            self.end(ahead)
            return session in self.under_way and self.wait(session, request, source, reply)
        if ahead.waiting is None:
            ahead.waiting = deque()
        if len(ahead.waiting) >= MAX_WAITING:
            reply(busy(request, "too many requests of the session wait for their answers"))
        else:
            ahead.waiting.append((request, source, reply, now))
        return True

    def end(self, job: T) -> None:
        """It is answered: the turn of the next."""
        session = job.session
        if self.under_way.get(session) is not job:
            return
        del self.under_way[session]
        if job.waiting:
            self._go_on(session, job.waiting)

    def _go_on(self, session: SessionKey, waiting: deque[Waiting]) -> None:
        """Until one has to wait for the ledger: the others wait for it."""
        while waiting:
            request, source, reply, since = waiting.popleft()
            if self._clock() - since > self._patience_s:  # its client has been told that nothing was done
                reply(busy(request, "the request could not be handled in time"))
                continue
            try:
                self._handle(request, source, reply)
            except Exception as error:  # noqa: BLE001 - as in the dispatcher: whatever went wrong, the request is answered
                self._fault("internal error at a CCR, answered 5012, please report it: " + describe(error))
                reply(DiameterError(ResultCode.UNABLE_TO_COMPLY, ""))
            ahead = self.under_way.get(session)
            if ahead is not None:
                ahead.waiting = waiting
                return

    def _fault(self, what: str) -> None:
        more = self._throttled_log.allow(what)
        if more is not None:
            log.error("%s%s", what, more)
