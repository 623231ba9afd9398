"""Temporary tables of a reconciliation, in a SQLite file that is deleted at the end: memory does not grow with the
number of lines, and SQLite sorts on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ocs.history.reconcile.line import Line

ROWS_AT_ONCE = 10_000
CACHE_KIB = 64 * 1024
_TABLES = """
CREATE TABLE theirs (line INTEGER PRIMARY KEY, subscriber TEXT, service TEXT, start INTEGER, end INTEGER,
    units INTEGER, amount INTEGER, session TEXT, charging TEXT, record TEXT);
CREATE TABLE subscribers (subscriber TEXT PRIMARY KEY, account TEXT) WITHOUT ROWID;
CREATE TABLE ours (account TEXT, session TEXT, service TEXT, start INTEGER, end INTEGER, units INTEGER,
    charged INTEGER, charging TEXT, PRIMARY KEY (account, session, service)) WITHOUT ROWID;
CREATE TABLE found (outcome TEXT, account TEXT, service TEXT, session TEXT, line INTEGER, start INTEGER,
    ours INTEGER, theirs INTEGER, charged INTEGER, billed INTEGER, stake INTEGER, why TEXT);
"""


@dataclass(frozen=True, slots=True)
class Theirs:
    """A line whose subscriber is known."""

    line: int
    start: int
    end: int
    units: int
    amount: int
    session: str
    charging: str
    record: str


@dataclass(frozen=True, slots=True)
class Ours:
    """One session's use of one service, by our records."""

    session: str
    start: int
    end: int
    units: int
    charged: int
    """Micro-EUR, gross."""
    charging: str = ""
    """3GPP-Charging-Id of the bearer; "" = not known."""


@dataclass(frozen=True, slots=True)
class Difference:
    outcome: str
    account: str
    """"" = no account has the line's subscriber."""
    service: str
    session: str
    line: int
    """Of the file; the first of several; 0 = none."""
    start: int
    ours: int
    theirs: int
    charged: int
    billed: int
    stake: int
    """Micro-EUR of it that are disputed."""
    why: str = ""


@contextmanager
def open_store(folder: Path | None) -> Iterator[Store]:
    """`folder`: where the file is; None = the system's folder for temporary files."""
    with TemporaryDirectory(prefix="ocs-reconcile-", dir=folder) as temporary:
        database = sqlite3.connect(Path(temporary) / "lines.sqlite", isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "temp_store = FILE"):
                database.execute(f"PRAGMA {pragma}")
            database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            database.executescript(_TABLES)
            yield Store(database)
        finally:
            database.close()


class Store:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._db.execute("BEGIN")
        self._lines: list[tuple[object, ...]] = []
        self._sessions: list[tuple[object, ...]] = []

    # -- filling

    def add_line(self, line: Line) -> None:
        subscriber = f"i{line.imsi}" if line.imsi else f"m{line.msisdn}"
        row = line.number, subscriber, line.service, line.start, line.end, line.units, line.amount_micro_eur
        self._lines.append((*row, line.session, line.charging, line.record))
        if len(self._lines) >= ROWS_AT_ONCE:
            self.flush()

    def add_use(self, account: str, use: Ours, service: str) -> None:
        """Adds to what is known of the session."""
        self._sessions.append((account, use.session, service, use.start, use.end, use.units, use.charged, use.charging))
        if len(self._sessions) >= ROWS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        self._db.executemany("INSERT INTO theirs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._lines)
        self._db.executemany(
            "INSERT INTO ours VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET start = min(start, excluded.start), end = max(end, excluded.end),"
            " units = units + excluded.units, charged = charged + excluded.charged",
            self._sessions,
        )
        self._lines.clear()
        self._sessions.clear()

    def span(self) -> tuple[int, int] | None:
        """First and last start of the file's lines."""
        self.flush()
        first, last = self._db.execute("SELECT min(start), max(start) FROM theirs").fetchone()
        return None if first is None else (first, last)

    def subscribers(self) -> Iterator[list[str]]:
        """Distinct subscriber ids of the file, in batches."""
        self.flush()
        cursor = self._db.cursor().execute("SELECT DISTINCT subscriber FROM theirs ORDER BY subscriber")
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield [row[0] for row in rows]

    def know(self, accounts: Mapping[str, str]) -> None:
        """Subscriber id → account."""
        self._db.executemany("INSERT OR REPLACE INTO subscribers VALUES (?, ?)", accounts.items())

    def rename(self, moves: Iterable[tuple[str, str]]) -> None:
        """(old, new) ids of accounts that were moved, in their order."""
        self.flush()
        for old, new in moves:
            self._db.execute(
                "INSERT INTO ours SELECT ?, session, service, start, end, units, charged, charging FROM ours"
                " WHERE account = ?"
                " ON CONFLICT DO UPDATE SET start = min(start, excluded.start), end = max(end, excluded.end),"
                " units = units + excluded.units, charged = charged + excluded.charged",
                (new, old),
            )
            self._db.execute("DELETE FROM ours WHERE account = ?", (old,))
            self._db.execute("UPDATE subscribers SET account = ? WHERE account = ?", (new, old))

    # -- reading

    def strangers(self) -> Iterator[tuple[str, Theirs]]:
        """(service, line) of subscribers that have no account, in the order of the file."""
        rows = self._db.cursor().execute(
            "SELECT service, line, start, end, units, amount, session, charging, record FROM theirs"
            " WHERE subscriber NOT IN (SELECT subscriber FROM subscribers) ORDER BY line"
        )
        return ((row[0], Theirs(*row[1:])) for row in rows)

    def their_groups(self) -> Iterator[tuple[tuple[str, str], Theirs]]:
        """((account, service), line), ordered by both and by start."""
        rows = self._db.cursor().execute(
            "SELECT account, service, line, start, end, units, amount, session, charging, record"
            " FROM theirs JOIN subscribers USING (subscriber) ORDER BY account, service, start, line"
        )
        return (((row[0], row[1]), Theirs(*row[2:])) for row in rows)

    def our_groups(self) -> Iterator[tuple[tuple[str, str], Ours]]:
        rows = self._db.cursor().execute(
            "SELECT account, service, session, start, end, units, charged, charging FROM ours"
            " ORDER BY account, service, start, session"
        )
        return (((row[0], row[1]), Ours(*row[2:])) for row in rows)

    # -- results

    def add_differences(self, differences: Iterable[Difference]) -> None:
        self._db.executemany(
            "INSERT INTO found VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            map(astuple, differences),
        )

    def differences(self, limit: int = -1) -> Iterator[Difference]:
        """Those with most at stake first; -1 = all."""
        rows = self._db.cursor().execute(
            "SELECT * FROM found ORDER BY stake DESC, line, account, session LIMIT ?", (limit,)
        )
        return (Difference(*row) for row in rows)
