"""Origin-State-Id: a client that comes with a higher one has lost its sessions (RFC 6733 §8.6, §8.16; digest §4.8).

0 or none says nothing; a lower one (a counter that wrapped, a restored backup) begins anew without a conclusion.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_HOSTS = 10_000
"""Clients remembered; the oldest goes first."""


class OriginStates:
    """One per worker. `on_jump` is told Origin-Host and the new id, at the first sight of a client too: whoever keeps them knows better."""

    def __init__(self, on_jump: Callable[[str, int], None]) -> None:
        self._on_jump = on_jump
        self._known: dict[str, int] = {}

    def seen(self, origin_host: str, state_id: int | None) -> None:
        if not state_id:
            return
        host = origin_host.lower()
        known = self._known.get(host)
        if known == state_id:
            return
        if known is None and len(self._known) >= MAX_HOSTS:
            del self._known[next(iter(self._known))]
        self._known[host] = state_id
        if known is None or state_id > known:
            self._on_jump(host, state_id)
