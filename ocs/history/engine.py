"""The engine of the SQL database: SQLite in the data folder, or PostgreSQL.

Charging never uses it. The backoffice writes; API and command line read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from ocs.settings.history_section import SQLITE, HistorySection

FILE = "history.sqlite"
BUSY_TIMEOUT_S = 30.0
"""How long a connection waits for another one that writes to the SQLite file."""
CONNECT_TIMEOUT_S = 5
_WRITES = "ocs_writes"
_DEAD_PEER = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""A PostgreSQL that is gone without a word is noticed within half a minute (libpq; the last one in milliseconds)."""
POOL_TIMEOUT_S = 10.0
"""How long a request waits for a connection."""
POOL_SIZE = 4
"""Connections to PostgreSQL of a process; further requests wait for one."""


def history_url(settings: HistorySection, data_dir: Path) -> str:
    return settings.url or f"{SQLITE}{(data_dir / FILE).resolve()}"


def history_engine(settings: HistorySection, data_dir: Path) -> Engine:
    """Connects when it is used. `dispose()` it at the end."""
    url = history_url(settings, data_dir)
    return _sqlite(url) if url.startswith(SQLITE) else _postgresql(url)


def _postgresql(url: str) -> Engine:
    options = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "ocs", **_DEAD_PEER}
    pool = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": POOL_TIMEOUT_S, "pool_pre_ping": True}
    return create_engine(url, connect_args=options, **pool)


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, record: object) -> None:
    """Write-ahead log: readers do not wait for the writer. A commit is synced, as the position is in it."""
    connection.isolation_level = None  # `_begin` begins transactions: the driver would begin none before DDL
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes. On SQLite it waits for another writer at its beginning, so that nothing that it has
    read is changed by another before it writes.
    """
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        yield connection
