"""Loads the record files into the database: rows and position are stored in one transaction, so a process that is
killed at any moment loses none and doubles none.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
from sqlalchemy import Connection, Engine

from ocs.history import position as positions
from ocs.history.engine import writing
from ocs.history.position import Position
from ocs.history.reader import MAX_CHUNK_OCTETS, read, waiting_octets
from ocs.history.rows import Loaded, Projection, Record, Rows
from ocs.history.store import write
from ocs.ledger.contract.events import EPOCH_EVENTS
from ocs.outbox.files import RecordsError, parse_event_id

log = logging.getLogger(__name__)

MAX_PARTITIONS = 16_384
"""Of a ledger (`ledger.partitions`)."""
MAX_SEQUENCE = 2**63


class EventHook(Protocol):
    """Adds rows of its own in the transaction that loads events: they are stored with them, or not at all."""

    def add(self, connection: Connection, events: Sequence[Loaded]) -> None:
        """`events`: all but use and charges, in the order of the records; each once. An exception undoes the batch."""


class Loader:
    """`stored` is told the rows of each batch by table, `missing` how many events are missing from the records."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        projection: Projection,
        hooks: Sequence[EventHook] = (),
        *,
        stored: Callable[[str, int], None] = lambda table, rows: None,
        missing: Callable[[int], None] = lambda events: None,
        octets: int = MAX_CHUNK_OCTETS,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._projection = projection
        self._hooks = hooks
        self._stored = stored
        self._missing = missing
        self._octets = octets
        self._position: Position | None = None
        self._known = Position()
        """The last position that was read or stored."""
        self.last_at = 0
        """Unix seconds of the last event that was loaded since the process began; 0 = none."""

    def step(self) -> bool:
        """Load one batch; False = there was nothing to load. RecordsError, SQLAlchemyError."""
        position, self._position = self._current(), None  # read again after any failure
        chunk = read(self._folder, position, self._octets)
        if chunk is None:
            self._position = position
            return False
        sequences = array("Q", position.sequences)
        records, missing = _fresh(chunk.lines, sequences, chunk.after)
        after = Position(chunk.after.number, chunk.after.name, chunk.after.offset, chunk.after.last_line, sequences)
        rows = self._rows(records, after)
        with writing(self._engine) as connection:
            positions.store(connection, position, after)
            write(connection, rows)
            for hook in self._hooks:
                hook.add(connection, rows.loaded)
        self._position = self._known = after
        self._tell(rows, missing)
        return True

    def _rows(self, records: Sequence[Record], after: Position) -> Rows:
        try:
            return self._projection.rows(records)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(after) from error

    def waiting_octets(self) -> int:
        """Octets that are not loaded, as far as is known: the database is not asked."""
        return waiting_octets(self._folder, self._known)

    def _current(self) -> Position:
        if self._position is None:
            with self._engine.connect() as connection:
                self._position = self._known = positions.load(connection)
        return self._position

    def _tell(self, rows: Rows, missing: int) -> None:
        self.last_at = rows.last_at or self.last_at
        for table, count in rows.count().items():
            if count:
                self._stored(table, count)
        if missing:
            self._missing(missing)


def _fresh(lines: Sequence[bytes], sequences: array[int], after: Position) -> tuple[list[Record], int]:
    """The records that are not loaded yet, and how many events before them are missing. Raises the sequence numbers."""
    fresh: list[Record] = []
    missing = 0
    for line in lines:
        record, partition, sequence = _decoded(line, after)
        if partition >= len(sequences):
            sequences.extend([0] * (partition + 1 - len(sequences)))
        before = sequences[partition]
        if sequence <= before:
            continue
        if before and sequence != before + 1:
            missing += sequence - max(before, sequence // EPOCH_EVENTS * EPOCH_EVENTS) - 1
        sequences[partition] = sequence
        fresh.append(record)
    return fresh, missing


def _decoded(line: bytes, after: Position) -> tuple[dict[str, Any], int, int]:
    try:
        record = orjson.loads(line)
        partition, sequence = parse_event_id(record["event_id"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(after) from None
    if not 0 <= partition < MAX_PARTITIONS or not 0 < sequence < MAX_SEQUENCE:
        raise _damaged(after)
    return record, partition, sequence


def _damaged(after: Position) -> RecordsError:
    return RecordsError(
        f"{after.name}, before octet {after.offset}: a line is no record; the file is damaged: restore it, or name the"
        " next file by `ocs history resume FILE`"
    )
