"""Each test has its own world. Afterwards the audit must find no error."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ocs.ledger.audit import audit
from tests.conftest import RedisServer
from tests.ocs.rules.world import World, world_on


@pytest.fixture
async def world(redis_7: RedisServer) -> AsyncIterator[World]:
    async with world_on(redis_7.url) as world:
        yield world
        report = await audit(world.ledger, **world.when)
        assert report.ok, report.violations
