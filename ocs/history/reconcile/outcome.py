"""The result of a reconciliation: counts, amounts and what is at stake, by outcome."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    MATCHED = "matched"
    DIFFERENT = "different"
    """In both, with more difference than the tolerance."""
    MISSING_HERE = "missing_here"
    """The host bills it; our records do not have it."""
    MISSING_THERE = "missing_there"
    """Our records have it; the host does not bill it."""
    DUPLICATE = "duplicate"
    """A line of the host that repeats an earlier one in every field."""
    EDGE = "edge"
    """The session began before the range or ended after it: its units are not those of the range, and not compared."""
    OPEN = "open"
    """The session is still open here: its records follow."""


DIFFERENCES = (Outcome.DIFFERENT, Outcome.MISSING_HERE, Outcome.MISSING_THERE, Outcome.DUPLICATE)
"""Outcomes that somebody must explain."""


@dataclass(slots=True)
class Total:
    """Of one outcome and service. Micro-EUR."""

    count: int = 0
    ours: int = 0
    """Units by our records."""
    theirs: int = 0
    charged: int = 0
    """What we charged, gross."""
    billed: int = 0
    """What the host bills."""
    stake: int = 0


@dataclass(slots=True)
class Result:
    since: int
    until: int
    """The range that was compared, Unix seconds."""
    lines: int = 0
    bad_lines: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    """(line, reason) of the first bad lines."""
    totals: defaultdict[tuple[Outcome, str], Total] = field(default_factory=lambda: defaultdict(Total))
    """By outcome and service."""

    def add(
        self, outcome: Outcome, service: str, *, ours: int, theirs: int, charged: int, billed: int, stake: int
    ) -> None:
        total = self.totals[outcome, service]
        total.count += 1
        total.ours, total.theirs = total.ours + ours, total.theirs + theirs
        total.charged, total.billed = total.charged + charged, total.billed + billed
        total.stake += stake

    def count(self, outcome: Outcome) -> int:
        return sum(total.count for (each, _), total in self.totals.items() if each is outcome)

    def stake(self, outcome: Outcome) -> int:
        return sum(total.stake for (each, _), total in self.totals.items() if each is outcome)

    @property
    def differences(self) -> int:
        return sum(self.count(each) for each in DIFFERENCES)

    @property
    def ok(self) -> bool:
        return not self.differences and not self.bad_lines

    def as_json(self) -> dict[str, object]:
        """The names are stable: programs rely on them."""
        return {
            "since": self.since,
            "until": self.until,
            "lines": self.lines,
            "bad_lines": self.bad_lines,
            "differences": self.differences,
            "at_stake_micro_eur": sum(self.stake(each) for each in DIFFERENCES),
            "outcomes": [
                {"outcome": outcome.value, "service": service, **_named(total)}
                for (outcome, service), total in sorted(self.totals.items())
            ],
        }


def _named(total: Total) -> dict[str, int]:
    units = {"ours": "our_units", "theirs": "their_units", "count": "count"}
    return {units.get(name, f"{name}_micro_eur"): value for name, value in asdict(total).items()}
