"""Every test of the history runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from shutil import copyfile

import pytest
from sqlalchemy import Engine

from ocs.history.engine import history_engine
from ocs.history.migrating import migrate
from ocs.settings.history_section import HistorySection
from tests.ocs.history.records import Folder
from tests.postgresql import PostgreSQL

_numbers = count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL("-c", "fsync=off")
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, to copy."""
    file = tmp_path_factory.mktemp("history") / "tables.sqlite"
    _make_tables(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgresql_tables(postgresql: PostgreSQL) -> str:
    """Name of a database with its tables, to copy."""
    _make_tables(postgresql.create("tables"))
    return "tables"


def _make_tables(url: str) -> None:
    engine = history_engine(HistorySection(url=url), Path("unused"))
    migrate(engine)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database: with its tables if the test has `engine`, else empty."""
    migrated = "engine" in request.fixturenames
    if request.param == "sqlite":
        file = tmp_path / "history.sqlite"
        if migrated:
            copyfile(request.getfixturevalue("sqlite_tables"), file)
        return f"sqlite:///{file}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    template = request.getfixturevalue("postgresql_tables") if migrated else ""
    return server.create(f"test{next(_numbers)}", template)


@pytest.fixture
def empty(url: str) -> Iterator[Engine]:
    """An empty database, unless the test has `engine` too."""
    engine = history_engine(HistorySection(url=url), Path("unused"))
    yield engine
    engine.dispose()


@pytest.fixture
def engine(empty: Engine) -> Engine:
    """A database with its tables."""
    return empty


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "records")
