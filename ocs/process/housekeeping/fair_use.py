"""Fair use: evaluates once a day the accounts that were seen abroad (HOT-ROA-4).

Each partition has an index of them by the day of their next evaluation, so no others are looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from ocs.accounts.errors import RefusedError
from ocs.accounts.fair_use import FairUseOperations
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.policy.fair_use import Action
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import PostponedAccounts, concerns_all, run_loop
from ocs.values.partition_rotation import PartitionRotation, batches

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
LOOK_ALL_S = 600.0
"""Time in which every partition is looked at once."""
LOOK_LEAST_PER_S = 8
EVALUATIONS_PER_S = 100
"""100,000 accounts in a quarter of an hour."""
BATCH = 50
"""Accounts of a partition that are evaluated before the next one's turn."""
LOOKED_AT_TOGETHER = 64


class FairUse:
    def __init__(self, child: Child, ledger: RedisLedger, postponed: PostponedAccounts) -> None:
        self._child = child
        self._ledger = ledger
        self._postponed = postponed
        self._accounts = FairUseOperations(ledger, child.catalogue, child.environment.now)
        self._again: set[int] = set()
        """Partitions that have more to evaluate."""
        self._states: dict[int, dict[str, int]] = {}
        """Accounts by state, of each partition."""
        self._rotation = PartitionRotation(
            ledger.partitions,
            all_s=LOOK_ALL_S,
            least_per_s=LOOK_LEAST_PER_S,
            stopwatch=child.environment.monotonic,
        )

    async def run(self) -> None:
        await run_loop(self._child, LOOK_EVERY_S, self.step)

    async def step(self) -> int:
        """Evaluate what is due in the partitions whose turn it is; returns the number of accounts."""
        if self._child.catalogue.fair_use is None:
            return 0
        return await self.evaluate([*{*self._again, *self._rotation.due()}])

    async def evaluate(self, partitions: Sequence[int]) -> int:
        evaluated = 0
        today = self._child.catalogue.day_of(self._child.environment.now())
        for some in batches(partitions, LOOKED_AT_TOGETHER):
            due = await self._ledger.observations_due(some, day=today, count=BATCH)
            for partition, account_ids in zip(some, due, strict=True):
                self._again.discard(partition)
                wanted = [each for each in account_ids if not self._postponed.skips(each)]
                for account_id in wanted:
                    await self._evaluate(account_id)
                evaluated += len(wanted)
                if len(wanted) == BATCH:
                    self._again.add(partition)
                if wanted and await self._child.wait_stopping(len(wanted) / EVALUATIONS_PER_S):
                    return evaluated
            await self._measure(some)
        return evaluated

    async def _evaluate(self, account_id: str) -> None:
        try:
            found = await self._accounts.evaluate(account_id)
        except (LedgerError, RefusedError) as error:
            refusal = error if isinstance(error, LedgerError) else LedgerError(error.code, str(error))
            if concerns_all(refusal):
                raise refusal from None
            self._postponed.failed(account_id, "cannot be evaluated for fair use", refusal)
            return
        self._postponed.worked(account_id)
        if found is not None and found.done and found.decision.action is not Action.NONE:
            self._child.metrics.count("ocs_fair_use_steps", found.decision.action.value)

    async def _measure(self, partitions: Sequence[int]) -> None:
        """Accounts by state, as far as the partitions were looked at; and those whose day is past."""
        day = self._child.catalogue.day_of(self._child.environment.now())
        states, overdue = await asyncio.gather(
            self._ledger.fair_use_states(partitions), self._ledger.observations_overdue(partitions, day=day)
        )
        for partition, counts, late in zip(partitions, states, overdue, strict=True):
            self._states[partition] = {**counts, "overdue": late}
        total: Counter[str] = Counter()
        for counts in self._states.values():
            total.update(counts)
        for state in ("observed", "warned", "surcharge"):
            self._child.metrics.set("ocs_fair_use_accounts", total[state], state)
        self._child.metrics.set("ocs_fair_use_overdue_accounts", total["overdue"])
