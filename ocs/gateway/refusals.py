"""Requests that are refused before they reach charging: counted by kind, logged once per interval and peer, without identities."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum

from ocs.gateway.config import GatewayMetrics

logger = logging.getLogger(__name__)

LOG_EVERY_S = 60.0
"""Of one peer and kind."""
MAX_REMEMBERED = 4_096
"""Pairs of peer and kind that were logged lately; beyond it all is forgotten, and logged anew."""


class Kind(StrEnum):
    """Why; a bounded label of the metrics."""

    ORIGIN_HOST = "origin_host"
    ORIGIN_REALM = "origin_realm"
    ROUTE = "route"
    SESSION_ID = "session_id"
    CONTEXT = "context"
    SUBSCRIBER = "subscriber"
    REFUND = "refund"
    RATE = "rate"
    OVERLOAD = "overload"
    STOPPING = "stopping"
    AFTER_DPR = "after_dpr"


class Refusals:
    """One per worker."""

    def __init__(self, metrics: GatewayMetrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        self._said: dict[tuple[str, Kind], tuple[float, int]] = {}

    def note(self, peer: str, kind: Kind) -> None:
        """`peer` is its label: a name of the allow-list, or "unknown"."""
        self._metrics.request_refused(kind.value)
        now = self._clock()
        said_at, since = self._said.get((peer, kind), (float("-inf"), 0))
        if now - said_at < LOG_EVERY_S:
            self._said[peer, kind] = said_at, since + 1
            return
        if len(self._said) >= MAX_REMEMBERED:
            self._said.clear()
        self._said[peer, kind] = now, 0
        more = f" ({since} more since the last line)" if since else ""
        logger.warning("peer %s: request refused: %s%s", peer, kind.value, more)
