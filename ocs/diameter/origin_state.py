"""Origin-State-Id: a client that sends a higher one than before has lost its sessions (RFC 6733 §8.6, §8.16).

A value that comes through a relay counts only for the client's sessions through that relay, which it could also end one
by one. 0 or an absent value means nothing. A lower value (a wrapped counter, a restored backup) is stored as the new
reference; no session is given up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ocs.diameter.peers import Peer

MAX_HOSTS = 10_000
"""Clients remembered; the oldest is evicted first."""

OnOriginState = Callable[[str, str, int], None]
"""Called with Origin-Host, relay ("" = the client is connected itself) and the new Origin-State-Id."""


class OriginStates:
    """One per worker. `on_change` is also called for a client that is new to this worker; the ledger knows whether its
    value is really new.
    """

    def __init__(self, on_change: OnOriginState) -> None:
        self._on_change = on_change
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
            self._on_change(*client, state_id)

    def peer_said(self, peer: Peer, state_id: int | None) -> None:
        """The Origin-State-Id of a CER, CEA, DWR or DWA (RFC 6733 §8.16)."""
        if state_id and not peer.config.relay:
            peer.origin_state_id = state_id
            self.seen(peer.origin_host, peer.origin_host, state_id)
