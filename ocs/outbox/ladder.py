"""The ladder of a session from its charging records: what `ocs trace` showed live, as far as records say it.

A record is made of what moved credit, of the end of a session, and of an hour of a long one. So openings, updates that
buckets paid, grants and held money are not in them; use stands in the session's charge, not at the request that
reported it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from ocs.values.rung import Rung, RungService

KINDS = frozenset({"use", "charge", "expired", "refund"})
"""Records of requests, and of a session's end without one."""


def ladder(records: Iterable[Mapping[str, Any]], unit_of: Callable[[str, str], str]) -> list[Rung]:
    """The records' rungs, in their order. `unit_of`: the unit of a rate, by its label and context."""
    return [_rung(record, unit_of) for record in records if record.get("kind") in KINDS]


def _rung(record: Mapping[str, Any], unit_of: Callable[[str, str], str]) -> Rung:
    session_id, context = str(record.get("session_id", "")), str(record.get("context", ""))
    kind = record["kind"]
    back = record.get("credit_in_micro_eur", 0)
    return Rung(
        datetime.fromisoformat(record["time"]).timestamp(),
        "expired" if kind == "expired" else f"CCR-{record.get('request_type') or 'E'}",
        session_id,
        None if kind == "expired" else record.get("request_number", 0),
        session_id.partition(";")[0],  # DiameterIdentity of the client (RFC 6733 §8.8)
        context=context,
        result_code=record.get("result_code"),
        reason="refund" if kind == "refund" else str(record.get("reason", "")),
        services=tuple(_service(line, unit_of(str(line.get("label", "")), context)) for line in _lines(record)),
        debited_micro_eur=record.get("debit_micro_eur", 0) - back,
        credit_micro_eur=record.get("credit_micro_eur"),
        late=bool(record.get("late")),
    )


def _lines(record: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    found: Iterable[Mapping[str, Any]] = record.get("services", ())
    return found


def _service(line: Mapping[str, Any], unit: str) -> RungService:
    return RungService(
        str(line.get("key", "")),
        str(line.get("label", "")),
        unit,
        line.get("used", 0),
        debited_micro_eur=line.get("debit_micro_eur", 0) - line.get("credit_in_micro_eur", 0),
        debited_units=sum(line.get("bucket_units", {}).values()),
        detail=str(line.get("detail", "")),
    )
