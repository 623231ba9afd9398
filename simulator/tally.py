"""Observations of a run: counts, latencies, and each session's reported use. Audit and report read nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from simulator.stats import Latencies

SUCCESS = 2001
CREDIT_LIMIT_REACHED, END_USER_SERVICE_DENIED = 4012, 4010
MAX_UNEQUAL_TEXTS = 20
REFUSALS = frozenset((4010, 4012, 5003, 5030, 5031))
"""Result-Codes that refuse a service for a business reason."""
PROTOCOL_ERRORS = range(3000, 4000)
"""Result-Codes that do not say whether the request was handled (RFC 6733 §7.1.3)."""
MOST_STEPS = 4_000_000
"""Most requests of a run that are kept (some 400 octets each); accounts with others are not computed again."""


@dataclass(slots=True)
class UsedService:
    """Use of one service that one session reported."""

    service: str
    rating_group: int | None
    used: int = 0
    refused: int = 0
    """The Result-Code that ended it, or 0."""
    service_identifier: int | None = None

    @property
    def key(self) -> str:
        """The service's name in the records (docs/RECORDS.md)."""
        group = "" if self.rating_group is None else str(self.rating_group)
        return group if self.service_identifier is None else f"{group}:{self.service_identifier}"


@dataclass(frozen=True, slots=True)
class StepPart:
    """One service of a request, and what the answer gave it."""

    service: int
    """Its place in `SessionReport.services`."""
    used: int = 0
    """Units used. Of a one-off debit: those that the answer granted."""
    used_after: int = 0
    """Of them, after the tariff change that the last answer told (Tariff-Change-Usage)."""
    wanted: int | None = None
    """Units requested; 0 = as many as the server grants by itself, None = none."""
    granted: int = 0
    code: int = 0
    """Result-Code of the service, else of the command."""
    final: bool = False
    """The grant is the last one (Final-Unit-Indication)."""
    changes_at: int = 0
    """Tariff-Time-Change of the grant, Unix seconds; 0 = none."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a session and its answer, as its network element saw them."""

    kind: str
    """CC-Request-Type: I, U, T or E."""
    number: int
    place: str
    """Where the subscriber was. Use that it reports is of the place before; what is granted, of this one."""
    code: int
    """Result-Code of the command; 0 = no answer."""
    at: int
    """Unix seconds: it was sent."""
    until: int
    """Unix seconds: it was answered."""
    sent: float
    """As `at`, by a monotonic clock that all sessions share: which came first."""
    answered: float
    parts: tuple[StepPart, ...] = ()
    refund: bool = False
    """It takes a one-off debit back (Requested-Action REFUND_ACCOUNT)."""

    @property
    def is_clear(self) -> bool:
        """Whether the answer says what came of it."""
        return bool(self.code) and self.code not in PROTOCOL_ERRORS


@dataclass(slots=True)
class SessionReport:
    """One session as seen by its network element."""

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
    imsi: str = ""
    started_at: int = 0
    """Unix seconds of its first request; 0 = it sent none."""
    ended_at: int = 0
    """Unix seconds of its last request."""
    charging_id: int = 0
    services: list[UsedService] = field(default_factory=list)
    forwarding: str = ""
    """A call that the subscriber forwards (HOT-RAT-7): "early" = before the phone was reached, "late" = afterwards. Its
    other party, and so `destination_class`, is the number that it is forwarded to.
    """
    other_places: tuple[str, ...] = ()
    """Where it went besides `place`."""
    steps: list[Step] = field(default_factory=list)
    """Its requests."""
    steps_lost: bool = False
    """There were too many to keep: `steps` lacks some."""
    closed: bool = False
    """Its end was reported (T or E answered)."""
    uncertain: bool = False
    """A request that reported use was not answered, or was answered with a protocol error: the use may or may not have
    been charged.
    """

    @property
    def use_is_uncertain(self) -> bool:
        """As `uncertain`, and for a one-off debit without a clear answer: what it asked for may have been charged."""
        return self.uncertain or any(step.kind == "E" and not step.is_clear for step in self.steps)


@dataclass(slots=True)
class Tally:
    """Counts of a run. Times are simulated seconds where stated."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(traffic, CC-Request-Type) → requests, without repetitions."""
    results: Counter[int] = field(default_factory=Counter)
    """Result-Code of the command."""
    service_results: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(service, Result-Code in its MSCC)."""
    repeats: int = 0
    unequal_repeats: int = 0
    """Repetitions with another answer than the first, which was final: must stay 0."""
    unequal_texts: list[str] = field(default_factory=list)
    """Which they were, of the first MAX_UNEQUAL_TEXTS."""
    evaluated_anew: int = 0
    """Repetitions with another answer than the first, which was a refusal that nothing remembers."""
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
    """MSISDN → reason, for accounts that were refused."""
    died: int = 0
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """("RAR" or "ASR", reaction of the session: "asked again", "ended", "ignored", "silent", "unknown") → requests."""
    topped_up: set[str] = field(default_factory=set)
    """MSISDNs that were topped up while a session had no units."""
    went_on: set[str] = field(default_factory=set)
    """Those whose session then got units after a RAR."""
    reconnects: int = 0
    failovers: int = 0
    """Requests that were sent again another way: through another agent, or by another element."""
    moved: int = 0
    """Sessions with which another element went on."""
    sessions: list[SessionReport] = field(default_factory=list)
    live_sessions: int = 0
    steps_kept: int = 0

    def note(self, report: SessionReport, step: Step) -> None:
        """Keep a request for the audit, up to MOST_STEPS."""
        if self.steps_kept < MOST_STEPS:
            self.steps_kept += 1
            report.steps.append(step)
        else:
            report.steps_lost = True

    def unequal(self, session_id: str, kind: str, number: int, first_code: int, second_code: int) -> None:
        """A repetition got another answer than the first one."""
        self.unequal_repeats += 1
        if len(self.unequal_texts) < MAX_UNEQUAL_TEXTS:
            other = "with other contents" if first_code == second_code else f"then {second_code}"
            self.unequal_texts.append(f"{session_id} CCR-{kind} #{number}: answered {first_code}, {other}")

    @property
    def sent(self) -> int:
        return sum(self.requests.values())

    @property
    def refusals(self) -> int:
        return sum(self.blocked.values())
