"""A meter: one service of a session, which consumes its grants at a constant rate and says when it must report
(TS 32.299 §6.3, §6.5.2). And what makes services report when the subscriber moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.plan import PlannedUse
from simulator.requests import REASON_EXHAUSTED, REASON_THRESHOLD, REASON_VALIDITY, Place
from simulator.tally import SUCCESS, UsedService
from simulator.wire import ServiceAnswer

MIN_STEP_S = 0.5
"""Least simulated seconds between two requests of a meter."""
RAT_CHANGE, MCC_CHANGE, MNC_CHANGE, SERVING_NODE_CHANGE = 4, 30, 31, 61
"""Trigger-Types (TS 32.299 §7.2.236)."""
ROUNDING = 1e-6
"""Units that floating point may lose over many small steps."""


@dataclass(slots=True)
class Meter:
    """One service of a session."""

    use: PlannedUse
    rate: float
    """Units per simulated second."""
    record: UsedService
    left: int
    """Units the subscriber still wants."""
    granted: int = 0
    threshold: int = 0
    granted_at_s: float = 0.0
    valid_until_s: float = math.inf
    final: bool = False
    open: bool = False
    """It has a grant."""
    armed: tuple[int, ...] = ()
    """Trigger-Types that it reports at once."""
    changes_at: int = 0
    """Tariff-Time-Change of the grant, Unix seconds; 0 = none."""
    changes_at_s: float = math.inf
    """The same in the session's time."""

    def take(self, answer: ServiceAnswer, code: int, now_s: float, unix_s: int) -> None:
        """Replaces the grant by that of a new answer, which came at these seconds of the session and Unix seconds."""
        self.record.refused = 0 if code == SUCCESS else code
        self.granted = answer.granted or 0
        self.final = answer.final_action is not None
        self.threshold = min(answer.threshold, self.granted)
        self.granted_at_s = now_s
        self.valid_until_s = now_s + answer.validity_s if answer.validity_s else math.inf
        self.open = code == SUCCESS and self.granted > 0
        if answer.triggers is not None:
            self.armed = answer.triggers
        self.changes_at = answer.changes_at
        self.changes_at_s = now_s + (answer.changes_at - unix_s) if answer.changes_at else math.inf

    def after_change(self, used: int, unix_s: int) -> int:
        """How much of `used` was used after the tariff change of the grant."""
        if unix_s < self.changes_at or math.isinf(self.changes_at_s):
            return 0
        before = int(self.rate * max(self.changes_at_s - self.granted_at_s, 0.0) + ROUNDING)
        return max(used - before, 0)

    def consumed(self, now_s: float) -> int:
        """Units used of the current grant."""
        return min(int(self.rate * max(now_s - self.granted_at_s, 0.0) + ROUNDING), self.granted, self.left)

    def next_event_s(self) -> float:
        """When it must report, or has used all that it wants."""
        stop = self.granted if self.final else self.granted - self.threshold
        wanted = min(stop, self.left)
        return min(self.granted_at_s + max(wanted / self.rate, MIN_STEP_S), self.valid_until_s)

    def reason(self, now_s: float) -> int:
        if now_s >= self.valid_until_s:
            return REASON_VALIDITY
        return REASON_THRESHOLD if self.threshold else REASON_EXHAUSTED

    def settle(self, used: int) -> None:
        self.left -= used
        self.record.used += used
        self.open = False


def triggers_of(before: Place, after: Place) -> frozenset[int]:
    """What changes between two places."""
    found = set()
    if before.rat != after.rat:
        found.add(RAT_CHANGE)
    if before.plmn != after.plmn:
        found.add(SERVING_NODE_CHANGE)
    if before.plmn[:3] != after.plmn[:3]:
        found.add(MCC_CHANGE)
    if before.plmn[3:] != after.plmn[3:]:
        found.add(MNC_CHANGE)
    return frozenset(found)
