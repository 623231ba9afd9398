"""The service context of a request as a bounded label: "12.32260@3gpp.org" → "ims"."""

from __future__ import annotations

from functools import lru_cache

CONTEXT_LABELS = {"32251": "data", "32260": "ims", "32275": "ims", "32276": "cs", "32274": "sms", "32270": "mms"}
REMEMBERED_CONTEXTS = 1_024


@lru_cache(REMEMBERED_CONTEXTS)
def context_label(service_context_id: str) -> str:
    """ "data", "ims", "cs", "sms", "mms", or "other"."""
    return CONTEXT_LABELS.get(service_context_id.partition("@")[0].rpartition(".")[2], "other")
