"""Who may come in while nothing is known of a connection but its address (the IP filter stands before TLS).

A connection is pending from accept on: first a TLS handshake (`tls_port`), where the port wants one, then a
`Connection`. It takes one of the places for those that have not sent their CER; when all are taken, the one that has
been silent longest gives its own up, so that silence shuts nobody out. Connections that we make need no place: there is
one a peer.
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

SAY_REFUSED_EVERY_S = 10.0
"""Refused connections of one reason, and of one peer where it is known, are logged so often."""


class PendingConnection(Protocol):
    """A connection, before or after TLS."""

    @property
    def address(self) -> str:
        """The other end's, without the port."""

    def turn_away(self, reason: str) -> None:
        """Close abortively."""


class AcceptLimits:
    """One per worker."""

    def __init__(self, config: DiameterConfig, metrics: DiameterMetrics, clock: Callable[[], float]) -> None:
        self._config = config
        self._metrics = metrics
        self._inside: set[PendingConnection] = set()
        self._pending: dict[PendingConnection, None] = {}
        """Without their CER, the oldest first."""
        self._pending_from: Counter[str] = Counter()
        self._throttled_log = ThrottledLog(clock, SAY_REFUSED_EVERY_S)
        known = not config.accept_unknown_peers and all(peer.addresses for peer in config.peers)
        self._ranges = AddressRanges(text for peer in config.peers for text in peer.addresses) if known else None
        self.closed = False
        """Nobody else comes in."""

    def enter(self, connection: PendingConnection, *, ours: bool = False) -> bool:
        """A new connection; False if it must go at once. `ours`: we have made it."""
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
        """TLS is up: `then` is the same connection and takes the place over; False if it was turned away in the last
        moment.
        """
        is_pending = connection in self._pending
        self.leave(connection)
        if is_pending:
            self._inside.add(then)
            self._take_place(then)
        return is_pending

    def heard(self, connection: PendingConnection) -> None:
        """Its CER was taken: it is no longer one of the silent ones."""
        if connection in self._pending:
            del self._pending[connection]
            self._pending_from[connection.address] -= 1
            if not self._pending_from[connection.address]:
                del self._pending_from[connection.address]

    def leave(self, connection: PendingConnection) -> None:
        self._inside.discard(connection)
        self.heard(connection)

    def refused(self, address: str, reason: str, message: str = "", peer: str = "") -> None:
        """Count a refused connection, and log it once an interval, reason and peer of ours, so that a storm does not
        fill the log.
        """
        self._metrics.connection_refused(reason)
        more = self._throttled_log.allow((reason, peer))
        if more is not None:
            logger.warning("connection from %s refused: %s%s", address, message or REFUSED.get(reason, reason), more)
