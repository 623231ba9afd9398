"""Does the peer live? The watchdog of RFC 3539 §3.4.1 on one connection, and the probe when its peer has come again.

Silence is the peer's only while we listen: a connection that we do not read, because its peer is over a bound, is not
judged meanwhile.

A peer whose connection the watchdog has cut comes back in REOPEN: requests of ours (RAR, ASR) wait for three DWAs, as
they wait in SUSPECT for any message. Its own requests are served all the same, where the table throws them away. That
row is for nodes that choose between connections: the peer has chosen this one by its own watchdog, and a CCR that
nobody answers has no other way.
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
"""How long an old connection may take to show that it lives when its peer asks for a new one."""

WATCHDOG = commands.DEVICE_WATCHDOG.to_bytes(3, "big")


class WatchdogServer(Protocol):
    clock: Callable[[], float]
    loop: asyncio.AbstractEventLoop
    config: DiameterConfig
    local: LocalNode
    shared_peer_state: SharedPeerStates

    def watchdog_interval_s(self) -> float:
        """Tw, with its jitter."""


class WatchedTransport(Protocol):
    @property
    def open(self) -> bool: ...

    def listened_s(self) -> float: ...

    def cut(self, reason: str) -> None: ...


class Failover(Protocol):
    """Requests of ours that are not answered yet."""

    def give_up(self) -> None: ...


class Watchdog:
    """The table decides (`protocol.watchdog`); this sends, closes and keeps the timer."""

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
        """May requests of ours go here?"""
        return not self._on or self.watch.state is WatchState.OKAY

    def start(self, peer: Peer) -> None:
        """The connection is open."""
        self._peer = peer
        self.watch = Watch(WatchState.DOWN if self._shared_peer_state.is_down(peer) else WatchState.INITIAL)
        self._step(WatchEvent.CONNECTION_UP)

    def heard(self, answers: list[bytes]) -> None:
        """A read counts once; it counts as DWA if one is among its answers that we have asked for."""
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
        if not answers and self.watch.state is WatchState.OKAY:
            # RFC 3539 §3.4.1, OKAY and no DWA: Tw starts again and nothing else happens, so the table is not asked at
            # every read.
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
        """The timer is not moved at every message: when it fires early, it is set again."""
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
        """The peer has come with another connection: is this one dead? Silence for PROBE_S says so."""
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
            self._transport.cut("watchdog")  # no probation: the peer has shown that it lives, elsewhere
