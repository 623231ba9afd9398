"""Origin-State-Id: a client that comes with a higher one has lost its sessions (RFC 6733 §8.6, §8.16).

A relay's word counts for the sessions that come through that relay: it could as well end each of them, and has no say
in others. 0 or none says nothing; a lower one (a counter that wrapped, a restored backup) begins anew without a
conclusion.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ocs.diameter.peers import Peer

MAX_HOSTS = 10_000
"""Clients remembered; the oldest goes first."""

OnJump = Callable[[str, str, int], None]
"""Origin-Host, the relay it came through ("" = it is connected itself), the new id."""


class OriginStates:
    """One per worker. `on_jump` is told at the first sight of a client too: whoever keeps them knows better."""

    def __init__(self, on_jump: OnJump) -> None:
        self._on_jump = on_jump
        self._known: OrderedDict[tuple[str, str], int] = OrderedDict()

    def seen(self, origin_host: str, peer_host: str, state_id: int | None) -> None:
        """`peer_host`: the connected peer, the client itself or a relay."""
        if not state_id:
            return
        host, relay = origin_host.lower(), peer_host.lower()
        client = host, "" if relay == host else relay
        known = self._known.get(client)
        if known == state_id:
            return
        if known is None and len(self._known) >= MAX_HOSTS:
            self._known.popitem(last=False)
        self._known[client] = state_id
        if known is None or state_id > known:
            self._on_jump(*client, state_id)

    def peer_said(self, peer: Peer, state_id: int | None) -> None:
        """In CER, CEA, DWR or DWA (RFC 6733 §8.16)."""
        if state_id and not peer.config.relay:
            peer.origin_state_id = state_id
            self.seen(peer.origin_host, peer.origin_host, state_id)
