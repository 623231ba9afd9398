"""The last reconciliation as metrics: a snapshot in the data folder, which the server's /metrics contains."""

from __future__ import annotations

from pathlib import Path

from ocs.history.reconcile.outcome import DIFFERENCES, Outcome, Result
from ocs.telemetry.metrics import Store


def publish(result: Result, path: Path, now: int) -> None:
    """Replaces the snapshot of the run before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gauges(result, now).write(path)


def gauges(result: Result, now: int) -> Store:
    """`now`: Unix seconds."""
    store = Store()
    for outcome in Outcome:
        store.gauges["ocs_reconciliation_sessions", outcome.value] = result.count(outcome)
    for outcome in DIFFERENCES:
        store.gauges["ocs_reconciliation_stake_eur", outcome.value] = result.stake(outcome)
    store.gauges[("ocs_reconciliation_bad_lines",)] = result.bad_lines
    store.gauges[("ocs_reconciliation_timestamp_seconds",)] = now
    return store
