"""The folder of charging records: file names, the checkpoint, and recovery after a crash.

    records-000007-20261122T163000Z.jsonl   one record a line; the number gives the order
    checkpoint.json                         last event of each partition, up to and including file `through`

At start the files after `through` are read for the positions, and the last TAIL_OCTETS before them for the tails. Lines
are appended and synced in batches, so a crash can leave an incomplete line at the end of the last file only. That line
was not synced, so its event is still in the outbox.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from ocs.ledger.contract.events import EPOCH_EVENTS
from ocs.outbox.tail import LEAST_EVENTS, Tail, fingerprint
from ocs.telemetry.logs import reason_of

log = logging.getLogger(__name__)

_NAME = re.compile(r"records-([0-9]{6,12})-[0-9TZ]+\.jsonl", re.ASCII)
MAX_LINE_OCTETS = 4 * 1024 * 1024
"""A record has about 0.3 kB; with 64 services, about 20 kB."""
TAIL_OCTETS = 16 * 1024 * 1024
"""Octets read at start for the tails: about 60,000 records, a third of a second."""


class RecordsError(Exception):
    """A file of the folder is damaged. The message names file and line."""


@dataclass(slots=True)
class Position:
    """The last stored event of a partition."""

    sequence: int = 0
    fingerprint: int = 0


@dataclass(slots=True)
class FolderState:
    """What the record files contain."""

    positions: dict[int, Position] = field(default_factory=dict)
    tails: dict[int, Tail] = field(default_factory=dict)
    last_number: int = 0
    last_file: Path | None = None


def file_name(number: int, time_text: str) -> str:
    return f"records-{number:06d}-{re.sub('[^0-9TZ]', '', time_text)}.jsonl"


def record_files(folder: Path) -> list[tuple[int, Path]]:
    """(number, path) in order."""
    named = [(_NAME.fullmatch(path.name), path) for path in folder.glob("records-*.jsonl")]
    return sorted((int(match[1]), path) for match, path in named if match is not None)


def recover(folder: Path, tail_events: int = LEAST_EVENTS) -> FolderState:
    """Read the checkpoint and the files after it; cut off an incomplete last line. Raises RecordsError."""
    found, through = _read_checkpoint(folder)
    files = record_files(folder)
    _read_tails([path for number, path in files if number <= through], found, tail_events)
    for number, path in files:
        found.last_number, found.last_file = number, path
        if number > through:
            _scan(path, found, tail_events, is_last=number == files[-1][0])
    return found


def _read_tails(paths: list[Path], found: FolderState, tail_events: int) -> None:
    """Read the last TAIL_OCTETS of finished files, as far as the files still exist."""
    wanted, starts = TAIL_OCTETS, list[tuple[Path, int]]()
    for path in reversed(paths):
        size = path.stat().st_size
        starts.append((path, max(size - wanted, 0)))
        wanted -= size
        if wanted <= 0:
            break
    for path, start in reversed(starts):
        with path.open("rb") as lines:
            lines.seek(start)
            if start:
                lines.readline(MAX_LINE_OCTETS)
            for line in iter(lambda lines=lines: lines.readline(MAX_LINE_OCTETS), b""):  # type: ignore[misc]
                event = _event(line)
                if event is not None:
                    _add_to_tail(found, tail_events, *event)


def _add_to_tail(found: FolderState, tail_events: int, partition: int, at: Position) -> None:
    tail = found.tails.get(partition)
    if tail is None:
        tail = found.tails[partition] = Tail(tail_events)
    tail.add(at.sequence, at.fingerprint)


def write_checkpoint(folder: Path, through: int, positions: dict[int, Position]) -> None:
    """Store the positions at the end of file `through`."""
    rows = {str(partition): [at.sequence, at.fingerprint] for partition, at in positions.items()}
    temporary = folder / "checkpoint.new"
    with temporary.open("wb") as output:
        output.write(orjson.dumps({"through": through, "positions": rows}))
        output.flush()
        os.fsync(output.fileno())
    temporary.replace(folder / "checkpoint.json")
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make the names of new and renamed files durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_checkpoint(folder: Path) -> tuple[FolderState, int]:
    try:
        document = orjson.loads((folder / "checkpoint.json").read_bytes())
        positions = {int(number): Position(int(row[0]), int(row[1])) for number, row in document["positions"].items()}
        return FolderState(positions), int(document["through"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        log.warning("%s: cannot be used, so all records are read: %s", folder / "checkpoint.json", reason_of(error))
    return FolderState(), 0


def _scan(path: Path, found: FolderState, tail_events: int, *, is_last: bool) -> None:
    """Read the event of each line. An invalid line is an incomplete one only at the end of the last file; elsewhere the
    file is damaged.
    """
    valid_octets = 0
    invalid_line = 0
    with path.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE_OCTETS), b""), start=1):
            event = _event(line)
            if event is None:
                invalid_line = invalid_line or number
            elif invalid_line:
                raise RecordsError(
                    f"{path}, line {invalid_line}: is no record, and records follow: the file is damaged; "
                    "restore it, or move the folder of records away"
                )
            else:
                partition, at = event
                found.positions[partition] = at
                _add_to_tail(found, tail_events, partition, at)
                valid_octets += len(line)
    if invalid_line and not is_last:
        raise RecordsError(
            f"{path}, line {invalid_line}: is no record; the file is damaged; restore it, or move the folder of "
            "records away"
        )
    if invalid_line:
        log.warning(
            "%s, line %d: a crash left the line incomplete: it is cut off and written again from the ledger",
            *(path, invalid_line),
        )
        with path.open("r+b") as file:
            file.truncate(valid_octets)
            os.fsync(file.fileno())


def _event(line: bytes) -> tuple[int, Position] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = orjson.loads(line)
        partition, sequence = parse_event_id(record["event_id"])
        return partition, Position(sequence, fingerprint(record))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def parse_event_id(event_id: str) -> tuple[int, int]:
    """(partition, sequence number) of "p47-1234" or "p47.1-1234". ValueError = no event id."""
    head, _, number = event_id.removeprefix("p").rpartition("-")
    partition, _, epoch = head.partition(".")
    return int(partition), int(epoch or 0) * EPOCH_EVENTS + int(number)
