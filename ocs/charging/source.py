"""Where a request came from, as far as charging must know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ocs.settings.profile import STANDARD, Profile, Ranges
from ocs.values.service_context import STANDARD_CONTEXTS, ServiceContexts


class Source(Protocol):
    """Where a request came from, as far as charging must know."""

    @property
    def origin_host(self) -> str:
        """The connected peer's identity: the client's own, or a relay's."""

    @property
    def profile(self) -> Profile: ...

    @property
    def service_contexts(self) -> ServiceContexts:
        """Which context it means by which Service-Context-Id."""

    @property
    def failover_group(self) -> str:
        """Clients of one group may take over each other's sessions; "" = nobody may."""

    @property
    def origin_state_id(self) -> int:
        """Of the connected peer, for its requests that do not say theirs; 0 = it says none, or is a relay."""

    @property
    def refunds(self) -> bool:
        """Whether the peer may give money back (REFUND_ACCOUNT)."""

    @property
    def realm_bound(self) -> bool:
        """What it carries for clients that nobody has listed: such a client is known by its Origin-Realm too, which is
        what a relay may be limited to."""

    @property
    def subscribers(self) -> Ranges:
        """Whom it may charge."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A plain Source, for tests and tools."""

    origin_host: str = "peer.example.net"
    profile: Profile = STANDARD
    failover_group: str = ""
    refunds: bool = False
    origin_state_id: int = 0
    subscribers: Ranges = ()
    realm_bound: bool = False
    service_contexts: ServiceContexts = field(default_factory=lambda: STANDARD_CONTEXTS)
