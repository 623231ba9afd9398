"""The peer that a request came from."""

from __future__ import annotations

from typing import Protocol

from ocs.settings.profile import Profile, Ranges
from ocs.values.service_context import ServiceContexts


class Source(Protocol):
    """The properties of a peer that charging needs."""

    @property
    def origin_host(self) -> str:
        """Origin-Host of the connected peer: the client, or a relay."""

    @property
    def profile(self) -> Profile: ...

    @property
    def service_contexts(self) -> ServiceContexts:
        """The context of each Service-Context-Id of the peer."""

    @property
    def failover_group(self) -> str:
        """Clients of one group may continue each other's sessions; "" = no group."""

    @property
    def origin_state_id(self) -> int:
        """Origin-State-Id of the connection, for requests without one; 0 = none, or the peer is a relay."""

    @property
    def refunds(self) -> bool:
        """The peer may refund (REFUND_ACCOUNT)."""

    @property
    def realm_bound(self) -> bool:
        """The peer is a relay for clients without a `[[peer]]`. A relay may be limited to realms, so these clients are
        identified by Origin-Host and Origin-Realm.
        """

    @property
    def subscribers(self) -> Ranges:
        """The subscribers that the peer may charge; () = all."""
