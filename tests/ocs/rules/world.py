"""The charging service as it runs: the shipped catalogue, a real Redis, and a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocs.charging.profile import Origin
from ocs.charging.service import ChargingService
from ocs.ledger.contract import AccountView
from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.rating.catalogue import Catalogue, load_catalogue
from protocol.credit_control import CreditControlAnswer, CreditControlRequest, MultipleServicesCreditControl
from tests.ocs.charging.ccr import CS, DATA, HOME, IMS, MMS, Counted, at, ccr, messages, octets, seconds

CATALOGUE = Path(__file__).parents[3] / "config" / "catalogue.toml"
EUR = 1_000_000
DAY_S = 86_400
START = int(datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp())


class World:
    def __init__(self, ledger: RedisLedger, catalogue: Catalogue) -> None:
        self.ledger = ledger
        self.catalogue = catalogue
        self.now = START
        self.metrics = Counted()
        self._tasks: set[asyncio.Future[None]] = set()
        self.service = ChargingService(catalogue, ledger, self.metrics, lambda: self.now, self._spawn)
        self._accounts = 0
        self._sessions = 0

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def when(self) -> dict[str, int]:
        return {"now": self.now, "month": self.catalogue.month_of(self.now)}

    # -- the operator's side

    async def subscriber(self, credit: float, package: str | None = None) -> Subscriber:
        self._accounts += 1
        msisdn = str(38668100000 + self._accounts)
        account_id = await self.ledger.open_account(
            msisdn=msisdn,
            imsi=str(293400000000000 + self._accounts),
            credit_micro_eur=round(credit * EUR),
            package=self.catalogue.packages[package] if package else None,
            entropy=self._accounts,
            **self.when,
        )
        return Subscriber(self, account_id, msisdn)

    async def sweep(self) -> None:
        """What the housekeeper does every second."""
        for partition in range(self.ledger.partitions):
            for account_id in await self.ledger.due(partition, now=self.now, count=1000):
                await self.ledger.sweep(account_id, packages=tuple(self.catalogue.packages.values()), **self.when)

    def new_session(self) -> str:
        self._sessions += 1
        return f"element.example.net;{self._sessions}"

    # -- the network's side

    async def ask(self, request: CreditControlRequest) -> CreditControlAnswer:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.service.handle(request, Origin(), future.set_result)
        answer = await asyncio.wait_for(future, 5)
        assert isinstance(answer, CreditControlAnswer), answer
        return answer


class Subscriber:
    """An account, and what its user does."""

    def __init__(self, world: World, account_id: str, msisdn: str) -> None:
        self.world = world
        self.account_id = account_id
        self.msisdn = msisdn

    async def view(self) -> AccountView:
        found = await self.world.ledger.read(self.account_id, **self.world.when)
        assert found is not None
        return found

    async def credit(self) -> int:
        return (await self.view()).credit_micro_eur

    async def left(self, bucket: str) -> int | None:
        return next(b.left for b in (await self.view()).buckets if b.id == bucket)

    async def top_up(self, amount: float, reference: str) -> bool:
        return await self.world.ledger.top_up(
            self.account_id,
            amount_micro_eur=round(amount * EUR),
            reference=reference,
            packages=tuple(self.world.catalogue.packages.values()),
            **self.world.when,
        )

    async def events(self, kind: str) -> list[dict[str, Any]]:
        partition = int(self.account_id[:2])
        found = await self.world.ledger.outbox_read(partition, after=0, count=10_000)
        return [e.body for e in found if e.body["a"] == self.account_id and e.body["k"] == kind]

    async def charged(
        self, context: str, kind: str, number: int, *services: MultipleServicesCreditControl, sid: str, information: Any
    ) -> CreditControlAnswer:
        return await self.world.ask(
            ccr(kind, number, *services, context=context, sid=sid, msisdn=self.msisdn, information=information)
        )

    async def session(
        self, context: str, information: Any, *steps: MultipleServicesCreditControl
    ) -> list[tuple[int, MultipleServicesCreditControl | None]]:
        """A session: opened with the first step, updated with the next ones, ended with the last; (code, MSCC) of each answer. Seconds
        used pass.
        """
        sid, found = self.world.new_session(), []
        for number, step in enumerate(steps):
            self.world.now += sum(report.cc_time or 0 for report in step.used_service_unit)
            kind = "I" if number == 0 else "T" if number == len(steps) - 1 else "U"
            answer = await self.charged(context, kind, number, step, sid=sid, information=information)
            services = answer.multiple_services_credit_control
            found.append((answer.result_code or 0, services[0] if services else None))
        return found

    async def call(self, used_s: int, information: Any, context: str = IMS) -> int:
        """A call of so long; what it cost. Opened, and ended with what was used."""
        before = await self.credit()
        opened, ended = await self.session(context, information, seconds(want=used_s), seconds(used=used_s))
        assert (opened[0], ended[0]) == (2001, 2001), (opened, ended)
        return before - await self.credit()

    async def may_call(self, information: Any, context: str = IMS) -> int:
        """Result-Code of a call's opening (the call is ended at once)."""
        sid = self.world.new_session()
        answer = await self.charged(context, "I", 0, seconds(want=60), sid=sid, information=information)
        if answer.result_code == 2001:
            await self.charged(context, "T", 1, seconds(used=0), sid=sid, information=information)
        return answer.result_code or 0

    async def message(self, context: str, information: Any) -> tuple[int, int]:
        """One SMS or MMS as a one-off event: (Result-Code, what it cost)."""
        before = await self.credit()
        answer = await self.charged(
            context, "E", 0, messages(want=1), sid=self.world.new_session(), information=information
        )
        return answer.result_code or 0, before - await self.credit()

    async def use_data(self, *reports: int, plmn: str = HOME, apn: str = "internet") -> int:
        """A data session with these reports; what it cost."""
        before = await self.credit()
        steps = [octets(want=0), *(octets(want=0, used=report) for report in reports[:-1]), octets(used=reports[-1])]
        for code, _ in await self.session(DATA, at(plmn, apn), *steps):
            assert code == 2001
        return before - await self.credit()


@asynccontextmanager
async def world_on(url: str) -> AsyncIterator[World]:
    catalogue = load_catalogue(CATALOGUE)
    packages = tuple(catalogue.packages.values())
    ledger = await RedisLedger.connect(url, LedgerSettings(partitions=4, connections=1))
    try:
        for address in ledger._nodes.addresses():
            async with ledger._nodes.client(address) as client:
                await client.flushall()
        yield World(ledger, catalogue)
    finally:
        await ledger.close()


__all__ = ["CS", "DATA", "IMS", "MMS", "Subscriber", "World", "world_on"]
