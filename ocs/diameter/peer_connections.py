"""The state machine of each peer, over an incoming and an outgoing connection at the same time (RFC 6733 §5.6)."""

from __future__ import annotations

from collections.abc import Callable

from ocs.diameter.peers import Peer, PeerConnection, PeerTable
from protocol.peer import PeerAction, PeerEvent, PeerState, wins_election

INITIATED = {
    PeerEvent.R_PEER_DISC: PeerEvent.I_PEER_DISC,
    PeerEvent.R_RCV_DPR: PeerEvent.I_RCV_DPR,
    PeerEvent.R_RCV_DPA: PeerEvent.I_RCV_DPA,
}
"""Event of an incoming connection (R) → the same event of an outgoing one (I)."""
ENDS = (PeerEvent.R_PEER_DISC, PeerEvent.I_PEER_DISC, PeerEvent.I_RCV_NON_CEA)
CALLING_STATES = frozenset(
    {PeerState.WAIT_CONN_ACK, PeerState.WAIT_I_CEA, PeerState.WAIT_CONN_ACK_ELECT, PeerState.WAIT_RETURNS}
)
"""States whose deadline is checked here, as there is no open connection to check it."""


class PeerConnections:
    """One per worker. Opens and closes connections as the table of `protocol.peer` says."""

    def __init__(self, table: PeerTable, origin_host: str, clock: Callable[[], float]) -> None:
        self._table = table
        self._origin_host = origin_host
        self._clock = clock

    def step(self, peer: Peer, event: PeerEvent, *, initiated: bool) -> tuple[PeerAction, ...]:
        """Handle an event of a connection. `event`: named as of an incoming connection (R); `initiated`: it is an
        outgoing one (I). The caller carries out the returned actions.
        """
        if initiated:
            event = INITIATED.get(event, event)
        actions = self._table.step(peer, event, self._clock())
        if event in ENDS:
            self.act(peer, actions)
        return actions

    def advance(self, peer: Peer, event: PeerEvent) -> None:
        """Handle an event that belongs to no connection, and carry out its actions."""
        self.act(peer, self._table.step(peer, event, self._clock()))

    def elect(self, peer: Peer) -> None:
        """Both sides have connected: the one with the larger Origin-Host closes its outgoing connection (§5.6.4)."""
        if wins_election(self._origin_host, peer.origin_host):
            self.advance(peer, PeerEvent.WIN_ELECTION)

    def act(self, peer: Peer, actions: tuple[PeerAction, ...]) -> None:
        """Carry out the actions of a transition that concern connections which are not open yet."""
        calling, waiting = peer.calling, peer.waiting
        for action in actions:
            if action in (PeerAction.I_DISC, PeerAction.ERROR) and calling is not None:
                peer.calling = None
                calling.close_now()
            if action in (PeerAction.R_DISC, PeerAction.ERROR) and waiting is not None:
                peer.waiting = None
                waiting[0].close_now()
            if action is PeerAction.R_SND_CEA and waiting is not None:
                peer.waiting = None
                waiting[0].accept(peer, waiting[1])
        if peer.state is PeerState.CLOSED:
            for left in (peer.calling, peer.waiting[0] if peer.waiting else None):
                if left is not None:
                    left.close_now()
            peer.calling = peer.waiting = None

    def waits(self, connection: PeerConnection) -> bool:
        """Whether the connection waits for the election, after its CER."""
        return any(peer.waiting is not None and peer.waiting[0] is connection for peer in self._table.all())

    def gone_before_open(self, connection: PeerConnection) -> None:
        """A connection that was not open has ended; it may have waited for the election."""
        for peer in self._table.all():
            if peer.waiting is not None and peer.waiting[0] is connection:
                peer.waiting = None
                self._table.step(peer, PeerEvent.R_PEER_DISC, self._clock())

    def expire(self) -> None:
        """Give up outgoing connections that take too long; called a few times a second."""
        now = self._clock()
        for peer in self._table.all():
            if peer.deadline is not None and now >= peer.deadline and peer.state in CALLING_STATES:
                self.advance(peer, PeerEvent.TIMEOUT)
