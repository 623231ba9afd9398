"""What a worker caches of sessions: account, location, and which openings it refused.

An entry may be stale or missing at any time. A request that relies on one tells the ledger so, and the ledger corrects
it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ocs.charging.prepared import Terms
from ocs.charging.session_order import SessionKey
from ocs.charging.usage_context import UsageContext, usage_context_of
from ocs.ledger.contract.charging import UNKNOWN_PLACE
from ocs.values.bounded_cache import BoundedCache
from ocs.values.use import Context
from protocol.credit_control import EVENT_REQUEST, INITIAL_REQUEST, CreditControlRequest

MAX_SESSIONS_KEPT = 100_000
"""Sessions cached for requests that leave out the subscriber or the location (about 0.5 kB each), and refused ones."""


@dataclass(slots=True)
class CachedSession:
    account_id: str
    """"" = an emergency call without an account."""
    where: UsageContext
    location: str
    """`where` as the ledger stores it."""


class SessionCache:
    """One per worker."""

    def __init__(self) -> None:
        self._sessions: BoundedCache[SessionKey, CachedSession] = BoundedCache(MAX_SESSIONS_KEPT)
        self._refused: BoundedCache[SessionKey, bool] = BoundedCache(MAX_SESSIONS_KEPT)

    def account_id(self, session: SessionKey) -> str:
        """Account of the session; "" = none is cached."""
        known = self._sessions.get(session)
        return "" if known is None else known.account_id

    def store(self, session: SessionKey, account_id: str, where: UsageContext) -> None:
        """Cache where an accepted request of the session took place."""
        known = self._sessions.get(session)
        if known is None or known.account_id != account_id:
            self._sessions.put(session, CachedSession(account_id, where, where.encode()))
        else:
            known.where, known.location = where, where.encode()

    def correct(self, session: SessionKey, account_id: str, context: Context, location: str) -> None:
        """Cache the location that the ledger has stored."""
        self._sessions.put(session, CachedSession(account_id, UsageContext.decode(context, location), location))

    def remove(self, session: SessionKey) -> None:
        self._sessions.pop(session, None)

    def refuse(self, session: SessionKey) -> None:
        """The session's CCR-I was refused without the ledger."""
        self._refused.put(session, True)

    def accept(self, session: SessionKey) -> None:
        """A later CCR-I of the session succeeded."""
        self._refused.pop(session, None)

    def is_refused(self, session: SessionKey) -> bool:
        return session in self._refused

    def usage_context(
        self, context: Context, request: CreditControlRequest, session: SessionKey, terms: Terms
    ) -> tuple[UsageContext, str]:
        """Where, how and when the service is used, and the location assumed for it (`Job.expected_location`).

        Later requests of a session may leave out what has not changed: the cached location fills it in. An event
        takes place at its Event-Timestamp, if that is near our clock; a grant is used from now on.
        """
        where = usage_context_of(context, request, terms.profile)
        where.at = now = terms.now
        if request.cc_request_type == EVENT_REQUEST:
            event_at = request.event_timestamp
            if event_at is not None and abs(event_at - now) <= terms.policy.event_time_window_s:
                where.at = event_at
            return where, ""
        if request.cc_request_type == INITIAL_REQUEST:
            return where, ""
        complete = where.complete
        known = self._sessions.get(session)
        if known is not None:
            where.completed(known.where)
        if complete:
            return where, ""
        return where, UNKNOWN_PLACE if known is None else known.location
