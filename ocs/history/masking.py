"""Masks the other party of a use: its last three digits never reach the database (HOT-REC-1)."""

from __future__ import annotations

import re

HIDDEN = 3
"""Digits, or characters of a name, that are hidden."""
MASK = "*"
_SEPARATORS = re.compile("([\x1e,]+)")
"""Several parties in one text."""
_NAME_ENDS = re.compile("[@;?]")
"""Ends the number or name within a SIP, tel or mail address (RFC 3261 §19.1, RFC 3966 §3)."""


def masked(party: str) -> str:
    """ "tel:+38641038107" → "tel:+38641038***"; of a name the last three characters are hidden."""
    if not _SEPARATORS.search(party):
        return _masked(party)
    return "".join(each if number % 2 else _masked(each) for number, each in enumerate(_SEPARATORS.split(party)))


def _masked(party: str) -> str:
    scheme, colon, rest = party.rpartition(":") if party.count(":") == 1 else ("", "", party)
    end = _NAME_ENDS.search(rest)
    name, address = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    return f"{scheme}{colon}{_without_last(name)}{_plain(address)}"


def _without_last(name: str) -> str:
    """Hides the last three digits if there are so many, else the last three characters."""
    digits = [index for index, character in enumerate(name) if character.isdigit()]
    hidden = digits[-HIDDEN:] if len(digits) >= HIDDEN else range(max(len(name) - HIDDEN, 0), len(name))
    characters = list(name)
    for index in hidden:
        characters[index] = MASK
    return "".join(characters)


def _plain(address: str) -> str:
    """What follows a name: its host. Parameters may repeat the number, so they are left out."""
    return re.split("[;?]", address, maxsplit=1)[0]
