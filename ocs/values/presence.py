"""Presence and use of an account at home and abroad, day by day (HOT-ROA-4).

Days are counted since 1970-01-01 in the operator's time zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Use = dict[str, tuple[int, int]]
"""Service → (raw units used at home, raw units used abroad)."""


@dataclass(slots=True)
class DayUse:
    """A calendar day of the operator."""

    at_home: bool = False
    """The account used something at home."""
    abroad: bool = False
    """The account used something abroad, in the EU."""
    use: Use = field(default_factory=dict)

    def add(self, service: str, units: int, *, abroad: bool) -> None:
        home, away = self.use.get(service, (0, 0))
        self.use[service] = (home, away + units) if abroad else (home + units, away)
        self.abroad, self.at_home = self.abroad or abroad, self.at_home or not abroad

    def merged(self, other: DayUse) -> DayUse:
        use = dict(self.use)
        for service, (home, away) in other.use.items():
            before = use.get(service, (0, 0))
            use[service] = (before[0] + home, before[1] + away)
        return DayUse(self.at_home or other.at_home, self.abroad or other.abroad, use)


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of an account."""

    since: int
    """The day of the first use abroad."""
    days: Mapping[int, DayUse]
    """Days without use are missing."""
    state: str = ""
    """"" = nothing, "warned" or "surcharge"."""
    state_day: int = 0
    """The day on which the state began."""
    equipment: tuple[tuple[int, ...], ...] = ()
    """Of each equipment that it had on arrival abroad: the last day of each account that had it, its own too."""

    def sims(self, first: int) -> int:
        """How many accounts had the same equipment since that day; 0 or 1 = it alone."""
        return max((sum([day >= first for day in days]) for days in self.equipment), default=0)


@dataclass(frozen=True, slots=True)
class PresenceLimits:
    """Thresholds of the catalogue."""

    window_days: int
    """The last so many days are looked at."""
    share_percent: int
    """Presence and use abroad above this share are mostly abroad."""
    notice_days: int
    """Days between the warning and the surcharge; so many days tell whether the pattern has changed."""
    silent_days: int
    """So many days without any use, in a window with use only abroad, are long inactivity."""
