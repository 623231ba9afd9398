"""What charging tells the metrics. Label values are bounded: services and places of the catalogue, result codes, fixed
words.
"""

from __future__ import annotations

from typing import Protocol


class ChargingMetrics(Protocol):
    def charged(
        self, service: str, unit: str, result_code: int, used: int, granted: int, micro_eur: int, bucket_units: int
    ) -> None:
        """One service of an answer: its Result-Code, raw units that were reported as used, units reserved, money taken
        from credit and billable units taken from included quantities.
        """

    def overrun(self, service: str, unit: str, amount: int) -> None:
        """Use beyond the grant that nothing could pay."""

    def blocked(self, service: str, reason: str) -> None:
        """A service got nothing: "credit", "limit", "state", "bar", "unknown", "unrateable", "sessions", "recipients";
        or the ledger did nothing: "clock", "version", "unreadable".
        """

    def duplicate(self, request_type: str) -> None:
        """A repeated request that was answered from the ledger's memory."""

    def session_id_reused(self) -> None:
        """A session began under the Session-Id of one that had ended: its client has begun to count again (RFC 6733
        §8.8).
        """

    def dropped(self, service: str, unit: str, amount: int) -> None:
        """Use reported beyond what is possible; it is not charged."""

    def other_units(self, service: str, unit: str, amount: int) -> None:
        """Use reported in units that the service is not charged by."""

    def location_unreadable(self, avp: str) -> None:
        """The network said where the subscriber is, in this AVP, and none of it could be read."""

    def restricted(self, service: str) -> None:
        """A restricted phase in place of a refusal."""

    def refunded(self, service: str, micro_eur: int) -> None:
        """Money given back by a refund."""

    def late(self, request_type: str) -> None:
        """A session that had been given up reported after all."""

    def mscc_result(self, service: str, result_code: int) -> None:
        """Result-Code of one service of an answer that was not charged."""
