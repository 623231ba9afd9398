"""Sweeper: carries out what is due in accounts: session deadlines, renewals and ends of subscriptions, agenda entries.

A charging script does this first for its own account, so the sweeper is for accounts that are not in use. Partitions
take turns; one in which something was due is swept again a second later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import MAX_POSTPONED, PostponedAccounts, concerns_all, run_loop
from ocs.values.partition_rotation import PartitionRotation, batches

SWEEP_EVERY_S = 1.0
SWEEP_ALL_S = 10.0
"""Time in which every partition is swept once."""
SWEEP_LEAST_PER_S = 64
"""Least partitions a second."""
SWEEP_BATCH = 100
"""Accounts of one partition in one sweep: 6,400 a second with 64 partitions."""
LOOKED_AT_TOGETHER = 64
SWEEP_TOGETHER = 16
"""Partitions swept at once: they share disk syncs, and charging waits for at most so many scripts."""


class Sweeper:
    def __init__(self, child: Child, ledger: RedisLedger, postponed: PostponedAccounts) -> None:
        self._child = child
        self._ledger = ledger
        self._postponed = postponed
        self._again: set[int] = set()
        """Partitions to sweep again, as something was due in them."""
        self._rotation = PartitionRotation(
            ledger.partitions,
            all_s=SWEEP_ALL_S,
            least_per_s=SWEEP_LEAST_PER_S,
            stopwatch=child.environment.monotonic,
        )

    async def run(self) -> None:
        await run_loop(self._child, SWEEP_EVERY_S, self.step)

    async def step(self) -> int:
        """Sweep the partitions whose turn it is; returns the number of accounts swept."""
        return await self.sweep([*{*self._again, *self._rotation.due()}])

    async def sweep(self, partitions: Sequence[int]) -> int:
        """Sweep what is due in these partitions, at most SWEEP_BATCH accounts of each."""
        swept = 0
        for some in batches(partitions, LOOKED_AT_TOGETHER):
            found = await self._ledger.due_many(some, now=self._child.environment.now(), count=SWEEP_BATCH)
            due = {partition: account_ids for partition, account_ids in zip(some, found, strict=True) if account_ids}
            self._again.difference_update(some)
            for few in batches(list(due), SWEEP_TOGETHER):
                counts = await asyncio.gather(*(self._sweep_partition(each, due[each]) for each in few))
                self._again.update(each for each, count in zip(few, counts, strict=True) if count)
                swept += sum(counts)
        return swept

    async def _sweep_partition(self, partition: int, due: Sequence[str]) -> int:
        swept = 0
        for account_id in await self._batch(partition, due):
            try:
                await self._ledger.sweep(account_id, **self._child.when())
            except LedgerError as error:
                if concerns_all(error):
                    raise
                self._failed(account_id, error)
            except LedgerUnavailable as error:
                # Raises LedgerUnavailable if Redis is unavailable, not only this account.
                await self._ledger.outbox_last(partition)
                self._failed(account_id, error)
            else:
                self._postponed.worked(account_id)
                self._child.metrics.count("ocs_swept_accounts")
                swept += 1
        return swept

    async def _batch(self, partition: int, found: Sequence[str]) -> list[str]:
        """The due accounts that are not postponed. Postponed ones stay due, so read further until others are found."""
        count = SWEEP_BATCH
        while True:
            wanted = [account_id for account_id in found if not self._postponed.skips(account_id)]
            if len(wanted) >= SWEEP_BATCH or len(found) < count or count > MAX_POSTPONED:
                return wanted[:SWEEP_BATCH]
            count *= 4
            found = await self._ledger.due(partition, now=self._child.environment.now(), count=count)

    def _failed(self, account_id: str, error: LedgerError | LedgerUnavailable) -> None:
        self._postponed.failed(account_id, "cannot be swept", error)
        self._child.metrics.count("ocs_sweep_failures")
