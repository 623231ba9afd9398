"""Metrics of the ledger's client."""

from __future__ import annotations

from typing import Protocol


class LedgerMetrics(Protocol):
    def round_trip(self, operation: str, seconds: float) -> None:
        """One answered script call: "charge", "top_up", "sweep" …"""

    def ledger_error(self, kind: str) -> None:
        """ "timeout", "lost" (connection), "script", "moved" (cluster) or "overflow" (pipeline full)."""

    def connected(self, connections: int) -> None:
        """Connections to Redis that are usable now."""


class NoMetrics:
    """For tools without a metrics endpoint."""

    def round_trip(self, operation: str, seconds: float) -> None:
        return

    def ledger_error(self, kind: str) -> None:
        return

    def connected(self, connections: int) -> None:
        return
