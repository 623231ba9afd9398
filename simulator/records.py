"""The charging records as a reader from outside finds them: JSON lines in the server's records folder (HOT-REC-2).

Files are read on as they grow: the records lag behind the answers, so an audit looks again until they have caught up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson


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
    account: str = ""
    used: Counter[str] = field(default_factory=Counter)
    """Service key (rating group, or "" without one) → units."""
    charged: dict[str, ChargedUse] = field(default_factory=dict)
    """Price id → what was charged: use is rounded once per session and price, whichever of its services it was."""
    closed: bool = False
    records: int = 0


@dataclass(slots=True)
class RecordedAccount:
    """What an account's records add up to."""

    credit_in_micro_eur: int = 0
    debit_micro_eur: int = 0
    credit_micro_eur: int | None = None
    """As the last record that states it says."""
    lowest_micro_eur: int = 0
    bucket_units: Counter[str] = field(default_factory=Counter)
    """Bucket → units since the package began."""


class RecordBook:
    """Everything read so far; `read_on` reads what has been written since."""

    def __init__(self, folder: Path) -> None:
        self.sessions: defaultdict[str, RecordedSession] = defaultdict(RecordedSession)
        self.accounts: defaultdict[str, RecordedAccount] = defaultdict(RecordedAccount)
        self.event_ids: set[str] = set()
        self.duplicates = 0
        """Event ids that were recorded twice: must stay 0."""
        self._folder = folder
        self._read: dict[Path, int] = {}

    def read_on(self) -> int:
        """Read new whole lines of all files; returns how many."""
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
            for line in data[:whole].splitlines():
                self._take(orjson.loads(line))
                count += 1
        return count

    def _take(self, record: dict[str, Any]) -> None:
        event_id = str(record["event_id"])
        if event_id in self.event_ids:
            self.duplicates += 1
            return
        self.event_ids.add(event_id)
        account = self.accounts[str(record["account"])]
        account.credit_in_micro_eur += int(record.get("credit_in_micro_eur") or 0)
        account.debit_micro_eur += int(record.get("debit_micro_eur") or 0)
        credit = record.get("credit_micro_eur")
        if credit is not None:
            account.credit_micro_eur = int(credit)
            account.lowest_micro_eur = min(account.lowest_micro_eur, int(credit))
        if record["kind"] == "package":
            account.bucket_units.clear()  # fresh buckets
        session_id = record.get("session_id")
        if session_id:
            self._take_charge(self.sessions[str(session_id)], account, record)

    def _take_charge(self, session: RecordedSession, account: RecordedAccount, record: dict[str, Any]) -> None:
        session.account = str(record["account"])
        session.records += 1
        session.closed = session.closed or bool(record.get("closed")) or record["kind"] == "expired"
        for service in record.get("services") or ():
            used = int(service.get("used") or 0)
            key = str(service.get("key") or "")
            key = key if key[:1].isdigit() else ""
            session.used[key] += used
            charged = session.charged.setdefault(str(service.get("price") or ""), ChargedUse())
            charged.used += used
            charged.debit_micro_eur += int(service.get("debit_micro_eur") or 0)
            charged.overrun_units += int(service.get("overrun_units") or 0)
            if used or service.get("debit_micro_eur"):
                charged.labels.add(str(service.get("label") or ""))
            for paid in service.get("bucket_units") or ():
                charged.bucket_units[str(paid["bucket"])] += int(paid["units"])
                account.bucket_units[str(paid["bucket"])] += int(paid["units"])
