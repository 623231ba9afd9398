"""Schema of the settings: one model per section of config/ocs.toml.

A field's `description` says which values are allowed; error messages show it. The text below the field says what the
key does. `make docs` writes docs/SETTINGS.md from both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ocs.settings.api import ApiSection
from ocs.settings.base import CombinationError, Identity, Listen, PathText, Section, parse_listen
from ocs.settings.charging_section import ChargingSection
from ocs.settings.dialects import (
    MAX_AVPS,
    MAX_TOLERANCES,
    TOLERATE_AVPS_ALLOWED,
    AvpText,
    tolerance_of,
)
from ocs.settings.diameter import DiameterConfig
from ocs.settings.history_section import HistorySection
from ocs.settings.notices_section import NoticesSection
from ocs.settings.payments_section import PaymentsSection
from ocs.settings.peers import (
    BUILT_IN_PROFILES,
    PeerSection,
    ProfileName,
    ProfileSection,
    TlsSection,
)
from ocs.settings.profile import Profile
from ocs.settings.reconciliation import ReconcileSection
from ocs.settings.top_up_files import TopUpFileSection
from ocs.settings.tracing_section import TracingSection

REDIS_SCHEMES = ("redis", "rediss", "unix")
_DIAMETER = DiameterConfig("", "")
"""Source of the settings' defaults."""


class DiameterSection(Section):
    """Our identity, our addresses, and limits for the peers."""

    identity: Identity = Field(default="ocs.example.net", description="a domain name")
    """Our Origin-Host."""
    realm: Identity = Field(default="example.net", description="a domain name")
    """Our Origin-Realm."""
    listen: list[Listen] = Field(
        default=["127.0.0.1:3868"],
        max_length=16,
        description="up to 16 of host:port (port 0 = any free port); none if there is a listen_tls",
    )
    """Addresses for plain TCP; `[]` = TLS only."""
    listen_tls: list[Listen] = Field(
        default_factory=list,
        max_length=16,
        description="up to 16 of host:port (port 0 = any free port)",
    )
    """Addresses for TLS from the first octet, usually port 5868; needs `[tls]` (docs/OPERATIONS.md, TLS)."""
    realms: list[Identity] = Field(default_factory=list, max_length=64, description="up to 64 domain names")
    """Destination-Realms served besides ours; any other gets 3003."""
    hosts: list[Identity] = Field(default_factory=list, max_length=64, description="up to 64 domain names")
    """Identities of the other nodes on the same Redis, for which this node stands in (docs/OPERATIONS.md, Several
    nodes). They are the Destination-Hosts served besides ours; any other gets 3002. The list may include ours.
    """
    tolerate_avps: list[AvpText] = Field(default_factory=list, max_length=MAX_AVPS, description=TOLERATE_AVPS_ALLOWED)
    """Unsupported AVPs with the M flag that are ignored instead of refused with 5001 (docs/OPERATIONS.md, Dialects)."""
    accept_unknown_peers: bool = Field(default=_DIAMETER.accept_unknown_peers, description="true or false")
    """For labs only: true lets any peer connect and charge, with `[profile.standard]`; each start warns of it."""
    watchdog_s: int = Field(
        default=int(_DIAMETER.watchdog_s), ge=6, le=3600, description="6 to 3600 seconds (RFC 3539 §3.4.1: at least 6)"
    )
    """Tw of RFC 3539."""
    reconnect_s: int = Field(default=int(_DIAMETER.reconnect_s), ge=1, le=3600, description="1 to 3600 seconds")
    """Tc of RFC 6733 §2.1: interval between two attempts to connect to a peer that has `connect`."""
    cer_timeout_s: int = Field(default=int(_DIAMETER.cer_timeout_s), ge=1, le=60, description="1 to 60 seconds")
    """A connection is closed if its CER has not come within this time."""
    max_message_octets: int = Field(
        default=_DIAMETER.max_message_octets, ge=4_096, le=2**24 - 4, description="4096 to 16777212 octets"
    )
    """A longer message closes the connection."""
    max_avps: int = Field(default=_DIAMETER.max_avps, ge=100, le=100_000, description="100 to 100000")
    """AVPs of a message, at all levels."""
    max_services: int = Field(default=_DIAMETER.max_services, ge=1, le=1_000, description="1 to 1000")
    """Multiple-Services-Credit-Control AVPs of a request."""
    max_connections: int = Field(default=_DIAMETER.max_connections, ge=1, le=100_000, description="1 to 100000")
    """Connections of a worker, counted from accept on; further ones are closed at once."""
    max_pending_connections: int = Field(
        default=_DIAMETER.max_pending_connections, ge=1, le=100_000, description="1 to 100000"
    )
    """Connections of a worker before their CER, TLS handshakes included; a further one displaces the oldest."""
    max_connections_per_address: int = Field(
        default=_DIAMETER.max_connections_per_address, ge=1, le=100_000, description="1 to 100000"
    )
    """Connections from one address whose CER has not come yet; further ones are closed at once."""
    max_in_flight: int = Field(default=_DIAMETER.max_in_flight, ge=1, le=100_000, description="1 to 100000")
    """Unanswered requests of a worker (docs/OPERATIONS.md, Overload)."""
    max_in_flight_per_peer: int = Field(
        default=_DIAMETER.max_in_flight_per_peer, ge=1, le=100_000, description="1 to 100000"
    )
    """Unanswered requests of one connection; above it further ones wait."""
    answer_timeout_ms: int = Field(
        default=_DIAMETER.answer_timeout_ms,
        ge=100,
        le=60_000,
        description="100 to 60000 ms, greater than ledger.timeout_ms",
    )
    """A request without an answer by then gets 3002, or 3004 if its Destination-Host is ours."""


class RedisSection(Section):
    """The Redis that holds the ledger."""

    url: str = Field(
        default="",
        description='"" (a private server in data_dir), redis://host:port (one node, or any of a cluster), rediss:// or unix:///path',
    )
    """Redis 6.2 or later; its own settings: docs/OPERATIONS.md, Durability."""

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: str) -> str:
        if url:
            parts = urlsplit(url)
            if parts.scheme not in REDIS_SCHEMES or not (parts.netloc or parts.path):
                raise ValueError("is not a Redis URL")
            if parts.scheme == "unix" and (parts.netloc or not parts.path.startswith("/")):
                raise ValueError("a Unix socket needs its absolute path, as in unix:///run/redis.sock")
            parts.port  # noqa: B018 - raises ValueError when it is no port
        return url


class LedgerSection(Section):
    """Durability, timeouts and retention of the ledger."""

    durability: Literal["fsync", "everysec", "replicated"] = Field(
        default="fsync", description='"fsync", "everysec" or "replicated"'
    )
    """Which failures no acknowledged debit is lost in (docs/OPERATIONS.md, Durability)."""
    partitions: int = Field(default=1024, ge=1, le=16_384, description="1 to 16384")
    """Fixed at installation (docs/OPERATIONS.md, Scaling)."""
    timeout_ms: int = Field(default=2000, ge=10, le=9000, description="10 to 9000 ms (clients wait 10 s, RFC 8506 §13)")
    """How long Redis may take; then the request is answered 3002 or 3004."""
    remember_sessions_s: int = Field(default=600, ge=60, le=604_800, description="60 to 604800 seconds")
    """How long the answers of a finished session are kept, for repetitions (docs/LIMITS.md, Memory in Redis)."""
    remember_events_s: int = Field(default=86_400, ge=60, le=2_592_000, description="60 to 2592000 seconds")
    """How long the answers to event requests are kept, for repetitions."""
    replicas: int = Field(default=1, ge=1, le=9, description="1 to 9")
    """Replicas that must have each write, with durability `replicated`."""
    max_clock_skew_s: int = Field(default=5, ge=0, le=300, description="0 to 300 seconds; 0 = not checked")
    """Nothing is charged while our clock differs more from that of Redis."""


class MetricsSection(Section):
    """HTTP address of the server's metrics and health."""

    listen: Listen = Field(default="127.0.0.1:9464", description="host:port (port 0 = any free port)")
    """Address of `/metrics`, for Prometheus, and of `/health`."""


class VouchersSection(Section):
    """Vouchers (HOT-TOP-2)."""

    key_file: PathText = Field(
        default="", description='a file of 32 to 4096 octets, relative to this file\'s folder; "" = a key in Redis'
    )
    """Key of the hashes by which Redis knows the vouchers; the same on all nodes, and for ever. It should be out of the
    reach of whoever can copy Redis's data: with data and key he can find the numbers.
    """


class LogSection(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description='"debug", "info", "warning" or "error"'
    )
    """Lowest level that is logged; docs/MESSAGES.md explains every line."""
    format: Literal["text", "json"] = Field(default="text", description='"text" or "json"')
    """JSON: one object per line."""


class RecordsSection(Section):
    """Rotation of the charging records (HOT-REC-2)."""

    rotate_octets: int = Field(default=64 * 1024 * 1024, ge=4096, le=2**40, description="4096 to 2^40 octets")
    """Size at which a new file of records begins."""
    rotate_s: int = Field(default=3600, ge=1, le=604_800, description="1 to 604800 seconds")
    """Age at which a new file of records begins, if it is not full before."""


class ServerSection(Section):
    """Processes and files of this server."""

    workers: int | None = Field(default=None, ge=1, le=256, description="1 to 256; absent = cores - 1, at least 1")
    """Worker processes, which charge."""
    housekeeper: bool = Field(default=True, description="true or false")
    """False = another node on the same Redis runs the housekeeper, which writes the records, and the backoffice; needs
    `redis.url`.
    """
    data_dir: PathText = Field(
        default="data", min_length=1, description="a folder of its own, relative to this file's folder"
    )
    """Files of the private Redis, records, metrics. Earlier versions took it relative to the current folder; if only
    that folder has data, the server does not start until the key names one of the two.
    """
    catalogue: PathText = Field(
        default="",
        description=(
            'a file, or a folder with a file for each version, relative to this file\'s folder; "" = catalogue.toml '
            "beside this file if there is one, else the one that comes with ocs"
        ),
    )
    """Packages, prices, zones and numbers (docs/RATING.md)."""
    barred_equipment: PathText = Field(
        default="", description='a text file, relative to this file\'s folder; "" = none'
    )
    """IMEIs that may be used for nothing but emergency calls (HOT-ACC-11): one in each line, at most 1,000,000. Read
    again when it changes (docs/OPERATIONS.md).
    """
    ported_numbers: PathText = Field(default="", description='a CSV file, relative to this file\'s folder; "" = none')
    """Networks of ported numbers: `number,network` in each line, at most 3,000,000. Read again when it changes
    (docs/RATING.md).
    """
    simulated_clock: PathText = Field(
        default="", description="a file of eight octets, relative to this file's folder; \"\" = the machine's clock"
    )
    """For tests only: the time is what a simulator writes to this file, so that a week passes in a minute
    (docs/SIMULATOR.md). Needs the private Redis and `ledger.max_clock_skew_s = 0`; each start warns of it.
    """


class Settings(Section):
    """The whole settings file."""

    diameter: DiameterSection = Field(default=DiameterSection(), description="the table [diameter]")
    peer: list[PeerSection] = Field(default_factory=list, max_length=1000, description="tables [[peer]], at most 1000")
    profile: dict[ProfileName, ProfileSection] = Field(
        default_factory=dict, max_length=64, description="tables [profile.NAME], at most 64"
    )
    top_up_file: dict[ProfileName, TopUpFileSection] = Field(
        default_factory=dict, max_length=64, description="tables [top_up_file.NAME], at most 64"
    )
    tls: TlsSection = Field(default=TlsSection(), description="the table [tls]")
    charging: ChargingSection = Field(default=ChargingSection(), description="the table [charging]")
    redis: RedisSection = Field(default=RedisSection(), description="the table [redis]")
    ledger: LedgerSection = Field(default=LedgerSection(), description="the table [ledger]")
    api: ApiSection = Field(default=ApiSection(), description="the table [api]")
    metrics: MetricsSection = Field(default=MetricsSection(), description="the table [metrics]")
    tracing: TracingSection = Field(default=TracingSection(), description="the table [tracing]")
    log: LogSection = Field(default=LogSection(), description="the table [log]")
    vouchers: VouchersSection = Field(default=VouchersSection(), description="the table [vouchers]")
    records: RecordsSection = Field(default=RecordsSection(), description="the table [records]")
    history: HistorySection = Field(default=HistorySection(), description="the table [history]")
    reconcile: ReconcileSection = Field(default=ReconcileSection(), description="the table [reconcile]")
    notices: NoticesSection = Field(default=NoticesSection(), description="the table [notices]")
    payments: PaymentsSection = Field(default=PaymentsSection(), description="the table [payments]")
    server: ServerSection = Field(default=ServerSection(), description="the table [server]")

    @model_validator(mode="after")
    def _peers_fit_together(self) -> Settings:
        found: list[tuple[tuple[str | int, ...], object, str]] = []
        seen: set[str] = set()
        known = {*BUILT_IN_PROFILES, *self.profile}
        for number, peer in enumerate(self.peer):
            name = peer.origin_host.lower()
            if name in seen:
                found.append((("peer", number, "origin_host"), peer.origin_host, "occurs twice"))
            if name == self.diameter.identity.lower():
                found.append((("peer", number, "origin_host"), peer.origin_host, "is our own identity"))
            elif name in map(str.lower, self.diameter.hosts):
                node = "is one of diameter.hosts: a node of ours is no client"
                found.append((("peer", number, "origin_host"), peer.origin_host, node))
            seen.add(name)
            if peer.profile not in known:
                unknown = f"there is no such profile; there are {', '.join(sorted(known))}"
                found.append((("peer", number, "profile"), peer.profile, unknown))
            if peer.realms and peer.kind != "relay":
                found.append((("peer", number, "realms"), peer.realms, 'only of a peer with kind = "relay"'))
        if self.diameter.answer_timeout_ms <= self.ledger.timeout_ms:
            less = f"must be greater than ledger.timeout_ms, which is {self.ledger.timeout_ms}"
            found.append((("diameter", "answer_timeout_ms"), self.diameter.answer_timeout_ms, less))
        if found:
            raise CombinationError(found)
        return self

    @model_validator(mode="after")
    def _failover_can_hold(self) -> Settings:
        """CC-Session-Failover = 1 promises the client that another node can continue its session: that node needs the
        same ledger, and must serve requests with this node's Destination-Host.
        """
        missing = [
            *([] if self.redis.url else ["a Redis that other nodes can reach (redis.url)"]),
            *([] if self.other_hosts else ["the identities of the other nodes in diameter.hosts"]),
        ]
        names = [name for name, profile in self.profile.items() if profile.session_failover]
        if not self.server.housekeeper and not self.redis.url:
            nobody = "no other node can run it: the private Redis is only for this server"
            raise CombinationError([(("server", "housekeeper"), False, nobody)])
        if missing and names:
            why = f"another node must be able to continue the sessions: it needs {' and '.join(missing)}"
            raise CombinationError([(("profile", name, "session_failover"), True, why) for name in names])
        return self

    @model_validator(mode="after")
    def _few_tolerances(self) -> Settings:
        seen = {tolerance_of(())}
        for number, peer in enumerate(self.peer):
            seen.add(tolerance_of(peer.tolerate_avps))
            if len(seen) > MAX_TOLERANCES:
                many = (
                    f"more than {MAX_TOLERANCES} different lists: move what they have in common to "
                    "diameter.tolerate_avps"
                )
                raise CombinationError([(("peer", number, "tolerate_avps"), peer.tolerate_avps, many)])
        return self

    @model_validator(mode="after")
    def _notices_have_a_gateway(self) -> Settings:
        if self.notices.port == "webhook" and not self.notices.url:
            raise CombinationError([(("notices", "url"), "", 'is needed by port = "webhook": the SMS gateway')])
        return self

    @model_validator(mode="after")
    def _simulated_time_is_not_compared(self) -> Settings:
        if self.server.simulated_clock and self.ledger.max_clock_skew_s:
            why = "must be 0 with server.simulated_clock: Redis goes by the machine's clock"
            raise CombinationError([(("ledger", "max_clock_skew_s"), self.ledger.max_clock_skew_s, why)])
        return self

    @model_validator(mode="after")
    def _somebody_can_connect(self) -> Settings:
        diameter = self.diameter
        if not diameter.listen and not diameter.listen_tls:
            empty = "no address to listen on: here for plain TCP, or in diameter.listen_tls for TLS"
            raise CombinationError([(("diameter", "listen"), [], empty)])
        return self

    @model_validator(mode="after")
    def _tls_where_it_is_needed(self) -> Settings:
        """TLS settings are checked at start, not at the first connection: a peer that requires TLS is never connected
        to without it.
        """
        if self.tls.certificate:
            return self
        found: list[tuple[tuple[str | int, ...], object, str]] = []
        missing = "needs the table [tls] with certificate, key and ca"
        if self.diameter.listen_tls:
            found.append((("diameter", "listen_tls"), self.diameter.listen_tls, f"TLS {missing}"))
        for number, peer in enumerate(self.peer):
            if peer.connect and peer.needs_tls(self.diameter.listen):
                why = "TLS is required" if peer.tls else "TLS is required, as the peer's tls is absent: it"
                found.append((("peer", number, "connect"), peer.connect, f'{why} {missing}; or tls = "forbidden"'))
        if found:
            raise CombinationError(found)
        return self

    @property
    def other_hosts(self) -> list[str]:
        """diameter.hosts without this node, as the list may be the same on all nodes."""
        return [host for host in self.diameter.hosts if host.lower() != self.diameter.identity.lower()]

    def profile_named(self, name: str) -> Profile:
        return self.profile.get(name, BUILT_IN_PROFILES.get(name, BUILT_IN_PROFILES["standard"])).profile(name)

    @property
    def data_dir(self) -> Path:
        return Path(self.server.data_dir)


__all__ = ["PeerSection", "Settings", "parse_listen"]
