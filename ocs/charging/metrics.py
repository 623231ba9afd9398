"""The metrics of charging. Label values are bounded: services of the catalogue, result codes and fixed words."""

from __future__ import annotations

from typing import Protocol


class ChargingMetrics(Protocol):
    def charged(
        self, service: str, unit: str, result_code: int, used: int, granted: int, micro_eur: int, bucket_units: int
    ) -> None:
        """One service was charged. `used`: raw units reported; `granted`: units reserved; `micro_eur`: debited from
        credit; `bucket_units`: billable units debited from buckets.
        """

    def overrun(self, service: str, unit: str, amount: int) -> None:
        """Units used beyond the grant that could not be paid."""

    def blocked(self, service: str, reason: str) -> None:
        """A service was refused: "credit", "limit", "state", "bar", "unknown", "unrateable", "sessions", "recipients".
        Or the ledger did nothing: "clock", "version", "unreadable".
        """

    def duplicate(self, request_type: str) -> None:
        """A repeated request got the stored answer."""

    def session_id_reused(self) -> None:
        """A session began under the Session-Id of an ended one: its client restarted its numbering (RFC 6733 §8.8)."""

    def dropped(self, service: str, unit: str, amount: int) -> None:
        """Units were reported that nobody is charged for: impossible, or of no open session."""

    def other_units(self, service: str, unit: str, amount: int) -> None:
        """Use was reported in another unit than the service's."""

    def location_unreadable(self, avp: str) -> None:
        """The network gave a location, and this AVP of it cannot be read."""

    def restricted(self, service: str) -> None:
        """A service was restricted instead of refused."""

    def final_unit(self, service: str, action: str) -> None:
        """A service answered with a Final-Unit-Indication: "terminate", "redirect" or "restrict"."""

    def refunded(self, service: str, micro_eur: int) -> None:
        """Credit was refunded."""

    def late(self, request_type: str) -> None:
        """A session reported use after its reservations were released."""

    def mscc_result(self, service: str, result_code: int) -> None:
        """Result-Code of a service that was not charged."""
