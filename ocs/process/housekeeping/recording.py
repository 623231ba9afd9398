"""Writes the outbox's events as charging records, syncs them, and then deletes them from the outbox (HOT-REC-2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ocs.compose import Paths
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.outbox.consumer import ForeignOutboxError
from ocs.outbox.files import RecordsError
from ocs.outbox.lost_events import add_lost_events
from ocs.outbox.observer import Observer
from ocs.outbox.pump import Pump
from ocs.outbox.tail import capacity
from ocs.outbox.vat import Vat
from ocs.outbox.writer import RecordWriter
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import RETRY_S, run_loop
from ocs.telemetry.logs import reason_of
from ocs.values.partition_rotation import PartitionRotation, batches

log = logging.getLogger(__name__)

RECORDS_EVERY_S = 1.0
"""Pause between batches: few large batches cost less than many small ones. While more than one batch waits, there is no
pause.
"""
LOG_EVERY_S = 60.0
"""Interval of the log line about a lasting fault (full disk, another ledger's folder)."""
BEGIN_AGAIN_S = 10.0
"""Interval of reading the folder again until it fits the ledger; each time may take a second."""
LAST_ROUND_S = 10.0
"""How long the last records may take when the process is asked to end."""
MEASURE_ALL_S = 60.0
MEASURE_LEAST_PER_S = 64
MEASURED_TOGETHER = 64


def record_writer(child: Child, partitions: int) -> RecordWriter:
    def written(kind: str, count: int) -> None:
        child.metrics.count("ocs_records_written", kind, by=count)

    def missing(count: int) -> None:
        child.metrics.count("ocs_records_missing", by=count)

    return RecordWriter(
        Paths(child.settings.data_dir).records,
        rotate_octets=child.settings.records.rotate_octets,
        rotate_s=child.settings.records.rotate_s,
        clock=child.environment.clock,
        tail_events=capacity(partitions),
        written=written,
        missing=missing,
        business=child.metrics,
        vat=Vat(child.catalogue),
    )


class Recording:
    """Opens the folder, again until it fits the ledger; then writes records, and the last ones when asked to end."""

    def __init__(self, child: Child, ledger: RedisLedger, may_write: Callable[[], bool] = lambda: True) -> None:
        """`may_write`: False while another node may be writing the records."""
        self._child = child
        self._may_write = may_write
        self._writer = record_writer(child, ledger.partitions)
        self._pump = Pump(
            ledger,
            [self._writer],
            stopwatch=child.environment.monotonic,
            events_lost=self._events_lost,
            lost_ids=self._lost_ids,
            before_trim=Observer(ledger, child.catalogue).through,
        )
        self._lag = _Lag(child, ledger)
        self._opened = self._begun = False
        self._next_try_at = 0.0
        self._logged_at = -LOG_EVERY_S

    async def run(self) -> None:
        await run_loop(self._child, RECORDS_EVERY_S, self.step)
        if self._begun:
            await self._last_rounds()
        self._writer.close()

    async def step(self) -> None:
        if not self._may_write():
            return
        if not self._begun and self._child.environment.monotonic() < self._next_try_at:
            await self._lag.measure()
            return
        try:
            await self._begin()
            await self._pump.round()
            while self._pump.lag and self._may_write() and not self._child.stopping.is_set():
                self._child.metrics.set("ocs_outbox_lag_events", self._pump.lag)
                await self._pump.round()
            self._child.metrics.set("ocs_outbox_lag_events", self._pump.lag)
            self._child.metrics.set("ocs_records_stopped", 0)
        except (OSError, RecordsError, ForeignOutboxError) as error:
            await self._stopped(error)

    async def _begin(self) -> None:
        if not self._opened:
            await asyncio.to_thread(self._writer.open)
            self._opened = True
        if not self._begun:
            try:
                await self._pump.begin()
            except ForeignOutboxError:
                self._opened = False  # the operator may restore the right folder
                raise
            self._begun = True

    async def _stopped(self, error: Exception) -> None:
        self._child.metrics.set("ocs_records_stopped", 1)
        now = self._child.environment.clock()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            log.error("charging records are not written and the ledger grows, trying again: %s", reason_of(error))
        self._next_try_at = self._child.environment.monotonic() + BEGIN_AGAIN_S
        await self._lag.measure()
        await self._child.wait_stopping(RETRY_S)

    async def _last_rounds(self) -> None:
        try:
            async with asyncio.timeout(LAST_ROUND_S):
                self._pump.read_all()
                while self._may_write() and await self._pump.round():
                    pass
        except (OSError, TimeoutError, LedgerUnavailable) as error:
            log.warning("the last charging records are written at the next start: %s", str(error) or "no time left")

    def _lost_ids(self, event_ids: Sequence[str]) -> None:
        """OSError: the recovery is tried again."""
        add_lost_events(Paths(self._child.settings.data_dir).lost_events, event_ids, self._child.environment.now())

    def _events_lost(self, count: int) -> None:
        self._child.metrics.count("ocs_ledger_went_back_events", by=count)


class _Lag:
    """Measures the outbox while no records can be written, a few partitions at a time."""

    def __init__(self, child: Child, ledger: RedisLedger) -> None:
        self._child = child
        self._ledger = ledger
        self._events: dict[int, int] = {}
        self._rotation = PartitionRotation(
            ledger.partitions,
            all_s=MEASURE_ALL_S,
            least_per_s=MEASURE_LEAST_PER_S,
            stopwatch=child.environment.monotonic,
        )

    async def measure(self) -> None:
        for some in batches(self._rotation.due(), MEASURED_TOGETHER):
            lags = await asyncio.gather(*(self._ledger.outbox_lag(partition) for partition in some))
            self._events.update(zip(some, lags, strict=True))
        self._child.metrics.set("ocs_outbox_lag_events", sum(self._events.values()))
