"""Settings for vendor-specific Diameter: Service-Context-Ids, and unknown AVPs with the M flag.

Each is set for all peers (`charging.service_contexts`, `diameter.tolerate_avps`) and for one peer, whose list extends
the general one.
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
"""Wildcards (`*`) in one pattern."""
MAX_CONTEXTS, MAX_AVPS = 64, 64
"""Entries of one list."""
MAX_TOLERANCES = 16
"""Different `tolerate_avps` lists of a server. Each costs a worker up to 5 MB for message layouts of its own."""
KNOWN = "known"
_AVP = re.compile(r"(\d{1,10}):(\d{1,10}|\*)", re.ASCII)


def _context_text(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("begins or ends with a blank, or has characters that cannot be printed")
    if text.count(ANY) > MAX_ANY:
        raise ValueError(f"has more than {MAX_ANY} *")
    return text


def _distinct(contexts: dict[str, ContextName]) -> dict[str, ContextName]:
    seen: dict[str, str] = {}
    for text in contexts:
        other = seen.setdefault(text.lower(), text)
        if other is not text:
            raise ValueError(f'"{other}" and "{text}" are the same: letter case does not count')
    return contexts


def _avp(text: str) -> str:
    found = _AVP.fullmatch(text)
    if text != KNOWN and (not found or any(number.isdigit() and int(number) >= 2**32 for number in found.groups())):
        raise ValueError("is not VENDOR:CODE")
    if found and found[2] == ANY and not int(found[1]):
        raise ValueError("vendor 0 is the IETF, whose AVPs change what a request means: name their codes")
    return text


ContextText = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_context_text)]
ServiceContextTable = Annotated[dict[ContextText, ContextName], AfterValidator(_distinct)]
AvpText = Annotated[str, AfterValidator(_avp)]
SERVICE_CONTEXTS_ALLOWED = (
    f'up to {MAX_CONTEXTS} of "Service-Context-Id" = "data", "ims", "cs", "sms", "mms" or "content"; * matches any text'
)
TOLERATE_AVPS_ALLOWED = (
    f'up to {MAX_AVPS} of "VENDOR:CODE", "VENDOR:*", or "known" for all AVPs of the dictionary; VENDOR 0 is the IETF'
)


def contexts_of(table: Mapping[str, str]) -> Mapping[str, Context]:
    return MappingProxyType({text: Context(context) for text, context in table.items()})


def tolerance_of(avps: Iterable[str]) -> Tolerance:
    """`avps`: a validated `tolerate_avps` list."""
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
