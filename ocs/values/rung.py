"""A rung of the ladder between a client and us: one request and its answer. `ocs trace` shows them live, `ocs explain`
from the records. Amounts are raw units of the service, money is micro-EUR; None = not known.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson


@dataclass(slots=True)
class RungService:
    """One service of a request: what was reported and asked for, and what came of it."""

    key: str
    """Rating group and Service-Identifiers; "-" = the units stand at command level."""
    rate: str = ""
    unit: str = ""
    """"octets", "seconds", "messages", "money"; "" = not known."""
    used: int = 0
    wanted: int | None = None
    granted: int | None = None
    final: bool = False
    """The grant has the final units."""
    result_code: int | None = None
    reason: str = ""
    """Why less than wanted was granted (`ServiceOutcome.reason`)."""
    debited_micro_eur: int = 0
    debited_units: int = 0
    """Billable units that buckets paid."""
    detail: str = ""
    """Place, direction and other party (`UsageContext.detail`)."""


@dataclass(slots=True)
class Rung:
    """`time`: Unix seconds at which the answer was given; of a record, when the ledger applied it."""

    time: float
    kind: str
    """"CCR-I", "CCR-U", "CCR-T", "CCR-E", "RAR", "ASR"; "expired" = the session was given up."""
    session_id: str = ""
    number: int | None = None
    """CC-Request-Number."""
    peer: str = ""
    """Origin-Host of the client."""
    relay: str = ""
    """Origin-Host of the agent through which it came; "" = the client is connected itself."""
    context: str = ""
    result_code: int | None = None
    reason: str = ""
    services: tuple[RungService, ...] = ()
    debited_micro_eur: int | None = None
    held_micro_eur: int | None = None
    credit_micro_eur: int | None = None
    took_ms: float | None = None
    retransmitted: bool = False
    """The T bit was set."""
    duplicate: bool = False
    """It was a repetition, and got the stored answer."""
    late: bool = False
    """The session had been given up before."""
    left_out: int = 0
    """Requests before this one that were not told: there were too many."""

    @property
    def from_us(self) -> bool:
        """We sent the request."""
        return self.kind in ("RAR", "ASR")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def encode(self) -> bytes:
        return orjson.dumps(self)

    @staticmethod
    def decode(data: bytes) -> Rung:
        """ValueError: it is none of this version."""
        try:
            fields = orjson.loads(data)
            services = tuple(RungService(**each) for each in fields.pop("services"))
            return Rung(**fields, services=services)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no rung: {type(error).__name__}") from None
