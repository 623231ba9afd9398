"""Does the peer live? The watchdog of RFC 3539 §3.4.1 on one connection, and the probe when its peer has come again (digest §2.3)."""

from __future__ import annotations

import contextlib

from ocs.gateway.channel import Channel
from protocol import commands
from protocol.capabilities import make_dwr
from protocol.compiler import Fault
from protocol.header import Header
from protocol.watchdog import WatchAction, WatchEvent
from protocol.watchdog import step as watch_step

PROBE_S = 2.0
"""How long an old connection may take to show that it lives when its peer asks for a new one."""


class Heartbeat(Channel):
    """The table decides (`protocol.watchdog`); this sends, closes and keeps the timer."""

    def _liveness(self, frames: list[bytes]) -> WatchEvent:
        """A read counts once; it counts as DWA if one is in it that we have asked for."""
        for frame in frames:
            if not frame[4] & 0x80 and frame[5:8] == b"\x00\x01\x18" and self._is_asked(frame):
                return WatchEvent.RECEIVED_DWA
        return WatchEvent.RECEIVED_OTHER

    def _watch_event(self, event: WatchEvent) -> None:
        twinit_s = self._config.watchdog_s
        self._probing = False
        if twinit_s <= 0:
            return
        now = self._gateway.clock()
        self._watch, actions, deadline = watch_step(self._watch, event, now, self._gateway.watchdog_interval_s())
        if deadline is not None:
            self._watch_deadline = deadline
        for action in actions:
            if action is WatchAction.SEND_DWR:
                self._send_dwr()
            elif action is WatchAction.CLOSE_CONNECTION:
                self._cut("watchdog")
        if self._timer is None and self._transport is not None and self.peer is not None:
            self._arm_at(self._watch_deadline, self._watch_timer)

    def _watch_timer(self) -> None:
        """The timer is not moved at every message: when it fires early, it is set again."""
        self._timer = None
        if self._watch_deadline is None or self._transport is None:
            return
        if self._gateway.clock() < self._watch_deadline:
            self._arm_at(self._watch_deadline, self._watch_timer)
        else:
            self._watch_event(WatchEvent.TIMER)

    def _send_dwr(self) -> None:
        self._ask_base(make_dwr(self._gateway.local))

    def _origin_state_of_dwa(self, frame: bytes, header: Header) -> None:
        assert self.peer is not None
        with contextlib.suppress(Fault):
            answer = commands.decode_answer(commands.DeviceWatchdogAnswer, frame, header)
            self._gateway.origin_state(self.peer, answer.origin_state_id)

    def probe(self) -> None:
        """The peer has come with another connection: is this one dead? Silence for PROBE_S says so (digest §2.3)."""
        if self._probing or self._transport is None:
            return
        self._probing = True
        self._send_dwr()
        self._watch = self._watch._replace(pending=True)
        self._gateway.loop.call_later(PROBE_S, self._probe_over)

    def _probe_over(self) -> None:
        if self._probing and self._transport is not None:
            self._cut("watchdog")
