"""The section of the settings about charging, for all peers: [charging]."""

from __future__ import annotations

from pydantic import Field

from ocs.settings.base import Section
from ocs.settings.charging import DEFAULT_POLICY, ChargingPolicy
from ocs.settings.dialects import MAX_CONTEXTS, SERVICE_CONTEXTS_ALLOWED, ServiceContextTable
from ocs.values.money import CENT

OCTETS_PER_MBIT = 125_000


class ChargingSection(Section):
    """Charging, for all peers."""

    low_balance_eur_cent: int = Field(
        default=DEFAULT_POLICY.low_balance_micro_eur // CENT, ge=0, le=20_000, description="0 to 20000 cents"
    )
    """Low-Balance-Indication is YES below it (HOT-ACC-8: 100)."""
    event_time_window_s: int = Field(
        default=DEFAULT_POLICY.event_time_window_s, ge=0, le=86_400, description="0 to 86400 seconds"
    )
    """Event-Timestamp is used if it is within this distance of our clock, else the time of arrival."""
    max_mbit_per_s: int = Field(
        default=DEFAULT_POLICY.max_octets_per_s // OCTETS_PER_MBIT,
        ge=1,
        le=1_000_000,
        description="1 to 1000000 Mbit/s",
    )
    """Use reported above this rate is counted, not charged."""
    service_contexts: ServiceContextTable = Field(
        default_factory=dict, max_length=MAX_CONTEXTS, description=SERVICE_CONTEXTS_ALLOWED
    )
    """Service-Context-Ids of vendors and operators, and what they mean (docs/OPERATIONS.md, Dialects)."""

    def policy(self) -> ChargingPolicy:
        return ChargingPolicy(
            low_balance_micro_eur=self.low_balance_eur_cent * CENT,
            event_time_window_s=self.event_time_window_s,
            max_octets_per_s=self.max_mbit_per_s * OCTETS_PER_MBIT,
        )
