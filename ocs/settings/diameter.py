"""Settings of the Diameter side as plain values. `ocs.compose` builds them from validated settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ocs.settings.profile import STANDARD, Profile
from ocs.values.use import Context
from protocol.tolerance import NOTHING, Tolerance

MAX_WRITE_BUFFER_OCTETS = 4 * 1024 * 1024
"""Answers that a peer has not read yet; above it the connection is aborted, which bounds the worker's memory."""


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One row of the allow-list. `realm` "" = any realm; `addresses` empty = from any address."""

    origin_host: str
    realm: str = ""
    addresses: tuple[str, ...] = ()
    relay: bool = False
    """True: an agent that relays requests of other hosts. False: every request must be the peer's own."""
    realms: tuple[str, ...] = ()
    """Relays only: Origin-Realms whose requests it may relay; empty = any."""
    tls: bool | None = None
    """True = TLS only, False = plain TCP only, None = both."""
    connect: str = ""
    """host:port where we connect to the peer; "" = only the peer connects."""
    call_tls: bool = False
    """Whether we connect over TLS if `tls` is None."""
    subscribers: tuple[str, ...] = ()
    """Prefixes of the subscriber ids ("m386", "i29340") that it may charge; empty = any."""
    refunds: bool = False
    contexts: tuple[str, ...] = ()
    """Service contexts that it may use ("data", "ims", …); empty = any."""
    service_contexts: Mapping[str, Context] = field(default_factory=lambda: MappingProxyType({}))
    """Vendor-specific Service-Context-Ids, or patterns of them → context (`ServiceContexts`)."""
    tolerated: Tolerance = NOTHING
    """Unknown AVPs with the M flag that are ignored, besides those of `DiameterConfig.tolerated`."""
    failover_group: str = ""
    strict_session_id: bool = False
    """The Session-Id must begin with the Origin-Host (RFC 6733 §8.8)."""
    max_requests_per_s: int = 0
    """Above it reading from the peer pauses; 0 = no limit."""
    max_sessions_per_s: int = 0
    """New sessions and event requests above it are refused; 0 = no limit."""
    profile: Profile = STANDARD


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files. A peer's certificate must be signed by `ca` and have its Origin-Host as DNS name (RFC 6733 §13)."""

    certificate: str
    key: str
    ca: str
    crl: str = ""
    """Certificate revocation list; "" = revocation is not checked."""


@dataclass(frozen=True, slots=True)
class DiameterConfig:
    """Settings of a worker's Diameter side, already validated (`ocs.settings.loading`)."""

    origin_host: str
    realm: str
    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", 3868),)
    """Plain TCP."""
    listen_tls: tuple[tuple[str, int], ...] = ()
    """TLS from the first octet, port 5868 (RFC 6733 §2.1)."""
    tls: TlsConfig | None = None
    realms: tuple[str, ...] = ()
    """Destination-Realms served besides `realm`; any other gets 3003."""
    hosts: tuple[str, ...] = ()
    """Destination-Hosts served besides `origin_host`: the other nodes on the ledger. Any other gets 3002."""
    service_contexts: Mapping[str, Context] = field(default_factory=lambda: MappingProxyType({}))
    """As `PeerConfig.service_contexts`, for all peers."""
    tolerated: Tolerance = NOTHING
    """As `PeerConfig.tolerated`, for all peers."""
    peers: tuple[PeerConfig, ...] = ()
    accept_unknown_peers: bool = False
    """For laboratories: any Origin-Host may connect."""
    unknown_profile: Profile = STANDARD
    """Profile of peers that are not configured."""
    watchdog_s: float = 30
    """Twinit of RFC 3539 §3.4.1; never under 6 s on a real network. 0 turns the watchdog off (tests only)."""
    reconnect_s: float = 30
    """Tc: interval between two attempts to connect to a peer (RFC 6733 §2.1)."""
    cer_timeout_s: float = 10
    """A connection is closed if its CER has not come within this time."""
    max_message_octets: int = 65_536
    max_avps: int = 2_000
    """AVPs of one message, at all levels."""
    max_services: int = 256
    """Multiple-Services-Credit-Control AVPs of one request."""
    max_connections: int = 1_024
    """Connections of this worker, counted from accept on; further ones are closed at once."""
    max_pending_connections: int = 64
    """Connections of this worker whose CER has not come yet, TLS handshakes included. A further one displaces the
    oldest, against slow-CER attacks.
    """
    max_connections_per_address: int = 8
    """Pending connections from one address; further ones are closed at once, so that one address cannot take all."""
    max_in_flight_per_peer: int = 2_048
    """Unanswered requests of one connection; above it reading from the peer pauses."""
    max_in_flight: int = 4_096
    """Unanswered requests of this worker. Above it updates are refused, new sessions already earlier
    (`overload.NEW_SESSIONS_SHARE`), terminations never.
    """
    answer_timeout_ms: int = 3_000
    """A request without a reply by then is answered 3004 or 3002; a later reply is dropped."""
    max_write_buffer_octets: int = MAX_WRITE_BUFFER_OCTETS
    product_name: str = "ocs"
    vendor_id: int = 0
    reuse_port: bool = True
    origin_state_id: int = 0
    """Our Origin-State-Id; 0 = not sent. Sessions survive a restart, so it need not rise (RFC 6733 §8.16)."""
    locks: str = ""
    """Folder of the lock files by which workers agree on one connection per peer; "" = there is only one worker."""
