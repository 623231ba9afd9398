"""Terms of an account's life and credit, by which the ledger works (HOT-ACC-2 to -10)."""

from __future__ import annotations

from dataclasses import dataclass

from ocs.values.moment import DAY_S
from ocs.values.money import MICRO

UNUSED_UNTIL = 253_402_300_799
"""End of the year 9999, Unix seconds: the active period of an account that was not used yet has no end."""


@dataclass(frozen=True, slots=True)
class LifeTerms:
    active_s: int = 90 * DAY_S
    """Length of the active period, from a top-up or from the first use (HOT-ACC-2, HOT-ACC-3)."""
    expiring_s: int = 7 * DAY_S
    """How long before an account becomes inactive, or is terminated, the event `expiring` says so; 0 = not at all."""
    low_credit_micro_eur: int = MICRO
    """A use after which the credit is below this, and before which it was not, is an event (HOT-ACC-8); 0 = none."""
    promotional_first: bool = True
    """Which part of the credit pays first: the promotional one, or the refundable one (HOT-ACC-10)."""
    inactive_s: int = 270 * DAY_S
    """How long an account is inactive before it is terminated (HOT-ACC-5, HOT-ACC-6)."""
    transfer_promotional: bool = False
    """Promotional credit may be transferred within a business group (HOT-GRP-2)."""


DEFAULT_LIFE = LifeTerms()
