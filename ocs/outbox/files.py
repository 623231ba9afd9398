"""The folder of record files: their names and order, the checkpoint, and what a crash may have left at the end.

    records-000007-20261122T163000Z.jsonl   one record a line; the number gives the order
    checkpoint.json                         last event of each partition up to and with file `through`

Read at start: what comes after the checkpoint's file, for the positions, and before it as many octets as TAIL_OCTETS,
for the tails (tail.py). Lines are appended and synced in batches, so the end of the last file may be torn by a crash,
and only there; what is torn was not synced, so its events are still in the outbox.
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
"""A record is about 0.3 kB, with 64 services about 20 kB."""
TAIL_OCTETS = 16 * 1024 * 1024
"""Read at start for the tails, before what is read for the positions: about 60,000 records, a third of a second."""


class RecordsError(Exception):
    """The folder cannot be continued; the message says which file and why."""


@dataclass(slots=True)
class Position:
    """The last event stored of a partition."""

    sequence: int = 0
    fingerprint: int = 0


@dataclass(slots=True)
class Found:
    """What the folder holds."""

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


def recover(folder: Path, tail_events: int = LEAST_EVENTS) -> Found:
    """Read the checkpoint and what was written after it; cut off a torn end."""
    found, through = _read_checkpoint(folder)
    files = record_files(folder)
    _read_tails([path for number, path in files if number <= through], found, tail_events)
    for number, path in files:
        found.last_number, found.last_file = number, path
        if number > through:
            _scan(path, found, tail_events, is_last=number == files[-1][0])
    return found


def _read_tails(paths: list[Path], found: Found, tail_events: int) -> None:
    """The last TAIL_OCTETS of finished files, as far as they are still there."""
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
                    _remember(found, tail_events, *event)


def _remember(found: Found, tail_events: int, partition: int, at: Position) -> None:
    tail = found.tails.get(partition)
    if tail is None:
        tail = found.tails[partition] = Tail(tail_events)
    tail.add(at.sequence, at.fingerprint)


def write_checkpoint(folder: Path, through: int, positions: dict[int, Position]) -> None:
    """All records up to and with file `through` are at these positions."""
    rows = {str(partition): [at.sequence, at.fingerprint] for partition, at in positions.items()}
    temporary = folder / "checkpoint.new"
    with temporary.open("wb") as output:
        output.write(orjson.dumps({"through": through, "positions": rows}))
        output.flush()
        os.fsync(output.fileno())
    temporary.replace(folder / "checkpoint.json")
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make names of new and renamed files durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_checkpoint(folder: Path) -> tuple[Found, int]:
    try:
        document = orjson.loads((folder / "checkpoint.json").read_bytes())
        positions = {int(number): Position(int(row[0]), int(row[1])) for number, row in document["positions"].items()}
        return Found(positions), int(document["through"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        log.warning("%s: cannot be used, so all records are read: %s", folder / "checkpoint.json", reason_of(error))
    return Found(), 0


def _scan(path: Path, found: Found, tail_events: int, *, is_last: bool) -> None:
    """Note each line's event; lines after a bad one mean damage, not a torn end."""
    good_octets = 0
    bad_line = 0
    with path.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE_OCTETS), b""), start=1):
            event = _event(line)
            if event is None:
                bad_line = bad_line or number
            elif bad_line:
                raise RecordsError(
                    f"{path}, line {bad_line}: is no record, and good ones follow: the file is damaged; "
                    "restore it, or move the folder of records away"
                )
            else:
                partition, at = event
                found.positions[partition] = at
                _remember(found, tail_events, partition, at)
                good_octets += len(line)
    if bad_line and not is_last:
        raise RecordsError(
            f"{path}, line {bad_line}: is no record; the file is damaged; restore it, or move the folder of "
            "records away"
        )
    if bad_line:
        log.warning(
            "%s, line %d: half a line that a crash left is cut off, and written again from the ledger", path, bad_line
        )
        with path.open("r+b") as torn:
            torn.truncate(good_octets)
            os.fsync(torn.fileno())


def _event(line: bytes) -> tuple[int, Position] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = orjson.loads(line)
        partition, sequence = sequence_of(record["event_id"])
        return partition, Position(sequence, fingerprint(record))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def sequence_of(event_id: str) -> tuple[int, int]:
    """(partition, sequence) of "p47-1234" or "p47.1-1234". ValueError if it is no event id."""
    head, _, number = event_id.removeprefix("p").rpartition("-")
    partition, _, epoch = head.partition(".")
    return int(partition), int(epoch or 0) * EPOCH_EVENTS + int(number)
