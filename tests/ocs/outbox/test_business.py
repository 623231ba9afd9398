"""Counts of the business: each stored record once."""

from __future__ import annotations

from ocs.outbox.business import count_business
from ocs.telemetry.metrics import Metrics

RECORDS = [
    {"event_id": "p00-1", "kind": "opened", "credit_in_micro_eur": 20_000_000},
    {"event_id": "p00-2", "kind": "package", "package": "MAXI", "paid": True, "debit_micro_eur": 9_990_000},
    {"event_id": "p00-3", "kind": "package", "package": "MAXI"},
    {"event_id": "p00-4", "kind": "use", "debit_micro_eur": 300_000},
    {
        "event_id": "p00-5",
        "kind": "charge",
        "debit_micro_eur": 50_000,
        "services": [{"label": "voice.zone2", "debit_micro_eur": 350_000}, {"label": "data.home"}],
    },
]


def test_money_goes_by_kind_and_use_by_rate() -> None:
    metrics = Metrics()
    count_business(RECORDS, metrics)
    assert dict(metrics.store.counters) == {
        ("ocs_recorded_credit_eur", "opened"): 20_000_000,
        ("ocs_recorded_debit_eur", "package"): 9_990_000,
        ("ocs_recorded_debit_eur", "use"): 300_000,
        ("ocs_recorded_debit_eur", "charge"): 50_000,
        ("ocs_products_paid", "MAXI"): 1,
        ("ocs_product_fees_eur", "MAXI"): 9_990_000,
        ("ocs_charged_eur", "voice.zone2"): 350_000,
    }
