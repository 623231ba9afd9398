"""From an event of the outbox (short names, ocs/ledger/scripts) to a charging record (HOT-REC-2): who, what, where,
when, units, price, and which bucket or credit paid.

Every record has event_id, kind, time, account, debit_micro_eur and credit_in_micro_eur; so the sum of an account's
records is its balance: credit = Σ credit_in_micro_eur - Σ debit_micro_eur.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ocs.ledger.contract import OutboxEvent

_NAMES = {
    "sid": "session_id",
    "ctx": "context",
    "typ": "request_type",
    "n": "request_number",
    "code": "result_code",
    "credit": "credit_micro_eur",
    "ref": "reference",
    "pct": "percent",
    "spent": "spent_month_micro_eur",
    "limit": "limit_micro_eur",
    "returned": "returned_micro_eur",
    "price": "price_micro_eur",
}
_STATES = {"a": "active", "b": "blocked", "t": "terminated"}
_TAKEN = frozenset({"k", "t", "a", "svc", "debit", "credit_in"})


def record(event: OutboxEvent) -> dict[str, object]:
    """The record of one event, fields by their long names; a field this version does not know keeps its own."""
    body: Mapping[str, Any] = event.body
    kind = body["k"]
    result: dict[str, object] = {
        "event_id": event.event_id,
        "kind": kind,
        "time": utc_text(body["t"]),
        "account": body["a"],
    }
    for name, value in body.items():
        if name not in _TAKEN:
            result[_NAMES.get(name, name)] = value
    if kind == "charge":
        result["services"] = [_service(line) for line in body.get("svc") or ()]
    elif kind == "package":
        result["package"] = result.pop("id", "")
        result["paid"] = bool(result.pop("ok", False))
        result["period_end"] = utc_text(body["period_end"]) if body.get("period_end") else None
    elif kind == "state":
        result["state"] = _STATES.get(body["state"], body["state"])
    elif kind == "bars":
        result["bars"] = [bar for bar in str(body.get("bars") or "").split(",") if bar]
    if "limit_micro_eur" in result and body["limit"] < 0:
        result["limit_micro_eur"] = None
    result["debit_micro_eur"] = body.get("debit", 0)
    result["credit_in_micro_eur"] = body.get("credit_in", 0)
    return result


def _service(line: Mapping[str, Any]) -> dict[str, object]:
    return {
        "key": line.get("key", ""),
        "label": line.get("label", ""),
        "price": line.get("price", ""),
        "used": line.get("used", 0),
        "debit_micro_eur": line.get("debit", 0),
        "bucket_units": [{"bucket": bucket, "units": units} for bucket, units in line.get("units") or ()],
        "overrun_units": line.get("overrun", 0),
        "granted": line.get("granted", 0),
        "held_micro_eur": line.get("held", 0),
        "detail": line.get("detail", ""),
        "result_code": line.get("code", 0),
    }


def utc_text(seconds: int) -> str:
    """ISO 8601 in UTC: "2026-11-22T16:30:00Z"."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
