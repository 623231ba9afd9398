"""Profiles: what answers to a peer contain, where its messages do not tell.

A profile is `[profile.NAME]` of the settings (docs/OPERATIONS.md). A peer that names none has "standard".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class FinalUnit(StrEnum):
    """Final-Unit-Action (RFC 8506 §8.35): what the client does when the credit is used up."""

    TERMINATE = "terminate"
    REDIRECT = "redirect"
    RESTRICT = "restrict"


class Filters(StrEnum):
    """How the client is told what a restricted service may still reach: not at all, by IPFilterRules, by Filter-Id."""

    NONE = "none"
    RULES = "rules"
    FILTER_ID = "filter_id"


Ranges = tuple[tuple[str, ...], ...]
"""Lists of prefixes of subscriber ids ("m386", "i29340"). An id must match one prefix of each list; () = any id."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Contents of the answers. The defaults are what any client of TS 32.299 understands."""

    name: str = "standard"
    final_unit: FinalUnit = FinalUnit.TERMINATE
    final_unit_of: Mapping[str, FinalUnit] = field(default_factory=lambda: MappingProxyType({}))
    """Services of the catalogue with another action than `final_unit`."""
    redirect_address: str = ""
    """Redirect-Server-Address: a URL, a SIP URI or an IP address (RFC 8506 §8.39)."""
    redirect_address_type: int = 2
    """Redirect-Address-Type (RFC 8506 §8.38): 0 IPv4, 1 IPv6, 2 URL, 3 SIP URI."""
    filters: Filters = Filters.NONE
    filter_rules: tuple[str, ...] = ()
    filter_ids: tuple[str, ...] = ()
    restricted_validity_s: int = 300
    """Validity-Time of a restricted phase; at its end the client asks again (RFC 8506 §5.6.2, §5.6.3)."""
    restricted_again: bool = True
    """If there is still no credit then: true = another restricted phase, false = 4012."""
    qos_final_unit: bool = False
    """Send QoS-Final-Unit-Indication beside Final-Unit-Indication (RFC 8506 §8.68)."""
    tariff_change: bool = True
    """True = send Tariff-Time-Change; false = a grant ends when the price changes."""
    triggers: bool = True
    """True = send the service's Trigger list; false = the client's own triggers apply."""
    cost_information: bool = False
    remaining_balance: bool = False
    low_balance_indication: bool = False
    session_failover: int | None = None
    """CC-Session-Failover (RFC 8506 §8.4); None = not sent. 1 needs other nodes on the same Redis."""
    failure_handling: int | None = None
    """Credit-Control-Failure-Handling (§8.14)."""
    direct_debiting_failure_handling: int | None = None
    """Direct-Debiting-Failure-Handling (§8.15)."""
    announcement: int | None = None
    """Announcement-Identifier, played before the last units of a call end; None = none is sent."""
    announcement_before_s: int = 30
    pools: bool = False
    """Credit pools (G-S-U-Pool-Reference) for services that share price and buckets."""
    reauthorize: bool = True
    """Send RAR and ASR. False for clients that cannot handle them; Validity-Time then ends the grant."""
    forwarding_role: bool = True
    """Role-Of-Node 2: true = a forwarded leg, false = a proxy, as in old releases (TS 32.299 §7.2.168)."""
    early_forwarding: frozenset[int] = frozenset((-1, 0, 3))
    """Service-Modes of calls that the home network forwards before it reaches the phone (HOT-RAT-7): -1 = no mode is
    stated, 0 CFU, 3 CFNL.
    """


STANDARD = Profile()
