"""Charging and its ledger when requests are traced (`[tracing]`). Without tracing, neither class is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ocs.charging.prepared import Prepared, Rater, Terms
from ocs.charging.service import ChargingService
from ocs.charging.session_order import Reply
from ocs.charging.source import Source
from ocs.charging.usage_context import UsageContext
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.operations import ChargeDone, ChargingLedger
from ocs.telemetry.request_span import CURRENT, LEDGER, RATING, Attributes
from ocs.values.requests import Action
from protocol.credit_control import CreditControlRequest

REDIS = "redis"
UNAVAILABLE = "unavailable"


class TracedCharging(ChargingService):
    """Notes when the services of a request are rated. The span is the attribute `span` of the reply."""

    def __init__(self, *arguments: Any, monotonic: Callable[[], float], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._monotonic = monotonic
        self._prepare_untraced = self._prepare
        self._prepare = self._prepare_traced

    def handle(self, request: CreditControlRequest, source: Source, reply: Reply) -> None:
        token = CURRENT.set(getattr(reply, "span", None))
        try:
            super().handle(request, source, reply)
        finally:
            CURRENT.reset(token)

    def _prepare_traced(
        self, request: CreditControlRequest, where: UsageContext, rater: Rater, terms: Terms
    ) -> Prepared:
        span = CURRENT.get()
        if span is None:
            return self._prepare_untraced(request, where, rater, terms)
        started = self._monotonic()
        prepared = self._prepare_untraced(request, where, rater, terms)
        span.phase(RATING, started, self._monotonic(), {"diameter.services": len(prepared.services)})
        return prepared


class TracedLedger:
    """Notes how long each call of the ledger takes, from the worker's point of view. Implements `ChargingLedger`."""

    def __init__(self, ledger: ChargingLedger, monotonic: Callable[[], float]) -> None:
        self._ledger = ledger
        self._monotonic = monotonic

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        span = CURRENT.get()
        if span is None:
            self._ledger.charge(request, done)
            return
        started = self._monotonic()

        def traced(outcome: ChargeOutcome | LedgerUnavailable) -> None:
            attributes: Attributes = {
                "db.system.name": REDIS,
                "db.stored_procedure.name": "refund" if request.action is Action.REFUND else "charge",
            }
            if isinstance(outcome, LedgerUnavailable):
                attributes["error.type"] = UNAVAILABLE
            else:
                attributes["db.response.status_code"] = outcome.retry.value if outcome.retry else str(outcome.code)
                attributes["diameter.duplicate"] = outcome.duplicate
            span.phase(LEDGER, started, self._monotonic(), attributes)
            token = CURRENT.set(span)
            try:
                done(outcome)
            finally:
                CURRENT.reset(token)

        self._ledger.charge(request, traced)

    async def find_subscriber(self, identity: str) -> str | None:
        with self._noted("HGET"):
            return await self._ledger.find_subscriber(identity)

    async def find_session(self, session_id: str, owner: str) -> str | None:
        with self._noted("GET"):
            return await self._ledger.find_session(session_id, owner)

    @contextmanager
    def _noted(self, operation: str) -> Iterator[None]:
        """A look-up, by its command to Redis."""
        span, started = CURRENT.get(), self._monotonic()
        attributes: Attributes = {"db.system.name": REDIS, "db.operation.name": operation}
        try:
            yield
        except LedgerUnavailable:
            attributes["error.type"] = UNAVAILABLE
            raise
        finally:
            if span is not None:
                span.phase(LEDGER, started, self._monotonic(), attributes)
