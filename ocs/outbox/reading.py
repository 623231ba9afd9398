"""Reads the charging records of a time range, in the order in which they were written, with bounded memory.

A record is written after its event, so a file may have events that happened long before it began (Redis was away, the
disk was full). Files that ended before the range begins are skipped; all later ones are read, and the time of each
record decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from ocs.outbox.files import MAX_LINE_OCTETS, RecordsError, record_files
from ocs.values.moment import utc_text

CLOCKS_DIFFER_S = 3600
"""Most that the clock that names the files and the one that dates the events may differ."""
LATEST = 253_402_300_799
"""9999-12-31T23:59:59Z: as an end, everything from the beginning on."""
_TIME = b'"time":"'
_TIME_LENGTH = len("2026-11-22T16:30:00Z")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A file as long as it was when the reading began: it may grow meanwhile."""

    number: int
    path: Path
    octets: int


@dataclass(frozen=True, slots=True)
class Range:
    """Records whose time is from `since` to before `until`, in Unix seconds."""

    since: int
    until: int

    def __post_init__(self) -> None:
        assert 0 <= self.since <= self.until <= LATEST


def sources(folder: Path, wanted: Range) -> list[Source]:
    """The files that may have records of the range, in order."""
    found = record_files(folder)
    first = 0
    for place, (_, path) in enumerate(found):
        if began_at(path) <= wanted.since - CLOCKS_DIFFER_S:
            first = place
    return [Source(number, path, path.stat().st_size) for number, path in found[first:]]


def began_at(path: Path) -> int:
    """Unix seconds when the file began, by its name."""
    text = path.stem.rpartition("-")[2]
    return int(datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp())


def missing(files: list[Source], wanted: Range) -> str:
    """What the folder lacks of the range, for people; "" = nothing: finished files may have been moved away."""
    if not files:
        return "there are no files of records"
    first = files[0]
    if first.number > 1 and began_at(first.path) > wanted.since:
        return f"files before {first.path.name} are missing"
    for earlier, later in pairwise(files):
        if later.number != earlier.number + 1:
            return f"files between {earlier.path.name} and {later.path.name} are missing"
    return ""


def read(
    files: list[Source],
    wanted: Range,
    advanced: Callable[[int], None] = lambda octets: None,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Record]:
    """The records of the range. `advanced` is called with octets that were read. RecordsError: a line is damaged.

    `share` (n, count): only those of partitions whose number divided by `count` leaves the rest n.
    """
    since, until = utc_text(wanted.since).encode(), utc_text(wanted.until).encode()
    for file in files:
        with file.path.open("rb") as lines:
            left, told, number = file.octets, 0, 0
            while left > 0:
                line = lines.readline(min(left, MAX_LINE_OCTETS))
                number, left, told = number + 1, left - len(line), told + len(line)
                if not line.endswith(b"\n"):
                    if left > 0 or not line:
                        raise RecordsError(f"{file.path}, line {number}: is longer than any record")
                    break  # not synced yet: its event is still in the outbox
                if told >= _TELL_OCTETS:
                    advanced(told)
                    told = 0
                if share[1] > 1 and _is_of_others(line, share):
                    continue
                at = line.find(_TIME) + len(_TIME)
                if at < len(_TIME) or since <= line[at : at + _TIME_LENGTH] < until:
                    yield _decoded(line, file, number)
            advanced(told)


def _is_of_others(line: bytes, share: tuple[int, int]) -> bool:
    partition = _PARTITION.match(line)
    return partition is not None and int(partition[1]) % share[1] != share[0]


_PARTITION = re.compile(rb'\{"event_id":"p([0-9]+)[.-]')
_TELL_OCTETS = 1024 * 1024
_HEAD = ("event_id", "kind", "time", "account")


def _decoded(line: bytes, file: Source, number: int) -> Record:
    try:
        record = orjson.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in _HEAD):
        raise RecordsError(f"{file.path}, line {number}: is no charging record")
    return record


def unix_s(time_text: str) -> int:
    """Of a record's time, such as 2026-11-22T16:30:00Z."""
    return int(datetime.fromisoformat(time_text).timestamp())
