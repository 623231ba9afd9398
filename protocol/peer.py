"""The peer state machine of RFC 6733 §5.6 as a table: (state, event, now) → (state, actions, deadline).

`step` decides. The owner of the connections carries out the actions, and calls `step` with TIMEOUT when the deadline
has passed. I is the connection that we initiated, R the one that the peer initiated. An event that a state does not
list changes nothing; its action is UNEXPECTED, so that the caller can answer or drop it (§5.6: "MUST be considered an
error condition").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class PeerState(Enum):
    CLOSED = "closed"
    WAIT_CONN_ACK = "wait_conn_ack"
    WAIT_I_CEA = "wait_i_cea"
    WAIT_CONN_ACK_ELECT = "wait_conn_ack_elect"
    WAIT_RETURNS = "wait_returns"
    R_OPEN = "r_open"
    I_OPEN = "i_open"
    CLOSING = "closing"


class PeerEvent(Enum):
    START = "start"
    R_CONN_CER = "r_conn_cer"
    I_RCV_CONN_ACK = "i_rcv_conn_ack"
    I_RCV_CONN_NACK = "i_rcv_conn_nack"
    TIMEOUT = "timeout"
    I_RCV_CEA = "i_rcv_cea"
    I_RCV_NON_CEA = "i_rcv_non_cea"
    I_PEER_DISC = "i_peer_disc"
    R_PEER_DISC = "r_peer_disc"
    WIN_ELECTION = "win_election"
    SEND_MESSAGE = "send_message"
    R_RCV_MESSAGE = "r_rcv_message"
    R_RCV_DWR = "r_rcv_dwr"
    R_RCV_DWA = "r_rcv_dwa"
    R_RCV_DPR = "r_rcv_dpr"
    R_RCV_DPA = "r_rcv_dpa"
    I_RCV_MESSAGE = "i_rcv_message"
    I_RCV_DWR = "i_rcv_dwr"
    I_RCV_DWA = "i_rcv_dwa"
    I_RCV_DPR = "i_rcv_dpr"
    I_RCV_DPA = "i_rcv_dpa"
    STOP = "stop"


class PeerAction(Enum):
    """RFC 6733 §5.6.3."""

    I_SND_CONN_REQ = "i_snd_conn_req"
    R_ACCEPT = "r_accept"
    R_REJECT = "r_reject"
    PROCESS_CER = "process_cer"
    PROCESS_CEA = "process_cea"
    R_SND_CEA = "r_snd_cea"
    I_SND_CER = "i_snd_cer"
    CLEANUP = "cleanup"
    ERROR = "error"
    ELECT = "elect"
    I_DISC = "i_disc"
    R_DISC = "r_disc"
    PROCESS = "process"
    PROCESS_DWR = "process_dwr"
    PROCESS_DWA = "process_dwa"
    R_SND_DWA = "r_snd_dwa"
    I_SND_DWA = "i_snd_dwa"
    R_SND_MESSAGE = "r_snd_message"
    I_SND_MESSAGE = "i_snd_message"
    R_SND_DPR = "r_snd_dpr"
    I_SND_DPR = "i_snd_dpr"
    R_SND_DPA = "r_snd_dpa"
    I_SND_DPA = "i_snd_dpa"
    UNEXPECTED = "unexpected"


class Transition(NamedTuple):
    state: PeerState
    actions: tuple[PeerAction, ...]
    deadline: float | None
    """When to call `step` with TIMEOUT; None = never. Counted from entering the state."""


@dataclass(frozen=True, slots=True)
class PeerTimers:
    """Most seconds in a state; the standard leaves them open (§5.6, "Timeout: an application-defined timer")."""

    connect_s: float = 10.0
    exchange_s: float = 10.0
    closing_s: float = 5.0


DEFAULT_TIMERS = PeerTimers()

_S, _E, _A = PeerState, PeerEvent, PeerAction
Row = tuple[PeerState, PeerEvent, tuple[PeerAction, ...], PeerState]

ROWS: tuple[Row, ...] = (
    # RFC 6733 §5.6, state Closed
    (_S.CLOSED, _E.START, (_A.I_SND_CONN_REQ,), _S.WAIT_CONN_ACK),
    (_S.CLOSED, _E.R_CONN_CER, (_A.R_ACCEPT, _A.PROCESS_CER, _A.R_SND_CEA), _S.R_OPEN),
    # §5.6, state Wait-Conn-Ack
    (_S.WAIT_CONN_ACK, _E.I_RCV_CONN_ACK, (_A.I_SND_CER,), _S.WAIT_I_CEA),
    (_S.WAIT_CONN_ACK, _E.I_RCV_CONN_NACK, (_A.CLEANUP,), _S.CLOSED),
    (_S.WAIT_CONN_ACK, _E.R_CONN_CER, (_A.R_ACCEPT, _A.PROCESS_CER), _S.WAIT_CONN_ACK_ELECT),
    (_S.WAIT_CONN_ACK, _E.TIMEOUT, (_A.ERROR,), _S.CLOSED),
    # §5.6, state Wait-I-CEA
    (_S.WAIT_I_CEA, _E.I_RCV_CEA, (_A.PROCESS_CEA,), _S.I_OPEN),
    (_S.WAIT_I_CEA, _E.R_CONN_CER, (_A.R_ACCEPT, _A.PROCESS_CER, _A.ELECT), _S.WAIT_RETURNS),
    (_S.WAIT_I_CEA, _E.I_PEER_DISC, (_A.I_DISC,), _S.CLOSED),
    (_S.WAIT_I_CEA, _E.I_RCV_NON_CEA, (_A.ERROR,), _S.CLOSED),
    (_S.WAIT_I_CEA, _E.TIMEOUT, (_A.ERROR,), _S.CLOSED),
    # §5.6, state Wait-Conn-Ack/Elect
    (_S.WAIT_CONN_ACK_ELECT, _E.I_RCV_CONN_ACK, (_A.I_SND_CER, _A.ELECT), _S.WAIT_RETURNS),
    (_S.WAIT_CONN_ACK_ELECT, _E.I_RCV_CONN_NACK, (_A.R_SND_CEA,), _S.R_OPEN),
    (_S.WAIT_CONN_ACK_ELECT, _E.R_PEER_DISC, (_A.R_DISC,), _S.WAIT_CONN_ACK),
    (_S.WAIT_CONN_ACK_ELECT, _E.R_CONN_CER, (_A.R_REJECT,), _S.WAIT_CONN_ACK_ELECT),
    (_S.WAIT_CONN_ACK_ELECT, _E.TIMEOUT, (_A.ERROR,), _S.CLOSED),
    # §5.6, state Wait-Returns
    (_S.WAIT_RETURNS, _E.WIN_ELECTION, (_A.I_DISC, _A.R_SND_CEA), _S.R_OPEN),
    (_S.WAIT_RETURNS, _E.I_PEER_DISC, (_A.I_DISC, _A.R_SND_CEA), _S.R_OPEN),
    (_S.WAIT_RETURNS, _E.I_RCV_CEA, (_A.R_DISC,), _S.I_OPEN),
    (_S.WAIT_RETURNS, _E.R_PEER_DISC, (_A.R_DISC,), _S.WAIT_I_CEA),
    (_S.WAIT_RETURNS, _E.R_CONN_CER, (_A.R_REJECT,), _S.WAIT_RETURNS),
    (_S.WAIT_RETURNS, _E.TIMEOUT, (_A.ERROR,), _S.CLOSED),
    # §5.6, state R-Open
    (_S.R_OPEN, _E.SEND_MESSAGE, (_A.R_SND_MESSAGE,), _S.R_OPEN),
    (_S.R_OPEN, _E.R_RCV_MESSAGE, (_A.PROCESS,), _S.R_OPEN),
    (_S.R_OPEN, _E.R_RCV_DWR, (_A.PROCESS_DWR, _A.R_SND_DWA), _S.R_OPEN),
    (_S.R_OPEN, _E.R_RCV_DWA, (_A.PROCESS_DWA,), _S.R_OPEN),
    (_S.R_OPEN, _E.R_CONN_CER, (_A.R_REJECT,), _S.R_OPEN),
    (_S.R_OPEN, _E.STOP, (_A.R_SND_DPR,), _S.CLOSING),
    (_S.R_OPEN, _E.R_RCV_DPR, (_A.R_SND_DPA,), _S.CLOSING),
    (_S.R_OPEN, _E.R_PEER_DISC, (_A.R_DISC,), _S.CLOSED),
    # §5.6, state I-Open
    (_S.I_OPEN, _E.SEND_MESSAGE, (_A.I_SND_MESSAGE,), _S.I_OPEN),
    (_S.I_OPEN, _E.I_RCV_MESSAGE, (_A.PROCESS,), _S.I_OPEN),
    (_S.I_OPEN, _E.I_RCV_DWR, (_A.PROCESS_DWR, _A.I_SND_DWA), _S.I_OPEN),
    (_S.I_OPEN, _E.I_RCV_DWA, (_A.PROCESS_DWA,), _S.I_OPEN),
    (_S.I_OPEN, _E.R_CONN_CER, (_A.R_REJECT,), _S.I_OPEN),
    (_S.I_OPEN, _E.STOP, (_A.I_SND_DPR,), _S.CLOSING),
    (_S.I_OPEN, _E.I_RCV_DPR, (_A.I_SND_DPA,), _S.CLOSING),
    (_S.I_OPEN, _E.I_PEER_DISC, (_A.I_DISC,), _S.CLOSED),
    # §5.6, state Closing
    (_S.CLOSING, _E.I_RCV_DPA, (_A.I_DISC,), _S.CLOSED),
    (_S.CLOSING, _E.R_RCV_DPA, (_A.R_DISC,), _S.CLOSED),
    (_S.CLOSING, _E.I_PEER_DISC, (_A.I_DISC,), _S.CLOSED),
    (_S.CLOSING, _E.R_PEER_DISC, (_A.R_DISC,), _S.CLOSED),
    (_S.CLOSING, _E.TIMEOUT, (_A.ERROR,), _S.CLOSED),
    # A peer that reconnects before its old connection has closed is refused until it has.
    (_S.CLOSING, _E.R_CONN_CER, (_A.R_REJECT,), _S.CLOSING),
)

TABLE: dict[tuple[PeerState, PeerEvent], tuple[tuple[PeerAction, ...], PeerState]] = {
    (state, event): (actions, following) for state, event, actions, following in ROWS
}
_LASTS: dict[PeerState, str] = {
    PeerState.WAIT_CONN_ACK: "connect_s",
    PeerState.WAIT_CONN_ACK_ELECT: "connect_s",
    PeerState.WAIT_I_CEA: "exchange_s",
    PeerState.WAIT_RETURNS: "exchange_s",
    PeerState.CLOSING: "closing_s",
}


def step(
    state: PeerState,
    event: PeerEvent,
    now: float,
    deadline: float | None = None,
    timers: PeerTimers = DEFAULT_TIMERS,
) -> Transition:
    """`deadline` is the one in force; it stays while the state does not change."""
    row = TABLE.get((state, event))
    if row is None:
        return Transition(state, (PeerAction.UNEXPECTED,), deadline)
    actions, following = row
    if following is state:
        return Transition(state, actions, deadline)
    lasts = _LASTS.get(following)
    return Transition(following, actions, None if lasts is None else now + getattr(timers, lasts))


def wins_election(local_host: str, remote_host: str) -> bool:
    """RFC 6733 §5.6.4: whether the local identity wins. Identities are compared as octets, ignoring ASCII case; the
    larger one wins.
    """
    return local_host.lower().encode("ascii", "replace") > remote_host.lower().encode("ascii", "replace")


OPEN_STATES = frozenset({PeerState.R_OPEN, PeerState.I_OPEN})
