"""The loops of the backoffice that need SQL: they load, measure, wait alone while the database is down, and erase."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ocs.compose import Environment
from ocs.process import backoffice
from ocs.process.back_office import database as database_module
from ocs.process.back_office import loading as loading_module
from ocs.process.back_office.database import Database
from ocs.process.back_office.loading import CatalogueFacts, Loading
from ocs.process.back_office.retention import PASS_EVERY_S, Retention
from ocs.process.backoffice import run_backoffice
from ocs.process.child_main import Child
from ocs.settings.history_section import HistorySection
from ocs.settings.schema import RedisSection, ServerSection, Settings
from ocs.telemetry.metrics import Metrics
from tests.catalogue import fixed_catalogue
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.ocs.history.records import DAY, T0, Folder, Journal, use
from tests.postgresql import PostgreSQL
from tests.rules import rule
from tests.waiting import PATIENCE_S, until


class Clock:
    def __init__(self) -> None:
        self.now = float(T0 + 60)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def child_of(tmp_path: Path, clock: Clock, url: str = "") -> Child:
    from ocs.catalogue.versions import Catalogues

    settings = Settings(server=ServerSection(data_dir=str(tmp_path)), history=HistorySection(url=url))
    environment = Environment(clock=clock, monotonic=clock)
    catalogue = Catalogues([fixed_catalogue()], environment.now)
    return Child("backoffice", settings, catalogue, environment, Metrics(), asyncio.Event())


@pytest.fixture
def child(tmp_path: Path, clock: Clock) -> Child:
    return child_of(tmp_path, clock)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "records")


@pytest.fixture
def database(child: Child) -> Iterator[Database]:
    made = Database(child)
    yield made
    made.close()


def gauges(child: Child, *names: str) -> list[Any]:
    return [child.metrics.store.gauges.get((f"ocs_history_{name}",)) for name in names]


def count(database: Database, table: str) -> int:
    with database.engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar() or 0)


def lines(journal: Journal, number: int, at: int = T0) -> list[bytes]:
    return [journal.charge("01-a", at + n, f"s{at}-{n}", use(debit=1), debit=1, started=at + n) for n in range(number)]


async def test_records_are_loaded_and_the_lag_is_told(
    child: Child, database: Database, folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, loading = Journal(), Loading(child, database)
    folder.append(*lines(journal, 3))
    assert await database.call(loading.step) is True
    assert await database.call(loading.step) is False
    assert gauges(child, "lag_octets", "lag_seconds", "stopped") == [0, 0, 0]
    assert child.metrics.store.counters["ocs_history_rows", "usage"] == 3
    folder.append(*lines(journal, 2, T0 + 10))

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("ocs.history.loader.read", fails)
        clock.now = T0 + 100
        assert await database.call(loading.step) is False
    waiting, behind, stopped = gauges(child, "lag_octets", "lag_seconds", "stopped")
    assert waiting > 500 and behind == 98 and stopped == 1
    assert await database.call(loading.step) is True
    assert gauges(child, "lag_octets", "lag_seconds", "stopped") == [0, 0, 0]


async def test_nothing_is_loaded_while_a_version_may_be_in_force_that_is_not_known(
    child: Child, database: Database, folder: Folder, clock: Clock
) -> None:
    """A row says by its version of the catalogue what is free and what is a tariff."""
    current = [False]
    journal, loading = Journal(), Loading(child, database, is_current=lambda: current[0])
    folder.append(*lines(journal, 3))
    assert await database.call(loading.step) is False
    assert count(database, "usage") == 0
    waiting, behind = gauges(child, "lag_octets", "lag_seconds")
    assert waiting > 500 and behind == 0
    current[0] = True
    assert await database.call(loading.step) is True
    assert count(database, "usage") == 3


async def test_loading_begins_with_the_versions_of_the_catalogue(
    tmp_path: Path, clock: Clock, folder: Folder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are in Redis: before it can be reached, nothing is loaded, but what needs SQL alone goes on."""
    monkeypatch.setattr(loading_module, "LOAD_EVERY_S", 0.01)
    monkeypatch.setattr(backoffice, "take_spare_time", lambda: None)
    passes: list[int] = []
    monkeypatch.setattr(Retention, "step", lambda self: passes.append(1))
    server = RedisServer(SYSTEM_REDIS, tmp_path)
    child = child_of(tmp_path, clock)
    settings = child.settings.model_copy(update={"redis": RedisSection(url=server.url)})
    child = replace(child, settings=settings, environment=Environment())
    folder.append(*lines(Journal(), 3))
    running, watched = asyncio.create_task(run_backoffice(child)), Database(child)
    try:
        await until(lambda: bool(passes) and "waiting for Redis" in caplog.text)
        assert await watched.call(lambda: count(watched, "usage")) == 0
        await asyncio.to_thread(server.start)
        await until(lambda: child.metrics.store.counters["ocs_history_rows", "usage"] == 3)
    finally:
        child.stopping.set()
        await asyncio.wait_for(running, PATIENCE_S)
        watched.close()
        server.stop()


async def test_a_missing_file_is_told_once_a_minute_and_loading_goes_on_when_it_is_back(
    child: Child, database: Database, folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    journal, loading = Journal(), Loading(child, database)
    first = folder.begin()
    folder.append(*lines(journal, 2))
    assert await database.call(loading.step)
    hidden = first.rename(folder.path / "hidden")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert await database.call(loading.step) is False
    assert [record.message for record in caplog.records if "the history is not loaded" in record.message] == [
        f"the history is not loaded, trying again: {folder.path} is not the folder of records that the database of "
        f"history.url was loaded from (it has no {first.name}): restore that folder, name an empty database"
    ]
    assert gauges(child, "stopped") == [1]
    hidden.rename(first)
    folder.append(*lines(journal, 1, T0 + 9))
    assert await database.call(loading.step)
    assert gauges(child, "stopped") == [0] and count(database, "usage") == 3


async def test_what_is_written_last_is_loaded_before_the_process_ends(
    child: Child, database: Database, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading_module, "LOAD_EVERY_S", 0.01)
    journal, loading = Journal(), Loading(child, database)
    folder.append(*lines(journal, 1))
    running = asyncio.create_task(loading.run())
    await until(lambda: child.metrics.store.counters["ocs_history_rows", "usage"] >= 1)
    child.stopping.set()
    folder.append(*lines(journal, 5, T0 + 9))
    await asyncio.wait_for(running, PATIENCE_S)
    assert count(database, "usage") == 6


async def test_a_loop_waits_alone_while_the_database_is_down(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "RETRY_S", 0.05)
    monkeypatch.setattr(database_module, "LONGEST_RETRY_S", 0.1)
    server, folder, journal = PostgreSQL("-c", "fsync=off"), Folder(tmp_path / "records"), Journal()
    child = child_of(tmp_path, clock, server.url())
    database = Database(child)
    running = asyncio.create_task(Loading(child, database).run())
    try:
        folder.append(*lines(journal, 4))
        await until(lambda: child.metrics.store.counters["ocs_history_failures", "loading"] >= 3)
        assert gauges(child, "up") == [0] and not running.done()
        await asyncio.to_thread(server.start)
        await until(lambda: gauges(child, "up") == [1])
        await asyncio.to_thread(server.stop, kill=True)
        folder.append(*lines(journal, 4, T0 + 10))
        await until(lambda: gauges(child, "up") == [0])
        await asyncio.to_thread(server.start)
        await until(lambda: gauges(child, "up", "lag_octets") == [1, 0])
        assert count(database, "usage") == 8
        said = [record.message for record in caplog.records if "cannot be used" in record.message]
        assert len(said) == 1 and said[0].startswith("loading waits, the database of the history cannot be used: ")
        assert "INSERT" not in said[0] and "01-a" not in said[0]
    finally:
        child.stopping.set()
        await asyncio.wait_for(running, PATIENCE_S)
        database.close()
        server.remove()


async def test_a_fault_of_ours_in_one_loop_is_logged_and_tried_again(
    child: Child, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "RETRY_S", 0.01)
    calls: list[int] = []

    def step() -> bool:
        calls.append(1)
        if len(calls) < 3:
            raise ZeroDivisionError("of subscriber 38668100000")
        child.stopping.set()
        return False

    await asyncio.wait_for(database.run_loop("loading", 0.0, step), PATIENCE_S)
    said = [record.message for record in caplog.records if "internal error in loading" in record.message]
    assert len(said) == 1 and "ZeroDivisionError at " in said[0] and "38668100000" not in said[0]


@rule("HOT-REC-1")
async def test_a_pass_of_the_retention_erases_use_and_files_once_an_hour(
    child: Child, database: Database, folder: Folder, clock: Clock
) -> None:
    journal, loading, retention = Journal(), Loading(child, database), Retention(child, database)
    paths = [folder.begin() for _ in range(2)]
    folder.append(*lines(journal, 4), path=paths[0])
    folder.append(*lines(journal, 4, T0 + 100 * DAY), path=paths[1])
    while await database.call(loading.step):
        pass
    os.utime(paths[0], (T0, T0))
    clock.now = T0 + 121 * DAY
    for _ in range(2):
        await database.call(retention.step)
    assert count(database, "usage") == 4 and child.metrics.store.counters["ocs_history_erased", "usage"] == 4
    clock.now = T0 + 500 * DAY
    await database.call(retention.step)
    assert count(database, "usage") == 0
    assert paths[0].exists(), "the last octets stay: the housekeeper needs them"
    clock.now += PASS_EVERY_S / 2
    folder.append(*lines(journal, 1, T0 + 101 * DAY), path=paths[1])
    assert await database.call(loading.step)
    await database.call(retention.step)
    assert count(database, "usage") == 1, "a pass begins once an hour"


def test_free_rates_and_tariffs_are_those_of_the_catalogue(child: Child) -> None:
    facts = CatalogueFacts(child.catalogue)
    assert facts.is_tariff("MAXI") and not facts.is_tariff("SMS-200")
    free = [label for label in child.catalogue.in_force().labels if facts.is_free(label)]
    assert any("emergency" in label for label in free) and "voice.home.national" not in free
