"""A credit-control request on its way through charging."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ocs.charging.prepared import Prepared
from ocs.charging.session_order import Reply, SessionKey, SessionOrder, Waiting
from ocs.charging.source import Source
from ocs.charging.usage_context import UsageContext
from ocs.values.sessions import session_owner
from ocs.values.use import Context
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from protocol.errors import DiameterError


@dataclass(slots=True)
class Job:
    """A request that has not been answered yet."""

    prepared: Prepared
    context: Context
    identities: list[str]
    """Subscriber ids of the request; [] = it carries none that can be read."""
    where: UsageContext
    expected_location: str
    """Location that this worker assumed for `where`. If the stored one differs, the ledger applies nothing. "" = the
    request gave everything itself.
    """
    source: Source
    session: SessionKey
    send: Reply
    order: SessionOrder[Job]
    lookups: int = 0
    """How often the ledger was asked for the account."""
    relocations: int = 0
    """How often the ledger corrected the assumed location."""
    corrections: int = 0
    """How often the ledger corrected the facts."""
    waiting: deque[Waiting] | None = None
    """Later requests of the session."""

    @property
    def owner(self) -> str:
        """Owner of the session, as `session_owner` names it."""
        return self.session[0]

    @property
    def since(self) -> float:
        """Unix seconds, whole."""
        return self.prepared.terms.now

    def reply(self, answer: CreditControlAnswer | DiameterError) -> None:
        """Send the answer, then start the next request of the session."""
        try:
            self.send(answer)
        finally:
            self.order.end(self)


def session_key(request: CreditControlRequest, source: Source) -> SessionKey:
    """Owner and Session-Id. A client behind a realm-bound relay is known by its Origin-Realm too."""
    carried = source.realm_bound and request.origin_host.lower() != source.origin_host.lower()
    realm = request.origin_realm if carried else None
    return session_owner(request.origin_host, failover_group=source.failover_group, realm=realm), request.session_id
