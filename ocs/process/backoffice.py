"""The backoffice process: what follows from charging and may lag behind it, in loops (ocs/process/back_office).

- loading: charging records → SQL;
- retention: erases what has been kept long enough;
- open claims: finishes redemptions of vouchers that a crash left;
- unfinished: transfers and steps of business groups that a crash left;
- notices: made of events, and sent;
- payments: automatic top-ups and payment orders.

Each loop waits alone while what it needs (SQL, Redis, a provider) is down; the others go on. Charging needs none of
them. It runs where the housekeeper runs, which writes the record files.
"""

from __future__ import annotations

import asyncio
import os

from ocs.compose import StartError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.back_office.database import Database
from ocs.process.back_office.loading import Loading
from ocs.process.back_office.noticing import NotedEvents, run_noticing
from ocs.process.back_office.open_claims import OpenClaims
from ocs.process.back_office.payments import run_payments
from ocs.process.back_office.retention import Retention
from ocs.process.back_office.unfinished import Unfinished
from ocs.process.catalogue_reader import CatalogueReader, reading_catalogue
from ocs.process.child_main import Child, connected_ledger, main

NICENESS = 10
"""Workers get the CPU first."""


async def run_backoffice(child: Child) -> None:
    """Run until asked to end."""
    os.nice(NICENESS)
    database = Database(child)
    try:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(_run_sql_loops(child, database))
            loops.create_task(_run_ledger_loops(child, database))
    except* StartError as group:
        raise group.exceptions[0] from None
    finally:
        database.close()


async def _run_sql_loops(child: Child, database: Database) -> None:
    """Loops that need SQL only."""
    async with asyncio.TaskGroup() as loops:
        loops.create_task(Loading(child, database, [NotedEvents(child.environment.now)]).run())
        loops.create_task(Retention(child, database).run())


async def _run_ledger_loops(child: Child, database: Database) -> None:
    """Loops that need the ledger too; they begin once Redis answers, with the versions of the catalogue in force."""
    async with connected_ledger(child) as ledger:
        if ledger is not None:
            async with reading_catalogue(CatalogueReader(child, ledger)):
                child.report_ready()
                await _run_with(child, database, ledger)


async def _run_with(child: Child, database: Database, ledger: RedisLedger) -> None:
    async with asyncio.TaskGroup() as loops:
        loops.create_task(child.stopping.wait())
        loops.create_task(OpenClaims(child, ledger).run())
        loops.create_task(Unfinished(child, ledger).run())
        loops.create_task(run_noticing(child, database, ledger))
        loops.create_task(run_payments(child, ledger))


if __name__ == "__main__":
    main("backoffice", run_backoffice)
