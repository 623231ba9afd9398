"""Every (state, event) pair of both machines: the rows of the standards, and no change for all other pairs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import watchdog
from protocol.peer import OPEN_STATES, ROWS, TABLE, PeerAction, PeerEvent, PeerState, PeerTimers, step, wins_election
from protocol.watchdog import Watch, WatchAction, WatchEvent, WatchState

TABLE_5_6 = Path(__file__).parents[1] / "data" / "standards" / "rfc6733-5.6.txt"
TIMERS = PeerTimers(connect_s=10, exchange_s=20, closing_s=5)
LASTS = {
    PeerState.WAIT_CONN_ACK: 10,
    PeerState.WAIT_CONN_ACK_ELECT: 10,
    PeerState.WAIT_I_CEA: 20,
    PeerState.WAIT_RETURNS: 20,
    PeerState.CLOSING: 5,
}


RFC_6733_5_6 = """
Closed               | Start           | I-Snd-Conn-Req                   | Wait-Conn-Ack
                     | R-Conn-CER      | R-Accept, Process-CER, R-Snd-CEA | R-Open
Wait-Conn-Ack        | I-Rcv-Conn-Ack  | I-Snd-CER                        | Wait-I-CEA
                     | I-Rcv-Conn-Nack | Cleanup                          | Closed
                     | R-Conn-CER      | R-Accept, Process-CER            | Wait-Conn-Ack/Elect
                     | Timeout         | Error                            | Closed
Wait-I-CEA           | I-Rcv-CEA       | Process-CEA                      | I-Open
                     | R-Conn-CER      | R-Accept, Process-CER, Elect     | Wait-Returns
                     | I-Peer-Disc     | I-Disc                           | Closed
                     | I-Rcv-Non-CEA   | Error                            | Closed
                     | Timeout         | Error                            | Closed
Wait-Conn-Ack/Elect  | I-Rcv-Conn-Ack  | I-Snd-CER, Elect                 | Wait-Returns
                     | I-Rcv-Conn-Nack | R-Snd-CEA                        | R-Open
                     | R-Peer-Disc     | R-Disc                           | Wait-Conn-Ack
                     | R-Conn-CER      | R-Reject                         | Wait-Conn-Ack/Elect
                     | Timeout         | Error                            | Closed
Wait-Returns         | Win-Election    | I-Disc, R-Snd-CEA                | R-Open
                     | I-Peer-Disc     | I-Disc, R-Snd-CEA                | R-Open
                     | I-Rcv-CEA       | R-Disc                           | I-Open
                     | R-Peer-Disc     | R-Disc                           | Wait-I-CEA
                     | R-Conn-CER      | R-Reject                         | Wait-Returns
                     | Timeout         | Error                            | Closed
R-Open               | Send-Message    | R-Snd-Message                    | R-Open
                     | R-Rcv-Message   | Process                          | R-Open
                     | R-Rcv-DWR       | Process-DWR, R-Snd-DWA           | R-Open
                     | R-Rcv-DWA       | Process-DWA                      | R-Open
                     | R-Conn-CER      | R-Reject                         | R-Open
                     | Stop            | R-Snd-DPR                        | Closing
                     | R-Rcv-DPR       | R-Snd-DPA                        | Closing
                     | R-Peer-Disc     | R-Disc                           | Closed
I-Open               | Send-Message    | I-Snd-Message                    | I-Open
                     | I-Rcv-Message   | Process                          | I-Open
                     | I-Rcv-DWR       | Process-DWR, I-Snd-DWA           | I-Open
                     | I-Rcv-DWA       | Process-DWA                      | I-Open
                     | R-Conn-CER      | R-Reject                         | I-Open
                     | Stop            | I-Snd-DPR                        | Closing
                     | I-Rcv-DPR       | I-Snd-DPA                        | Closing
                     | I-Peer-Disc     | I-Disc                           | Closed
Closing              | I-Rcv-DPA       | I-Disc                           | Closed
                     | R-Rcv-DPA       | R-Disc                           | Closed
                     | Timeout         | Error                            | Closed
                     | I-Peer-Disc     | I-Disc                           | Closed
                     | R-Peer-Disc     | R-Disc                           | Closed
"""
"""The table as it is printed on pages 70 and 71."""
OURS = "Closing | R-Conn-CER | R-Reject | Closing"
"""Not in the standard: a peer that reconnects while its old connection closes is refused until it has closed."""


def named(enumeration: type[Enum], text: str) -> Enum:
    return enumeration[text.strip().upper().replace("-", "_").replace("/", "_")]


def transcription() -> dict[tuple[Enum, Enum], tuple[tuple[Enum, ...], Enum]]:
    rows, state = {}, ""
    for line in [*RFC_6733_5_6.strip().splitlines(), OURS]:
        first, event, actions, following = line.split("|")
        state = first.strip() or state
        rows[named(PeerState, state), named(PeerEvent, event)] = (
            tuple(named(PeerAction, action) for action in actions.split(",")),
            named(PeerState, following),
        )
    return rows


STANDARD = transcription()


COLUMNS = (slice(6, 23), slice(23, 40), slice(40, 57), slice(57, None))
"""Columns of the printed table."""


def printed() -> list[tuple[str, str, str, str]]:
    """The rows in the text of RFC 6733; a wrapped cell continues in the lines below."""
    table = TABLE_5_6.read_text(encoding="utf-8").split(
        "state            event              action         next state"
    )[1]
    rows: list[list[str]] = []
    states: list[str] = []
    for line in table.splitlines():
        if not line.strip() or line.startswith(("Fajardo", "RFC 6733")) or "---" in line:
            continue
        state, event, action, following = (line[column].strip() for column in COLUMNS)
        if state and states and states[-1].endswith("/"):
            states[-1] += state
        elif state:
            states.append(state)
        if event:
            rows.append([str(len(states) - 1), event, action, following])
        else:
            rows[-1][2] += action
            rows[-1][3] += following
    return [(states[int(number)], event, action, following) for number, event, action, following in rows]


def test_the_transcription_is_the_standards_table() -> None:
    """Row by row: state, event, actions in their order, next state."""

    def squeezed(*cells: str) -> tuple[str, ...]:
        return tuple(re.sub(r"[,\s]+", "", cell) for cell in cells)

    ours, state = [], ""
    for line in RFC_6733_5_6.strip().splitlines():
        first, *rest = line.split("|")
        state = first.strip() or state
        ours.append(squeezed(state, *rest))
    standards = [squeezed(*row) for row in printed()]
    assert len(standards) == 43
    assert ours == standards


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(PeerState, PeerEvent)), ids=lambda value: value.value
)
def test_every_pair_of_the_peer_machine(state: PeerState, event: PeerEvent) -> None:
    """RFC 6733 §5.6: the rows as they are printed; every other pair changes nothing and is reported as unexpected."""
    found = step(state, event, 100.0, 123.0, TIMERS)
    if (state, event) not in STANDARD:
        assert found == (state, (PeerAction.UNEXPECTED,), 123.0)
        return
    actions, following = STANDARD[state, event]
    assert (found.state, found.actions) == (following, actions)
    if following is state:
        assert found.deadline == 123.0
    else:
        assert found.deadline == (100.0 + LASTS[following] if following in LASTS else None)


def test_no_row_is_written_twice() -> None:
    assert len(ROWS) == len(TABLE)


def test_every_state_that_waits_has_a_way_out() -> None:
    for state in LASTS:
        assert (state, PeerEvent.TIMEOUT) in TABLE
    for state in PeerState:
        if state is not PeerState.CLOSED:
            assert any(
                following is PeerState.CLOSED for (row, _), (_, following) in TABLE.items() if row is state
            ) or any(row is state and event is PeerEvent.TIMEOUT for row, event in TABLE)


@given(st.lists(st.sampled_from(PeerEvent), max_size=30))
def test_any_sequence_opens_only_through_capabilities_exchange(events: list[PeerEvent]) -> None:
    state, deadline, seen = PeerState.CLOSED, None, set()
    for now, event in enumerate(events):
        before = state
        state, actions, deadline = step(state, event, float(now), deadline, TIMERS)
        seen.update(actions)
        assert (deadline is not None) == (state in LASTS)
        if state in OPEN_STATES and before not in OPEN_STATES:
            assert seen & {PeerAction.PROCESS_CER, PeerAction.PROCESS_CEA} or PeerAction.R_DISC in actions


def test_the_responder_path() -> None:
    state, actions, _ = step(PeerState.CLOSED, PeerEvent.R_CONN_CER, 0.0)
    assert (state, actions[-1]) == (PeerState.R_OPEN, PeerAction.R_SND_CEA)
    assert step(state, PeerEvent.R_CONN_CER, 0.0).actions == (PeerAction.R_REJECT,)
    assert step(state, PeerEvent.R_RCV_DPR, 0.0).state is PeerState.CLOSING


def test_election() -> None:
    """RFC 6733 §5.6.4: compared as octets, ignoring ASCII case."""
    assert wins_election("ocs-b.example.org", "OCS-A.example.org")
    assert not wins_election("OCS-A.example.org", "ocs-b.example.org")
    assert not wins_election("same.example.org", "SAME.example.org")


RFC_3539_3_4_1 = """
INITIAL | Connection up                        | SetWatchdog, Pending = FALSE                           | OKAY
INITIAL | Timer expires                        | AttemptOpen, SetWatchdog                               | INITIAL
OKAY    | Receive DWA                          | Pending = FALSE, SetWatchdog                           | OKAY
OKAY    | Receive non-DWA                      | SetWatchdog                                            | OKAY
OKAY    | Timer expires & !Pending             | SendWatchdog, SetWatchdog, Pending = TRUE              | OKAY
OKAY    | Timer expires & Pending              | Failover, SetWatchdog                                  | SUSPECT
OKAY    | Connection down                      | CloseConnection, Failover, SetWatchdog                 | DOWN
SUSPECT | Receive DWA                          | Pending = FALSE, Failback, SetWatchdog                 | OKAY
SUSPECT | Receive non-DWA                      | Failback, SetWatchdog                                  | OKAY
SUSPECT | Timer expires                        | CloseConnection, SetWatchdog                           | DOWN
SUSPECT | Connection down                      | CloseConnection, SetWatchdog                           | DOWN
DOWN    | Connection up                        | NumDWA = 0, SendWatchdog, SetWatchdog, Pending = TRUE  | REOPEN
DOWN    | Timer expires                        | AttemptOpen, SetWatchdog                               | DOWN
DOWN    | Receive DWA                          | Throwaway                                              | DOWN
DOWN    | Receive non-DWA                      | Throwaway                                              | DOWN
REOPEN  | Receive DWA & NumDWA == 2            | Pending = FALSE, NumDWA++, Failback, SetWatchdog       | OKAY
REOPEN  | Receive DWA & NumDWA < 2             | Pending = FALSE, NumDWA++                              | REOPEN
REOPEN  | Receive non-DWA                      | Throwaway                                              | REOPEN
REOPEN  | Timer expires & !Pending             | SendWatchdog, SetWatchdog, Pending = TRUE              | REOPEN
REOPEN  | Timer expires & Pending & NumDWA < 0 | CloseConnection, SetWatchdog                           | DOWN
REOPEN  | Timer expires & Pending & NumDWA >= 0 | NumDWA = -1, SetWatchdog                              | REOPEN
REOPEN  | Connection down                      | CloseConnection, SetWatchdog                           | DOWN
"""
"""The table of RFC 3539 §3.4.1, with its conditions. Tw also restarts when a connection has become OKAY again."""
EVENTS = {
    "Connection up": WatchEvent.CONNECTION_UP,
    "Connection down": WatchEvent.CONNECTION_DOWN,
    "Receive DWA": WatchEvent.RECEIVED_DWA,
    "Receive non-DWA": WatchEvent.RECEIVED_OTHER,
    "Timer expires": WatchEvent.TIMER,
}
CONDITIONS: dict[str, Callable[[Watch], bool]] = {
    "Pending": lambda watch: watch.pending,
    "!Pending": lambda watch: not watch.pending,
    "NumDWA == 2": lambda watch: watch.answers >= 2,
    "NumDWA < 2": lambda watch: watch.answers < 2,
    "NumDWA < 0": lambda watch: watch.answers < 0,
    "NumDWA >= 0": lambda watch: watch.answers >= 0,
}
SETTINGS: dict[str, Callable[[Watch], Watch]] = {
    "Pending = TRUE": lambda watch: watch._replace(pending=True),
    "Pending = FALSE": lambda watch: watch._replace(pending=False),
    "NumDWA = 0": lambda watch: watch._replace(answers=0),
    "NumDWA = -1": lambda watch: watch._replace(answers=-1),
    "NumDWA++": lambda watch: watch._replace(answers=watch.answers + 1),
}
ACTIONS = {
    "SendWatchdog": WatchAction.SEND_DWR,
    "Failover": WatchAction.FAILOVER,
    "Failback": WatchAction.FAILBACK,
    "CloseConnection": WatchAction.CLOSE_CONNECTION,
    "AttemptOpen": WatchAction.ATTEMPT_OPEN,
    "Throwaway": WatchAction.THROW_AWAY,
}


def expected_step(watch: Watch, event: WatchEvent) -> tuple[Watch, set[WatchAction], bool]:
    """By the printed table: next watch, actions, whether Tw restarts. A pair that is not in it changes nothing."""
    for line in RFC_3539_3_4_1.strip().splitlines():
        state, when, does, following = (cell.strip() for cell in line.split("|"))
        name, *conditions = (part.strip() for part in when.split("&"))
        if WatchState[state] is not watch.state or EVENTS[name] is not event:
            continue
        if not all(CONDITIONS[condition](watch) for condition in conditions):
            continue
        after, done, rearm = watch._replace(state=WatchState[following]), set(), False
        for word in (part.strip() for part in does.split(",")):
            if word == "SetWatchdog":
                rearm = True
            elif word in ACTIONS:
                done.add(ACTIONS[word])
            else:
                after = SETTINGS[word](after)
        return after, done, rearm
    return watch, set(), False


PAIRS = [
    Watch(state, pending, answers)
    for state, pending, answers in itertools.product(WatchState, (False, True), (-1, 0, 1, 2))
]


@pytest.mark.parametrize("event", WatchEvent, ids=lambda value: value.value)
@pytest.mark.parametrize("watch", PAIRS, ids=str)
def test_every_pair_of_the_watchdog(watch: Watch, event: WatchEvent) -> None:
    """RFC 3539 §3.4.1, every state, event and value of its variables."""
    following, actions, deadline = watchdog.step(watch, event, 100.0, 30.0)
    after, done, rearm = expected_step(watch, event)
    assert (following, set(actions)) == (after, done)
    assert len(actions) == len(done)
    assert deadline == (130.0 if rearm else None)


def run(start: Watch, *events: WatchEvent) -> tuple[Watch, list[WatchAction]]:
    actions: list[WatchAction] = []
    for event in events:
        start, new, _ = watchdog.step(start, event, 0.0, 30.0)
        actions += new
    return start, actions


def test_a_silent_peer_is_suspected_and_then_dropped() -> None:
    """RFC 3539 §3.4.1: DWR after one Tw, SUSPECT after two, DOWN after three."""
    up = WatchEvent.CONNECTION_UP
    tick = WatchEvent.TIMER
    assert run(Watch(), up, tick)[0] == Watch(WatchState.OKAY, True)
    assert run(Watch(), up, tick, tick)[0].state is WatchState.SUSPECT
    watch, actions = run(Watch(), up, tick, tick, tick)
    assert watch.state is WatchState.DOWN
    assert actions == [WatchAction.SEND_DWR, WatchAction.FAILOVER, WatchAction.CLOSE_CONNECTION]


@pytest.mark.parametrize("life", [WatchEvent.RECEIVED_DWA, WatchEvent.RECEIVED_OTHER])
def test_any_message_brings_a_suspect_back(life: WatchEvent) -> None:
    watch, actions = run(Watch(WatchState.SUSPECT, True), life)
    assert watch.state is WatchState.OKAY
    assert actions == [WatchAction.FAILBACK]


def test_a_connection_that_came_back_is_trusted_after_three_answers() -> None:
    dwa, tick = WatchEvent.RECEIVED_DWA, WatchEvent.TIMER
    watch, _ = run(Watch(WatchState.DOWN), WatchEvent.CONNECTION_UP, dwa, tick, dwa)
    assert watch == Watch(WatchState.REOPEN, False, 2)
    watch, actions = run(watch, tick, dwa)
    assert watch.state is WatchState.OKAY
    assert WatchAction.FAILBACK in actions


def test_a_connection_that_came_back_and_is_silent_goes_down() -> None:
    tick = WatchEvent.TIMER
    watch, _ = run(Watch(WatchState.DOWN), WatchEvent.CONNECTION_UP, tick)
    assert watch == Watch(WatchState.REOPEN, True, -1)
    watch, actions = run(watch, tick)
    assert watch.state is WatchState.DOWN
    assert actions == [WatchAction.CLOSE_CONNECTION]
