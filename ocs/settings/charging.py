"""What the operator sets for charging as a whole, whatever the peer (`[charging]` of the settings)."""

from __future__ import annotations

from dataclasses import dataclass

from ocs.values.money import MICRO

EUR = 978
"""ISO 4217."""


@dataclass(frozen=True, slots=True)
class ChargingPolicy:
    low_balance_micro_eur: int = MICRO
    """Below it Low-Balance-Indication says yes (HOT-ACC-8)."""
    event_time_window_s: int = 300
    """Event-Timestamp is believed when it is so near to our clock; else use takes place when the request arrives."""
    currency_code: int = EUR
    max_octets_per_s: int = 1_250_000_000
    """More than a bearer can carry (10 Gbit/s): use reported beyond it is not charged but counted."""


DEFAULT_POLICY = ChargingPolicy()
