"""Fair use in the EU by presence and use (HOT-ROA-4; Regulation (EU) 2016/2286, Article 4).

Pure: the observed days of an account, its state and today → what to do. `ocs.catalogue.fair_use` has the other half,
the volume of open data bundles (HOT-ROA-2).

A day with use at home is a day at home, even if the subscriber was abroad on it too: so a phone that hops over a border
is at home. Days and use outside the EU count for neither side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ocs.values.presence import DayUse, Observation, PresenceLimits

SEVERAL_SIMS = 2
"""So many accounts in one equipment are several SIMs of one user in turn."""


EQUIPMENT_WINDOWS = 2
"""The equipment of an arrival counts for so many windows."""


class State(StrEnum):
    NONE = ""
    WARNED = "warned"
    SURCHARGE = "surcharge"


class Action(StrEnum):
    NONE = "none"
    WARN = "warn"
    SURCHARGE = "surcharge"
    STOP = "stop"
    """The pattern has changed: the warning is void, or the surcharge ends."""


class Why(StrEnum):
    """Indicators of the pattern."""

    PRESENCE = "presence"
    """Presence and use were mostly abroad."""
    SILENCE = "silence"
    """Long inactivity, and use only abroad."""
    SIMS = "sims"
    """Use only abroad, in equipment in which other SIMs of the operator were used abroad too."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Presence and use of some days."""

    home_days: int
    abroad_days: int
    use: Mapping[str, tuple[int, int]]
    """Service → (raw units at home, abroad)."""

    @property
    def percent(self) -> int:
        """Share of the days abroad, cut off; 0 = no days."""
        days = self.home_days + self.abroad_days
        return self.abroad_days * 100 // days if days else 0

    def mostly_abroad(self, share_percent: int) -> bool:
        """Presence, and the use of at least one service, are abroad above the share."""
        if not _above(self.home_days, self.abroad_days, share_percent):
            return False
        return any(_above(home, abroad, share_percent) for home, abroad in self.use.values())


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    state: State
    """The state afterwards."""
    window: Shares
    recent: Shares
    """Of the last `notice_days`."""
    why: tuple[Why, ...] = ()
    """Indicators that hold."""
    observed_days: int = 0
    """Whole days of observation, at most those of the window; until they are all there, nothing is decided."""
    deadline: int = 0
    """Of a warning: the day on which the surcharge begins if the pattern goes on."""
    sims: int = 0
    """Accounts that had the same equipment abroad lately, this one too; 0 = it is not known."""


NEXT: Mapping[tuple[State, bool], tuple[Action, State]] = {
    (State.NONE, True): (Action.WARN, State.WARNED),
    (State.NONE, False): (Action.NONE, State.NONE),
    (State.WARNED, True): (Action.SURCHARGE, State.SURCHARGE),
    (State.WARNED, False): (Action.STOP, State.NONE),
    (State.SURCHARGE, True): (Action.NONE, State.SURCHARGE),
    (State.SURCHARGE, False): (Action.STOP, State.NONE),
}
"""(state, whether the pattern holds) → what to do. A warned account is looked at when its time is over."""


def shares(days: Mapping[int, DayUse], first: int, until: int) -> Shares:
    """Of the days from `first` to the one before `until`."""
    home = abroad = 0
    use: dict[str, tuple[int, int]] = {}
    for number in range(first, until):
        day = days.get(number)
        if day is None:
            continue
        home += day.at_home
        abroad += day.abroad and not day.at_home
        for service, (at_home, away) in day.use.items():
            before = use.get(service, (0, 0))
            use[service] = before[0] + at_home, before[1] + away
    return Shares(home, abroad, use)


def decide(observed: Observation, today: int, limits: PresenceLimits) -> Decision:
    """What HOT-ROA-4 demands today, which itself does not count: it is not over.

    The pattern holds if the window and its last `notice_days` were mostly abroad; once warned, the last days alone tell
    whether it has changed.
    """
    state = State(observed.state)
    first = max(today - limits.window_days, observed.since + 1)
    window = shares(observed.days, first, today)
    recent = shares(observed.days, max(today - limits.notice_days, first), today)
    deadline = observed.state_day + limits.notice_days if state is State.WARNED else 0
    observed_days = max(today - first, 0)
    still = Decision(Action.NONE, state, window, recent, (), observed_days, deadline, _sims(observed, today, limits))
    goes_on = recent.mostly_abroad(limits.share_percent)
    if state is State.NONE and observed_days < limits.window_days:
        return still
    if state is State.WARNED and today < deadline:
        return still
    why = _indicators(observed, first, today, window, limits)
    action, after = NEXT[state, goes_on and (state is not State.NONE or bool(why))]
    if action is Action.WARN:
        deadline = today + limits.notice_days
    deadline = deadline if after is State.WARNED else 0
    return Decision(action, after, window, recent, why, observed_days, deadline, _sims(observed, today, limits))


def _indicators(
    observed: Observation, first: int, today: int, window: Shares, limits: PresenceLimits
) -> tuple[Why, ...]:
    found = []
    if window.mostly_abroad(limits.share_percent):
        found.append(Why.PRESENCE)
    if not window.home_days and window.abroad_days and _longest_silence(observed, first, today) >= limits.silent_days:
        found.append(Why.SILENCE)
    if not window.home_days and window.abroad_days and _sims(observed, today, limits) >= SEVERAL_SIMS:
        found.append(Why.SIMS)
    return tuple(found)


def _sims(observed: Observation, today: int, limits: PresenceLimits) -> int:
    """An arrival abroad tells the equipment, later use does not: so those of twice the window count."""
    return observed.sims(today - EQUIPMENT_WINDOWS * limits.window_days)


def _longest_silence(observed: Observation, first: int, until: int) -> int:
    """Most days one after the other without any use."""
    longest = silent = 0
    for number in range(first, until):
        silent = 0 if number in observed.days else silent + 1
        longest = max(longest, silent)
    return longest


def next_look(observed: Observation, today: int, limits: PresenceLimits) -> int:
    """The day on which the account is to be evaluated next."""
    return max(today + 1, observed.since + 1 + limits.window_days if not observed.state else 0)


def is_over(observed: Observation, today: int, limits: PresenceLimits) -> bool:
    """Nothing of the window was abroad, and nothing is in force: the account need not be observed."""
    recent = (day.abroad for number, day in observed.days.items() if number >= today - limits.window_days)
    return not observed.state and not any(recent)


def _above(home: int, abroad: int, share_percent: int) -> bool:
    return abroad * 100 > (home + abroad) * share_percent
