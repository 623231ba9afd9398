"""Drives payment orders: orders the automatic top-ups that charging has asked for, and takes each order one step
further. Partitions take turns; at most `together` orders are under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Protocol, TypeVar

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.payments import PaymentLedger
from ocs.payments.orders import PaymentOrders
from ocs.payments.provider import UncertainError
from ocs.payments.signing import SecretError
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.partition_rotation import PartitionRotation, batches

log = logging.getLogger(__name__)

ALL_S = 5.0
"""Time in which every partition is looked at once."""
LEAST_PER_S = 64
LOOKED_AT_TOGETHER = 64
MOST_OF_A_PARTITION = 50
"""Accounts, and orders, of a partition in one round."""
POSTPONED_S = 60.0
"""Pause of an account or order that failed by an error of ours or of the ledger."""
MAX_POSTPONED = 10_000
GONE = ("moved", "unknown", "state")
"""Errors of an account or order that is not there any more: moved, forgotten, or terminated."""
CLOCK = "clock"
"""Our clock is wrong: it concerns all."""

Result = TypeVar("Result")


class Metrics(Protocol):
    def set(self, name: str, value: float, *labels: str) -> None: ...
    def count(self, name: str, *labels: str, by: int = 1) -> None: ...


class PaymentDriver:
    def __init__(
        self,
        ledger: PaymentLedger,
        orders: PaymentOrders,
        *,
        partitions: int,
        now: Callable[[], int],
        stopwatch: Callable[[], float],
        metrics: Metrics,
        together: int,
    ) -> None:
        self._ledger, self._orders, self._now, self._metrics = ledger, orders, now, metrics
        self._stopwatch = stopwatch
        self._partitions = partitions
        self._limit = asyncio.Semaphore(together)
        self._rotation = PartitionRotation(partitions, all_s=ALL_S, least_per_s=LEAST_PER_S, stopwatch=stopwatch)
        self._postponed: dict[str, float] = {}
        self._waiting: dict[int, tuple[int, int]] = {}
        """Of each partition: what was due, and is after its round, and since when."""
        self._throttled_log = ThrottledLog(stopwatch)

    async def step(self) -> int:
        """One round over the partitions whose turn it is; returns what was done. LedgerUnavailable."""
        return await self.look_at(self._rotation.due())

    async def look_at_all(self) -> int:
        return await self.look_at(range(self._partitions))

    async def look_at(self, partitions: Iterable[int]) -> int:
        done = 0
        partitions = list(partitions)
        for some in batches(partitions, LOOKED_AT_TOGETHER):
            done += sum(await _all(map(self._partition, some)))
        waiting = [each for each in self._waiting.values() if each[0]]
        self._metrics.set("ocs_payment_due", sum(count for count, _ in waiting))
        oldest = min((since for _, since in waiting), default=self._now())
        self._metrics.set("ocs_payment_oldest_due_seconds", max(self._now() - oldest, 0))
        return done

    async def _partition(self, partition: int) -> int:
        """Orders first: what they become may end the wait of their account."""
        now, count = self._now(), MOST_OF_A_PARTITION + len(self._postponed)
        due = await self._ledger.due_orders(partition, now=now, count=count)
        asked = await self._ledger.asked_accounts(partition, now=now, count=count)
        await _all(self._guarded(partition, each, self._advance) for each in due)
        if self._orders.collects:
            await _all(self._guarded(partition, each, self._order) for each in asked)
        self._waiting[partition] = await self._ledger.payments_due(partition, now=now)
        return len(due) + len(asked)

    async def _guarded(self, partition: int, name: str, work: Callable[[str], Awaitable[None]]) -> None:
        """Do `work`, unless it is postponed. What fails for one order or account must not stop the others."""
        if self._postponed.get(name, 0.0) > self._stopwatch():
            return
        try:
            async with self._limit:
                await work(name)
        except UncertainError as error:
            self._metrics.count("ocs_payment_uncertain")
            if (more := self._throttled_log.allow("uncertain")) is not None:
                log.warning(
                    "no certain answer of the payment provider; its outcome is asked for later: %s%s", error, more
                )
        except (LedgerError, SecretError) as error:
            if isinstance(error, LedgerError) and error.code in GONE:
                await self._ledger.forget_work(partition, name)
                return
            if isinstance(error, LedgerError) and error.code == CLOCK:
                raise
            self._postpone(name)
            if (more := self._throttled_log.allow("postponed")) is not None:
                log.warning("a payment cannot go on, tried again in a minute: %s%s", error, more)
        else:
            self._postponed.pop(name, None)

    def _postpone(self, name: str) -> None:
        if len(self._postponed) >= MAX_POSTPONED:
            del self._postponed[next(iter(self._postponed))]
        self._postponed[name] = self._stopwatch() + POSTPONED_S

    async def _advance(self, order_id: str) -> None:
        order = await self._ledger.read_order(order_id)
        if order.due and order.due <= self._now():
            await self._orders.advance(order)

    async def _order(self, account_id: str) -> None:
        result = await self._orders.order_top_up(account_id)
        if result.word == "ok" and result.order is not None:
            await self._orders.advance(result.order)


async def _all(work: Iterable[Coroutine[object, object, Result]]) -> list[Result]:
    """Results of all; the first error only when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for each in results:
        if isinstance(each, BaseException):
            raise each
    return [each for each in results if not isinstance(each, BaseException)]
