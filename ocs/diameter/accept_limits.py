"""Limits of incoming connections, checked at accept by address alone, before TLS.

A connection is pending until its CER is accepted: first as a TLS handshake (`tls_port`) on a TLS port, then as a
`Connection`. The number of pending connections is limited. A further one displaces the oldest, so that silent
connections cannot keep a peer out. Outgoing connections do not count: there is one per peer.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from ocs.diameter.addresses import AddressRanges
from ocs.diameter.log_texts import REFUSED
from ocs.diameter.metrics import DiameterMetrics
from ocs.settings.diameter import DiameterConfig
from ocs.telemetry.throttled_log import ThrottledLog

logger = logging.getLogger(__name__)

LOG_REFUSED_EVERY_S = 10.0
"""Interval of the log lines about refused connections, per reason and peer (if it is known)."""


class PendingConnection(Protocol):
    """A connection, before or after its TLS handshake."""

    @property
    def address(self) -> str:
        """IP address of the peer, without the port."""

    def turn_away(self, reason: str) -> None:
        """Abort the connection."""


class AcceptLimits:
    """One per worker."""

    def __init__(self, config: DiameterConfig, metrics: DiameterMetrics, clock: Callable[[], float]) -> None:
        self._config = config
        self._metrics = metrics
        self._inside: set[PendingConnection] = set()
        self._pending: dict[PendingConnection, None] = {}
        """Connections before their CER, oldest first."""
        self._pending_from: Counter[str] = Counter()
        self._throttled_log = ThrottledLog(clock, LOG_REFUSED_EVERY_S)
        known = not config.accept_unknown_peers and all(peer.addresses for peer in config.peers)
        self._ranges = AddressRanges(text for peer in config.peers for text in peer.addresses) if known else None
        self.closed = False
        """True while stopping: all new connections are refused."""

    def enter(self, connection: PendingConnection, *, ours: bool = False) -> bool:
        """Admit a new connection; False = close it at once. `ours`: it is an outgoing one."""
        reason = self._objection(connection.address, ours)
        if reason:
            self.refused(connection.address, reason)
            return False
        self._inside.add(connection)
        if not ours:
            self._make_room()
            self._take_place(connection)
        return True

    def _objection(self, address: str, ours: bool) -> str:
        config = self._config
        if self.closed:
            return "stopping"
        if ours:
            return ""
        if self._ranges is not None and address not in self._ranges:
            return "address"
        if len(self._inside) >= config.max_connections:
            return "connection_limit"
        return "address_limit" if self._pending_from[address] >= config.max_connections_per_address else ""

    def _make_room(self) -> None:
        if len(self._pending) >= self._config.max_pending_connections:
            oldest = next(iter(self._pending))
            self.heard(oldest)
            self.refused(oldest.address, "pending_limit")
            oldest.turn_away("pending_limit")

    def _take_place(self, connection: PendingConnection) -> None:
        self._pending[connection] = None
        self._pending_from[connection.address] += 1

    def go_on(self, connection: PendingConnection, then: PendingConnection) -> bool:
        """The TLS handshake is done: `then` takes the place of `connection`. False if it was turned away meanwhile."""
        is_pending = connection in self._pending
        self.leave(connection)
        if is_pending:
            self._inside.add(then)
            self._take_place(then)
        return is_pending

    def heard(self, connection: PendingConnection) -> None:
        """The CER was accepted: the connection is no longer pending."""
        if connection in self._pending:
            del self._pending[connection]
            self._pending_from[connection.address] -= 1
            if not self._pending_from[connection.address]:
                del self._pending_from[connection.address]

    def leave(self, connection: PendingConnection) -> None:
        self._inside.discard(connection)
        self.heard(connection)

    def refused(self, address: str, reason: str, message: str = "", peer: str = "") -> None:
        """Count a refused connection. It is logged once per interval, reason and `peer` ("" = unknown)."""
        self._metrics.connection_refused(reason)
        more = self._throttled_log.allow((reason, peer))
        if more is not None:
            logger.warning("connection from %s refused: %s%s", address, message or REFUSED.get(reason, reason), more)
