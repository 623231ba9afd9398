"""The housekeeper process: background work in five loops (ocs/process/housekeeping).

- sweeper: deadlines, renewals and expiries of accounts that are not in use;
- recording: outbox → charging records;
- orphans: sessions that their restarted clients have lost;
- fair use: decides for accounts that were abroad, once a day;
- auditing: checks the invariants, continuously.

It also writes the product terms of all versions of the catalogue into the ledger, before the loops begin.
Each loop waits while Redis is unavailable, and handles a few partitions or accounts at a time, so its load is bounded.
Only one node's housekeeper works on a ledger, as each record is written once: it keeps a lease, and ends when another
node has it.
"""

from __future__ import annotations

import asyncio
import os

from ocs.compose import StartError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.catalogue_reader import CatalogueReader, reading_catalogue
from ocs.process.child_main import Child, connected_ledger, main
from ocs.process.housekeeping.auditing import Auditing
from ocs.process.housekeeping.fair_use import FairUse
from ocs.process.housekeeping.orphans import Orphans
from ocs.process.housekeeping.recording import Recording
from ocs.process.housekeeping.retrying import PostponedAccounts
from ocs.process.housekeeping.sweeper import Sweeper
from ocs.process.node_facts import where
from ocs.process.node_presence import HeldLease

LEASE = "housekeeper"
ANOTHER = (
    "the housekeeper of {} works on this Redis, and each record is written once:"
    " set server.housekeeper = false on all nodes but that one"
)
NICENESS = 10
"""Workers get the CPU first. A lag of the records is harmless, and visible in the metrics."""


async def run_housekeeper(child: Child) -> None:
    """Run until asked to end. StartError: another node's housekeeper works on the ledger."""
    os.nice(NICENESS)
    async with connected_ledger(child) as ledger:
        if ledger is None:
            return
        lease = HeldLease(child, ledger, LEASE, f"{child.settings.diameter.identity} at {where(child.settings)}")
        if other := await lease.take():
            raise StartError(ANOTHER.format(other))
        loops = asyncio.ensure_future(_follow_and_run(child, ledger, lease))
        keeping = asyncio.create_task(lease.keep(lambda _: loops.cancel()))
        try:
            await loops
        except asyncio.CancelledError:
            if lease.lost_to:
                raise StartError(ANOTHER.format(lease.lost_to)) from None
            raise
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await lease.give_back()


async def _follow_and_run(child: Child, ledger: RedisLedger, lease: HeldLease) -> None:
    """The terms of all products are in the ledger before anything that is due is looked at."""

    async def write_terms() -> None:
        await ledger.set_terms(child.catalogue.product_terms())

    async with reading_catalogue(CatalogueReader(child, ledger, write_terms)):
        child.report_ready()
        await _run_loops(child, ledger, lease)


async def _run_loops(child: Child, ledger: RedisLedger, lease: HeldLease) -> None:
    postponed = PostponedAccounts(child)
    async with asyncio.TaskGroup() as loops:
        loops.create_task(Sweeper(child, ledger, postponed).run())
        loops.create_task(Recording(child, ledger, lambda: lease.held).run())
        loops.create_task(Auditing(child, ledger, postponed).run())
        loops.create_task(Orphans(child, ledger, postponed).run())
        loops.create_task(FairUse(child, ledger, postponed).run())


if __name__ == "__main__":
    main("housekeeper", run_housekeeper)
