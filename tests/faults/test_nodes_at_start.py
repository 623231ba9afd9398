"""A node does not start where it would do harm beside another that runs on the same Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.faults.harness import Serving
from tests.faults.nodes import BOTH, Node, refusal, settings

FIRST, SECOND = BOTH


@pytest.fixture
def first(tmp_path: Path, own_redis: RedisServer) -> Iterator[Node]:
    node = Node(tmp_path, 0, own_redis.port, None)
    yield node
    node.close()


def test_what_another_node_says_is_looked_at_before_the_start(
    tmp_path: Path, own_redis: RedisServer, first: Node
) -> None:
    where = f"{tmp_path}/node1/data"
    for config, words in (
        (settings(FIRST, housekeeper=False), [f"diameter.identity = '{FIRST}'", where, "needs an identity of its own"]),
        (settings(SECOND), [f"the housekeeper of {FIRST} at ", where, "set server.housekeeper = false"]),
        (
            settings(SECOND, hosts=(), failover=False, housekeeper=False),
            [f"{SECOND} (", "refuses requests that name the first node", f"its diameter.hosts must name {FIRST}"],
        ),
    ):
        said = refusal(tmp_path / "node2", own_redis.url, config)
        assert all(word in said for word in words), said
        assert "ended" in said.splitlines()[-2], "in good order"
    assert first.serving.health() == 200

    # As it should be: it starts, and is warned of nothing.
    server = Serving(tmp_path / "node2", own_redis.url, settings(SECOND, housekeeper=False))
    server.end()
    said = (tmp_path / "node2" / "log").read_text(encoding="utf-8")
    assert "WARNING" not in said and "ERROR" not in said, said


def test_a_node_that_was_killed_keeps_nobody_out_for_long(tmp_path: Path, own_redis: RedisServer, first: Node) -> None:
    """Its identity, and the work of its housekeeper, may be another's: its machine is gone, and a new one takes its place."""
    first.kill()
    server = Serving(tmp_path / "elsewhere", own_redis.url, settings(FIRST))
    try:
        assert server.metrics()
    finally:
        server.end()
