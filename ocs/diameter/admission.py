"""Authorisation of requests: origin, path, service context, subscriber and refunds, by the peer's [[peer]] entry.

Stage 21 of the receive pipeline (`protocol.pipeline`); the error is 5003. RFC 6733 §2.9 (path authorisation), §8.8
(Session-Id). An ordinary request of a client without restrictions costs two string comparisons.
"""

from __future__ import annotations

from ocs.charging.subscriber import identities
from ocs.diameter.refusals import Kind
from ocs.settings.diameter import PeerConfig
from protocol.credit_control import EVENT_REQUEST, REFUND_ACCOUNT, CreditControlRequest
from protocol.errors import DiameterError, ResultCode

Refusal = tuple[Kind, DiameterError]


class Admission:
    """The rights of one peer.

    `trusted_origin`: its requests may have any Origin-Host (`accept_unknown_peers`). `carried`: a client behind a
    relay; the path of its requests is checked by the relay's entry.
    """

    def __init__(self, config: PeerConfig, *, trusted_origin: bool = False, carried: bool = False) -> None:
        self._config = config
        self._host, self._realm = config.origin_host.lower(), config.realm.lower()
        self._spelt: tuple[str, str] = config.origin_host, config.realm
        self._any_origin = trusted_origin
        self._realms = frozenset((*config.realms, self._realm)) if config.relay and config.realms else frozenset()
        self._any_path = trusted_origin or carried or (config.relay and not self._realms)
        self._restricted = bool(config.subscribers or config.contexts or config.strict_session_id)

    def objection(self, request: CreditControlRequest, context: str) -> Refusal | None:
        """Why the peer may not send the request; None = it may. `context`: a `Context`, or "other"."""
        refusal = None
        if (request.origin_host, request.origin_realm) != self._spelt and not self._any_origin:
            refusal = self._origin(request)
        if refusal is None and request.route_record and not self._any_path:
            refusal = self._path(request)
        if refusal is None and self._restricted:
            refusal = self._rights(request, context)
        refunds = request.cc_request_type == EVENT_REQUEST and request.requested_action == REFUND_ACCOUNT
        if refusal is None and refunds and not self._config.refunds:
            return _refused(Kind.REFUND, "this peer may not give money back")
        return refusal

    def _origin(self, request: CreditControlRequest) -> Refusal | None:
        host, realm = request.origin_host.lower(), request.origin_realm.lower()
        if self._config.relay:
            if self._realms and realm not in self._realms:
                return _refused(Kind.ORIGIN_REALM, "this relay may not carry requests of this Origin-Realm")
            return None
        if host != self._host:
            return _refused(Kind.ORIGIN_HOST, "Origin-Host is not this connection's")
        if self._realm and realm != self._realm:
            return _refused(Kind.ORIGIN_REALM, "Origin-Realm is not this connection's")
        return None

    def _path(self, request: CreditControlRequest) -> Refusal | None:
        """Check Route-Record. Only agents add to it, each the peer that it received the request from (RFC 6733
        §6.1.9). So a client's own request has none, and the origin, which is already checked, is always allowed.
        """
        origin = request.origin_host.lower()
        for hop in map(str.lower, request.route_record):
            domain = hop.partition(".")[2]
            if hop != origin and not any(domain == each or domain.endswith("." + each) for each in self._realms):
                return _refused(Kind.ROUTE, "the request came through others than this peer may use")
        return None

    def _rights(self, request: CreditControlRequest, context: str) -> Refusal | None:
        config = self._config
        if config.strict_session_id:
            named = request.session_id.partition(";")[0]
            if named.lower() != request.origin_host.lower():
                return _refused(Kind.SESSION_ID, "the Session-Id does not begin with the Origin-Host")
        if config.contexts and context not in config.contexts:
            return _refused(Kind.CONTEXT, "this peer may not use this service context")
        if config.subscribers:
            # If there are prefixes for a kind of identity (MSISDN, IMSI), each identity of that kind must match one.
            # At least one identity must match, so that an IMSI alone does not evade MSISDN prefixes. Whether the
            # account itself matches is checked in charging, once it is found.
            given = identities(request)
            for identity in given:
                ranges = tuple(each for each in config.subscribers if each[0] == identity[0])
                if ranges and not identity.startswith(ranges):
                    return _refused(Kind.SUBSCRIBER, "this peer may not charge this subscriber")
            if given and not any(identity.startswith(config.subscribers) for identity in given):
                return _refused(Kind.SUBSCRIBER, "this peer may not charge this subscriber")
        return None


def _refused(kind: Kind, message: str) -> Refusal:
    return kind, DiameterError(ResultCode.AUTHORIZATION_REJECTED, message)
