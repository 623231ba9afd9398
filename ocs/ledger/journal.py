"""The events of the outbox: arrays as the scripts write them (small and quick to make), dicts as consumers read them.

Every event is [kind, Unix time, account id, fields in the order below]. Money that moves is in "debit" (taken from the credit) and
"credit_in" (put in), so the sum over an account's events is its credit (invariant 5).
"""

from __future__ import annotations

from typing import Any

FIELDS: dict[str, tuple[str, ...]] = {
    "opened": ("credit_in", "credit", "package"),
    "topup": ("credit_in", "ref", "credit"),
    "package": ("id", "price", "period_end", "ok", "debit", "credit"),
    "charge": ("sid", "ctx", "typ", "n", "svc", "code", "debit", "credit", "closed", "late"),
    "refund": ("sid", "ctx", "n", "svc", "credit_in", "credit"),
    "expired": ("sid", "ctx", "returned", "reason"),
    "terminated": ("debit", "credit"),
    "threshold": ("pct", "spent", "limit"),
    "limit": ("limit",),
    "bars": ("bars",),
    "state": ("state",),
}
SERVICE_FIELDS = (
    "key",
    "label",
    "price",
    "used",
    "debit",
    "units",
    "overrun",
    "granted",
    "held",
    "detail",
    "code",
    "dropped",
)
REFUND_FIELDS = ("key", "price", "used", "credit_in", "units")
"""One entry of "svc": what was used and who paid at which price, and what was granted next. "units": [[bucket id, billable units]]."""


def body(event: list[Any]) -> dict[str, object]:
    """The event by names: "k" kind, "t" time, "a" account id, and the fields of its kind."""
    kind, at, account_id, *values = event
    named: dict[str, object] = {"k": kind, "t": at, "a": account_id}
    named.update(zip(FIELDS[kind], values, strict=True))
    if kind == "charge":
        named["svc"] = [dict(zip(SERVICE_FIELDS, service, strict=True)) for service in event[7]]
    elif kind == "refund":
        named["svc"] = [dict(zip(REFUND_FIELDS, service, strict=True)) for service in event[6]]
    return named
