"""What the Diameter side is told when a worker starts: settings as plain values, checked by whoever builds them
(`ocs.compose`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ocs.settings.profile import STANDARD, Profile
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
class DiameterConfig:
    """Everything the Diameter side of a worker needs to know; validated by whoever builds it
    (`ocs.settings.loading`).
    """

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
    watchdog_s: float = 30
    """Twinit of RFC 3539 §3.4.1; never under 6 s on a real network. 0 turns the watchdog off (tests only)."""
    reconnect_s: float = 30
    """Tc: how long to wait before connecting again to a peer of ours (RFC 6733 §2.1)."""
    cer_timeout_s: float = 10
    """A connection that has not sent its CER by then is closed."""
    max_message_octets: int = 65_536
    max_avps: int = 2_000
    """AVPs of one message, at all levels."""
    max_services: int = 256
    """Multiple-Services-Credit-Control AVPs of one request."""
    max_connections: int = 1_024
    """Connections of this worker, from accept on; one more is closed at once."""
    max_pending_connections: int = 64
    """Connections of this worker before their CER, TLS handshakes among them; at one more the oldest goes (slow-CER
    attack).
    """
    max_connections_per_address: int = 8
    """Of those, connections from one address; one more is closed at once. Far fewer than all, so that no address takes
    all places.
    """
    max_in_flight_per_peer: int = 2_048
    """Requests of one connection without an answer yet; above it, reading from the peer pauses."""
    max_in_flight: int = 4_096
    """Requests of all connections of this worker without an answer yet; above it updates are refused, new sessions
    earlier (`overload.NEW_SESSIONS_SHARE`), terminations never."""
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
