"""May this peer send this request? Origin, path, service context, subscriber and refunds against its entry in the
allow-list.

Stage 21 of the receive pipeline (`protocol.pipeline`): 5003 for what it may not do. RFC 6733 §2.9 (path authorisation),
§8.8 (Session-Id).
A direct peer's request costs two comparisons of text.
"""

from __future__ import annotations

from ocs.charging.subscriber import identities
from ocs.diameter.refusals import Kind
from ocs.settings.diameter import PeerConfig
from protocol.credit_control import EVENT_REQUEST, REFUND_ACCOUNT, CreditControlRequest
from protocol.errors import DiameterError, ResultCode

Refusal = tuple[Kind, DiameterError]


class Admission:
    """The rights of one peer. `trusted_origin`: its requests may name any origin (peers of the laboratory switch).
    `carried`: a client behind a relay, whose path is the relay's matter.
    """

    def __init__(self, config: PeerConfig, *, trusted_origin: bool = False, carried: bool = False) -> None:
        self._config = config
        self._host, self._realm = config.origin_host.lower(), config.realm.lower()
        self._spelt: tuple[str, str] = config.origin_host, config.realm
        self._any_origin = trusted_origin
        self._realms = frozenset((*config.realms, self._realm)) if config.relay and config.realms else frozenset()
        self._any_path = trusted_origin or carried or (config.relay and not self._realms)
        restricted = config.subscribers or config.contexts or config.strict_session_id
        self._more = bool(restricted)

    def objection(self, request: CreditControlRequest, context: str) -> Refusal | None:
        """Why not, None = it may. `context`: the service context as charging reads it (`Context`, or "other")."""
        refusal = None
        if (request.origin_host, request.origin_realm) != self._spelt and not self._any_origin:
            refusal = self._origin(request)
        if refusal is None and request.route_record and not self._any_path:
            refusal = self._path(request)
        if refusal is None and self._more:
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
        """Agents alone add to it, each the peer it heard the request from (RFC 6733 §6.1.9): a client's own has come
        through nobody. The origin itself, which was judged, may stand there in any case.
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
            # Each identity of a kind that has ranges must lie in one, and one of them must: an IMSI alone is no way
            # round MSISDN ranges.
            # Which of them is the account's is known later: charging refuses an account that is found by none of the
            # ranges.
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
