"""The folder of record files: their names and order, the checkpoint, and what a crash may have left at the end.

    records-000007-20261122T163000Z.jsonl   one record a line; the number gives the order
    checkpoint.json                         last event of each partition up to and with file `through`

Only what comes after the checkpoint's file is read at start. Lines are appended and synced in batches, so the end of
the last file may be torn by a crash, and only there; what is torn was not synced, so its events are still in the
outbox.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import orjson

log = logging.getLogger(__name__)

_NAME = re.compile(r"records-([0-9]{6,12})-[0-9TZ]+\.jsonl", re.ASCII)
MAX_LINE_OCTETS = 4 * 1024 * 1024
"""A record is about 0.5 kB, with 64 services about 30 kB."""


class RecordsError(Exception):
    """The folder cannot be continued; the message says which file and why."""


@dataclass(slots=True)
class Position:
    """The last event stored of a partition."""

    sequence: int = 0
    fingerprint: str = ""


@dataclass(slots=True)
class Found:
    """What the folder holds."""

    positions: dict[int, Position] = field(default_factory=dict)
    last_number: int = 0
    last_file: Path | None = None


def fingerprint(line: dict[str, object]) -> str:
    """Tells one ledger's event from another's of the same number."""
    return f"{line.get('time')} {line.get('kind')} {line.get('account')}"


def file_name(number: int, time_text: str) -> str:
    return f"records-{number:06d}-{re.sub('[^0-9TZ]', '', time_text)}.jsonl"


def record_files(folder: Path) -> list[tuple[int, Path]]:
    """(number, path) in order."""
    named = [(_NAME.fullmatch(path.name), path) for path in folder.glob("records-*.jsonl")]
    return sorted((int(match[1]), path) for match, path in named if match is not None)


def recover(folder: Path) -> Found:
    """Read the checkpoint and what was written after it; cut off a torn end."""
    found, through = _read_checkpoint(folder)
    files = record_files(folder)
    for number, path in files:
        found.last_number, found.last_file = number, path
        if number > through:
            _scan(path, found, is_last=number == files[-1][0])
    return found


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
        positions = {int(number): Position(int(row[0]), str(row[1])) for number, row in document["positions"].items()}
        return Found(positions), int(document["through"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        log.warning("%s cannot be used (%s): reading all records", folder / "checkpoint.json", error)
    return Found(), 0


def _scan(path: Path, found: Found, *, is_last: bool) -> None:
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
                good_octets += len(line)
    if bad_line and not is_last:
        raise RecordsError(f"{path}, line {bad_line}: is no record; the file is damaged")
    if bad_line:
        log.warning("%s, line %d: cutting off an end that a crash left torn", path, bad_line)
        with path.open("r+b") as torn:
            torn.truncate(good_octets)
            os.fsync(torn.fileno())


def _event(line: bytes) -> tuple[int, Position] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = orjson.loads(line)
        partition, _, sequence = record["event_id"].removeprefix("p").partition("-")
        return int(partition), Position(int(sequence), fingerprint(record))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
