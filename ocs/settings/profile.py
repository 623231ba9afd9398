"""How a peer wants to be answered: what cannot be told from its messages is a named profile in its configuration.

The values are read from `[profile.NAME]` of the settings (docs/OPERATIONS.md); every peer names one, "standard" if it
names none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class FinalUnit(StrEnum):
    """What happens when the credit ends (Final-Unit-Action, RFC 8506 §8.35)."""

    TERMINATE = "terminate"
    REDIRECT = "redirect"
    RESTRICT = "restrict"


class Filters(StrEnum):
    """What a restricted service may still reach is sent as rules, as the name of a filter in the gateway, or not at
    all.
    """

    NONE = "none"
    RULES = "rules"
    FILTER_ID = "filter_id"


Ranges = tuple[tuple[str, ...], ...]
"""Lists of beginnings of subscriber ids ("m386", "i29340"): an id must have one of each list. () = any id will do."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One way of answering. The defaults are what any client of TS 32.299 understands."""

    name: str = "standard"
    final_unit: FinalUnit = FinalUnit.TERMINATE
    final_unit_of: Mapping[str, FinalUnit] = field(default_factory=lambda: MappingProxyType({}))
    """By catalogue service, where it differs from `final_unit`."""
    redirect_address: str = ""
    """Where a redirected subscriber lands: a URL, a SIP URI or an IP address (RFC 8506 §8.38)."""
    redirect_address_type: int = 2
    """0 IPv4, 1 IPv6, 2 URL, 3 SIP URI."""
    filters: Filters = Filters.NONE
    filter_rules: tuple[str, ...] = ()
    filter_ids: tuple[str, ...] = ()
    restricted_validity_s: int = 300
    """How long a restricted phase lasts before the client asks again (RFC 8506 §5.6.2)."""
    restricted_again: bool = True
    """With nothing to pay from at its end: restrict anew; false = refuse with 4012."""
    qos_final_unit: bool = False
    """Send QoS-Final-Unit-Indication beside Final-Unit-Indication (RFC 8506 §8.68)."""
    tariff_change: bool = True
    """Send Tariff-Time-Change; false = grants end at the switch."""
    triggers: bool = True
    """Arm the Trigger list of the service; false = leave it to the client."""
    cost_information: bool = False
    remaining_balance: bool = False
    low_balance_indication: bool = False
    session_failover: int | None = None
    """CC-Session-Failover (RFC 8506 §8.4); None = not sent. 1 needs other nodes on the same Redis."""
    failure_handling: int | None = None
    """Credit-Control-Failure-Handling (§8.14)."""
    direct_debiting_failure_handling: int | None = None
    """(§8.15)"""
    announcement: int | None = None
    """Announcement-Identifier played before the last units of a call end; None = the peer plays none."""
    announcement_before_s: int = 30
    pools: bool = False
    """Credit pools (G-S-U-Pool-Reference) for services that share price and buckets."""
    reauthorize: bool = True
    """Send RAR (and ASR); false for clients that take offence: their Validity-Time leads to the same end."""
    forwarding_role: bool = True
    """Role-Of-Node 2 means a forwarded leg; false for old releases, where it is a proxy (TS 32.299 §7.2.168)."""


STANDARD = Profile()
