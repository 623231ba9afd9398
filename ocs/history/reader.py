"""Reads the files of charging records from a position on: complete lines only, file after file.

The housekeeper appends to the last file, and begins the next one only when that is complete. After a crash it cuts an
incomplete line off; after a full disk, the end of a batch that could not be stored. So a file may become shorter, and
have other lines where the position was: the file is then read again from its beginning, and events that are loaded
already are recognised by their sequence numbers.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ocs.history.position import Position, mark
from ocs.outbox.files import MAX_LINE_OCTETS, RecordsError, record_files

log = logging.getLogger(__name__)

MAX_CHUNK_OCTETS = 4 * 1024 * 1024
"""Octets read, and loaded in one transaction, at most; about 12,000 records."""


class ForeignFolderError(RecordsError):
    """The folder is not the one that the database was loaded from."""


class MissingFileError(RecordsError):
    """A file was deleted before it was loaded."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines, and the position after them."""

    lines: list[bytes]
    after: Position


def read(folder: Path, position: Position, octets: int = MAX_CHUNK_OCTETS) -> Chunk | None:
    """What follows the position; None = nothing yet. RecordsError: it cannot be read, the message says what to do."""
    if not position.number:
        files = record_files(folder)
        return None if not files else _read_from(folder, position.begin(files[0][0], files[0][1].name), octets)
    return _read_from(folder, position, octets)


def _read_from(folder: Path, position: Position, octets: int) -> Chunk | None:
    while True:
        chunk = _read_file(folder, position, octets)
        if chunk is not None:
            return chunk
        following = _next_file(folder, position)
        if following is None:
            return None
        # The file is complete now. It may have grown between the two looks.
        chunk = _read_file(folder, position, octets)
        if chunk is not None:
            return chunk
        _check_end(folder / position.name, position)
        position = position.begin(*following)


def _read_file(folder: Path, position: Position, octets: int) -> Chunk | None:
    """Complete lines of the position's file; None = there are no more."""
    try:
        with (folder / position.name).open("rb") as file:
            if not _is_at(file, position):
                log.warning(
                    "%s: was cut off after a crash or a full disk, reading it again from its beginning",
                    *(folder / position.name,),
                )
                position = position.begin(position.number, position.name)
                file.seek(0)
            data = file.read(octets)
            end = data.rfind(b"\n") + 1
            if not end and len(data) == octets:
                data += file.read(MAX_LINE_OCTETS)
                end = data.find(b"\n") + 1
    except FileNotFoundError:
        raise _gone(folder, position) from None
    if not end:
        if len(data) > MAX_LINE_OCTETS:
            raise _damaged(folder / position.name, position.offset)
        return None
    lines = [line + b"\n" for line in data[: end - 1].split(b"\n")]
    return Chunk(lines, replace(position, offset=position.offset + end, last_line=mark(lines[-1])))


def _is_at(file: BinaryIO, position: Position) -> bool:
    """Whether the line before the position is the one that was loaded. Leaves the file at the position."""
    if not position.offset:
        return True
    file.seek(position.offset - position.last_line_octets)
    return mark(file.read(position.last_line_octets)) == position.last_line


def _next_file(folder: Path, position: Position) -> tuple[int, str] | None:
    """(number, name) of the file after the position's; MissingFileError if only a later one is there."""
    later = [(number, path) for number, path in record_files(folder) if number > position.number]
    if not later:
        return None
    number, path = later[0]
    if number != position.number + 1:
        raise MissingFileError(
            f"{folder}: file {position.number + 1} of the records is missing and was not loaded: restore it;"
            f" if it is lost, `ocs history resume {path.name}` goes on without it"
        )
    return number, path.name


def _gone(folder: Path, position: Position) -> RecordsError:
    files = record_files(folder)
    later = [path.name for number, path in files if number > position.number]
    if later:
        return MissingFileError(
            f"{folder / position.name} is missing and was not loaded to its end: restore it; if it is lost,"
            f" `ocs history resume {later[0]}` goes on without it"
        )
    begin = f", or `ocs history resume {files[0][1].name}` if the ledger is still the same" if files else ""
    return ForeignFolderError(
        f"{folder} is not the folder of records that the database of history.url was loaded from (it has no"
        f" {position.name}): restore that folder, name an empty database{begin}"
    )


def _check_end(path: Path, position: Position) -> None:
    """RecordsError: the complete file ends with an incomplete line."""
    if path.stat().st_size != position.offset:
        raise _damaged(path, position.offset)


def _damaged(path: Path, offset: int) -> RecordsError:
    return RecordsError(
        f"{path}, octet {offset}: is no record; the file is damaged: restore it, or name the next file by"
        " `ocs history resume FILE`"
    )


def waiting_octets(folder: Path, position: Position) -> int:
    """Octets that are not loaded yet."""
    waiting = 0
    for number, path in record_files(folder):
        if number >= position.number:
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            waiting += max(size - position.offset, 0) if number == position.number else size
    return waiting
