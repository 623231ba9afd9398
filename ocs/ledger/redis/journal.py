"""The events of the outbox: maps with short names, as the scripts write them.

Every event has "k" kind, "t" Unix time, "a" account id, and "by" who acted, if it was
not the network or time (`ocs.values.actor`). Money that moves is in "debit" (taken from the credit) and
"credit_in" (put in), so the sum over an account's events is its credit (invariant 5). `FIELDS` says what else an event
of a kind has; docs/LEDGER.md when it is written.
"""

from __future__ import annotations

from typing import Any

FIELDS: dict[str, tuple[str, ...]] = {
    "opened": ("credit_in", "credit", "package", "unused"),
    "topup": ("credit_in", "ref", "channel", "credit", "separate_in", "promo"),
    "voucher": ("state", "wrong"),
    "voucher_blocked": ("wrong",),
    "package": ("id", "instance", "price", "period_end", "ok", "renewal", "debit", "credit", "separate_out", "promo"),
    "subscription": ("id", "instance", "state", "ends", "renews", "reason"),
    "share": ("id", "instance", "benefit", "days_left", "days", "debit", "unpaid", "credit", "separate_out", "promo"),
    "use": ("sid", "typ", "n", "debit", "credit", "promo"),
    "charge": ("sid", "ctx", "typ", "n", "svc", "code", "debit", "credit", "closed", "late", "started", "promo", "chg"),
    "refund": ("sid", "ctx", "n", "svc", "credit_in", "credit", "promo", "of_session"),
    "expired": ("sid", "ctx", "returned", "reason", "svc", "started", "credit", "chg"),
    "threshold": ("counter", "pct", "value", "limit", "window", "muted"),
    "bucket": ("id", "pct", "quantity", "left", "subscription", "muted"),
    "limit": ("counter", "limit", "once"),
    "measure": ("measure", "name", "state", "reason", "until"),
    "arrived": ("country", "plmn", "equipment"),
    "terminated": ("debit", "credit", "was", "reason", "unpaid", "separate_out", "promo"),
    "fair_use": ("state", "why", "home_days", "abroad_days", "share", "deadline", "sims"),
    "bars": ("bars",),
    "customer": ("name", "value"),
    "state": ("state", "was", "ends", "reason"),
    "expiring": ("state", "ends"),
    "pay_out": ("ref", "reason", "debit", "credit", "separate_out"),
    "identity": ("what",),
    "equipment": ("imei",),
    "low_credit": ("credit", "below"),
    "auto_top_up": ("state", "credit", "below"),
    "payment": ("order", "state", "channel", "amount", "reason", "payer"),
    "payment_returned": ("order", "amount", "debit", "unpaid", "credit", "reason"),
    "pool": ("pool",),
    "pool_limit": ("pool", "bucket", "units", "common"),
    "group": ("group", "state"),
    "separate": ("open", "separate_out", "credit_in", "credit", "separate"),
    "transfer_out": ("transfer", "to", "group", "ref", "debit", "credit", "promo"),
    "transfer_in": ("transfer", "of", "group", "ref", "credit_in", "credit", "promo"),
    "transfer_back": ("transfer", "to", "group", "ref", "reason", "credit_in", "expired", "credit", "promo"),
    "due": ("kind", "ref"),
    "moved_out": ("to", "debit", "credit", "separate_out", "promo"),
    "moved_in": ("of", "credit_in", "credit", "separate_in", "promo"),
    "traced": ("until", "clear", "reason"),
    "erased": ("rows", "file_lines", "before", "reason"),
    "api": ("key", "role", "op", "status", "request", "replayed", "before", "after"),
}
SERVICE_FIELDS = ("key", "label", "price", "detail", "used", "debit", "units", "overrun", "dropped", "promo")
"""One entry of "svc" of a charge: totals of a service at a price since the last record. "units": [[bucket id, billable
units]].
"""
REFUND_FIELDS = ("key", "price", "used", "credit_in", "units", "promo")


def body(event: dict[str, Any]) -> dict[str, object]:
    """The event by field names."""
    return event
