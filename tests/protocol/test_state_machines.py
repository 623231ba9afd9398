"""Every (state, event) pair of both machines: the rows of the standards as they are, and nothing for all the others."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import watchdog
from protocol.peer import OPEN_STATES, ROWS, TABLE, PeerAction, PeerEvent, PeerState, PeerTimers, step, wins_election
from protocol.watchdog import Watch, WatchAction, WatchEvent, WatchState

TIMERS = PeerTimers(connect_s=10, exchange_s=20, closing_s=5)
LASTS = {
    PeerState.WAIT_CONN_ACK: 10,
    PeerState.WAIT_CONN_ACK_ELECT: 10,
    PeerState.WAIT_I_CEA: 20,
    PeerState.WAIT_RETURNS: 20,
    PeerState.CLOSING: 5,
}


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(PeerState, PeerEvent)), ids=lambda value: value.value
)
def test_every_pair_of_the_peer_machine(state: PeerState, event: PeerEvent) -> None:
    found = step(state, event, 100.0, 123.0, TIMERS)
    if (state, event) not in TABLE:
        assert found == (state, (PeerAction.UNEXPECTED,), 123.0)
        return
    actions, following = TABLE[state, event]
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
    """RFC 6733 §5.6.4: octets, without regard to ASCII case."""
    assert wins_election("ocs-b.example.org", "OCS-A.example.org")
    assert not wins_election("OCS-A.example.org", "ocs-b.example.org")
    assert not wins_election("same.example.org", "SAME.example.org")


PAIRS = [
    Watch(state, pending, answers)
    for state, pending, answers in itertools.product(WatchState, (False, True), (-1, 0, 1, 2))
]


@pytest.mark.parametrize("event", WatchEvent, ids=lambda value: value.value)
@pytest.mark.parametrize("watch", PAIRS, ids=str)
def test_every_pair_of_the_watchdog(watch: Watch, event: WatchEvent) -> None:
    following, actions, deadline = watchdog.step(watch, event, 100.0, 30.0)
    assert deadline in (None, 130.0)
    if WatchAction.SEND_DWR in actions:
        assert following.pending and (not watch.pending or event is WatchEvent.CONNECTION_UP)
    if WatchAction.CLOSE_CONNECTION in actions:
        assert following.state is WatchState.DOWN
    if event is WatchEvent.TIMER:
        assert deadline == 130.0
    if event is WatchEvent.CONNECTION_DOWN and watch.state is not WatchState.INITIAL:
        assert following.state is WatchState.DOWN


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
