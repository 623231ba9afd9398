"""Erases what has been kept long enough: itemised use, money, files of records (docs/HISTORY.md, Retention)."""

from __future__ import annotations

import logging

from ocs.compose import Paths
from ocs.history.resume import standing
from ocs.history.retention import Keep, delete_files, erase_money, erase_use
from ocs.process.back_office.database import Database
from ocs.process.child_main import Child

log = logging.getLogger(__name__)

STEP_EVERY_S = 1.0
"""Pause between two pages of accounts, so that the database has time for others: 200 accounts a second."""
PASS_EVERY_S = 3_600.0
"""Least time between the beginnings of two passes."""


class Retention:
    def __init__(self, child: Child, database: Database) -> None:
        self._child = child
        self._database = database
        history = child.settings.history
        self._keep = Keep(history.keep_periods, history.keep_money_years, history.keep_records_days)
        self._after = ""
        """The last account of the pass under way; "" = none is."""
        self._month = 0
        """Month in which money was erased last."""
        self._next_pass_at = child.environment.monotonic()

    async def run(self) -> None:
        await self._database.run_loop("retention", STEP_EVERY_S, self.step)

    def step(self) -> bool:
        """A page of accounts; at the end of the pass, money and files too."""
        if not self._after and self._child.environment.monotonic() < self._next_pass_at:
            return False
        now = self._child.environment.now()
        erased, self._after = erase_use(self._database.engine, self._after, now, self._keep)
        self._count("usage", erased)
        if not self._after:
            self._erase_money(self._child.catalogue.month_of(now))
            self._delete_files(now)
            self._next_pass_at = self._child.environment.monotonic() + PASS_EVERY_S
        return False

    def _erase_money(self, month: int) -> None:
        """Once a month, and after a start: it is erased by month."""
        if month != self._month:
            self._count("money", erase_money(self._database.engine, month, self._keep))
            self._month = month

    def _delete_files(self, now: int) -> None:
        position = standing(self._database.engine)
        try:
            deleted = delete_files(Paths(self._child.settings.data_dir).records, position, now, self._keep)
        except OSError as error:
            log.warning("old files of records cannot be deleted: %s", error)
            return
        self._count("files", len(deleted))
        for name in deleted:
            log.info("%s is loaded and older than history.keep_records_days: it is deleted", name)

    def _count(self, what: str, number: int) -> None:
        if number:
            self._child.metrics.count("ocs_history_erased", what, by=number)
