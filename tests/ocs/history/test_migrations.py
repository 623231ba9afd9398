"""Migrations: the tables are those of the schema, on both databases, also when several processes begin at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text

from ocs.history.engine import history_engine
from ocs.history.errors import SchemaError
from ocs.history.migrating import check, migrate, newest, revision
from ocs.history.schema import METADATA, PARTITIONED
from ocs.settings.history_section import HistorySection


def test_the_migrated_tables_are_those_of_the_schema(empty: Engine) -> None:
    migrate(empty)
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert revision(connection) == newest()


def test_several_processes_that_migrate_at_once_make_the_tables_once(url: str) -> None:
    def process(_: int) -> str | None:
        engine = history_engine(HistorySection(url=url), Path("unused"))
        try:
            migrate(engine)
            with engine.connect() as connection:
                return revision(connection)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(6) as threads:
        assert {*threads.map(process, range(6))} == {newest()}


def test_the_tables_of_a_newer_version_are_left_alone(empty: Engine) -> None:
    migrate(empty)
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999_later'"))
    with pytest.raises(SchemaError, match="newer version of ocs \\(v9999_later\\): install that version"):
        migrate(empty)
    with pytest.raises(SchemaError):
        check(empty)


def test_a_reader_says_that_there_are_no_tables_yet(empty: Engine) -> None:
    with pytest.raises(SchemaError, match="the backoffice of `ocs serve` makes them"):
        check(empty)
    migrate(empty)
    check(empty)


def test_postgresql_partitions_the_large_tables_by_month(empty: Engine) -> None:
    migrate(empty)
    if empty.dialect.name != "postgresql":
        return
    with empty.connect() as connection:
        found = connection.execute(text("SELECT partrelid::regclass::text FROM pg_partitioned_table")).scalars()
        assert {*found} == {table.name for table in PARTITIONED}


def test_a_commit_on_sqlite_is_synced_and_readers_do_not_wait(tmp_path: Path) -> None:
    engine = history_engine(HistorySection(), tmp_path)
    migrate(engine)
    with engine.connect() as writer, engine.connect() as reader:
        assert writer.execute(text("PRAGMA synchronous")).scalar() == 2
        assert writer.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        writer.execute(text("DELETE FROM events"))
        assert reader.execute(text("SELECT count(*) FROM events")).scalar() == 0
    engine.dispose()
