"""How names from outside stand in a sentence of the log: as they came, but bounded and with nothing that a terminal
obeys.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAME = 128
"""Characters of a name that came from outside."""

MAX_LISTED = 4
"""Addresses of a peer that are named; the rest is counted."""


def shown(name: str) -> str:
    """A name from outside, in quotes."""
    return ascii(name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…")


def listed(names: Iterable[str]) -> str:
    """a, b and 3 more."""
    all_of_them = list(names)
    rest = len(all_of_them) - MAX_LISTED
    return ", ".join(all_of_them[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
