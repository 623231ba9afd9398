"""The charging service with the catalogue of the tests, a real Redis, and a clock that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ocs.catalogue.catalogue import Catalogue, parse_catalogue
from ocs.catalogue.versions import Catalogues
from ocs.charging.service import ChargingService
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.moment import When
from ocs.values.products import PackageTerms
from protocol.credit_control import CreditControlAnswer, CreditControlRequest, MultipleServicesCreditControl
from protocol.errors import DiameterError
from tests.catalogue import CATALOGUE as CATALOGUE
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import CS, DATA, HOME, IMS, MMS, Counted, at, ccr, messages, octets, seconds
from tests.ocs.charging.source import Origin
from tests.ocs.ledger.books import empty_ledger, journal
from tests.waiting import PATIENCE_S

EUR = 1_000_000
DAY_S = 86_400
_parsed = lru_cache(32)(parse_catalogue)
START = int(datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp())


class World:
    def __init__(self, ledger: RedisLedger, catalogue: Catalogue | Catalogues) -> None:
        self.ledger = ledger
        self.catalogue = catalogue
        self.now = START
        self.metrics = Counted()
        self.source = Origin()
        """The peer that everything comes from."""
        self._tasks: set[asyncio.Future[None]] = set()
        self.service = ChargingService(catalogue, ledger, self.metrics, lambda: self.now, self._spawn)
        self._accounts = 0
        self._sessions = 0

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def when(self) -> When:
        return {"now": self.now, "month": self.catalogue.month_of(self.now), "day": self.catalogue.day_of(self.now)}

    # -- the operator's side

    async def price_lists(self, *texts: str) -> None:
        """Puts these catalogue versions in force, and gives the ledger the terms of their products."""
        versions = Catalogues([_parsed(text, f"list {n}") for n, text in enumerate(texts)], lambda: self.now)
        self.catalogue = versions
        self.service = ChargingService(versions, self.ledger, self.metrics, lambda: self.now, self._spawn)
        await self.ledger.set_terms(versions.product_terms())

    async def subscriber(
        self, credit: float, package: str | PackageTerms | None = None, *, unused: bool = False
    ) -> Subscriber:
        """Opens an account. `package`: the id of a catalogue product, or terms that the catalogue lacks."""
        self._accounts += 1
        terms = self.catalogue.packages[package] if isinstance(package, str) else package
        msisdn = str(38668100000 + self._accounts)
        account_id = await self.ledger.open_account(
            msisdn=msisdn,
            imsi=str(293400000000000 + self._accounts),
            credit_micro_eur=round(credit * EUR),
            package=terms,
            entropy=self._accounts,
            unused=unused,
            **self.when,
        )
        return Subscriber(self, account_id, msisdn)

    async def sweep(self) -> None:
        """Sweeps due accounts, as the housekeeper does."""
        for partition in range(self.ledger.partitions):
            for account_id in await self.ledger.due(partition, now=self.now, count=1000):
                await self.ledger.sweep(account_id, **self.when)

    def new_session(self) -> str:
        self._sessions += 1
        return f"element.example.net;{self._sessions}"

    # -- the network's side

    async def ask(self, request: CreditControlRequest) -> CreditControlAnswer:
        answer = await self.reply(request)
        assert isinstance(answer, CreditControlAnswer), answer
        return answer

    async def reply(self, request: CreditControlRequest) -> CreditControlAnswer | DiameterError:
        future: asyncio.Future[CreditControlAnswer | DiameterError] = asyncio.get_running_loop().create_future()
        self.service.handle(request, self.source, future.set_result)
        return await asyncio.wait_for(future, PATIENCE_S)

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[Callable[[], Awaitable[list[Notice]]]]:
        """Within the block, a call returns the notices since the last call: the reasons to send RAR and ASR."""
        queue: asyncio.Queue[Notice] = asyncio.Queue()
        subscribed, marks = asyncio.Event(), 0

        async def listen() -> None:
            async with aclosing(self.ledger.notices(subscribed.set)) as notices:  # type: ignore[type-var]
                async for notice in notices:
                    queue.put_nowait(notice)

        async def heard() -> list[Notice]:
            nonlocal marks
            marks += 1
            await self.ledger.announce(Notice("mark", str(marks), 0.0, "", ()))
            found = []
            while (notice := await asyncio.wait_for(queue.get(), PATIENCE_S)).kind != "mark":
                found.append(notice)
            return found

        task = asyncio.ensure_future(listen())
        try:
            await asyncio.wait_for(subscribed.wait(), PATIENCE_S)
            yield heard
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


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
            **self.world.when,
        )

    async def buy(self, product: PackageTerms, reference: str, **more: Any) -> bool:
        return await self.world.ledger.subscribe(
            self.account_id, product=product, reference=reference, **more, **self.world.when
        )

    async def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in await self.journal() if event["k"] == kind]

    async def journal(self) -> list[dict[str, Any]]:
        """Events of the account's money and sessions, in order."""
        found = await journal(self.world.ledger)
        return [event for event in found if event["a"] == self.account_id]

    async def charged(
        self,
        context: str,
        kind: str,
        number: int,
        *services: MultipleServicesCreditControl,
        sid: str,
        information: Any,
        **more: Any,
    ) -> CreditControlAnswer:
        rest = {"msisdn": self.msisdn, "information": information, **more}
        return await self.world.ask(ccr(kind, number, *services, context=context, sid=sid, **rest))

    def running(self, context: str, information: Any) -> Running:
        return Running(self, context, information, self.world.new_session())

    def data(self, plmn: str = HOME, apn: str = "internet") -> Running:
        return self.running(DATA, at(plmn, apn))

    async def session(
        self, context: str, information: Any, *steps: MultipleServicesCreditControl
    ) -> list[tuple[int, MultipleServicesCreditControl | None]]:
        """A session: the first step opens it, the next ones update it, the last one ends it. Returns (code, MSCC) of
        each answer. The seconds of use pass on the clock.
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
        """Makes a call of this length and returns its cost: an opening, and a termination with the use."""
        before = await self.credit()
        opened, ended = await self.session(context, information, seconds(want=used_s), seconds(used=used_s))
        assert (opened[0], ended[0]) == (2001, 2001), (opened, ended)
        return before - await self.credit()

    async def may_call(self, information: Any, context: str = IMS) -> int:
        """Result-Code of a call's opening; the call is ended at once."""
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
        """A data session with these reports; returns its cost."""
        before = await self.credit()
        steps = [octets(want=0), *(octets(want=0, used=report) for report in reports[:-1]), octets(used=reports[-1])]
        for code, _ in await self.session(DATA, at(plmn, apn), *steps):
            assert code == 2001
        return before - await self.credit()


class Running:
    """A session that a test takes step by step; requests are numbered in order."""

    def __init__(self, user: Subscriber, context: str, information: Any, sid: str) -> None:
        self.user, self.context, self.information, self.sid = user, context, information, sid
        self._next = 0

    async def take(
        self, kind: str, *services: MultipleServicesCreditControl, number: int | None = None, **more: Any
    ) -> CreditControlAnswer:
        number = self._next if number is None else number
        self._next = max(self._next, number + 1)
        rest = {"sid": self.sid, "information": self.information, **more}
        return await self.user.charged(self.context, kind, number, *services, **rest)

    async def one(
        self, kind: str, service: MultipleServicesCreditControl, **more: Any
    ) -> MultipleServicesCreditControl:
        """The answer's only service."""
        (mscc,) = (await self.take(kind, service, **more)).multiple_services_credit_control
        return mscc

    async def held(self) -> dict[str, int]:
        """Micro-EUR held by the session's services, by key; empty if it is not open."""
        sessions = (await self.user.view()).sessions
        reservations = next((s.reservations for s in sessions if s.session_id == self.sid and not s.released), ())
        return {each.key: each.held_micro_eur for each in reservations}


def granted(mscc: MultipleServicesCreditControl) -> int:
    """Units granted; 0 = none."""
    unit = mscc.granted_service_unit
    if unit is None:
        return 0
    return unit.cc_total_octets or unit.cc_time or unit.cc_service_specific_units or 0


@asynccontextmanager
async def world_on(url: str, **settings: Any) -> AsyncIterator[World]:
    """`settings` for the ledger. The test sets the time, so by default the ledger does not compare it with Redis's
    clock.
    """
    async with empty_ledger(url, **{"connections": 1, **settings}) as ledger:
        yield World(ledger, fixed_catalogue())


__all__ = ["CS", "DATA", "IMS", "MMS", "Running", "Subscriber", "World", "granted", "world_on"]
