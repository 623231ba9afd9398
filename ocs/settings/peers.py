"""Sections of the settings about peers: [tls], [[peer]] and [profile.NAME]."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from ocs.settings.base import Identity, Network, PathText, Section, is_loopback, parse_listen
from ocs.settings.dialects import (
    MAX_AVPS,
    MAX_CONTEXTS,
    SERVICE_CONTEXTS_ALLOWED,
    TOLERATE_AVPS_ALLOWED,
    AvpText,
    ServiceContextTable,
    contexts_of,
    tolerance_of,
)
from ocs.settings.diameter import PeerConfig, TlsConfig
from ocs.settings.profile import STANDARD, Filters, FinalUnit, Profile
from ocs.values.identities import parse_number_prefix
from ocs.values.use import ContextName

OCTETS_PER_MBIT = 125_000
_PEER = PeerConfig("")
"""Source of the settings' defaults."""
Action = Literal["terminate", "redirect", "restrict"]
ProfileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,32}$")]
ADDRESS_TYPES = {"ipv4": 0, "ipv6": 1, "url": 2, "sip": 3}
"""Redirect-Address-Type (RFC 8506 §8.38)."""
FAILURE_HANDLING = {"terminate": 0, "continue": 1, "retry_and_terminate": 2}
DEBITING_FAILURE_HANDLING = {"terminate_or_buffer": 0, "continue": 1}
SERVICE_MODES = {"unknown": -1, "cfu": 0, "cfb": 1, "cfnr": 2, "cfnl": 3, "cd": 4, "cfnrc": 5}
"""Service-Mode of communication diversion (TS 32.299 §7.2.196A)."""


def _address(text: str) -> str:
    if text:
        _, port = parse_listen(text)
        if not port:
            raise ValueError("needs a port")
    return text


def _subscriber_range(text: str) -> str:
    parse_number_prefix(text)
    return text


@contextmanager
def _usable(*names: str) -> Iterator[None]:
    """ValueError names the files if they cannot be read as PEM, or do not match each other."""
    try:
        yield
    except OSError as error:  # ssl.SSLError is one
        files = " with ".join(names)
        raise ValueError(f"{files} cannot be used as PEM: {error}") from None


class TlsSection(Section):
    """Our certificate, and the CA of our peers (RFC 6733 §13). Reloaded when the files change, and at SIGHUP."""

    certificate: PathText = Field(default="", description="a PEM file")
    """Our certificate and its chain."""
    key: PathText = Field(default="", description="a PEM file")
    """Our private key."""
    ca: PathText = Field(default="", description="a PEM file")
    """CA that signs our peers' certificates. A certificate's DNS name must be the peer's Origin-Host."""
    crl: PathText = Field(default="", description='a PEM file; "" = none is checked')
    """Revoked certificates."""

    def config(self) -> TlsConfig | None:
        return TlsConfig(self.certificate, self.key, self.ca, self.crl) if self.certificate else None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        named = [self.certificate, self.key, self.ca]
        if any(named) and not all(named):
            raise ValueError("certificate, key and ca are needed together")
        for name in (*named, self.crl):
            if name and not Path(name).is_file():
                raise ValueError(f"there is no file {name}")
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with _usable(self.certificate, self.key):
                context.load_cert_chain(self.certificate, self.key)
            for name in (self.ca, self.crl):
                if name:
                    with _usable(name):
                        context.load_verify_locations(name)
        return self


class PeerSection(Section):
    """A network element or agent that may connect."""

    origin_host: Identity = Field(description="a domain name")
    """The peer's Origin-Host."""
    realm: Identity = Field(description="a domain name")
    """The peer's Origin-Realm."""
    addresses: list[Network] = Field(
        default_factory=list, max_length=64, description="up to 64 addresses or networks; empty = any"
    )
    """From where it may connect. If all peers have them, connections from elsewhere are closed at accept."""
    kind: Literal["client", "relay"] = Field(default="client", description='"client" or "relay"')
    """A client sends only its own requests, a relay those of others."""
    realms: list[Identity] = Field(
        default_factory=list, max_length=256, description="up to 256 domain names, of a relay only; empty = any"
    )
    """Realms of the clients and agents behind a relay: checked in Origin-Realm and Route-Record."""
    tls: Literal["required", "forbidden", "either"] | None = Field(
        default=None, description='"required", "forbidden" or "either"; absent = required, except over loopback'
    )
    """Over loopback: all its `addresses`, or all of `diameter.listen`, are loopback, and so is `connect`
    (docs/OPERATIONS.md, TLS).
    """
    connect: Annotated[str, AfterValidator(_address)] = Field(
        default=_PEER.connect, description='host:port; "" = the peer connects to us'
    )
    """Where we connect to the peer; it may also connect to us. Needs `[tls]` if TLS is required."""
    subscribers: list[Annotated[str, AfterValidator(_subscriber_range)]] = Field(
        default_factory=list,
        max_length=256,
        description='up to 256 prefixes, "386…" (MSISDN) or "imsi:29340…"; empty = any',
    )
    """Subscribers that it may charge (docs/OPERATIONS.md, Peers)."""
    refunds: bool = Field(default=_PEER.refunds, description="true or false")
    """Whether it may refund."""
    contexts: list[ContextName] = Field(
        default_factory=list, description='"data", "ims", "cs", "sms", "mms", "content"; empty = any'
    )
    """Service contexts that it may use."""
    service_contexts: ServiceContextTable = Field(
        default_factory=dict, max_length=MAX_CONTEXTS, description=SERVICE_CONTEXTS_ALLOWED
    )
    """As `charging.service_contexts`, for this peer; takes precedence over it."""
    tolerate_avps: list[AvpText] = Field(default_factory=list, max_length=MAX_AVPS, description=TOLERATE_AVPS_ALLOWED)
    """Extends `diameter.tolerate_avps` for this peer; for a relay, also for the requests that it relays. At most 16
    different lists.
    """
    failover_group: str = Field(
        default=_PEER.failover_group, max_length=64, description="a word of up to 64 characters"
    )
    """Peers of one group may continue each other's sessions."""
    strict_session_id: bool = Field(default=_PEER.strict_session_id, description="true or false")
    """The Session-Id must begin with the Origin-Host."""
    max_requests_per_s: int = Field(
        default=_PEER.max_requests_per_s, ge=0, le=1_000_000, description="0 (no limit) to 1000000"
    )
    """Requests of any kind; above it further ones wait."""
    max_sessions_per_s: int = Field(
        default=_PEER.max_sessions_per_s, ge=0, le=1_000_000, description="0 (no limit) to 1000000"
    )
    """New sessions; above it further ones are refused."""
    profile: ProfileName = Field(default="standard", description="a [profile.NAME], or standard, pgw, scscf, smsc")
    """What its answers contain."""

    def needs_tls(self, listen: Sequence[str]) -> bool | None:
        """True = required, False = forbidden, None = either. If `tls` is absent, TLS is required except over loopback:
        the peer can reach us by loopback only (all of `listen`, plain TCP, or all its addresses), and so is `connect`.
        """
        incoming_local = all(is_loopback(parse_listen(each)[0]) for each in listen) or self._by_loopback()
        outgoing_local = not self.connect or is_loopback(parse_listen(self.connect)[0])
        default = "either" if incoming_local and outgoing_local else "required"
        return {"required": True, "forbidden": False, "either": None}[self.tls or default]

    def config(self, profile: Profile, listen: Sequence[str]) -> PeerConfig:
        return PeerConfig(
            origin_host=self.origin_host,
            realm=self.realm,
            addresses=tuple(self.addresses),
            relay=self.kind == "relay",
            realms=tuple(realm.lower() for realm in self.realms),
            tls=self.needs_tls(listen),
            connect=self.connect,
            subscribers=tuple(map(parse_number_prefix, self.subscribers)),
            refunds=self.refunds,
            contexts=tuple(self.contexts),
            service_contexts=contexts_of(self.service_contexts),
            tolerated=tolerance_of(self.tolerate_avps),
            failover_group=self.failover_group,
            strict_session_id=self.strict_session_id,
            max_requests_per_s=self.max_requests_per_s,
            max_sessions_per_s=self.max_sessions_per_s,
            profile=profile,
        )

    def _by_loopback(self) -> bool:
        networks = [ipaddress.ip_network(each) for each in self.addresses]
        return bool(networks) and all(network.is_loopback for network in networks)


class ProfileSection(Section):
    """What answers to the peers that name it contain (docs/OPERATIONS.md, Profiles)."""

    final_unit: Action = Field(default=STANDARD.final_unit.value, description='"terminate", "redirect" or "restrict"')
    """Final-Unit-Action: what the client does when the credit is used up."""
    final_unit_of: dict[str, Action] = Field(
        default_factory=dict,
        max_length=32,
        description='a table: services of the catalogue (up to 32), each "terminate", "redirect" or "restrict"',
    )
    """Services with another Final-Unit-Action."""
    redirect_address: str = Field(
        default=STANDARD.redirect_address, max_length=1024, description="a URL, SIP URI or address"
    )
    """Redirect-Server-Address: where the subscriber is redirected."""
    redirect_address_type: Literal["ipv4", "ipv6", "url", "sip"] = Field(
        default="url", description='"ipv4", "ipv6", "url" or "sip"'
    )
    """Redirect-Address-Type."""
    filters: Literal["none", "rules", "filter_id"] = Field(
        default=STANDARD.filters.value, description='"none", "rules" or "filter_id"'
    )
    """How the client is told what a restricted service may still reach."""
    filter_rules: list[Annotated[str, StringConstraints(pattern=r"^(permit|deny) (in|out) [ -~]{1,500}$")]] = Field(
        default_factory=list, max_length=32, description="up to 32 IPFilterRules (RFC 6733 §4.3.1)"
    )
    """Restriction-Filter-Rule, if filters is `rules`."""
    filter_ids: list[Annotated[str, StringConstraints(min_length=1, max_length=256)]] = Field(
        default_factory=list, max_length=32, description="up to 32 names"
    )
    """Filter-Id, if filters is `filter_id`: names of filters in the gateway."""
    restricted_validity_s: int = Field(
        default=STANDARD.restricted_validity_s, ge=10, le=86_400, description="10 to 86400 seconds"
    )
    """Validity-Time of a restricted phase; at its end the client asks again."""
    restricted_again: bool = Field(default=STANDARD.restricted_again, description="true or false")
    """If there is still no credit then: true = another restricted phase, false = 4012."""
    qos_final_unit: bool = Field(default=STANDARD.qos_final_unit, description="true or false")
    """Send QoS-Final-Unit-Indication too."""
    tariff_change: bool = Field(default=STANDARD.tariff_change, description="true or false")
    """True = send Tariff-Time-Change; false = a grant ends when the price changes."""
    triggers: bool = Field(default=STANDARD.triggers, description="true or false")
    """Send the triggers of the service."""
    cost_information: bool = Field(default=STANDARD.cost_information, description="true or false")
    """Send the cost of the session so far."""
    remaining_balance: bool = Field(default=STANDARD.remaining_balance, description="true or false")
    """Send the available credit."""
    low_balance_indication: bool = Field(default=STANDARD.low_balance_indication, description="true or false")
    """Send Low-Balance-Indication (`charging.low_balance_eur_cent`)."""
    session_failover: bool | None = Field(default=None, description="true, false; absent = not sent")
    """CC-Session-Failover. True needs `redis.url` and `diameter.hosts`; the server does not start without them."""
    failure_handling: Literal["terminate", "continue", "retry_and_terminate"] | None = Field(
        default=None, description='"terminate", "continue", "retry_and_terminate"; absent = not sent'
    )
    """Credit-Control-Failure-Handling."""
    direct_debiting_failure_handling: Literal["terminate_or_buffer", "continue"] | None = Field(
        default=None, description='"terminate_or_buffer", "continue"; absent = not sent'
    )
    """Direct-Debiting-Failure-Handling."""
    announcement: int | None = Field(
        default=STANDARD.announcement, ge=0, le=2**32 - 1, description="0 to 2^32-1; absent = none"
    )
    """Announcement-Identifier, played before a call's last units end."""
    announcement_before_s: int = Field(
        default=STANDARD.announcement_before_s, ge=0, le=600, description="0 to 600 seconds"
    )
    """How long before the end it is played."""
    pools: bool = Field(default=STANDARD.pools, description="true or false")
    """Send credit pools for services that share price and units."""
    reauthorize: bool = Field(default=STANDARD.reauthorize, description="true or false")
    """Send RAR and ASR."""
    forwarding_role: bool = Field(default=STANDARD.forwarding_role, description="true or false")
    """Role-Of-Node 2: true = a forwarded leg, false = a proxy, as in old releases."""
    early_forwarding: list[Literal["cfu", "cfb", "cfnr", "cfnl", "cd", "cfnrc", "unknown"]] = Field(
        default=["cfu", "cfnl", "unknown"], description='of "cfu", "cfb", "cfnr", "cfnl", "cd", "cfnrc", "unknown"'
    )
    """Modes of diversion (Service-Mode) in which the home network forwards without reaching the phone: such a call is
    one from home, wherever the subscriber is (HOT-RAT-7). `unknown`: the request states none."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if "redirect" in (self.final_unit, *self.final_unit_of.values()) and not self.redirect_address:
            raise ValueError("redirect needs a redirect_address")
        if self.redirect_address and self.redirect_address_type in ("ipv4", "ipv6"):
            version = ipaddress.ip_address(self.redirect_address).version
            if version != int(self.redirect_address_type[-1]):
                raise ValueError("redirect_address is of another type")
        if self.redirect_address and self.redirect_address_type in ("url", "sip"):
            scheme, colon, rest = self.redirect_address.partition(":")
            fits = scheme.lower() in (("sip", "sips") if self.redirect_address_type == "sip" else ("http", "https"))
            if not (fits and colon and rest.strip("/")):
                raise ValueError(
                    f"redirect_address is no {self.redirect_address_type} address: {self.redirect_address}"
                )
        if self.filters == "rules" and not self.filter_rules:
            raise ValueError('filters = "rules" needs filter_rules')
        if self.filters == "filter_id" and not self.filter_ids:
            raise ValueError('filters = "filter_id" needs filter_ids')
        return self

    def profile(self, name: str) -> Profile:
        handling, debiting = self.failure_handling, self.direct_debiting_failure_handling
        return Profile(
            name=name,
            final_unit=FinalUnit(self.final_unit),
            final_unit_of=MappingProxyType({name: FinalUnit(each) for name, each in self.final_unit_of.items()}),
            redirect_address=self.redirect_address,
            redirect_address_type=ADDRESS_TYPES[self.redirect_address_type],
            filters=Filters(self.filters),
            filter_rules=tuple(self.filter_rules),
            filter_ids=tuple(self.filter_ids),
            restricted_validity_s=self.restricted_validity_s,
            restricted_again=self.restricted_again,
            qos_final_unit=self.qos_final_unit,
            tariff_change=self.tariff_change,
            triggers=self.triggers,
            cost_information=self.cost_information,
            remaining_balance=self.remaining_balance,
            low_balance_indication=self.low_balance_indication,
            session_failover=None if self.session_failover is None else int(self.session_failover),
            failure_handling=None if handling is None else FAILURE_HANDLING[handling],
            direct_debiting_failure_handling=None if debiting is None else DEBITING_FAILURE_HANDLING[debiting],
            announcement=self.announcement,
            announcement_before_s=self.announcement_before_s,
            pools=self.pools,
            reauthorize=self.reauthorize,
            forwarding_role=self.forwarding_role,
            early_forwarding=frozenset(SERVICE_MODES[each] for each in self.early_forwarding),
        )


BUILT_IN_PROFILES = {
    "standard": ProfileSection(),
    "pgw": ProfileSection(),
    "scscf": ProfileSection(triggers=False, tariff_change=False, cost_information=True),
    "smsc": ProfileSection(triggers=False, tariff_change=False),
}
"""Profiles that exist without a [profile.NAME] in the file."""
