"""What a run saw: counts, latencies, and what each session reported as used. The audit and the report read nothing
else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from simulator.stats import Latencies

SUCCESS = 2001
CREDIT_LIMIT_REACHED, END_USER_SERVICE_DENIED = 4012, 4010
REFUSALS = frozenset((4010, 4012, 5003, 5030, 5031))
"""Results by which a service is refused for a business reason."""


@dataclass(slots=True)
class UsedService:
    """What one session reported of one service."""

    service: str
    rating_group: int | None
    used: int = 0
    refused: int = 0
    """The Result-Code that ended it, or 0."""


@dataclass(slots=True)
class SessionReport:
    """One session as its network element saw it."""

    session_id: str
    traffic: str
    msisdn: str
    package: str
    place: str
    destination_class: str
    incoming: bool
    started_s: float
    """In simulated time."""
    ended_s: float = 0.0
    services: list[UsedService] = field(default_factory=list)
    closed: bool = False
    """Its end was reported (T or E answered)."""
    uncertain: bool = False
    """A request that reported use went unanswered or was answered with a protocol error: it may or may not have
    counted.
    """


@dataclass(slots=True)
class Tally:
    """Everything counted in a run. Times are seconds of simulated time where it says so."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(traffic, CC-Request-Type) → requests, repeats not counted."""
    results: Counter[int] = field(default_factory=Counter)
    """Result-Code of the command."""
    service_results: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(service, Result-Code in its MSCC)."""
    repeats: int = 0
    unequal_repeats: int = 0
    """Repeats that got another answer than the first time: must stay 0."""
    unanswered: int = 0
    lost_on_purpose: int = 0
    answered: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(service, place) → units."""
    timeline: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(simulated minute, traffic) → requests."""
    blocked: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(simulated minute, "zero", "limit" or "other") → refusals."""
    blocked_accounts: dict[str, str] = field(default_factory=dict)
    """msisdn → why, of accounts that were refused."""
    died: int = 0
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """("RAR" or "ASR", what the session did: "asked again", "ended", "ignored", "silent", "unknown") → the server's
    requests.
    """
    topped_up: set[str] = field(default_factory=set)
    """MSISDNs that were topped up when a session of theirs had nothing more."""
    went_on: set[str] = field(default_factory=set)
    """Those whose session got units again, asked by the server."""
    reconnects: int = 0
    sessions: list[SessionReport] = field(default_factory=list)
    live_sessions: int = 0

    @property
    def sent(self) -> int:
        return sum(self.requests.values())

    @property
    def refusals(self) -> int:
        return sum(self.blocked.values())
