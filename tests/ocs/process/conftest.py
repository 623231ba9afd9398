from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ocs.process.served import Server, Starts


@pytest.fixture
def start() -> Iterator[Starts]:
    """`start(folder, config, **environment)` starts a server, which is ended after the test."""
    with contextlib.ExitStack() as started:

        def started_server(*arguments: Any, **environment: str) -> Server:
            server = Server(*arguments, **environment)
            started.callback(server.end_whatever_it_does)
            return server

        yield started_server
