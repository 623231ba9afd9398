"""The watchdog of RFC 3539 §3.4.1 as a table: (watch, event, now) → (watch, actions, deadline).

Tw is Twinit with a random part of at most ±2 s, which the caller passes to every step (no randomness here). Any message
counts as a sign of life. At most one DWR is unanswered at a time; none is repeated.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

TWINIT_S = 30.0
JITTER_S = 2.0
DWAS_TO_TRUST = 3
"""DWAs that a reopened connection must give before it is OK."""


class WatchState(Enum):
    INITIAL = "initial"
    OKAY = "okay"
    SUSPECT = "suspect"
    DOWN = "down"
    REOPEN = "reopen"


class WatchEvent(Enum):
    CONNECTION_UP = "connection_up"
    CONNECTION_DOWN = "connection_down"
    RECEIVED_DWA = "received_dwa"
    RECEIVED_OTHER = "received_other"
    TIMER = "timer"


class WatchAction(Enum):
    SEND_DWR = "send_dwr"
    FAILOVER = "failover"
    FAILBACK = "failback"
    CLOSE_CONNECTION = "close_connection"
    ATTEMPT_OPEN = "attempt_open"
    THROW_AWAY = "throw_away"


class Watch(NamedTuple):
    """State with the variables of §3.4.1: Pending, and NumDWA (-1 = one more silence ends the connection)."""

    state: WatchState = WatchState.INITIAL
    pending: bool = False
    answers: int = 0


class WatchStep(NamedTuple):
    watch: Watch
    actions: tuple[WatchAction, ...]
    deadline: float | None
    """When to call `step` with TIMER; None = unchanged."""


class Rule(NamedTuple):
    """A row: actions, next state, changes of Pending and NumDWA, and whether Tw restarts (SetWatchdog)."""

    actions: tuple[WatchAction, ...]
    state: WatchState
    pending: bool | None = None
    answers: int | None = None
    """New NumDWA; None = unchanged."""
    counts: bool = False
    """NumDWA + 1."""
    rearm: bool = True


_S, _E, _A = WatchState, WatchEvent, WatchAction
_ANY = "any"

TABLE: dict[tuple[WatchState, WatchEvent, str], Rule] = {
    # RFC 3539 §3.4.1, INITIAL
    (_S.INITIAL, _E.CONNECTION_UP, _ANY): Rule((), _S.OKAY, pending=False),
    (_S.INITIAL, _E.TIMER, _ANY): Rule((_A.ATTEMPT_OPEN,), _S.INITIAL),
    # OKAY
    (_S.OKAY, _E.RECEIVED_DWA, _ANY): Rule((), _S.OKAY, pending=False),
    (_S.OKAY, _E.RECEIVED_OTHER, _ANY): Rule((), _S.OKAY),
    (_S.OKAY, _E.TIMER, "idle"): Rule((_A.SEND_DWR,), _S.OKAY, pending=True),
    (_S.OKAY, _E.TIMER, "pending"): Rule((_A.FAILOVER,), _S.SUSPECT),
    (_S.OKAY, _E.CONNECTION_DOWN, _ANY): Rule((_A.CLOSE_CONNECTION, _A.FAILOVER), _S.DOWN),
    # SUSPECT
    (_S.SUSPECT, _E.RECEIVED_DWA, _ANY): Rule((_A.FAILBACK,), _S.OKAY, pending=False),
    (_S.SUSPECT, _E.RECEIVED_OTHER, _ANY): Rule((_A.FAILBACK,), _S.OKAY),
    (_S.SUSPECT, _E.TIMER, _ANY): Rule((_A.CLOSE_CONNECTION,), _S.DOWN),
    (_S.SUSPECT, _E.CONNECTION_DOWN, _ANY): Rule((_A.CLOSE_CONNECTION,), _S.DOWN),
    # DOWN
    (_S.DOWN, _E.CONNECTION_UP, _ANY): Rule((_A.SEND_DWR,), _S.REOPEN, pending=True, answers=0),
    (_S.DOWN, _E.TIMER, _ANY): Rule((_A.ATTEMPT_OPEN,), _S.DOWN),
    (_S.DOWN, _E.RECEIVED_DWA, _ANY): Rule((_A.THROW_AWAY,), _S.DOWN, rearm=False),
    (_S.DOWN, _E.RECEIVED_OTHER, _ANY): Rule((_A.THROW_AWAY,), _S.DOWN, rearm=False),
    # REOPEN
    (_S.REOPEN, _E.RECEIVED_DWA, "last"): Rule((_A.FAILBACK,), _S.OKAY, pending=False, counts=True),
    (_S.REOPEN, _E.RECEIVED_DWA, "more"): Rule((), _S.REOPEN, pending=False, counts=True, rearm=False),
    (_S.REOPEN, _E.RECEIVED_OTHER, _ANY): Rule((_A.THROW_AWAY,), _S.REOPEN, rearm=False),
    (_S.REOPEN, _E.TIMER, "idle"): Rule((_A.SEND_DWR,), _S.REOPEN, pending=True),
    (_S.REOPEN, _E.TIMER, "pending"): Rule((), _S.REOPEN, answers=-1),
    (_S.REOPEN, _E.TIMER, "silent"): Rule((_A.CLOSE_CONNECTION,), _S.DOWN),
    (_S.REOPEN, _E.CONNECTION_DOWN, _ANY): Rule((_A.CLOSE_CONNECTION,), _S.DOWN),
}


def _condition(watch: Watch, event: WatchEvent) -> str:
    """The condition that selects among a state's rows for the event."""
    if event is WatchEvent.TIMER:
        if not watch.pending:
            return "idle"
        return "silent" if watch.state is WatchState.REOPEN and watch.answers < 0 else "pending"
    return "last" if watch.answers >= DWAS_TO_TRUST - 1 else "more"


def step(watch: Watch, event: WatchEvent, now: float, tw_s: float) -> WatchStep:
    rule = TABLE.get((watch.state, event, _ANY)) or TABLE.get((watch.state, event, _condition(watch, event)))
    if rule is None:  # a connection event that repeats the state: no change
        return WatchStep(watch, (), None)
    answers = watch.answers if rule.answers is None else rule.answers
    following = Watch(
        rule.state,
        watch.pending if rule.pending is None else rule.pending,
        answers + 1 if rule.counts else answers,
    )
    return WatchStep(following, rule.actions, now + tw_s if rule.rearm else None)
