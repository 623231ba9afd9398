"""What the story leaves: entries of its timeline, notices, what the network asked, checks. Times are seconds of the
story, real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.tally import SessionReport


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of the network, or of the server to it, and what was answered."""

    at_s: float
    what: str
    """CCR-I, CCR-U, CCR-T, RAR, ASR."""
    code: int
    """Result-Code of the service, or of the command without one."""
    granted: int | None = None
    """Octets, or seconds of a call."""
    used: int = 0
    traffic: str = "data"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the timeline: something that the subscriber or the shop did, or a text that he was sent."""

    at_s: float
    did: str
    asked: str = ""
    """What the network asked, and the server it."""
    answer: str = ""
    credit: str = ""
    """EUR afterwards; "" = not looked at."""
    units: int | None = None
    """Octets left of the pack; None = it has none (yet)."""
    notice: str = ""
    lacks: bool = False
    """A service was refused."""


@dataclass(frozen=True, slots=True)
class Told:
    """A notice of the API."""

    at_s: float
    """When the API first showed it."""
    name: str
    text: str
    state: str


@dataclass(frozen=True, slots=True)
class Check:
    right: bool
    what: str
    seen: str


@dataclass(slots=True)
class StoryResult:
    """Everything that the report shows of the story."""

    msisdn: str
    entries: list[Entry] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    reports: list[SessionReport] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it came to its end, and all checks are right."""
        return bool(self.checks) and all(check.right for check in self.checks)

    @property
    def rows(self) -> list[Entry]:
        """Entries and notices, by time."""
        texts = [Entry(told.at_s, "is told", notice=told.text) for told in self.told]
        return sorted([*self.entries, *texts], key=lambda entry: entry.at_s)
