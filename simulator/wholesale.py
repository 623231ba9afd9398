"""The host's usage file: what the network carried for each session, and what the host bills the operator for it.

It is written from the elements' own view, so `ocs reconcile` compares two independent measurements. The columns are
those that `ocs reconcile` reads without any setting.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from simulator.tally import SessionReport

COLUMNS = (
    "record_id", "msisdn", "imsi", "session_id", "charging_id", "service", "start", "end", "units", "amount_eur",
)  # fmt: skip
PRICES = {
    "data": Decimal("0.50") / 1024**3,
    "voice": Decimal("0.01") / 60,
    "sms": Decimal("0.005"),
    "mms": Decimal("0.02"),
}
"""Wholesale prices in EUR of an octet, a second and a message (illustrative)."""
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class WholesaleLine:
    """Use of one session. Times are Unix seconds, units octets, seconds or messages."""

    msisdn: str
    imsi: str
    session_id: str
    charging_id: int
    service: str
    start: int
    end: int
    units: int

    @property
    def amount_eur(self) -> Decimal:
        return (PRICES[self.service] * self.units).quantize(_MICRO, ROUND_HALF_UP)


def wholesale_lines(reports: Iterable[SessionReport]) -> Iterator[WholesaleLine]:
    """One for each session that used something; all its services are one service to the host."""
    for report in reports:
        units = sum(service.used for service in report.services)
        if units and report.msisdn:
            yield WholesaleLine(
                report.msisdn, report.imsi, report.session_id, report.charging_id, report.traffic,
                report.started_at, report.ended_at, units,
            )  # fmt: skip


def write_wholesale(path: Path, reports: Iterable[SessionReport], *, session_ids: bool = True) -> int:
    """Writes the file and returns the number of lines. `session_ids`: False = the column is empty, as in most files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for line in wholesale_lines(reports):
            count += 1
            writer.writerow((
                f"W{count:08d}", line.msisdn, line.imsi, line.session_id if session_ids else "", line.charging_id,
                line.service, _text(line.start), _text(line.end), line.units, f"{line.amount_eur:f}",
            ))  # fmt: skip
    return count


def _text(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
