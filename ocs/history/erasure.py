"""Erases what is known of a person, on request: as far as it need not be kept (docs/HISTORY.md, Erasure).

Erased at once: itemised use, where the person was and with which phone, notices, and the other parties in the files of
records.
Kept: money, as long as the law of accounts wants it, and who did what in the accounts. The use of the current billing
period stays until the period is over: the person may still dispute it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from sqlalchemy import Engine, delete, select

from ocs.history.account_ids import AccountIds, all_ids
from ocs.history.engine import writing
from ocs.history.periods import period_starts
from ocs.history.position import Position
from ocs.history.position import load as load_position
from ocs.history.retention import erase_of
from ocs.history.schema import NOTICES, PERIODS
from ocs.outbox.files import record_files, sync_folder


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased."""

    rows: int
    """Of the database."""
    file_lines: int
    """Lines of record files whose other parties were removed."""
    before: int
    """Unix seconds: later use stays for now."""


def erase_person(engine: Engine, folder: Path, ids: AccountIds, now: int) -> Erased:
    """May be called again after a failure."""
    with writing(engine) as connection:
        accounts = all_ids(connection, ids)
        columns = PERIODS.c.begins_at, PERIODS.c.ends_at
        query = select(*columns).where(PERIODS.c.account.in_(accounts)).order_by(PERIODS.c.begins_at)
        before = period_starts([(row[0], row[1]) for row in connection.execute(query)], now, 1)[0]
        rows = sum(erase_of(connection, each, before) for each in accounts)
        rows += connection.execute(delete(NOTICES).where(NOTICES.c.account.in_(accounts))).rowcount
        position = load_position(connection)
    return Erased(rows, _erase_in_files(folder, position, accounts), before)


def _erase_in_files(folder: Path, position: Position, accounts: Sequence[str]) -> int:
    """Remove the other parties from all files that are complete and loaded."""
    for left in folder.glob("records-*.new"):  # by an erasure that was interrupted
        left.unlink()
    return sum(_erase_in_file(path, accounts) for number, path in record_files(folder) if number < position.number)


def _erase_in_file(path: Path, accounts: Sequence[str]) -> int:
    needles = [orjson.dumps(account) for account in accounts]
    if not _contains(path, needles):
        return 0
    changed, temporary = 0, path.with_suffix(".new")
    with path.open("rb") as lines, temporary.open("wb") as output:
        for line in lines:
            shorter = _without_parties(line, accounts) if any(needle in line for needle in needles) else line
            changed += shorter != line
            output.write(shorter)
        output.flush()
        os.fsync(output.fileno())
    if not changed:
        temporary.unlink()
        return 0
    status = path.stat()
    os.utime(temporary, ns=(status.st_atime_ns, status.st_mtime_ns))
    temporary.replace(path)
    sync_folder(path.parent)
    return changed


def _contains(path: Path, needles: Sequence[bytes]) -> bool:
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets:
        return any(octets.find(needle) >= 0 for needle in needles)


def _without_parties(line: bytes, accounts: Sequence[str]) -> bytes:
    record = orjson.loads(line)
    if record["account"] not in accounts:
        return line
    for each in record.get("services", ()):
        if "detail" in each:
            each["detail"] = " ".join(each["detail"].split(" ", 2)[:2])
    return orjson.dumps(record, None, orjson.OPT_APPEND_NEWLINE)
