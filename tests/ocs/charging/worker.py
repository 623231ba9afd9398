"""A worker's charging service on an in-memory ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from ocs.catalogue.catalogue import Catalogue
from ocs.charging.service import ChargingService
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from protocol.errors import DiameterError
from tests.ocs.charging.ccr import Counted
from tests.ocs.charging.fake_ledger import NOW, FakeLedger
from tests.ocs.charging.source import Origin

ACCOUNT = "00-0000000000000001"


class Worker:
    """One worker's charging service; several workers may share a ledger."""

    def __init__(self, ledger: FakeLedger, catalogue: Catalogue) -> None:
        self.ledger = ledger
        self.metrics = Counted()
        self.tasks: set[asyncio.Future[None]] = set()
        self.now = NOW + 0.5
        self.source = Origin("pgw.example.net")
        """The peer that everything comes from."""
        self.service = ChargingService(catalogue, ledger, self.metrics, lambda: self.now, self._spawn)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def handle(
        self, request: CreditControlRequest, source: Origin | None = None
    ) -> CreditControlAnswer | DiameterError:
        """Returns the reply; there must be exactly one."""
        replies: list[CreditControlAnswer | DiameterError] = []
        self.service.handle(request, source or self.source, replies.append)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(replies) == 1
        return replies[0]

    async def answer(self, request: CreditControlRequest) -> CreditControlAnswer:
        reply = await self.handle(request)
        assert isinstance(reply, CreditControlAnswer), reply
        return reply

    async def error(self, request: CreditControlRequest) -> DiameterError:
        reply = await self.handle(request)
        assert isinstance(reply, DiameterError), reply
        return reply
