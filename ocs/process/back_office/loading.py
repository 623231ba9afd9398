"""Loads the charging records into the SQL database (docs/HISTORY.md)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.model import RateTable
from ocs.catalogue.versions import Catalogues
from ocs.compose import Paths
from ocs.history.engine import writing
from ocs.history.loader import EventHook, Loader
from ocs.history.partitions import make_ahead
from ocs.history.position import PositionMovedError
from ocs.history.rows import Projection
from ocs.outbox.files import RecordsError
from ocs.process.back_office.database import Database
from ocs.process.child_main import Child
from ocs.telemetry.logs import reason_of
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

LOAD_EVERY_S = 1.0
"""Pause after a batch that was not full."""
LAST_BATCHES = 100
"""Batches that are still loaded when the process is asked to end."""


class CatalogueFacts:
    """What the rows say by the catalogue: months, which rates are free, which products are tariffs. In any version."""

    def __init__(self, catalogues: Catalogues) -> None:
        self._catalogues = catalogues
        self._versions: Sequence[Catalogue] = ()
        self._free: frozenset[str] = frozenset()
        self._tariffs: frozenset[str] = frozenset()

    def projection(self) -> Projection:
        return Projection(self._catalogues.month_of, self.is_free, self.is_tariff)

    def is_free(self, rate: str) -> bool:
        """A rate of emergency, freephone or help-centre numbers (HOT-RAT-2, -3)."""
        self._look()
        return rate in self._free

    def is_tariff(self, product: str) -> bool:
        self._look()
        return product in self._tariffs

    def _look(self) -> None:
        if self._versions is not (versions := self._catalogues.versions):
            tables = [version.tables.of("rate", RateTable) for version in versions]
            self._free = frozenset(name for rates in tables for name, rate in rates.items() if rate.always)
            self._tariffs = frozenset(product for version in versions for product in version.packages)
            self._versions = versions


class Loading:
    """`hooks` add rows of their own in the transaction that loads an event. `is_current`: every version in force of the
    catalogue is known. While it is not, nothing is loaded: the versions say what is free and what is a tariff.
    """

    def __init__(
        self,
        child: Child,
        database: Database,
        hooks: Sequence[EventHook] = (),
        is_current: Callable[[], bool] = lambda: True,
    ) -> None:
        self._child = child
        self._is_current = is_current
        self._database = database
        self._throttled_log = ThrottledLog(child.environment.monotonic)
        self._loader = Loader(
            database.engine,
            Paths(child.settings.data_dir).records,
            CatalogueFacts(child.catalogue).projection(),
            hooks,
            stored=lambda table, rows: child.metrics.count("ocs_history_rows", table, by=rows),
            missing=lambda events: child.metrics.count("ocs_history_missing_events", by=events),
        )
        self._month = 0

    async def run(self) -> None:
        await self._database.run_loop("loading", LOAD_EVERY_S, self.step)
        await self._database.last("loading", self._last)

    def step(self) -> bool:
        """Load a batch; False = nothing is left to load for now."""
        try:
            self._prepare_month()
            loaded = self._is_current() and self._loader.step()
        except (RecordsError, PositionMovedError, OSError) as error:
            self._stopped(error)
            return False
        finally:
            self._measure()
        self._child.metrics.set("ocs_history_stopped", 0)
        return loaded

    def _last(self) -> None:
        """What the housekeeper wrote last, before this process ends."""
        for _ in range(LAST_BATCHES):
            if not self.step():
                return

    def _prepare_month(self) -> None:
        month = self._child.catalogue.month_of(self._child.environment.now())
        if month != self._month:
            with writing(self._database.engine) as connection:
                make_ahead(connection, month)
            self._month = month

    def _stopped(self, error: Exception) -> None:
        self._child.metrics.set("ocs_history_stopped", 1)
        self._child.metrics.count("ocs_history_failures", "loading")
        if (more := self._throttled_log.allow("stopped")) is not None:
            log.error("the history is not loaded, trying again: %s%s", reason_of(error), more)

    def _measure(self) -> None:
        """Also while the database is down: the files grow."""
        waiting = self._loader.waiting_octets()
        last_at = self._loader.last_at
        behind_s = max(self._child.environment.now() - last_at, 0) if waiting and last_at else 0
        self._child.metrics.set("ocs_history_lag_octets", waiting)
        self._child.metrics.set("ocs_history_lag_seconds", behind_s)
