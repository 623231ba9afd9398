"""Where the loading stands, and how it goes on when a file of records is lost (`ocs history`)."""

from __future__ import annotations

from pathlib import Path

import orjson
from sqlalchemy import Engine, select

from ocs.history import position as positions
from ocs.history.engine import writing
from ocs.history.position import Position
from ocs.history.rows import CHARGES, USE, unix_s
from ocs.history.schema import EVENTS
from ocs.outbox.files import MAX_LINE_OCTETS, parse_event_id, record_files

COMPARED_EVENTS = 500
"""Events of a file that are compared with those in the database."""


class ResumeError(Exception):
    """The loading cannot go on with this file; the message says why."""


def standing(engine: Engine) -> Position:
    with engine.connect() as connection:
        return positions.load(connection)


def resume(engine: Engine, folder: Path, name: str) -> None:
    """The loading goes on with the beginning of this file. Events that are loaded already are passed over. ResumeError:
    there is no such file, or its events are of another ledger.
    """
    found = next(((number, path) for number, path in record_files(folder) if path.name == name), None)
    if found is None:
        raise ResumeError(f"{folder}: has no file {name}")
    with writing(engine) as connection:
        before = positions.load(connection)
    _compare(engine, found[1], before)
    with writing(engine) as connection:
        positions.store(connection, before, before.begin(found[0], name))


def _compare(engine: Engine, path: Path, position: Position) -> None:
    """ResumeError: an event has the id of one that is loaded, and is another."""
    there: dict[str, tuple[str, int]] = {}
    with path.open("rb") as lines:
        for line in iter(lambda: lines.readline(MAX_LINE_OCTETS), b""):
            if len(there) == COMPARED_EVENTS or not line.endswith(b"\n"):
                break
            record = orjson.loads(line)
            partition, sequence = parse_event_id(record["event_id"])
            is_loaded = partition < len(position.sequences) and sequence <= position.sequences[partition]
            if is_loaded and record["kind"] not in (USE, *CHARGES):
                there[record["event_id"]] = record["account"], unix_s(record["time"])
    columns = EVENTS.c.event_id, EVENTS.c.account, EVENTS.c.at
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).where(EVENTS.c.event_id.in_(list(there)))).all()
    if {row.event_id: (row.account, row.at) for row in rows} != there:
        raise ResumeError(
            f"{path}: its events are of another ledger than those in the database: name an empty one in history.url"
        )
