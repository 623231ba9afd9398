"""Reads the charging records from outside: JSON lines in the server's records folder (HOT-REC-2).

Files are read as they grow. Records are written after the answers, so an audit reads again until they have caught up.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

OFFSET_BITS = 40
"""Of a record's place, those below the number of its file: files of up to a terabyte."""


@dataclass(slots=True)
class ChargedUse:
    """Σ over a session's records for one price."""

    used: int = 0
    debit_micro_eur: int = 0
    bucket_units: Counter[str] = field(default_factory=Counter)
    overrun_units: int = 0
    labels: set[str] = field(default_factory=set)


@dataclass(slots=True)
class RecordedSession:
    """One session. Charges are in the records of its end, of its being given up, and of each hour of a long session;
    `use` records only have movements of money in between.
    """

    account: str = ""
    used: Counter[str] = field(default_factory=Counter)
    """Service key (rating group, or "" without one) → units."""
    charged: dict[str, ChargedUse] = field(default_factory=dict)
    """Price id → charges: use is rounded once per session and price, across the session's services."""
    closed: bool = False
    """It has ended, was given up or was refused: all its use is recorded."""
    moved_micro_eur: int = 0
    """Σ movements of credit in its records."""
    records: int = 0


@dataclass(slots=True)
class RecordedAccount:
    """Sums of an account's records."""

    credit_in_micro_eur: int = 0
    debit_micro_eur: int = 0
    credit_micro_eur: int | None = None
    """Credit in the last record that states it."""
    lowest_micro_eur: int = 0
    bucket_units: Counter[str] = field(default_factory=Counter)
    """Bucket → units recorded since the package began."""
    earlier_units: Counter[str] = field(default_factory=Counter)
    """Those recorded by sessions that began before the package: some may belong to the period before."""
    began: str = ""
    """When the package's period began."""
    periods: int = 0
    units_ever: Counter[str] = field(default_factory=Counter)
    """Bucket → units of all periods."""


class RecordBook:
    """All records read so far; `read_on` reads new ones."""

    def __init__(self, folder: Path) -> None:
        self.sessions: defaultdict[str, RecordedSession] = defaultdict(RecordedSession)
        self.accounts: defaultdict[str, RecordedAccount] = defaultdict(RecordedAccount)
        self.event_ids: set[str] = set()
        self.duplicates = 0
        """Event ids recorded twice: must stay 0."""
        self.transfers: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        """Records of transfers of credit, by transfer."""
        self.pools: defaultdict[str, set[str]] = defaultdict(set)
        """Pool → accounts that have been in it."""
        self.moved: dict[str, str] = {}
        """Account → the id that it had before."""
        self.opened: set[str] = set()
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._places: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))
        """Account → where its records are: number of the file, offset. Eight octets a record."""

    def read_on(self) -> int:
        """Reads new complete lines of all files; returns their number."""
        count = 0
        for path in sorted(self._folder.glob("**/*.jsonl")):
            at = self._read.get(path, 0)
            if path.stat().st_size <= at:
                continue
            with path.open("rb") as lines:
                lines.seek(at)
                data = lines.read()
            whole = data.rfind(b"\n") + 1
            self._read[path] = at + whole
            number = list(self._read).index(path)
            for line in data[:whole].splitlines(keepends=True):
                self._take(orjson.loads(line), number << OFFSET_BITS | at)
                at += len(line)
                count += 1
        return count

    def records_of(self, accounts: Iterable[str]) -> Iterator[dict[str, Any]]:
        """All records of the accounts, in the order of the files: of one partition, in that of the ledger."""
        paths = list(self._read)
        places = sorted(place for account in accounts for place in self._places.get(account, ()))
        for number in sorted({place >> OFFSET_BITS for place in places}):
            with paths[number].open("rb") as lines:
                for place in places:
                    if place >> OFFSET_BITS == number:
                        lines.seek(place & ((1 << OFFSET_BITS) - 1))
                        yield orjson.loads(lines.readline())

    def _take(self, record: dict[str, Any], place: int) -> None:
        event_id = str(record["event_id"])
        if event_id in self.event_ids:
            self.duplicates += 1
            return
        self.event_ids.add(event_id)
        self._places[str(record["account"])].append(place)
        account = self.accounts[str(record["account"])]
        account.credit_in_micro_eur += int(record.get("credit_in_micro_eur") or 0)
        account.debit_micro_eur += int(record.get("debit_micro_eur") or 0)
        credit = record.get("credit_micro_eur")
        if credit is not None:
            account.credit_micro_eur = int(credit)
            account.lowest_micro_eur = min(account.lowest_micro_eur, int(credit))
        if record["kind"] == "package" and record.get("paid", True):
            account.bucket_units.clear()  # new buckets
            account.earlier_units.clear()
            account.began = str(record["time"])
            account.periods += 1
        self._relate(record)
        session_id = record.get("session_id")
        if session_id:
            self._take_session(self.sessions[str(session_id)], account, record)

    def _relate(self, record: dict[str, Any]) -> None:
        """Note how accounts belong together."""
        kind, account = record["kind"], str(record["account"])
        if kind.startswith("transfer_"):
            self.transfers[str(record["transfer"])].append(record)
        elif kind == "pool" and record.get("pool"):
            self.pools[str(record["pool"])].add(account)
        elif kind == "moved_in":
            self.moved[account] = str(record["from_account"])
        elif kind == "opened":
            self.opened.add(account)

    def _take_session(self, session: RecordedSession, account: RecordedAccount, record: dict[str, Any]) -> None:
        session.account = str(record["account"])
        session.records += 1
        session.moved_micro_eur += int(record.get("debit_micro_eur") or 0) - int(record.get("credit_in_micro_eur") or 0)
        if record["kind"] == "use":
            session.closed = False  # late use of a session that was given up: a later record charges it
        session.closed = session.closed or _ends(record)
        before = str(record.get("started") or record["time"]) < account.began
        for service in record.get("services") or ():
            self._take_service(session, account, service, before)

    def _take_service(
        self, session: RecordedSession, account: RecordedAccount, service: dict[str, Any], before: bool
    ) -> None:
        used = int(service.get("used") or 0)
        debit = int(service.get("debit_micro_eur") or 0) - int(service.get("credit_in_micro_eur") or 0)
        key = str(service.get("key") or "").partition("#")[0]  # recipients of a message belong to its service
        key = key if key[:1].isdigit() else ""
        session.used[key] += used
        charged = session.charged.setdefault(str(service.get("price") or ""), ChargedUse())
        charged.used += used
        charged.debit_micro_eur += debit
        charged.overrun_units += int(service.get("overrun_units") or 0)
        if used or debit:
            charged.labels.add(str(service.get("label") or ""))
        for name, units in (service.get("bucket_units") or {}).items():
            charged.bucket_units[name] += int(units)
            account.bucket_units[name] += int(units)
            account.units_ever[name] += int(units)
            if before:
                account.earlier_units[name] += int(units)


def _ends(record: dict[str, Any]) -> bool:
    """Whether this is the last record of its session so far."""
    kind = record["kind"]
    one_off = record.get("request_type") == "E"
    refused = not record.get("services") and record.get("result_code", 2001) != 2001
    return kind == "expired" or (kind == "charge" and (bool(record.get("closed")) or one_off or refused))
