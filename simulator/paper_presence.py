"""Presence and use of an account in the EU, on paper (HOT-ROA-4): who pays the surcharge.

Days are those of the operator's time zone, as ordinals. A day with use at home is a day at home. Use counts on the day
of its charging record: at its end, or when a request comes an hour after the last record of its session.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

WINDOW_DAYS, NOTICE_DAYS, SILENT_DAYS, SHARE_PERCENT = 120, 14, 60, 50
RECORD_EVERY_S = 3_600
HOME, EU = "home", "eu"
NONE, WARNED, SURCHARGE = "", "warned", "surcharge"


class PaperPresence:
    def __init__(self) -> None:
        self.state = NONE
        self.told: list[tuple[int, str]] = []
        """(moment, new state)."""
        self._days: defaultdict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
        """Day → (service, place) → units."""
        self._since = 0
        """The first day abroad; 0 = nothing is observed."""
        self._state_day = 0
        self._open: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._recorded: dict[str, int] = {}

    def use(self, at: int, day: int, session: str, service: str, place: str, units: int, *, ends: bool) -> None:
        """A request reported use; forwarded calls are none. `ends`: of the session."""
        self._recorded.setdefault(session, at)
        if place in (HOME, EU) and units:
            self._open[session][service, place] += units
        if ends or at >= self._recorded[session] + RECORD_EVERY_S:
            self._recorded[session] = at
            for key, count in self._open.pop(session, Counter[tuple[str, str]]()).items():
                self._note(day, key, count)

    def _note(self, day: int, key: tuple[str, str], units: int) -> None:
        if not self._since and key[1] == EU:
            self._since = day
        if self._since:
            self._days[day][key] += units

    def evaluate(self, at: int, today: int) -> None:
        """In the night: the day before is over."""
        if not self._since:
            return
        first = max(today - WINDOW_DAYS, self._since + 1)
        goes_on = self._mostly_abroad(max(today - NOTICE_DAYS, first), today)
        if self.state == NONE and today - first >= WINDOW_DAYS and goes_on and self._indicates(first, today):
            self._become(WARNED, at, today)
        elif self.state == WARNED and today >= self._state_day + NOTICE_DAYS:
            self._become(SURCHARGE if goes_on else NONE, at, today)
        elif self.state == SURCHARGE and not goes_on:
            self._become(NONE, at, today)
        if self.state == NONE and not any(self._abroad(day) for day in self._days if day >= today - WINDOW_DAYS):
            self._since = 0
            self._days.clear()

    def _become(self, state: str, at: int, today: int) -> None:
        self.state, self._state_day = state, today
        self.told.append((at, state))

    def _abroad(self, day: int) -> bool:
        return any(place == EU for _, place in self._days[day])

    def _indicates(self, first: int, today: int) -> bool:
        """Mostly abroad; or only abroad, with a long time without use."""
        if self._mostly_abroad(first, today):
            return True
        used = [day for day in range(first, today) if self._days.get(day)]
        if not used or any(place == HOME for day in used for _, place in self._days[day]):
            return False
        edges = [first - 1, *used, today]
        return max(after - before - 1 for before, after in pairwise(edges)) >= SILENT_DAYS

    def _mostly_abroad(self, first: int, until: int) -> bool:
        """More than half of the days with use, and of the use of at least one service."""
        home_days = abroad_days = 0
        use: Counter[tuple[str, str]] = Counter()
        for day in range(first, until):
            found = self._days.get(day)
            if found:
                at_home = any(place == HOME for _, place in found)
                home_days, abroad_days = home_days + at_home, abroad_days + (not at_home)
                use.update(found)
        if abroad_days * 100 <= (home_days + abroad_days) * SHARE_PERCENT:
            return False
        return any(
            use[service, EU] * 100 > (use[service, EU] + use[service, HOME]) * SHARE_PERCENT
            for service in {service for service, _ in use}
        )
