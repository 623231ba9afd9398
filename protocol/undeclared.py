"""AVPs that the dictionary knows and no class declares where they stand (`*[AVP]` of a grammar).

With the M flag their sender wants them understood (RFC 6733 §4.1, §4.4): their lengths must be right, and so must be
what is inside them; without it they are skipped whatever they hold. Nothing of them is kept.
"""

from __future__ import annotations

from protocol.avp import FIXED_OCTETS, FLAG_MANDATORY, FLAG_VENDOR, MAX_NESTING, AvpLengthLie, Kind, walk
from protocol.dictionary import BY_KEY, UNDERSTOOD
from protocol.tolerance import Tolerance


def is_minded(key: int, flags: int) -> bool:
    """Whether the contents of an AVP that is not declared matter."""
    return bool(flags & FLAG_MANDATORY) and key in UNDERSTOOD


def is_passed(data: bytes, key: int, start: int, stop: int, tolerated: Tolerance, depth: int = 0) -> bool:
    """Whether an AVP with M may stand where it is not declared: it is understood, with all that is in it, or
    tolerated.
    """
    return is_sound(data, key, start, stop, tolerated, depth) if key in UNDERSTOOD else key in tolerated


def is_sound(data: bytes, key: int, start: int, stop: int, tolerated: Tolerance, depth: int) -> bool:
    """Whether the contents of an AVP that is minded are as they should be; which stage objects is `examination`'s to
    say.
    """
    kind = BY_KEY[key].kind
    octets = FIXED_OCTETS.get(kind)
    if octets is not None:
        return stop - start == octets
    if kind is not Kind.GROUPED:
        return True
    if depth >= MAX_NESTING:
        return False
    try:
        for avp in walk(data, start, stop):
            if avp.flags & FLAG_VENDOR and not avp.vendor:
                return False
            if avp.flags & FLAG_MANDATORY:
                inner = avp.vendor << 32 | avp.code
                if not is_passed(data, inner, avp.payload, avp.stop, tolerated, depth + 1):
                    return False
    except AvpLengthLie:
        return False
    return True
