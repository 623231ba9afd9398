"""AVPs that the dictionary has and the enclosing class does not declare (`*[AVP]` of a grammar).

If such an AVP has the M flag, it must be understood (RFC 6733 §4.1, §4.4): its length and its contents must be valid.
Without M it is skipped, whatever it contains. Its value is not kept.
"""

from __future__ import annotations

from protocol.avp import FIXED_OCTETS, FLAG_MANDATORY, FLAG_VENDOR, MAX_NESTING, AvpLengthError, Kind, walk
from protocol.dictionary import BY_KEY, UNDERSTOOD
from protocol.tolerance import Tolerance


def must_be_understood(key: int, flags: int) -> bool:
    """Whether the contents of an undeclared AVP must be valid."""
    return bool(flags & FLAG_MANDATORY) and key in UNDERSTOOD


def is_acceptable(data: bytes, key: int, start: int, stop: int, tolerated: Tolerance, depth: int = 0) -> bool:
    """Whether an undeclared AVP with M is accepted: it is understood and valid, or tolerated."""
    return is_well_formed(data, key, start, stop, tolerated, depth) if key in UNDERSTOOD else key in tolerated


def is_well_formed(data: bytes, key: int, start: int, stop: int, tolerated: Tolerance, depth: int) -> bool:
    """Whether the contents of the AVP are valid; `examination` determines the error."""
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
                if not is_acceptable(data, inner, avp.payload, avp.stop, tolerated, depth + 1):
                    return False
    except AvpLengthError:
        return False
    return True
