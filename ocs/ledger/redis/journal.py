"""The events of the outbox: maps with short names, as the scripts write them.

Every event has "k" kind, "t" Unix time, "a" account id. Money that moves is in "debit" (taken from the credit) and
"credit_in" (put in), so the sum over an account's events is its credit (invariant 5). `FIELDS` says what else an event
of a kind has; docs/LEDGER.md when it is written.
"""

from __future__ import annotations

from typing import Any

FIELDS: dict[str, tuple[str, ...]] = {
    "opened": ("credit_in", "credit", "package"),
    "topup": ("credit_in", "ref", "credit"),
    "package": ("id", "instance", "price", "period_end", "ok", "debit", "credit"),
    "subscription": ("id", "instance", "state", "ends", "renews"),
    "share": ("id", "instance", "benefit", "days_left", "days", "debit", "credit"),
    "use": ("sid", "typ", "n", "debit", "credit"),
    "charge": ("sid", "ctx", "typ", "n", "svc", "code", "debit", "credit", "closed", "late", "started"),
    "refund": ("sid", "ctx", "n", "svc", "credit_in", "credit"),
    "expired": ("sid", "ctx", "returned", "reason", "svc"),
    "terminated": ("debit", "credit"),
    "threshold": ("counter", "pct", "value", "limit", "window", "muted"),
    "bucket": ("id", "pct", "quantity", "left", "subscription", "muted"),
    "limit": ("counter", "limit", "once"),
    "measure": ("measure", "name", "state", "reason", "until"),
    "arrived": ("country", "plmn"),
    "bars": ("bars",),
    "state": ("state",),
    "pool": ("pool",),
    "due": ("kind", "ref"),
    "moved_out": ("to", "debit", "credit"),
    "moved_in": ("of", "credit_in", "credit"),
}
SERVICE_FIELDS = ("key", "label", "price", "detail", "used", "debit", "units", "overrun", "dropped")
"""One entry of "svc" of a charge: totals of a service at a price since the last record. "units": [[bucket id, billable
units]].
"""
REFUND_FIELDS = ("key", "price", "used", "credit_in", "units")


def body(event: dict[str, Any]) -> dict[str, object]:
    """The event by field names."""
    return event
