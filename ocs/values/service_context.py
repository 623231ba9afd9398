"""Service-Context-Id: which document of 3GPP describes the rating input (RFC 8506 §8.42, TS 32.299 §7.1.12).

Live clients write `32251@3gpp.org`, `12.32251@3gpp.org` or `ext.01.001.8.32260@3gpp.org`: the last label before the `@`
is the document, whatever stands before it (release, MNC, MCC, extensions). Makers and operators have texts of their
own, such as `gprs@operator.example`: `ServiceContexts` knows which context each means. All who ask for the context of a
request ask there.
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
"""In a text of the settings: any characters, or none."""
OTHER = "other"
"""Label of what is no context of ours."""
MAX_TEXT = 256
"""Characters of a Service-Context-Id; 3GPP's have some thirty. A longer one is no context of ours."""
_MAX_KEPT = 256
"""Texts remembered; a network uses a handful. At one more all are forgotten."""


def context_of(service_context_id: str) -> Context | None:
    """The context that 3GPP's form of the text names, or None: another form, or a document we do not charge by.

    Neither part may hold an `@` (RFC 8506 §8.42), so a text with two is of another form.
    """
    name, _, domain = service_context_id.strip().partition("@")
    return DOCUMENTS.get(name.rpartition(".")[2]) if domain.lower() == DOMAIN else None


class ServiceContexts(dict[str, Context | None]):
    """The context of each Service-Context-Id, as one peer means it: `contexts[text]`, None = it is not charged by.

    `listed`: text or pattern with `*` → context, in the order of the settings; case does not count. A text that is
    listed goes before 3GPP's form, that before patterns. Of two patterns that fit, the first counts. What `listed` says
    goes before what `general` says. Holds what it was asked for lately.
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
    """Atomic groups, so that no text takes more than its length times the pattern's."""
    first, *rest = map(re.escape, text.split(ANY))
    between = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(f"{first}{between}.*{rest[-1]}\\Z", re.DOTALL)


STANDARD_CONTEXTS = ServiceContexts()
"""3GPP's own."""
