"""Finishes claims of vouchers that a crash left open (HOT-TOP-2): for the account that made them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from ocs.accounts.operations import AccountOperations
from ocs.accounts.redeeming import RedeemOperations
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import run_loop
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.partition_rotation import PartitionRotation, batches

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LOOK_ALL_S = 60.0
"""Time in which every partition is looked at once."""
LOOK_LEAST_PER_S = 8
LOOKED_AT_TOGETHER = 64


class OpenClaims:
    def __init__(self, child: Child, ledger: RedisLedger) -> None:
        self._child = child
        now, entropy = child.environment.now, child.environment.entropy
        accounts = AccountOperations(ledger, child.catalogue, now, entropy)
        # No number is entered here, so no key is needed.
        self._redeeming = RedeemOperations(accounts, ledger, child.catalogue, now, entropy, None)
        self._stuck: dict[int, int] = {}
        """Claims that cannot be finished now, by partition."""
        self._throttled_log = ThrottledLog(child.environment.clock)
        self._rotation = PartitionRotation(
            ledger.partitions,
            all_s=LOOK_ALL_S,
            least_per_s=LOOK_LEAST_PER_S,
            stopwatch=child.environment.monotonic,
        )

    async def run(self) -> None:
        await run_loop(self._child, LOOK_EVERY_S, self.step)

    async def step(self) -> int:
        """Finish what is open in the partitions whose turn it is; returns the number of claims."""
        return await self.finish(self._rotation.due())

    async def finish(self, partitions: Sequence[int]) -> int:
        total = 0
        for some in batches(partitions, LOOKED_AT_TOGETHER):
            done = await asyncio.gather(*(self._redeeming.finish_open_claims(each) for each in some))
            for partition, (finished, stuck) in zip(some, done, strict=True):
                total += finished
                self._stuck[partition] = stuck
        self._measure(total)
        return total

    def _measure(self, finished: int) -> None:
        stuck = sum(self._stuck.values())
        if finished:
            self._child.metrics.count("ocs_voucher_claims_finished", by=finished)
        self._child.metrics.set("ocs_voucher_claims_stuck", stuck)
        if stuck and (more := self._throttled_log.allow("stuck")) is not None:
            log.error("%d vouchers cannot be redeemed now: their accounts cannot be changed%s", stuck, more)
