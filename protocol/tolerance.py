"""Unsupported AVPs with the M flag that are accepted and ignored.

RFC 6733 §4.1 requires 5001 for them: the request may mean something else without. Some vendors set M on AVPs that
matter to nobody else. The operator lists such AVPs or vendors in the settings; they are skipped, whatever they contain,
as AVPs without M are. Supported AVPs are not affected.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`key in tolerance`: vendor << 32 | code."""

    avps: frozenset[int] = frozenset()
    """Keys."""
    vendors: frozenset[int] = frozenset()
    """Vendors whose AVPs are all tolerated."""

    def __contains__(self, key: int) -> bool:
        return key in self.avps or key >> 32 in self.vendors

    def __or__(self, other: Tolerance) -> Tolerance:
        return Tolerance(self.avps | other.avps, self.vendors | other.vendors)


NOTHING = Tolerance()


@cache
def of_dictionary() -> Tolerance:
    """All AVPs in the dictionary of vendors other than the IETF and 3GPP. Loads the dictionary on first use: processes
    that decode no messages do not need it.
    """
    from protocol.dictionary import BY_KEY, UNDERSTOOD

    return Tolerance(frozenset(BY_KEY) - UNDERSTOOD)
