"""Requests refused before charging: counted by kind, logged once a minute per peer and kind, without subscribers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum

from ocs.diameter.metrics import DiameterMetrics
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.text import quoted
from protocol.credit_control import CreditControlRequest

logger = logging.getLogger(__name__)


class Kind(StrEnum):
    """Why a request was refused; label of ocs_requests_refused."""

    ORIGIN_HOST = "origin_host"
    ORIGIN_REALM = "origin_realm"
    ROUTE = "route"
    SESSION_ID = "session_id"
    CONTEXT = "context"
    SUBSCRIBER = "subscriber"
    REFUND = "refund"
    RATE = "rate"
    OVERLOAD = "overload"
    STOPPING = "stopping"
    AFTER_DPR = "after_dpr"


WORDS = {
    Kind.ORIGIN_HOST: "another Origin-Host than the peer's own; only a peer of kind = \"relay\" may carry others' "
    "requests",
    Kind.ORIGIN_REALM: "an Origin-Realm that the peer may not use (peer.realm, peer.realms)",
    Kind.ROUTE: "a Route-Record that the peer may not use (peer.kind, peer.realms)",
    Kind.SESSION_ID: "a Session-Id that does not begin with the Origin-Host (peer.strict_session_id)",
    Kind.CONTEXT: "a service context that the peer may not ask for (peer.contexts)",
    Kind.SUBSCRIBER: "a subscriber whom the peer may not charge (peer.subscribers)",
    Kind.REFUND: "a refund, which the peer may not give (peer.refunds)",
    Kind.RATE: "more new sessions a second than the peer may open (peer.max_sessions_per_s)",
    Kind.OVERLOAD: "the worker is overloaded (diameter.max_in_flight)",
    Kind.STOPPING: "the server is stopping",
    Kind.AFTER_DPR: "it came after the peer's DPR",
}
"""What was wrong, and the key that decides it."""
NAMED: dict[Kind, Callable[[CreditControlRequest], str]] = {
    Kind.ORIGIN_HOST: lambda request: request.origin_host,
    Kind.ORIGIN_REALM: lambda request: request.origin_realm,
    Kind.ROUTE: lambda request: ", ".join(request.route_record),
    Kind.CONTEXT: lambda request: request.service_context_id,
}
"""The refused value, for the log: a network element's or service's name, never a subscriber's identity."""


class Refusals:
    """One per worker."""

    def __init__(self, metrics: DiameterMetrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._throttled_log = ThrottledLog(clock)

    def note(self, peer: str, kind: Kind, request: CreditControlRequest | None = None) -> None:
        """Count and log a refusal. `peer`: a configured Origin-Host, or "unknown". `request` names the value."""
        self._metrics.request_refused(kind.value)
        more = self._throttled_log.allow((peer, kind))
        if more is not None:
            said = f", {quoted(NAMED[kind](request))}" if request is not None and kind in NAMED else ""
            logger.warning("peer %s: request refused (%s%s): %s%s", peer, kind.value, said, WORDS[kind], more)
