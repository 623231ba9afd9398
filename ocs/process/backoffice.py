"""The backoffice process: what follows from charging and may lag behind it, in loops (ocs/process/back_office).

- retention: erases what has been kept long enough;
- loading: charging records → SQL;
- open claims: finishes redemptions of vouchers that a crash left;
- unfinished: transfers and steps of business groups that a crash left;
- notices: made of events, and sent;
- payments: automatic top-ups and payment orders.

Each loop waits alone while what it needs (SQL, Redis, a provider) is down; the others go on. What goes by the catalogue
(loading, making notices, payments) begins when its versions in the ledger are known, and pauses while one may be in
force that is not. Charging needs none of the loops. It runs where the housekeeper runs, which writes the record files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
from ocs.process.processes import take_spare_time


async def run_backoffice(child: Child) -> None:
    """Run until asked to end."""
    database = Database(child)
    try:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(Retention(child, database).run())
            loops.create_task(_run_ledger_loops(child, database))
    except* StartError as group:
        raise group.exceptions[0] from None
    finally:
        database.close()


async def _run_ledger_loops(child: Child, database: Database) -> None:
    """Loops that need the ledger too; they begin once Redis answers, with the versions of the catalogue in force."""
    async with connected_ledger(child) as ledger:
        if ledger is not None:
            reader = CatalogueReader(child, ledger)
            async with reading_catalogue(reader):
                child.report_ready()
                take_spare_time()
                await _run_with(child, database, ledger, reader.is_current)


async def _run_with(child: Child, database: Database, ledger: RedisLedger, is_current: Callable[[], bool]) -> None:
    async with asyncio.TaskGroup() as loops:
        loops.create_task(Loading(child, database, [NotedEvents(child.environment.now)], is_current).run())
        loops.create_task(child.stopping.wait())
        loops.create_task(OpenClaims(child, ledger).run())
        loops.create_task(Unfinished(child, ledger).run())
        loops.create_task(run_noticing(child, database, ledger, is_current))
        loops.create_task(run_payments(child, ledger, is_current))


if __name__ == "__main__":
    main("backoffice", run_backoffice)
