"""The Redis ledger as the second ledger of a walk (sides.Other), on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import redis

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.events import OutboxEvent
from ocs.ledger.contract.views import AccountView, PoolView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.values.presence import DayUse
from ocs.values.products import PackageTerms
from tests.conftest import RedisServer
from tests.ocs.ledger.books import outbox_read
from tests.ocs.ledger.catalogue import PARTITIONS
from tests.ocs.ledger.model_state import Event, partition_of

T = TypeVar("T")


class RedisSide:
    """`begin` empties Redis. One event loop serves all tests of one Redis."""

    follows = True

    def __init__(self, servers: list[RedisServer]) -> None:
        self.clients = [redis.Redis(port=server.port) for server in servers]
        self.loop = asyncio.new_event_loop()
        self.begin()  # the last walk may have left keys without the ledger's version
        wanted = {"partitions": PARTITIONS, "connections": 1, "max_clock_skew_s": 0, "remember_events_s": 10**9}
        known = {each.name for each in fields(LedgerSettings)}
        settings = LedgerSettings(**{name: value for name, value in wanted.items() if name in known})
        self.ledger: Any = self._run(RedisLedger.connect(servers[0].url, settings))
        for client in self.clients:  # nothing here must survive a crash
            client.config_set("appendfsync", "no")
        self.read_upto = [0] * PARTITIONS
        self._news: list[list[OutboxEvent]] = []

    def begin(self) -> None:
        for client in self.clients:
            client.flushall()
        self.read_upto = [0] * PARTITIONS

    def close(self) -> None:
        self._run(self.ledger.close())
        self.loop.close()
        for client in self.clients:
            client.config_set("appendfsync", "always")
            client.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    # -- sides.Other

    def open(self, **terms: Any) -> str:
        account_id: str = self._run(self.ledger.open_account(**terms))
        return account_id

    def do(self, operation: str, account_id: str, *args: Any, **more: Any) -> Any:
        if operation == "observe_abroad":
            return self._run(self._observe_abroad(account_id))
        if operation == "asked_at":
            return self._run(self._asked_at(account_id, more["now"]))
        if operation == "store_order":
            return self._run(self.ledger.store_order(*args, **more))
        return self._run(getattr(self.ledger, operation)(account_id, *args, **more))

    async def _asked_at(self, account_id: str, now: int) -> bool:
        """Whether the automatic top-up of the account may be ordered now."""
        partition = int(partition_of(account_id))
        return account_id in await self.ledger.asked_accounts(partition, now=now, count=100)

    async def _observe_abroad(self, account_id: str) -> None:
        """As the observer does it."""
        partition = int(partition_of(account_id))
        rows = {account_id: {20_000: DayUse(abroad=True, use={"data": (0, 1)})}}
        at = await self.ledger.observed_position(partition)
        await self.ledger.observe(partition, expected=at, position=at + 1, rows=rows, window_days=120, kept_days=127)

    def set_terms(self, products: Mapping[str, Sequence[tuple[int, PackageTerms]]]) -> None:
        self._run(self.ledger.set_terms(products))

    def charge(self, request: ChargeRequest) -> ChargeOutcome:
        async def ask() -> ChargeOutcome | LedgerUnavailable:
            future: asyncio.Future[ChargeOutcome | LedgerUnavailable] = self.loop.create_future()
            self.ledger.charge(request, future.set_result)
            return await future

        outcome = self._run(ask())
        assert isinstance(outcome, ChargeOutcome), outcome
        return outcome

    def due(self, now: int) -> list[str]:
        async def ask() -> list[list[str]]:
            asked = (self.ledger.due(partition, now=now, count=100) for partition in range(PARTITIONS))
            return list(await asyncio.gather(*asked))

        return sorted(account_id for found in self._run(ask()) for account_id in found)

    def found(self, identity: str) -> str | None:
        account_id: str | None = self._run(self.ledger.find_subscriber(identity))
        return account_id

    def look(
        self, ids: list[str], pools: list[tuple[str, str]], now: int, month: int
    ) -> tuple[list[AccountView | None], list[PoolView | None]]:
        async def ask() -> Any:
            accounts = asyncio.gather(*(self.ledger.read(account_id, now=now, month=month) for account_id in ids))
            of_pools = asyncio.gather(*(self.ledger.read_pool(account_id, name) for account_id, name in pools))
            news = asyncio.gather(
                *(
                    outbox_read(self.ledger, each, after=self.read_upto[each], count=1000)
                    for each in sorted({int(partition_of(account_id)) for account_id in ids})
                )
            )
            return await accounts, await of_pools, await news

        accounts, of_pools, self._news = self._run(ask())
        return accounts, of_pools

    def news(self, partitions: Iterable[int]) -> list[Event]:
        """Events of the partitions in the last `look`, which reads both at once to save turns of the event loop."""
        found: list[Event] = []
        for events in self._news:
            for event in events:
                assert event.sequence == self.read_upto[event.partition] + 1, "sequence numbers have no gaps"
                self.read_upto[event.partition] = event.sequence
                found.append(event.body)
        return found


@contextmanager
def redis_side(servers: list[RedisServer]) -> Iterator[RedisSide]:
    side = RedisSide(servers)
    try:
        yield side
    finally:
        side.close()
