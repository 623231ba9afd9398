"""Every test of the history runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

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


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/history.sqlite"
    create: Callable[[str], str] = request.getfixturevalue("postgresql").create
    return create(f"test{next(_numbers)}")


@pytest.fixture
def empty(url: str) -> Iterator[Engine]:
    """An empty database."""
    engine = history_engine(HistorySection(url=url), Path("unused"))
    yield engine
    engine.dispose()


@pytest.fixture
def engine(empty: Engine) -> Engine:
    """A database with its tables."""
    migrate(empty)
    return empty


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "records")
