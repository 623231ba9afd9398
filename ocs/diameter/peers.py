"""The peer table of a worker: who may connect, and one connection per Origin-Host (RFC 6733 §2.1, §5.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from ocs.diameter.addresses import AddressRanges
from ocs.diameter.admission import Admission
from ocs.diameter.log_texts import NODE, OURS, where_allowed
from ocs.diameter.metrics import DiameterMetrics
from ocs.diameter.outstanding import Asked, Done
from ocs.diameter.overload import TokenBucket
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.settings.profile import Profile, Ranges
from ocs.values.service_context import STANDARD_CONTEXTS, ServiceContexts
from ocs.values.text import quoted
from protocol.avp import AvpLengthError, walk
from protocol.errors import DiameterError, ResultCode
from protocol.header import HEADER_OCTETS, Header
from protocol.peer import PeerAction, PeerEvent, PeerState, PeerTimers, step
from protocol.registry import LIMITS, Limits
from protocol.tolerance import NOTHING

UNKNOWN_LABEL = "unknown"
"""Label of all peers that are not configured."""
ORIGIN_HOST = 264
TIMERS = PeerTimers()
BASE_REQUESTS_PER_S = 50
"""Rate limit of a peer's DWRs and DPRs, separate from that of its other requests. Watchdogs send one in 6 s at most."""


class PeerConnection(Protocol):
    """A connection, as its peer's record knows it."""

    def accept(self, peer: Peer, cer: Header) -> None:
        """Send the CEA; the connection is open."""

    def close_now(self) -> None:
        """Close at once; data that the peer has not received is lost."""

    def probe(self) -> None:
        """Check that the connection is alive: its peer has sent a CER on another one."""

    def stop(self) -> None:
        """Send DPR; requests in flight are still answered."""

    def ask(self, request: Asked, done: Done, timeout_s: float) -> bool:
        """Send a RAR or ASR. False if too many are unanswered, or the watchdog is not in OKAY."""


@dataclass(frozen=True, slots=True)
class RelayedClient:
    """A client that has a [[peer]] entry and whose requests come through a relay. Its own profile applies, and the
    rights of both.
    """

    origin_host: str
    """The relay's."""
    profile: Profile
    failover_group: str
    refunds: bool
    subscribers: Ranges
    """The client's list and the relay's."""
    realm_bound: bool
    admission: Admission
    service_contexts: ServiceContexts
    """The client's, then the relay's, then the general ones."""
    limits: Limits
    """Tolerates the AVPs of the client's list, or without one those of the relay's, and the general ones."""
    origin_state_id: int = 0


@dataclass(slots=True)
class Peer:
    """The record of one peer: its state and its connections."""

    origin_host: str
    label: str
    config: PeerConfig
    state: PeerState = PeerState.CLOSED
    deadline: float | None = None
    connection: PeerConnection | None = None
    """The connection that is open or closing."""
    calling: PeerConnection | None = None
    """The outgoing connection that is not open yet (I of RFC 6733 §5.6)."""
    waiting: tuple[PeerConnection, Header] | None = None
    """The incoming connection that waits for the election, and its CER (R of RFC 6733 §5.6)."""
    carries: Mapping[str, RelayedClient] = field(default_factory=dict)
    """Of a relay: the configured clients, by Origin-Host in lower case."""
    service_contexts: ServiceContexts = field(default_factory=lambda: STANDARD_CONTEXTS)
    limits: Limits = LIMITS
    """Decoding limits of its requests."""
    limits_differ: bool = field(init=False)
    """Whether a client in `carries` has other limits."""
    connecting: asyncio.Timeout | None = None
    """Timeout of our attempt to connect, while there is no connection yet."""
    origin_state_id: int = 0
    """Of a client: the last one in CER, CEA, DWR or DWA; 0 = none. A relay's does not concern its clients' sessions."""
    admission: Admission = field(init=False)
    requests: TokenBucket = field(init=False)
    base_requests: TokenBucket = field(init=False)
    sessions: TokenBucket = field(init=False)
    limited: bool = field(init=False)
    """Whether it has a rate limit."""
    subscribers: Ranges = field(init=False)
    realm_bound: bool = field(init=False)
    profile: Profile = field(init=False)
    failover_group: str = field(init=False)
    refunds: bool = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.admission = Admission(config, trusted_origin=self.label == UNKNOWN_LABEL)
        self.requests, self.sessions = TokenBucket(config.max_requests_per_s), TokenBucket(config.max_sessions_per_s)
        self.base_requests = TokenBucket(BASE_REQUESTS_PER_S)
        self.limited = bool(config.max_requests_per_s or config.max_sessions_per_s)
        self.subscribers = (config.subscribers,) if config.subscribers else ()
        self.realm_bound = config.relay
        self.profile, self.failover_group, self.refunds = config.profile, config.failover_group, config.refunds
        self.limits_differ = any(client.limits != self.limits for client in self.carries.values())

    def speaking_for(self, origin_host: str) -> Peer | RelayedClient:
        """The record whose profile and rights apply to a request of this Origin-Host."""
        return self.carries.get(origin_host.lower(), self) if self.carries else self

    def limits_of(self, frame: bytes) -> Limits:
        """Decoding limits of a request that is not decoded yet."""
        return self.speaking_for(origin_host_of(frame)).limits if self.limits_differ else self.limits


@dataclass(frozen=True, slots=True)
class _Allowed:
    config: PeerConfig
    ranges: AddressRanges

    def from_address(self, address: str) -> bool:
        return not self.ranges or address in self.ranges


class PeerTable:
    """Peers by Origin-Host. Letter case of names does not count (RFC 6733 §4.3.1)."""

    def __init__(
        self,
        config: DiameterConfig,
        metrics: DiameterMetrics,
        changed: Callable[[str, PeerState], None] = lambda host, state: None,
    ) -> None:
        """`changed` is called with each new state of a peer."""
        self._changed = changed
        self._accept_unknown = config.accept_unknown_peers
        self._unknown_profile = config.unknown_profile
        self._identity = config.origin_host.lower()
        self._nodes = frozenset(map(str.lower, config.hosts))
        self._metrics = metrics
        self._listen_tls = config.listen_tls
        self._contexts = ServiceContexts(config.service_contexts)
        self._limits = Limits(config.max_avps, config.max_services, config.tolerated)
        self._allowed = {
            peer.origin_host.lower(): _Allowed(peer, AddressRanges(peer.addresses)) for peer in config.peers
        }
        self._peers: dict[str, Peer] = {}

    def admit(self, origin_host: str, realm: str, address: str) -> DiameterError | None:
        """None if the peer may connect from this address, else the error, 3010 (RFC 6733 §5.3)."""
        if not origin_host or not realm:
            return DiameterError(ResultCode.UNKNOWN_PEER, "Origin-Host and Origin-Realm must not be empty", close=True)
        allowed = self._allowed.get(origin_host.lower())
        if origin_host.lower() == self._identity:
            return DiameterError(ResultCode.UNKNOWN_PEER, "this Origin-Host is our own", close=True)
        if origin_host.lower() in self._nodes:
            return DiameterError(ResultCode.UNKNOWN_PEER, "this Origin-Host is a node of ours, no client", close=True)
        if allowed is None:
            if self._accept_unknown:
                return None
            return DiameterError(ResultCode.UNKNOWN_PEER, "this Origin-Host is not among our peers", close=True)
        if allowed.config.realm and allowed.config.realm.lower() != realm.lower():
            return DiameterError(ResultCode.UNKNOWN_PEER, "this Origin-Host has another Origin-Realm here", close=True)
        if not allowed.from_address(address):
            return DiameterError(ResultCode.UNKNOWN_PEER, "this Origin-Host may not come from this address", close=True)
        return None

    def refusal(self, origin_host: str, realm: str, message: str) -> tuple[str, str]:
        """Log text about a refused CER, and origin_host of the peer's entry ("" = it has none)."""
        allowed = self._allowed.get(origin_host.lower())
        entry = allowed.config if allowed is not None else None
        ours = OURS if origin_host.lower() == self._identity else NODE if origin_host.lower() in self._nodes else ""
        advice = ours or where_allowed(entry, self._listen_tls)
        words = f"Origin-Host {quoted(origin_host)} of realm {quoted(realm)}: {message}; {advice}"
        return words, entry.origin_host if entry is not None else ""

    def entry(self, origin_host: str) -> PeerConfig:
        """A peer's configuration; for one that is not configured, a default one."""
        allowed = self._allowed.get(origin_host.lower())
        return PeerConfig(origin_host, profile=self._unknown_profile) if allowed is None else allowed.config

    def limits_of(self, frame: bytes) -> Limits:
        """Decoding limits of a CER: those of its Origin-Host, which is not admitted yet."""
        return _limits_of(self.entry(origin_host_of(frame)), self._limits)

    def get(self, origin_host: str) -> Peer:
        """The record of an admitted peer. It is created here, so call this only after all checks of a CER."""
        key = origin_host.lower()
        peer = self._peers.get(key)
        if peer is None:
            config = self.entry(origin_host)
            label = config.origin_host if key in self._allowed else UNKNOWN_LABEL
            contexts = _contexts_of(config, self._contexts)
            limits = _limits_of(config, self._limits)
            carries = self._carried_by(config, contexts, limits) if config.relay else {}
            peer = Peer(config.origin_host, label, config, carries=carries, service_contexts=contexts, limits=limits)
            self._peers[key] = peer
        return peer

    def _carried_by(self, relay: PeerConfig, contexts: ServiceContexts, limits: Limits) -> dict[str, RelayedClient]:
        clients = (allowed.config for allowed in self._allowed.values() if not allowed.config.relay)
        return {
            client.origin_host.lower(): RelayedClient(
                relay.origin_host,
                client.profile,
                client.failover_group,
                client.refunds and relay.refunds,
                tuple(each.subscribers for each in (client, relay) if each.subscribers),
                not client.realm,
                Admission(client, carried=True),
                _contexts_of(client, contexts),
                _limits_of(client, self._limits) if client.tolerated != NOTHING else limits,
            )
            for client in clients
        }

    def step(self, peer: Peer, event: PeerEvent, now: float) -> tuple[PeerAction, ...]:
        """Advance the peer's state machine; the caller carries out the actions."""
        before = peer.state
        peer.state, actions, peer.deadline = step(before, event, now, peer.deadline, TIMERS)
        if peer.state is not before:
            self._metrics.peer_state(peer.label, peer.state.value)
            self._changed(peer.origin_host, peer.state)
        if peer.state is PeerState.CLOSED and before is not PeerState.CLOSED:
            peer.connection = None
            if peer.label == UNKNOWN_LABEL:  # bounds the table: unknown peers can have any name
                self._peers.pop(peer.origin_host.lower(), None)
        return actions

    def named(self, origin_host: str) -> Peer | None:
        """The record of a peer that is or was connected, else None."""
        return self._peers.get(origin_host.lower())

    def all(self) -> list[Peer]:
        return list(self._peers.values())

    def states(self) -> dict[str, str]:
        """Origin-Host → state; configured peers that never connected are closed."""
        shown = {allowed.config.origin_host: PeerState.CLOSED.value for allowed in self._allowed.values()}
        shown.update((peer.origin_host, peer.state.value) for peer in self._peers.values())
        return shown


def _contexts_of(config: PeerConfig, general: ServiceContexts) -> ServiceContexts:
    """Peers without `service_contexts` share one object and its cache."""
    return ServiceContexts(config.service_contexts, general) if config.service_contexts else general


def _limits_of(config: PeerConfig, general: Limits) -> Limits:
    return replace(general, tolerated=general.tolerated | config.tolerated)


def origin_host_of(frame: bytes) -> str:
    """Origin-Host of a request that is not decoded yet; "" = it cannot be found."""
    try:
        for avp in walk(frame, HEADER_OCTETS, len(frame)):
            if avp.code == ORIGIN_HOST and not avp.vendor:
                return frame[avp.payload : avp.stop].decode("ascii", errors="replace")
    except AvpLengthError:
        pass
    return ""
