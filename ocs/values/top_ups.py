"""The channels of top-ups (HOT-TOP-1)."""

from __future__ import annotations

from enum import StrEnum


class Channel(StrEnum):
    """By which a top-up came; recorded with it."""

    ONE_OFF = "one-off"
    """A payment at a shop, a machine, or by card."""
    VOUCHER = "voucher"
    AUTOMATIC = "auto"
    """A direct debit that the account's mark has asked for (HOT-TOP-4)."""
    IMPORT = "import"
    """A retailer's daily file."""
    CARE = "care"
    """Customer care credits by hand."""
