"""The server of the tests leaves nothing behind for the test after it."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import RedisServer
from tests.faults.harness import CHARGING_ONLY, CONFIG, Serving


def test_the_end_of_a_server_closes_the_clients_that_a_failed_test_left_open(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    server = Serving(tmp_path / "ocs", own_redis.url, CONFIG + CHARGING_ONLY)
    try:
        left = server.connect()
        assert left.socket.fileno() > 0
    finally:
        server.end()
    assert left.socket.fileno() == -1
