"""The housekeeper process: what nobody waits for. Four loops (ocs/process/housekeeping): each waits when Redis is away
and goes on by itself:

- sweeper: what is due in accounts that nobody uses;
- recording: outbox → charging records;
- orphans: sessions of clients that have lost them;
- auditing: the invariants, over and over.

None of them asks all partitions, or all accounts, at once: what each costs a second is bounded. One node's housekeeper
works on a ledger at a time, since a record is written once: it keeps a lease, and ends when another has it.
"""

from __future__ import annotations

import asyncio
import os

from ocs.compose import StartError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.child_main import Child, connected_ledger, main
from ocs.process.housekeeping.auditing import Auditing
from ocs.process.housekeeping.orphans import Orphans
from ocs.process.housekeeping.patience import SetAside
from ocs.process.housekeeping.recording import Recording
from ocs.process.housekeeping.sweeper import Sweeper
from ocs.process.node_facts import where
from ocs.process.node_presence import HeldLease

LEASE = "housekeeper"
ANOTHER = (
    "the housekeeper of {} works on this Redis, and each record is written once:"
    " set server.housekeeper = false on all nodes but that one"
)
NICENESS = 10
"""Charging comes first when the processor is short; a lag of the records is seen and harmless."""


async def keep_house(child: Child) -> None:
    """StartError: another node's housekeeper works on the ledger."""
    os.nice(NICENESS)
    async with connected_ledger(child) as ledger:
        if ledger is None:
            return
        lease = HeldLease(child, ledger, LEASE, f"{child.settings.diameter.identity} at {where(child.settings)}")
        if other := await lease.take():
            raise StartError(ANOTHER.format(other))
        child.tell_ready()
        house = asyncio.ensure_future(_work(child, ledger, lease))
        keeping = asyncio.create_task(lease.keep(lambda _: house.cancel()))
        try:
            await house
        except asyncio.CancelledError:
            if lease.lost_to:
                raise StartError(ANOTHER.format(lease.lost_to)) from None
            raise
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await lease.give_back()


async def _work(child: Child, ledger: RedisLedger, lease: HeldLease) -> None:
    aside = SetAside(child)
    async with asyncio.TaskGroup() as loops:
        loops.create_task(Sweeper(child, ledger, aside).run())
        loops.create_task(Recording(child, ledger, lambda: lease.held).run())
        loops.create_task(Auditing(child, ledger, aside).run())
        loops.create_task(Orphans(child, ledger, aside).run())


if __name__ == "__main__":
    main("housekeeper", keep_house)
