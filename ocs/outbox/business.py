"""Counts of the business by what was recorded: money by kind, use by rate, fees by product.

A record is counted when it is stored. Records that were stored just before a crash may be missing in the counts: the
records, not the metrics, are the books.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class BusinessMetrics(Protocol):
    """Amounts are micro-EUR. Labels are words of the ledger and of the catalogue."""

    def recorded_money(self, kind: str, debit_micro_eur: int, credit_micro_eur: int) -> None: ...

    def rate_charged(self, rate: str, micro_eur: int) -> None: ...

    def product_paid(self, product: str, micro_eur: int) -> None: ...


def count_business(records: Iterable[Mapping[str, Any]], metrics: BusinessMetrics) -> None:
    for record in records:
        debit, credit = record.get("debit_micro_eur", 0), record.get("credit_in_micro_eur", 0)
        if debit or credit:
            metrics.recorded_money(record["kind"], debit, credit)
        for service in record.get("services", ()):
            if charged := service.get("debit_micro_eur"):
                metrics.rate_charged(service.get("label", ""), charged)
        if record["kind"] == "package" and record.get("paid"):
            metrics.product_paid(record.get("package", ""), debit)
