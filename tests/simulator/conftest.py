"""A server that grants everything, for tests of the network elements: python-diameter's Node on a free port. And the
demo, played twice in one folder for all tests that look at it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from simulator.grantor import Grantor
from tests.simulator.played_demo import Demo, played_twice
from tests.simulator.watched_server import Server

CAPTURED_PEERS = ("smf.localdomain", "scscf.localdomain")


@pytest.fixture(scope="session")
def grantor() -> Iterator[Grantor]:
    with Grantor(peers=CAPTURED_PEERS, keep_requests=True) as running:
        yield running


@pytest.fixture
def requests_seen(grantor: Grantor) -> Iterator[list[Any]]:
    """The requests of this test alone."""
    assert grantor.application.requests is not None
    grantor.application.requests.clear()
    yield grantor.application.requests
    grantor.application.requests.clear()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, int]]:
    fake = Server()
    listening = await fake.start()
    yield fake, listening.sockets[0].getsockname()[1]
    listening.close()


@pytest.fixture(scope="session")
def demo_played(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return played_twice(tmp_path_factory.mktemp("played"))
