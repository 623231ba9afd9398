"""Handles the requests of a session one after another, in the order of their arrival.

A client may send a request before the previous one of the session is answered: after a pause of the network, or a CCR-I
and a CCR-T in one segment. The second must not overtake the first while that looks up its account or location. A CCR-T
that is refused as unknown before its session is opened would leave units reserved until Tcc.

`under_way` has the request of each session that is being handled; later ones wait for its answer. Events are in it only
while their account is looked up, as an element may use one Session-Id for all its events. Waiting requests count as in
flight, and are limited with them; those of one session by MAX_WAITING.
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
"""Waiting requests of one session; one more is answered 3004 or 3002."""

Reply = Callable[[CreditControlAnswer | DiameterError], None]
SessionKey = tuple[str, str]
"""Owner of the session (`session_owner`) and Session-Id."""
Waiting = tuple[CreditControlRequest, Source, Reply, float]
"""A waiting request; the last item is its time of arrival in Unix seconds."""


def busy(request: CreditControlRequest, reason: str) -> DiameterError:
    """3004 if the request names this server in Destination-Host, else 3002. The client tries another server (RFC 6733
    §7.1.3).
    """
    code = ResultCode.UNABLE_TO_DELIVER if request.destination_host is None else ResultCode.TOO_BUSY
    return DiameterError(code, reason)


class UnderWay(Protocol):
    """A request that is being handled."""

    session: SessionKey
    waiting: deque[Waiting] | None
    """Later requests of its session."""

    @property
    def since(self) -> float:
        """Unix seconds, whole."""


T = TypeVar("T", bound=UnderWay)


class SessionOrder(Generic[T]):
    """One per worker. `timeout_s`: after it the Diameter server has answered a request by itself."""

    def __init__(
        self,
        handle: Callable[[CreditControlRequest, Source, Reply], None],
        clock: Callable[[], float],
        timeout_s: float,
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._timeout_s = timeout_s
        self._throttled_log = ThrottledLog(clock)
        self.under_way: dict[SessionKey, T] = {}
        """The request of each session that is being handled."""

    def begin(self, job: T) -> None:
        """Mark a request as under way, unless another one of its session is."""
        self.under_way.setdefault(job.session, job)

    def wait(self, session: SessionKey, request: CreditControlRequest, source: Source, reply: Reply) -> bool:
        """Queue a request behind the one under way. False = that one was lost: handle the request now."""
        ahead, now = self.under_way[session], self._clock()
        if now - ahead.since > self._timeout_s + 1:  # `since` is in whole seconds
            self._fault(
                "internal error, please report it: a request of a session was not answered, the next ones are handled "
                "without it"
            )
            self.end(ahead)
            return session in self.under_way and self.wait(session, request, source, reply)
        if ahead.waiting is None:
            ahead.waiting = deque()
        if len(ahead.waiting) >= MAX_WAITING:
            reply(busy(request, "too many requests of the session are waiting"))
        else:
            ahead.waiting.append((request, source, reply, now))
        return True

    def end(self, job: T) -> None:
        """A request is answered: handle the next one of its session."""
        session = job.session
        if self.under_way.get(session) is not job:
            return
        del self.under_way[session]
        if job.waiting:
            self._go_on(session, job.waiting)

    def _go_on(self, session: SessionKey, waiting: deque[Waiting]) -> None:
        """Handle waiting requests until one has to wait for the ledger; the others wait for that one."""
        while waiting:
            request, source, reply, since = waiting.popleft()
            if self._clock() - since > self._timeout_s:  # the Diameter server has answered it
                reply(busy(request, "the request could not be handled in time"))
                continue
            try:
                self._handle(request, source, reply)
            except Exception as error:  # noqa: BLE001 - every request is answered
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
