"""Does the peer live? The watchdog of RFC 3539 §3.4.1 on one connection, and the probe when its peer has come again.

Silence is the peer's only while we listen: a connection that we do not read, because its peer is over a bound, is not judged meanwhile.

A peer whose connection the watchdog has cut comes back in REOPEN: requests of ours (RAR, ASR) wait for three DWAs, as they wait in
SUSPECT for any message. Its own requests are served all the same, where the table throws them away. That row is for nodes that choose
between connections: the peer has chosen this one by its own watchdog, and a CCR that nobody answers has no other way.
"""

from __future__ import annotations

import contextlib

from ocs.diameter.channel import Channel
from ocs.diameter.peers import Peer
from protocol import commands
from protocol.capabilities import make_dwr
from protocol.compiler import Fault
from protocol.header import Header
from protocol.watchdog import Watch, WatchAction, WatchEvent, WatchState
from protocol.watchdog import step as watch_step

PROBE_S = 2.0
"""How long an old connection may take to show that it lives when its peer asks for a new one."""

WATCHDOG = commands.DEVICE_WATCHDOG.to_bytes(3, "big")


class Heartbeat(Channel):
    """The table decides (`protocol.watchdog`); this sends, closes and keeps the timer."""

    @property
    def trusted(self) -> bool:
        """May requests of ours go here?"""
        return self._config.watchdog_s <= 0 or self._watch.state is WatchState.OKAY

    def _watch_from_the_start(self, peer: Peer) -> None:
        """The connection is open."""
        self._watch = Watch(WatchState.DOWN if self._server.shared_peer_state.is_down(peer) else WatchState.INITIAL)
        self._watch_event(WatchEvent.CONNECTION_UP)

    def _heard(self, answers: list[bytes]) -> None:
        """A read counts once; it counts as DWA if one is among its answers that we have asked for."""
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
        if not answers and self._watch.state is WatchState.OKAY:
            # RFC 3539 §3.4.1, OKAY and no DWA: Tw starts again and nothing else happens, so the table is not asked at every read.
            self._watch_deadline = self._server.clock() + self._tw_s
            return
        answered = any(frame[5:8] == WATCHDOG and self._is_asked(frame) for frame in answers)
        self._watch_event(WatchEvent.RECEIVED_DWA if answered else WatchEvent.RECEIVED_OTHER)

    def _watch_event(self, event: WatchEvent) -> None:
        if self._config.watchdog_s <= 0:
            self._watch = Watch()
            return
        before, self._tw_s = self._watch.state, self._server.watchdog_interval_s()
        self._watch, actions, deadline = watch_step(self._watch, event, self._server.clock(), self._tw_s)
        if deadline is not None:
            self._watch_deadline = deadline
        for action in actions:
            if action is WatchAction.SEND_DWR:
                self._send_dwr()
            elif action is WatchAction.FAILOVER:
                self._outstanding.give_up()
            elif action is WatchAction.FAILBACK and before is WatchState.REOPEN:
                self._note_down(down=False)
            elif action is WatchAction.CLOSE_CONNECTION:
                self._note_down(down=True)
                self._cut("watchdog")
        if self._timer is None and self._transport is not None and self.peer is not None and not self._over:
            self._arm_at(self._watch_deadline, self._watch_timer)

    def _watch_timer(self) -> None:
        """The timer is not moved at every message: when it fires early, it is set again."""
        self._timer = None
        if self._watch_deadline is None or self._transport is None:
            return
        wait_s = max(self._watch_deadline - self._server.clock(), self._tw_s - self._listened_s())
        if wait_s > 0:
            self._arm(wait_s, self._watch_timer)
        else:
            self._watch_event(WatchEvent.TIMER)

    def _send_dwr(self) -> None:
        self._ask_base(make_dwr(self._server.local))

    def _origin_state_of_dwa(self, frame: bytes, header: Header) -> None:
        assert self.peer is not None
        with contextlib.suppress(Fault):
            answer = commands.decode_answer(commands.DeviceWatchdogAnswer, frame, header)
            self._server.origin_state(self.peer, answer.origin_state_id)

    def probe(self) -> None:
        """The peer has come with another connection: is this one dead? Silence for PROBE_S says so."""
        if self._probe_timer is not None or self._transport is None or self._over:
            return
        if not self._watch.pending:  # one DWR at most is unanswered
            self._send_dwr()
            self._watch = self._watch._replace(pending=True)
        self._probe_timer = self._server.loop.call_later(PROBE_S, self._probe_over)

    def _probe_over(self) -> None:
        self._probe_timer = None
        if self._transport is None or self._over:
            return
        wait_s = PROBE_S - self._listened_s()
        if wait_s > 0:
            self._probe_timer = self._server.loop.call_later(wait_s, self._probe_over)
        else:
            self._cut("watchdog")  # no probation: the peer has shown that it lives, elsewhere

    def _note_down(self, *, down: bool) -> None:
        if self.peer is not None:
            self._server.shared_peer_state.set_down(self.peer, down)
