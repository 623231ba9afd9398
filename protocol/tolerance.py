"""AVPs with the M flag that are let pass though nobody here understands them.

RFC 6733 §4.1 wants 5001 for them: their sender says that the request is not to be understood without. Some makers set M
on AVPs of their own that change nothing for anybody else. Whoever runs the server may know so, and says it AVP by AVP
or vendor by vendor; they are then skipped, whatever they hold, as AVPs without M are. AVPs that are understood are no
matter of this.
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
    """Vendors, with every code."""

    def __contains__(self, key: int) -> bool:
        return key in self.avps or key >> 32 in self.vendors

    def __or__(self, other: Tolerance) -> Tolerance:
        return Tolerance(self.avps | other.avps, self.vendors | other.vendors)


NOTHING = Tolerance()


@cache
def of_dictionary() -> Tolerance:
    """What the dictionary knows of other vendors. Loads it, so that processes that read no messages need not."""
    from protocol.dictionary import BY_KEY, UNDERSTOOD

    return Tolerance(frozenset(BY_KEY) - UNDERSTOOD)
