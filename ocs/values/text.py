"""Names from peers in log lines: bounded, and without control characters."""

from __future__ import annotations

from collections.abc import Iterable

MAX_NAME = 128
"""Characters of a name that are shown."""

MAX_LISTED = 4
"""Names that are listed; the others are counted."""


def quoted(name: str) -> str:
    """The name in quotes, control and non-ASCII characters escaped."""
    return ascii(name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…")


def listed(names: Iterable[str]) -> str:
    """ "a, b, c, d and 3 more"."""
    every = list(names)
    rest = len(every) - MAX_LISTED
    return ", ".join(every[:MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
