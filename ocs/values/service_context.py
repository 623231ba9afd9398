"""Service-Context-Id: the 3GPP document that defines the rating input (RFC 8506 §8.42, TS 32.299 §7.1.12).

Clients send `32251@3gpp.org`, `12.32251@3gpp.org` or `ext.01.001.8.32260@3gpp.org`. The last label before the `@` is
the document; the labels before it (release, MNC, MCC, extensions) are ignored. Vendors and operators define ids of
their own, such as `gprs@operator.example`, which the settings map to a context. `ServiceContexts` is the only place
that tells the context of a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ocs.values.use import Context

DOMAIN = "3gpp.org"
DOCUMENTS = {
    "32251": Context.DATA,
    "32260": Context.IMS,
    "32275": Context.IMS,
    "32276": Context.CS,
    "32274": Context.SMS,
    "32270": Context.MMS,
}
ANY = "*"
"""Wildcard in the settings: any characters, or none."""
OTHER = "other"
"""Metric label of an unsupported Service-Context-Id."""
MAX_TEXT = 256
"""Characters of a Service-Context-Id; those of 3GPP have about thirty. A longer one is unsupported."""
_MAX_KEPT = 256
"""Service-Context-Ids cached; a network uses a handful. When the cache is full it is cleared."""


def context_of(service_context_id: str) -> Context | None:
    """The context of an id in 3GPP's form. None = the id has another form, or its document is not supported.

    An id has exactly one `@` (RFC 8506 §8.42).
    """
    name, _, domain = service_context_id.strip().partition("@")
    return DOCUMENTS.get(name.rpartition(".")[2]) if domain.lower() == DOMAIN else None


class ServiceContexts(dict[str, Context | None]):
    """The context of each Service-Context-Id of one peer: `contexts[id]`; None = unsupported. Caches what it finds.

    `listed`: id, or pattern with `*` → context, in the order of the settings; case is ignored. An id listed in full
    comes first, then 3GPP's form, then the patterns, of which the first match counts. `listed` overrides `general`.
    """

    def __init__(self, listed: Mapping[str, Context] | None = None, general: ServiceContexts | None = None) -> None:
        super().__init__()
        texts = {text.lower(): context for text, context in (listed or {}).items()}
        self._exact = {text: context for text, context in texts.items() if ANY not in text}
        self._patterns = tuple((_pattern(text), context) for text, context in texts.items() if ANY in text)
        if general is not None:
            self._exact = general._exact | self._exact
            self._patterns += general._patterns

    def __missing__(self, service_context_id: str) -> Context | None:
        if len(service_context_id) > MAX_TEXT:
            return None
        found = self._find(service_context_id)
        if len(self) >= _MAX_KEPT:
            self.clear()
        self[service_context_id] = found
        return found

    def _find(self, service_context_id: str) -> Context | None:
        text = service_context_id.strip().lower()
        found = self._exact.get(text) or context_of(text)
        if found is not None:
            return found
        return next((context for pattern, context in self._patterns if pattern.match(text)), None)


def _pattern(text: str) -> re.Pattern[str]:
    """Atomic groups do not backtrack: a match takes at most len(id) · len(pattern) steps."""
    first, *rest = map(re.escape, text.split(ANY))
    between = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(f"{first}{between}.*{rest[-1]}\\Z", re.DOTALL)


STANDARD_CONTEXTS = ServiceContexts()
"""Only the ids that 3GPP defines."""
