"""Measures: what care staff or a rule has put on an account, with a reason and an end (HOT-ROA-4, -5, -8, HOT-CC-5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_MEASURES_PER_ACCOUNT = 32
"""One more is refused."""
MAX_REASON_LENGTH = 128
"""Characters."""


class MeasureKind(StrEnum):
    FACT = "fact"
    """Its name is a word of the account's facts: rates may ask for it."""
    BAR = "bar"
    """Its name is one of BARS: what it forbids is refused, as if the subscriber had barred it."""
    MUTE = "mute"
    """Its name is a notice that the subscriber does not want: "limit", or "limit:80" for one threshold."""


@dataclass(frozen=True, slots=True)
class AccountMeasure:
    """One of a kind and name: set again, it replaces the one before."""

    kind: MeasureKind
    name: str
    reason: str
    since: int
    """Unix seconds: begins then, at once if that is past."""
    until: int = 0
    """Unix seconds: ends then; 0 = only when it is lifted."""
