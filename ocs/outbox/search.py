"""Finds charging records in the folder of records: one by its event id, or those of a session."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from ocs.outbox.facts import KINDS
from ocs.outbox.files import MAX_LINE_OCTETS, parse_event_id, record_files
from ocs.values.identities import uid_of

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
        return _of_session(folder, name, "")
    wanted = next(_matching(folder, name, "event_id"), None)
    if wanted is None:
        return []
    session = wanted.get("session_id")
    found = _of_session(folder, str(session), str(wanted.get("account", ""))) if session else [wanted]
    return found[: found.index(wanted) + 1]


def records_of_facts(folder: Path, account: str) -> list[dict[str, Any]] | None:
    """The account's records that change its facts, in their order; None = some are not here: older files were moved
    away.
    """
    files = record_files(folder)
    if not files or files[0][0] > 1:
        return None
    found: list[dict[str, Any]] = []
    for record in _containing(folder, _needle(account)):
        if record.get("kind") in KINDS and _is_of(record, account):
            found.append(record)
        if len(found) > MAX_RECORDS:
            return None
    return _in_order(found)


def _of_session(folder: Path, session_id: str, account: str) -> list[dict[str, Any]]:
    """`account`: only its records; "" = of any."""
    found: list[dict[str, Any]] = []
    for record in _matching(folder, session_id, "session_id", "of_session"):
        if not account or _is_of(record, account):
            found.append(record)
        if len(found) > MAX_RECORDS:
            raise TooManyRecordsError(f"session {session_id} has more than {MAX_RECORDS} records: name one of them")
    return _in_order(found)


def _needle(account: str) -> bytes:
    """The end of the account's ids, as a record has it."""
    return orjson.dumps(uid_of(account) or account)[1:]


def _is_of(record: dict[str, Any], account: str) -> bool:
    """Whether the record is of the account, in whichever partition it was then."""
    other = str(record.get("account", ""))
    return other == account or (uid_of(other) or other) == (uid_of(account) or account)


def _in_order(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of their events. An account that moved has events of several partitions: those go by time."""
    by_account: dict[object, list[dict[str, Any]]] = {}
    for record in sorted(found, key=_order):
        by_account.setdefault(record.get("account"), []).append(record)
    if len(by_account) < 2:
        return [record for records in by_account.values() for record in records]
    keyed = []
    for records in by_account.values():
        times = list(accumulate((str(each.get("time", "")) for each in records), max))
        keyed += [((at, times[0], *_order(each)), each) for at, each in zip(times, records, strict=True)]
    return [record for _, record in sorted(keyed, key=lambda pair: pair[0])]


def _matching(folder: Path, value: str, *fields: str) -> Iterator[dict[str, Any]]:
    """Records of which one of the fields has this value."""
    for record in _containing(folder, orjson.dumps(value)):
        if any(record.get(field) == value for field in fields):
            yield record


def _containing(folder: Path, needle: bytes) -> Iterator[dict[str, Any]]:
    """Records whose line contains the octets. No other is decoded."""
    for _, path in record_files(folder):
        with path.open("rb") as lines:
            for line in iter(lambda: lines.readline(MAX_LINE_OCTETS), b""):
                if needle in line and (record := _decoded(line)) is not None:
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
