"""Charging settings that hold for all peers (`[charging]`)."""

from __future__ import annotations

from dataclasses import dataclass

from ocs.values.money import MICRO

EUR = 978
"""ISO 4217."""


@dataclass(frozen=True, slots=True)
class ChargingPolicy:
    low_balance_micro_eur: int = MICRO
    """Low-Balance-Indication is YES below this credit (HOT-ACC-8)."""
    event_time_window_s: int = 300
    """Event-Timestamp is used if it is within this distance of our clock; else the time of arrival is."""
    currency_code: int = EUR
    max_octets_per_s: int = 1_250_000_000
    """More than a bearer can carry (10 Gbit/s). Use reported above this rate is counted, not charged."""


DEFAULT_POLICY = ChargingPolicy()
