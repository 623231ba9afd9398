"""A run in a few numbers, for the terminal, --json and the report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from simulator.acting import Acted
from simulator.outside_audit import OutsideAudit
from simulator.stats import LatencySummary, summarise
from simulator.story_result import StoryResult
from simulator.tally import Tally

RESULT_NAMES = {
    2001: "success",
    3002: "unable to deliver",
    3004: "too busy",
    4010: "service denied",
    4012: "credit limit reached",
    5002: "unknown session",
    5003: "not authorised",
    5006: "resources exceeded",
    5012: "unable to comply",
    5030: "user unknown",
    5031: "rating failed",
}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The summary that `ocs-sim run` prints."""

    scenario: str
    seed: int
    speed: float
    wall_s: float
    sessions: int
    sessions_died: int
    requests: int
    requests_per_s: float
    answered: int
    unanswered: int
    repeats: int
    unequal_repeats: int
    evaluated_anew: int
    """Repetitions of a refused opening or event, or after a protocol error, with another answer than the first."""
    failovers: int
    """Repetitions over another agent, or by another element."""
    sessions_moved: int
    """Sessions with which another element of their group went on."""
    requests_by_service: Mapping[str, int]
    requests_by_type: Mapping[str, int]
    result_codes: Mapping[str, int]
    service_result_codes: Mapping[str, int]
    used: Mapping[str, int]
    """Units by service."""
    refusals: int
    accounts_blocked_zero: int
    accounts_blocked_limit: int
    accounts_blocked_other: int
    server_requests: Mapping[str, int]
    """RAR and ASR by the session's reaction."""
    topped_up: int
    went_on: int
    """Sessions without units that continued after a RAR."""
    latency: LatencySummary

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(slots=True)
class RunOutcome:
    """Everything that decides about a run."""

    summary: RunSummary
    tally: Tally
    audit: OutsideAudit | None = None
    books: Mapping[str, object] | None = None
    """`ocs audit --json`."""
    money: Mapping[str, int] = field(default_factory=dict)
    books_findings: list[str] = field(default_factory=list)
    replayed: int = 0
    replayed_unanswered: int = 0
    replayed_errors: int = 0
    story: StoryResult | None = None
    acted: Acted | None = None
    """Top-ups, vouchers and orders of a scenario of days."""

    @property
    def ok(self) -> bool:
        """Whether every request was answered, not only with errors, repetitions got the same answer, and books and
        records are right.
        """
        return (
            not self.summary.unanswered
            and any(code.startswith("2") for code in self.summary.result_codes)
            and not self.replayed_errors
            and not self.summary.unequal_repeats
            and not self.replayed_unanswered
            and not self.books_findings
            and (self.audit is None or self.audit.ok)
            and (self.story is None or self.story.ok)
            and (self.acted is None or not self.acted.failures)
        )


def summarise_run(tally: Tally, *, scenario: str, seed: int, speed: float, wall_s: float) -> RunSummary:
    by_service: Counter[str] = Counter()
    by_type: Counter[str] = Counter()
    for (service, kind), count in tally.requests.items():
        by_service[service] += count
        by_type[kind] += count
    used: defaultdict[str, int] = defaultdict(int)
    for (service, _), units in tally.used.items():
        used[service] += units
    codes: Counter[int] = Counter()
    for (_, code), count in tally.service_results.items():
        codes[code] += count
    blocked = Counter(tally.blocked_accounts.values())
    return RunSummary(
        scenario=scenario,
        seed=seed,
        speed=speed,
        wall_s=round(wall_s, 2),
        sessions=len(tally.sessions),
        sessions_died=tally.died,
        requests=tally.sent,
        requests_per_s=round(tally.sent / wall_s, 1) if wall_s else 0.0,
        answered=tally.answered,
        unanswered=tally.unanswered,
        repeats=tally.repeats,
        unequal_repeats=tally.unequal_repeats,
        evaluated_anew=tally.evaluated_anew,
        failovers=tally.failovers,
        sessions_moved=tally.moved,
        requests_by_service=dict(sorted(by_service.items())),
        requests_by_type=dict(sorted(by_type.items())),
        result_codes={str(code): count for code, count in sorted(tally.results.items())},
        service_result_codes={str(code): count for code, count in sorted(codes.items())},
        used=dict(sorted(used.items())),
        refusals=tally.refusals,
        accounts_blocked_zero=blocked["zero"],
        accounts_blocked_limit=blocked["limit"],
        accounts_blocked_other=blocked["other"],
        server_requests={f"{command} {what}": count for (command, what), count in sorted(tally.asked.items())},
        topped_up=len(tally.topped_up),
        went_on=len(tally.went_on),
        latency=summarise(tally.latencies),
    )


def audit_json(audit: OutsideAudit) -> dict[str, object]:
    """All fields by name; counters become plain tables (`asdict` would count their items)."""
    values = {one.name: getattr(audit, one.name) for one in fields(audit)}
    values["differences"] = [each.as_json() for each in audit.differences]
    return {"ok": audit.ok} | {
        name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()
    }


def human_units(service: str, units: int) -> str:
    """ "164.6 GB", "21 h 05 min", "2,358 messages"."""
    if service in ("data", "portal"):
        size = float(units)
        for name in ("B", "kB", "MB", "GB"):
            if size < 1024:
                return f"{size:,.1f} {name}"
            size /= 1024
        return f"{size:,.1f} TB"
    if service == "voice":
        return f"{units // 3600:,} h {units % 3600 // 60:02d} min"
    return f"{units:,} messages"


def eur(micro_eur: int) -> str:
    """ "1,234.56": rounded to the cent for display; sums use micro-EUR."""
    cents = (abs(micro_eur) + 5_000) // 10_000
    return f"{'-' if micro_eur < 0 else ''}{cents // 100:,}.{cents % 100:02d}"
