"""Settings for what clients spell in ways of their own: Service-Context-Ids and AVPs with the M flag that nobody else
knows.

Both stand in general (`charging.service_contexts`, `diameter.tolerate_avps`) and at a peer, whose list goes on from the
general one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, Field

from ocs.values.service_context import ANY, MAX_TEXT
from ocs.values.use import Context, ContextName
from protocol.tolerance import NOTHING, Tolerance, of_dictionary

MAX_ANY = 8
"""`*` of one pattern."""
MAX_CONTEXTS, MAX_AVPS = 64, 64
"""Entries of one list."""
MAX_TOLERANCES = 16
"""Different `tolerate_avps` of a server: for each, a worker learns the layouts of the messages anew (up to 5 MB)."""
KNOWN = "known"
_AVP = re.compile(r"(\d{1,10}):(\d{1,10}|\*)", re.ASCII)


def _context_text(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("has blanks around it or characters that cannot be printed")
    if text.count(ANY) > MAX_ANY:
        raise ValueError(f"has more than {MAX_ANY} *")
    return text


def _distinct(contexts: dict[str, ContextName]) -> dict[str, ContextName]:
    seen: dict[str, str] = {}
    for text in contexts:
        other = seen.setdefault(text.lower(), text)
        if other is not text:
            raise ValueError(f'"{other}" and "{text}" are the same, as case does not count')
    return contexts


def _avp(text: str) -> str:
    found = _AVP.fullmatch(text)
    if text != KNOWN and (not found or any(number.isdigit() and int(number) >= 2**32 for number in found.groups())):
        raise ValueError("is no VENDOR:CODE")
    if found and found[2] == ANY and not int(found[1]):
        raise ValueError("vendor 0 is the IETF, whose AVPs change what a request means: name their codes")
    return text


ContextText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_context_text)]
ServiceContextTable = Annotated[dict[ContextText, ContextName], AfterValidator(_distinct)]
AvpText = Annotated[str, AfterValidator(_avp)]
SERVICE_CONTEXTS_ALLOWED = (
    f'up to {MAX_CONTEXTS} of "Service-Context-Id" = "data", "ims", "cs", "sms", "mms" or "content";'
    " * in it stands for anything"
)
TOLERATE_AVPS_ALLOWED = (
    f'up to {MAX_AVPS} of "VENDOR:CODE", "VENDOR:*", or "known" for all that the dictionary has; VENDOR 0 is the IETF'
)


def contexts_of(table: Mapping[str, str]) -> Mapping[str, Context]:
    return MappingProxyType({text: Context(context) for text, context in table.items()})


def tolerance_of(avps: Iterable[str]) -> Tolerance:
    """Of a list that was checked."""
    tolerance = NOTHING
    for text in avps:
        vendor, _, code = text.partition(":")
        if text == KNOWN:
            tolerance |= of_dictionary()
        elif code == ANY:
            tolerance |= Tolerance(vendors=frozenset({int(vendor)}))
        else:
            tolerance |= Tolerance(frozenset({int(vendor) << 32 | int(code)}))
    return tolerance
