"""Hides the last digits of a number (HOT-REC-1): the other party of a use cannot be told from it."""

from __future__ import annotations

import re

HIDDEN_DIGITS = 3
HIDDEN = "x"
_REST = re.compile("[@;]")


def masked_party(party: str) -> str:
    """The number without its last three digits: "+38631234567" → "+38631234xxx", of a tel or SIP URI too.

    A name without digits, such as the sender of an information message, is no number, and stays.
    """
    rest = _REST.search(party)
    end = rest.start() if rest else len(party)
    places = [place for place in range(end) if party[place].isdecimal()][-HIDDEN_DIGITS:]
    return "".join(HIDDEN if place in places else letter for place, letter in enumerate(party)) if places else party
