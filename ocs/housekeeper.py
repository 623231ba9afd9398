"""The housekeeper process: what nobody waits for. Four loops (ocs/housekeeping), each of which waits when Redis is away and goes on by
itself:

- sweeper: what is due in accounts that nobody uses;
- recording: outbox → charging records;
- orphans: sessions of clients that have lost them;
- auditing: the invariants, over and over.

None of them asks all partitions, or all accounts, at once: what each costs a second is bounded.
"""

from __future__ import annotations

import asyncio
import os

from ocs.child import Child, connected_ledger, main
from ocs.housekeeping.auditing import Auditing
from ocs.housekeeping.orphans import Orphans
from ocs.housekeeping.patience import SetAside
from ocs.housekeeping.recording import Recording
from ocs.housekeeping.sweeper import Sweeper

NICENESS = 10
"""Charging comes first when the processor is short; a lag of the records is seen and harmless."""


async def keep_house(child: Child) -> None:
    os.nice(NICENESS)
    async with connected_ledger(child) as ledger:
        if ledger is None:
            return
        aside = SetAside(child)
        child.tell_ready()
        async with asyncio.TaskGroup() as loops:
            loops.create_task(Sweeper(child, ledger, aside).run())
            loops.create_task(Recording(child, ledger).run())
            loops.create_task(Auditing(child, ledger, aside).run())
            loops.create_task(Orphans(child, ledger, aside).run())


if __name__ == "__main__":
    main("housekeeper", keep_house)
