"""The charging records (HOT-REC-2): one JSON line an event, in rotated files, each event exactly once across crashes.

A batch is written and synced before `store` returns, and the outbox forgets its events only then. After a crash the
position is read back from the files themselves, so an event whose line is there is not written again, and one whose
line is not is.
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
from ocs.outbox.files import Position
from ocs.outbox.format import record
from ocs.outbox.tail import LEAST_EVENTS, Tail, fingerprint
from ocs.values.moment import utc_text

log = logging.getLogger(__name__)


class RecordWriter:
    """A consumer of the outbox. `open()` first, `close()` last; the folder has one writer at a time (the data
    folder's owner).
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
    ) -> None:
        self._folder = folder
        self._rotate_octets = rotate_octets
        self._rotate_s = rotate_s
        self._clock = clock
        self._tail_events = tail_events
        self._written = written
        self._missing = missing
        self._positions: dict[int, Position] = {}
        self._tails: dict[int, Tail] = {}
        self._file: FileIO | None = None
        self._number = 0
        self._octets = 0
        self._opened_at = 0.0

    def open(self) -> None:
        """Find out what is stored already. RecordsError: the folder is damaged."""
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

    def last_mark(self, partition: int) -> int:
        at = self._positions.get(partition)
        return at.fingerprint if at is not None else 0

    def tail(self, partition: int) -> Tail | None:
        return self._tails.get(partition)

    def mark(self, event: OutboxEvent) -> int:
        return fingerprint(record(event))

    def store(self, events: Sequence[OutboxEvent]) -> None:
        lines: list[bytes] = []
        kinds: Counter[str] = Counter()
        stored: dict[int, list[tuple[int, int]]] = {}
        lost = 0
        for event in events:
            partition, sequence = event.partition, event.sequence
            marks = stored.get(partition)
            before = marks[-1][0] if marks else self.position(partition)
            if sequence <= before:
                continue
            lost += _missing_between(partition, before, sequence)
            line = record(event)
            lines.append(dumps(line, None, OPT_APPEND_NEWLINE))
            kinds[str(event.body["k"])] += 1
            if marks is None:
                marks = stored[partition] = []
            marks.append((sequence, fingerprint(line)))
        if lines:
            self._append(b"".join(lines))
            self._advance(stored)
            for kind, count in kinds.items():
                self._written(kind, count)
        if lost:
            self._missing(lost)

    def _advance(self, stored: dict[int, list[tuple[int, int]]]) -> None:
        for partition, marks in stored.items():
            tail = self._tails.get(partition)
            if tail is None:
                tail = self._tails[partition] = Tail(self._tail_events)
            for sequence, mark in marks:
                tail.add(sequence, mark)
            self._positions[partition] = Position(*marks[-1])

    # -- files

    def _append(self, data: bytes) -> None:
        """All of `data` on disk, or OSError and none of it."""
        self._rotate_if_due()
        assert self._file is not None
        if self._file.seek(0, os.SEEK_END) != self._octets:
            # What an earlier failure could not take back.
            self._file.truncate(self._octets)
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._take_back()
            raise
        self._octets += len(data)

    def _take_back(self) -> None:
        assert self._file is not None
        try:
            self._file.truncate(self._octets)
        except OSError as error:
            log.warning(
                "%s: half a batch of records is taken back before the next is written, not yet: %s", self._folder, error
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
        os.fsync(self._file.fileno())  # a process that was killed may have written lines and not synced them
        self._octets = path.stat().st_size
        self._opened_at = path.stat().st_mtime if self._octets else self._clock()


def _missing_between(partition: int, before: int, sequence: int) -> int:
    """Events that must have been between two that follow each other; each epoch counts from 1."""
    if not before or sequence == before + 1:
        return 0
    lost = sequence - max(before, sequence // EPOCH_EVENTS * EPOCH_EVENTS) - 1
    if lost:
        log.error(
            "partition %d: %d events before number %d are not in the ledger, so they are missing in the charging "
            "records",
            *(partition, lost, sequence),
        )
    return lost
