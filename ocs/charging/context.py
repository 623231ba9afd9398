"""Service-Context-Id: which document of 3GPP describes the rating input (TS 32.299 §7.1.12; digest §3.3).

Live clients write `32251@3gpp.org`, `12.32251@3gpp.org` or `ext.01.001.8.32260@3gpp.org`: the last label before the `@` is the
document, whatever stands before it (release, MCC, MNC, extensions).
"""

from __future__ import annotations

from ocs.rating.types import Context

DOMAIN = "3gpp.org"
DOCUMENTS = {
    "32251": Context.DATA,
    "32260": Context.IMS,
    "32275": Context.IMS,
    "32276": Context.CS,
    "32274": Context.SMS,
    "32270": Context.MMS,
}
_MAX_KEPT = 256
"""Spellings remembered; a network uses a handful."""
_kept: dict[str, Context | None] = {}


def context_of(service_context_id: str) -> Context | None:
    """The context, or None when we do not charge by that document."""
    if service_context_id in _kept:
        return _kept[service_context_id]
    name, at, domain = service_context_id.strip().rpartition("@")
    found = DOCUMENTS.get(name.rpartition(".")[2]) if at and domain.lower() == DOMAIN else None
    if len(_kept) < _MAX_KEPT:
        _kept[service_context_id] = found
    return found
