"""Finds charging records in the folder of records: one by its event id, or those of a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ocs.outbox.facts import KINDS
from ocs.outbox.files import MAX_LINE_OCTETS, parse_event_id, record_files

MAX_RECORDS = 10_000
"""Of one session: two records a second for more than an hour."""


class TooManyRecordsError(Exception):
    """The session has more than MAX_RECORDS."""


def find_records(folder: Path, name: str) -> list[dict[str, Any]]:
    """The record with this event id and the earlier ones of its session, or all records of the session with this id,
    in their order; [] = there is none. Refunds of a session's debits are among its records, whatever their own
    Session-Id. A line that is no record is passed over.
    """
    if not _is_event_id(name):
        return _of_session(folder, name, None)
    wanted = next(_matching(folder, name, "event_id"), None)
    if wanted is None:
        return []
    session = wanted.get("session_id")
    found = _of_session(folder, str(session), wanted.get("account")) if session else [wanted]
    return [each for each in found if _order(each) <= _order(wanted)]


def records_of_facts(folder: Path, account: str) -> list[dict[str, Any]] | None:
    """The account's records that change its facts, in their order; None = some are not here: older files were moved
    away, or the account was moved here from another partition.
    """
    files = record_files(folder)
    if not files or files[0][0] > 1:
        return None
    found = [each for each in _matching(folder, account, "account") if each.get("kind") in (*KINDS, "moved_in")]
    if len(found) > MAX_RECORDS or any(each["kind"] == "moved_in" for each in found):
        return None
    return sorted(found, key=_order)


def _of_session(folder: Path, session_id: str, account: object) -> list[dict[str, Any]]:
    """`account`: only its records; None = of any."""
    found: list[dict[str, Any]] = []
    for record in _matching(folder, session_id, "session_id", "of_session"):
        if account is None or record.get("account") == account:
            found.append(record)
        if len(found) > MAX_RECORDS:
            raise TooManyRecordsError(f"session {session_id} has more than {MAX_RECORDS} records: name one of them")
    return sorted(found, key=_order)


def _matching(folder: Path, value: str, *fields: str) -> Iterator[dict[str, Any]]:
    """Records of which one of the fields has this value. Only lines that contain it are decoded."""
    needle = orjson.dumps(value)
    for _, path in record_files(folder):
        with path.open("rb") as lines:
            for line in iter(lambda: lines.readline(MAX_LINE_OCTETS), b""):
                if needle not in line or (record := _decoded(line)) is None:
                    continue
                if any(record.get(field) == value for field in fields):
                    yield record


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _is_event_id(name: str) -> bool:
    try:
        parse_event_id(name)
    except ValueError:
        return False
    return name.startswith("p")


def _order(record: dict[str, Any]) -> tuple[int, int]:
    return parse_event_id(record["event_id"])
