"""The watchdog of one connection (RFC 3539 §3.4.1), and a probe when its peer sends a CER on another connection.

While we do not read a connection, as when its peer exceeds a limit, silence does not count.

If the watchdog closed the peer's last connection, the next one begins in REOPEN: RAR and ASR wait for three DWAs, as in
SUSPECT they wait for any message. Deviation: CCRs are served in REOPEN, where the table discards messages. The table is
for nodes that choose between connections; here the peer has chosen this one, and its CCR has no other way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from ocs.diameter.outstanding import BaseRequests
from ocs.diameter.peers import Peer
from ocs.diameter.shared_peer_state import SharedPeerStates
from ocs.diameter.timer import Timer
from ocs.settings.diameter import DiameterConfig
from protocol import commands
from protocol.capabilities import LocalNode, make_dwr
from protocol.watchdog import Watch, WatchAction, WatchEvent, WatchState
from protocol.watchdog import step as watch_step

PROBE_S = 2.0
"""How long a connection may be silent after its peer has sent a CER on another one."""

WATCHDOG = commands.DEVICE_WATCHDOG.to_bytes(3, "big")


class WatchdogServer(Protocol):
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    config: DiameterConfig
    local: LocalNode
    shared_peer_state: SharedPeerStates

    def watchdog_interval_s(self) -> float:
        """Tw with jitter."""


class WatchedTransport(Protocol):
    @property
    def open(self) -> bool: ...

    def listened_s(self) -> float: ...

    def cut(self, reason: str) -> None: ...


class Failover(Protocol):
    """Our unanswered RARs and ASRs."""

    def give_up(self) -> None: ...


class Watchdog:
    """Carries out the table of `protocol.watchdog`: sends DWRs, closes the connection and runs the timer."""

    def __init__(
        self,
        server: WatchdogServer,
        transport: WatchedTransport,
        timer: Timer,
        base_requests: BaseRequests,
        outstanding: Failover,
    ) -> None:
        self._clock = server.clock
        self._loop = server.loop
        self._on = server.config.watchdog_s > 0
        self._local = server.local
        self._shared_peer_state = server.shared_peer_state
        self._interval_s = server.watchdog_interval_s
        self._transport = transport
        self._timer = timer
        self._base_requests = base_requests
        self._outstanding = outstanding
        self._peer: Peer | None = None
        self._deadline: float | None = None
        self._tw_s = 0.0
        self._probe_timer: asyncio.TimerHandle | None = None
        self.watch = Watch()

    @property
    def trusted(self) -> bool:
        """Whether RAR and ASR may be sent: the state is OKAY, or the watchdog is off."""
        return not self._on or self.watch.state is WatchState.OKAY

    def start(self, peer: Peer) -> None:
        """The connection is open."""
        self._peer = peer
        self.watch = Watch(WatchState.DOWN if self._shared_peer_state.is_down(peer) else WatchState.INITIAL)
        self._step(WatchEvent.CONNECTION_UP)

    def heard(self, answers: list[bytes]) -> None:
        """Octets were read. `answers`: the answers among them; a DWA to our DWR counts as such."""
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
        if not answers and self.watch.state is WatchState.OKAY:
            # RFC 3539 §3.4.1, OKAY without DWA: only Tw starts again. Done here, as it happens at every read.
            self._deadline = self._clock() + self._tw_s
            return
        answered = any(frame[5:8] == WATCHDOG and self._base_requests.wait_for(frame) for frame in answers)
        self._step(WatchEvent.RECEIVED_DWA if answered else WatchEvent.RECEIVED_OTHER)

    def _step(self, event: WatchEvent) -> None:
        if not self._on:
            self.watch = Watch()
            return
        before, self._tw_s = self.watch.state, self._interval_s()
        self.watch, actions, deadline = watch_step(self.watch, event, self._clock(), self._tw_s)
        if deadline is not None:
            self._deadline = deadline
        for action in actions:
            if action is WatchAction.SEND_DWR:
                self._send_dwr()
            elif action is WatchAction.FAILOVER:
                self._outstanding.give_up()
            elif action is WatchAction.FAILBACK and before is WatchState.REOPEN:
                self._note_down(down=False)
            elif action is WatchAction.CLOSE_CONNECTION:
                self._note_down(down=True)
                self._transport.cut("watchdog")
        if not self._timer.running and self._transport.open:
            self._timer.start_at(self._deadline, self._tw_over)

    def _tw_over(self) -> None:
        """Tw may be over. The timer is not moved at every message, so it may fire early and is then set again."""
        if self._deadline is None or not self._transport.open:
            return
        wait_s = max(self._deadline - self._clock(), self._tw_s - self._transport.listened_s())
        if wait_s > 0:
            self._timer.start(wait_s, self._tw_over)
        else:
            self._step(WatchEvent.TIMER)

    def _send_dwr(self) -> None:
        self._base_requests.ask(make_dwr(self._local))

    def _note_down(self, *, down: bool) -> None:
        if self._peer is not None:
            self._shared_peer_state.set_down(self._peer, down)

    def probe(self) -> None:
        """The peer has sent a CER on another connection: send a DWR, and close this one after PROBE_S of silence."""
        if self._probe_timer is not None or not self._transport.open:
            return
        if not self.watch.pending:  # one DWR at most is unanswered
            self._send_dwr()
            self.watch = self.watch._replace(pending=True)
        self._probe_timer = self._loop.call_later(PROBE_S, self._probe_over)

    def _probe_over(self) -> None:
        self._probe_timer = None
        if not self._transport.open:
            return
        wait_s = PROBE_S - self._transport.listened_s()
        if wait_s > 0:
            self._probe_timer = self._loop.call_later(wait_s, self._probe_over)
        else:
            self._transport.cut("watchdog")  # not DOWN: the peer is alive, on another connection
