"""The peer of a request, for tests of charging."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocs.settings.profile import STANDARD, Profile, Ranges
from ocs.values.service_context import STANDARD_CONTEXTS, ServiceContexts


@dataclass(frozen=True, slots=True)
class Origin:
    """A `Source` with the values of a plain peer."""

    origin_host: str = "peer.example.net"
    profile: Profile = STANDARD
    failover_group: str = ""
    refunds: bool = False
    origin_state_id: int = 0
    subscribers: Ranges = ()
    realm_bound: bool = False
    service_contexts: ServiceContexts = field(default_factory=lambda: STANDARD_CONTEXTS)
