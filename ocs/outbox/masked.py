"""Charging records as people see them: the last three digits of other parties are hidden (HOT-REC-1)."""

from __future__ import annotations

from typing import Any

from ocs.values.masking import masked_party
from ocs.values.use import Context


def masked_detail(detail: str, context: str) -> str:
    """Of a line (`UsageContext.detail`). The name of an access point is no number."""
    network, blank, rest = detail.partition(" ")
    direction, space, towards = rest.partition(" ")
    if context in (Context.DATA, Context.CONTENT):
        return detail
    return f"{network}{blank}{direction}{space}{masked_party(towards)}"


def masked_record(record: dict[str, Any]) -> dict[str, Any]:
    """A copy for output. Rating needs the record itself: short numbers are told apart by their last digits."""
    if "services" not in record:
        return record
    context = str(record.get("context", ""))
    lines = [
        {**line, "detail": masked_detail(line["detail"], context)} if "detail" in line else line
        for line in record["services"]
    ]
    return {**record, "services": lines}
