"""What the gateway is told at the composition root: settings as plain values, and the metrics it reports to.

The gateway reads no file and no environment; `ocs.settings.loading` builds these values, `ocs.telemetry.metrics` implements the Protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from ocs.charging.profile import STANDARD, Profile
from ocs.values.use import Context
from protocol.tolerance import NOTHING, Tolerance

MAX_WRITE_BUFFER_OCTETS = 4 * 1024 * 1024
"""Answers a peer has not read yet; beyond this it is cut off, so that one deaf peer cannot eat the worker's memory."""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One row of the allow-list. `realm` "" = any realm; `addresses` empty = from any address."""

    origin_host: str
    realm: str = ""
    addresses: tuple[str, ...] = ()
    relay: bool = False
    """An agent that carries other hosts' requests; else every request must be the peer's own."""
    realms: tuple[str, ...] = ()
    """Of a relay: Origin-Realms it may carry; empty = any."""
    tls: bool | None = None
    """True = over TLS only, False = over plain TCP only, None = over either, as the listening address says."""
    connect: str = ""
    """host:port: we connect to the peer (it may connect to us as well)."""
    call_tls: bool = False
    """Where `tls` is None: we connect over TLS."""
    subscribers: tuple[str, ...] = ()
    """Prefixes of subscriber ids ("m386", "i29340") it may charge; empty = any."""
    refunds: bool = False
    contexts: tuple[str, ...] = ()
    """Service contexts it may use ("data", "ims", …); empty = any."""
    service_contexts: Mapping[str, Context] = field(default_factory=lambda: MappingProxyType({}))
    """Service-Context-Ids of its own, or patterns of them, and the contexts they mean (`ServiceContexts`)."""
    tolerated: Tolerance = NOTHING
    """AVPs with M that need not be understood, besides everybody's."""
    failover_group: str = ""
    strict_session_id: bool = False
    """The Session-Id must begin with the Origin-Host (RFC 6733 §8.8)."""
    max_requests_per_s: int = 0
    """Above it reading from the peer pauses; 0 = no bound."""
    max_sessions_per_s: int = 0
    """New sessions and one-off requests above it are refused; 0 = no bound."""
    profile: Profile = STANDARD


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Files in PEM. Peers must have a certificate of `ca` whose DNS name is their Origin-Host (RFC 6733 §13)."""

    certificate: str
    key: str
    ca: str
    crl: str = ""
    """Certificate revocation list; "" = none is checked."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything the Diameter side of a worker needs to know; validated by whoever builds it (`ocs.settings.loading`)."""

    origin_host: str
    realm: str
    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 3868),)
    """Plain TCP."""
    listen_tls: tuple[tuple[str, int], ...] = ()
    """TLS before CER, port 5868 by convention."""
    tls: TlsConfig | None = None
    realms: tuple[str, ...] = ()
    """Destination-Realms served besides `realm` (3003 for any other)."""
    hosts: tuple[str, ...] = ()
    """Destination-Hosts served besides `origin_host` (3002 for any other): the other nodes on the same ledger."""
    service_contexts: Mapping[str, Context] = field(default_factory=lambda: MappingProxyType({}))
    """As a peer's, for all."""
    tolerated: Tolerance = NOTHING
    """As a peer's, for all."""
    peers: tuple[PeerConfig, ...] = ()
    accept_unknown_peers: bool = False
    """Laboratory switch: any Origin-Host may connect."""
    unknown_profile: Profile = STANDARD
    """How those peers are answered."""
    watchdog_s: float = 30.0
    """Twinit of RFC 3539 §3.4.1; never under 6 s on a real network. 0 turns the watchdog off (tests only)."""
    reconnect_s: float = 30.0
    """Tc: how long to wait before connecting again to a peer of ours (RFC 6733 §2.1)."""
    cer_timeout_s: float = 10.0
    """A connection that has not sent its CER by then is closed."""
    max_message_octets: int = 65_536
    max_avps: int = 2_000
    """AVPs of one message, at all levels."""
    max_services: int = 256
    """Multiple-Services-Credit-Control AVPs of one request."""
    max_connections: int = 1_024
    """Connections of this worker, from accept on; one more is closed at once."""
    max_pending_connections: int = 64
    """Connections of this worker before their CER, TLS handshakes among them; at one more the oldest goes (slow-CER attack)."""
    max_connections_per_address: int = 8
    """Of those, connections from one address; one more is closed at once. Far fewer than all, so that no address takes all places."""
    max_in_flight_per_peer: int = 1_024
    """Requests of one connection without an answer yet; above it, reading from the peer pauses."""
    max_in_flight: int = 8_192
    """Requests of all connections of this worker without an answer yet; above it updates are refused, new sessions earlier
    (`overload.NEW_SESSIONS_SHARE`), terminations never."""
    answer_timeout_ms: int = 3_000
    """A handler that has not replied by then is answered for with 3004 or 3002; its late reply is dropped."""
    max_write_buffer_octets: int = MAX_WRITE_BUFFER_OCTETS
    product_name: str = "ocs"
    vendor_id: int = 0
    reuse_port: bool = True
    origin_state_id: int = 0
    """Ours; 0 = not sent. Our sessions outlive restarts, so it does not rise with them (RFC 6733 §8.16)."""
    locks: str = ""
    """Folder where the workers of a server agree on one connection per peer; "" = this worker is the only one."""


class GatewayMetrics(Protocol):
    """Where the gateway counts. Every label is bounded: nothing a peer sends becomes a label as it is.

    `command`: "CCR", "CER", "DWR", "DPR", "RAR", "ASR", "other". `type`: "I", "U", "T", "E" or "" (not a CCR, or undecodable).
    `context`: "data", "ims", "cs", "sms", "mms", "content", "other" or "". `state`: a name of `protocol.peer.PeerState` in lower case.
    `reason` of connection_refused: "unknown_peer", "no_common_application", "duplicate", "cer_timeout", "bad_cer",
    "not_a_cer", "no_common_security", "tls" (its handshake failed), "address" (no peer's), "address_limit", "pending_limit",
    "connection_limit", "bad_stream", "stopping". `reason` of connection_lost: "closed_by_peer", "dpr", "watchdog",
    "bad_stream", "partial_message", "write_buffer", "stopped", "error".
    """

    def request(self, command: str, type: str, context: str) -> None: ...

    def answer(self, command: str, type: str, context: str, result_code: int, seconds: float) -> None:
        """One answer sent (or, with the connection gone, dropped: `dropped_answer` is then called instead)."""

    def dropped_answer(self) -> None: ...

    def in_flight(self, delta: int) -> None: ...

    def peer_state(self, origin_host: str, state: str) -> None:
        """A peer's new state; the host is one of the allow-list, or "unknown" for peers of the laboratory switch."""

    def connection_refused(self, reason: str) -> None: ...

    def request_refused(self, kind: str) -> None:
        """A request refused before charging; `kind` of `refusals.Kind`."""

    def overload(self, reduction_percent: int) -> None:
        """What clients are asked to leave away; 0 = no overload."""

    def connection_lost(self, reason: str) -> None: ...
