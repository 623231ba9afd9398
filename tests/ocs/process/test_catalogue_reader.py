"""A process that starts with another catalogue's file than the last one says what becomes of open grants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from ocs.catalogue.catalogue import parse_catalogue
from ocs.catalogue.versions import Catalogues
from ocs.compose import Environment
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.catalogue_reader import CatalogueReader
from ocs.process.child_main import Child
from ocs.settings.schema import Settings
from ocs.telemetry.metrics import Metrics
from tests.catalogue import CATALOGUE
from tests.conftest import RedisServer
from tests.ocs.ledger.books import flush

NOW = 1_796_043_600
"""2026-11-30T14:00:00+01:00."""
TEXT = CATALOGUE.read_text("utf-8")
DEARER = TEXT.replace("micro_eur = 6_900\n", "micro_eur = 9_000\n", 1)


@pytest.fixture
async def ledger(redis_7: RedisServer) -> AsyncIterator[RedisLedger]:
    flush(redis_7.url)
    made = await RedisLedger.connect(redis_7.url, LedgerSettings(partitions=1), Metrics())
    yield made
    await made.close()


async def started(ledger: RedisLedger, caplog: pytest.LogCaptureFixture, text: str, role: str = "worker") -> list[str]:
    """What a process with this file warns of at its start."""
    catalogue = Catalogues([parse_catalogue(text, "file")], lambda: NOW)
    child = Child(role, Settings(), catalogue, Environment(), Metrics(), asyncio.Event())
    caplog.clear()
    await CatalogueReader(child, ledger).join()
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


async def test_another_file_at_the_start_is_told_once(ledger: RedisLedger, caplog: pytest.LogCaptureFixture) -> None:
    assert await started(ledger, caplog, TEXT) == [], "the first start"
    assert await started(ledger, caplog, TEXT + "\n# a comment\n") == []
    (told,) = await started(ledger, caplog, DEARER)
    assert told == (
        "the catalogue's file says something else than at the last start (now version 1, then 1): what was"
        " granted before keeps its price, until 2026-11-30T15:00:00+01:00 at most"
    )
    assert await started(ledger, caplog, DEARER, "api") == [], "the other processes of the server"
    (back,) = await started(ledger, caplog, TEXT.replace('version = "1"', 'version = "2"', 1))
    assert "(now version 2, then 1)" in back
