"""Requests that are refused before they reach charging: counted by kind, logged once per interval and peer, without identities."""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum

from ocs.gateway.config import GatewayMetrics
from ocs.seldom import Seldom

logger = logging.getLogger(__name__)


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
        self._seldom = Seldom(clock)

    def note(self, peer: str, kind: Kind) -> None:
        """`peer` is its label: a name of the allow-list, or "unknown"."""
        self._metrics.request_refused(kind.value)
        more = self._seldom.due((peer, kind))
        if more is not None:
            logger.warning("peer %s: request refused: %s%s", peer, kind.value, more)
