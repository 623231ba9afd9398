"""Up to where the record files are loaded: a row of the database, changed in the transaction that stores the rows."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from sqlalchemy import Connection, insert, select, update

from ocs.history.schema import POSITIONS

RECORDS = "records"
_DIGEST_OCTETS = 16


class PositionMovedError(Exception):
    """Another process has loaded records since the position was read."""


@dataclass(frozen=True, slots=True)
class Position:
    """Octet `offset` of a file of records."""

    number: int = 0
    """Number of the file; 0 = nothing is loaded."""
    name: str = ""
    offset: int = 0
    last_line: bytes = b""
    """Length and hash of the last line before `offset` (`mark`); b"" = it is the beginning of the file."""
    sequences: array[int] = field(default_factory=lambda: array("Q"))
    """Sequence number of the last loaded event of each partition; 0 = none. It only rises, so an event that comes again
    (the file was written anew after a crash) is recognised.
    """

    @property
    def at(self) -> tuple[int, int]:
        return self.number, self.offset

    @property
    def last_line_octets(self) -> int:
        return int.from_bytes(self.last_line[:4], "big")

    def begin(self, number: int, name: str) -> Position:
        """The beginning of a file."""
        return replace(self, number=number, name=name, offset=0, last_line=b"")


def mark(line: bytes) -> bytes:
    """What is kept of a line to recognise it."""
    return len(line).to_bytes(4, "big") + blake2b(line, digest_size=_DIGEST_OCTETS).digest()


def load(connection: Connection) -> Position:
    row = connection.execute(select(POSITIONS).where(POSITIONS.c.name == RECORDS)).one_or_none()
    if row is None:
        return Position()
    sequences = array("Q")
    sequences.frombytes(row.sequences)
    return Position(row.file_number, row.file_name, row.file_offset, row.last_line, sequences)


def store(connection: Connection, before: Position, after: Position) -> None:
    """PositionMovedError: the stored position is no longer `before`."""
    values = {
        "file_number": after.number,
        "file_name": after.name,
        "file_offset": after.offset,
        "last_line": after.last_line,
        "sequences": after.sequences.tobytes(),
    }
    if not before.number and load(connection).number == 0:
        connection.execute(insert(POSITIONS).values(name=RECORDS, **values))
        return
    changed = connection.execute(
        update(POSITIONS)
        .where(POSITIONS.c.name == RECORDS)
        .where(POSITIONS.c.file_number == before.number, POSITIONS.c.file_offset == before.offset)
        .values(**values)
    )
    if changed.rowcount != 1:
        raise PositionMovedError("another process loads the records into this database")
