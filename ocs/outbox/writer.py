"""Writes the charging records (HOT-REC-2): one JSON line for each event, exactly once across crashes, in rotated files.

A batch is written and synced before `store` returns; only then does the outbox delete its events. After a crash the
positions are read from the files, so an event is written again only if its line is missing.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path

from orjson import OPT_APPEND_NEWLINE, dumps

from ocs.ledger.contract.events import EPOCH_EVENTS, OutboxEvent
from ocs.outbox import files
from ocs.outbox.business import BusinessMetrics, count_business
from ocs.outbox.files import Position
from ocs.outbox.format import record
from ocs.outbox.tail import LEAST_EVENTS, Tail, fingerprint
from ocs.outbox.vat import Vat
from ocs.values.moment import utc_text

log = logging.getLogger(__name__)


class RecordWriter:
    """A consumer of the outbox. `open()` first, `close()` last. A folder has one writer: the process that owns the data
    folder.
    """

    name = "the folder of records"

    def __init__(
        self,
        folder: Path,
        *,
        rotate_octets: int,
        rotate_s: int,
        clock: Callable[[], float],
        tail_events: int = LEAST_EVENTS,
        written: Callable[[str, int], None] = lambda kind, count: None,
        missing: Callable[[int], None] = lambda count: None,
        business: BusinessMetrics | None = None,
        vat: Vat | None = None,
    ) -> None:
        self._folder = folder
        self._rotate_octets = rotate_octets
        self._rotate_s = rotate_s
        self._clock = clock
        self._tail_events = tail_events
        self._written = written
        self._missing = missing
        self._vat = vat
        self._business = business
        self._positions: dict[int, Position] = {}
        self._tails: dict[int, Tail] = {}
        self._file: FileIO | None = None
        self._number = 0
        self._octets = 0
        self._opened_at = 0.0

    def open(self) -> None:
        """Read what is stored already. RecordsError = a file is damaged."""
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        found = files.recover(self._folder, self._tail_events)
        self._positions, self._tails, self._number = found.positions, found.tails, found.last_number
        if found.last_file is not None:
            self._continue(found.last_file)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def position(self, partition: int) -> int:
        at = self._positions.get(partition)
        return at.sequence if at is not None else 0

    def last_fingerprint(self, partition: int) -> int:
        at = self._positions.get(partition)
        return at.fingerprint if at is not None else 0

    def tail(self, partition: int) -> Tail | None:
        return self._tails.get(partition)

    def fingerprint(self, event: OutboxEvent) -> int:
        return fingerprint(record(event))

    def store(self, events: Sequence[OutboxEvent]) -> None:
        lines: list[bytes] = []
        kinds: Counter[str] = Counter()
        stored: dict[int, list[tuple[int, int]]] = {}
        records: list[dict[str, object]] = []
        lost = 0
        for event in events:
            partition, sequence = event.partition, event.sequence
            pairs = stored.get(partition)
            before = pairs[-1][0] if pairs else self.position(partition)
            if sequence <= before:
                continue
            lost += _missing_between(partition, before, sequence)
            line = record(event, self._vat)
            lines.append(dumps(line, None, OPT_APPEND_NEWLINE))
            kinds[str(event.body["k"])] += 1
            records.append(line)
            if pairs is None:
                pairs = stored[partition] = []
            pairs.append((sequence, fingerprint(line)))
        if lines:
            self._append(b"".join(lines))
            self._advance(stored)
            for kind, count in kinds.items():
                self._written(kind, count)
            if self._business is not None:
                count_business(records, self._business)
        if lost:
            self._missing(lost)

    def _advance(self, stored: dict[int, list[tuple[int, int]]]) -> None:
        for partition, pairs in stored.items():
            tail = self._tails.get(partition)
            if tail is None:
                tail = self._tails[partition] = Tail(self._tail_events)
            for sequence, event_fingerprint in pairs:
                tail.add(sequence, event_fingerprint)
            self._positions[partition] = Position(*pairs[-1])

    # -- files

    def _append(self, data: bytes) -> None:
        """Append all of `data` durably. OSError = none of it was appended."""
        self._rotate_if_due()
        assert self._file is not None
        if self._file.seek(0, os.SEEK_END) != self._octets:
            # A failed append left octets that could not be removed then.
            self._file.truncate(self._octets)
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._remove_incomplete()
            raise
        self._octets += len(data)

    def _remove_incomplete(self) -> None:
        assert self._file is not None
        try:
            self._file.truncate(self._octets)
        except OSError as error:
            log.warning(
                "%s: an incomplete batch of records could not be removed, it is removed before the next is written: %s",
                *(self._folder, error),
            )

    def _rotate_if_due(self) -> None:
        if self._file is not None:
            age_s = self._clock() - self._opened_at
            if not self._octets or (self._octets < self._rotate_octets and 0 <= age_s < self._rotate_s):
                return
            self.close()
            files.write_checkpoint(self._folder, self._number, self._positions)
        now = self._clock()
        path = self._folder / files.file_name(self._number + 1, utc_text(int(now)))
        self._file = FileIO(path, "ab")
        files.sync_folder(self._folder)
        self._number += 1
        self._octets, self._opened_at = 0, now

    def _continue(self, path: Path) -> None:
        self._file = FileIO(path, "ab")
        os.fsync(self._file.fileno())  # a killed process may not have synced its last lines
        self._octets = path.stat().st_size
        self._opened_at = path.stat().st_mtime if self._octets else self._clock()


def _missing_between(partition: int, before: int, sequence: int) -> int:
    """How many sequence numbers are missing between two events; each epoch counts from 1."""
    if not before or sequence == before + 1:
        return 0
    lost = sequence - max(before, sequence // EPOCH_EVENTS * EPOCH_EVENTS) - 1
    if lost:
        log.error(
            "partition %d: %d events before number %d are missing from the ledger and so from the charging records",
            *(partition, lost, sequence),
        )
    return lost
