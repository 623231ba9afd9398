"""Continues transfers and steps of business groups that a crash left (HOT-GRP-1, HOT-GRP-2), and takes accounts that
have ended out of their groups.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ocs.accounts.groups import GroupOperations
from ocs.accounts.operations import AccountOperations
from ocs.accounts.transfers import GRACE_S, TransferOperations
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import run_loop
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.actor import ACTOR
from ocs.values.partition_rotation import PartitionRotation, batches

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LOOK_ALL_S = 30.0
"""Time in which every partition is looked at once."""
LOOK_LEAST_PER_S = 8
LOOKED_AT_TOGETHER = 64
TIDY_ALL_S = 3600.0
"""Time in which every group is looked through once for accounts that have ended or moved."""


class Unfinished:
    def __init__(self, child: Child, ledger: RedisLedger) -> None:
        self._child, self._ledger = child, ledger
        now, entropy = child.environment.now, child.environment.entropy
        accounts = AccountOperations(ledger, child.catalogue, now, entropy)
        self._groups = GroupOperations(accounts, ledger, child.catalogue, now, entropy)
        self._transfers = TransferOperations(accounts, ledger, child.catalogue, now)
        self._stuck: dict[int, int] = {}
        """What cannot be finished now, by partition."""
        self._throttled_log = ThrottledLog(child.environment.clock)
        self._rotation = self._rotated(LOOK_ALL_S, LOOK_LEAST_PER_S)
        self._tidying = self._rotated(TIDY_ALL_S, 0)

    def _rotated(self, all_s: float, least_per_s: float) -> PartitionRotation:
        stopwatch = self._child.environment.monotonic
        return PartitionRotation(self._ledger.partitions, all_s=all_s, least_per_s=least_per_s, stopwatch=stopwatch)

    async def run(self) -> None:
        ACTOR.set("backoffice")
        await run_loop(self._child, LOOK_EVERY_S, self.step)

    async def step(self) -> None:
        """Look at the partitions whose turn it is."""
        await self.finish(self._rotation.due())
        await self.tidy(self._tidying.due())

    async def finish(self, partitions: Sequence[int]) -> None:
        for some in batches(partitions, LOOKED_AT_TOGETHER):
            await asyncio.gather(*(self._finish(each) for each in some))
        stuck = sum(self._stuck.values())
        self._child.metrics.set("ocs_groups_stuck", stuck)
        if stuck and (more := self._throttled_log.allow("stuck")) is not None:
            log.error("%d transfers or steps of groups cannot be finished now%s", stuck, more)

    async def _finish(self, partition: int) -> None:
        metrics, before = self._child.metrics, self._child.environment.now() - GRACE_S
        continued, stuck = await self._transfers.continue_partition(partition)
        for each in continued:
            metrics.count("ocs_transfers_continued", each.refused or "arrived")
        steps, stuck_steps = await self._groups.continue_partition(partition, before=before)
        if steps:
            metrics.count("ocs_group_steps_continued", by=steps)
        self._stuck[partition] = stuck + stuck_steps

    async def tidy(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            for group_id in await self._ledger.group_ids(partition):
                try:
                    gone = await self._groups.tidy(group_id)
                except LedgerError:  # one of its accounts cannot be read; the audit names it
                    continue
                for account_id in gone:
                    log.info("group %s: account %s is out of it: it has ended", group_id, account_id)
