"""A node does not start if it would harm another one on the same Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from ocs.process.node_presence import LEASE_S
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.faults.harness import Books, Serving
from tests.faults.nodes import BOTH, Node, refusal, settings
from tests.waiting import wait_for

FIRST, SECOND = BOTH


@dataclass(frozen=True, slots=True)
class Site:
    """A Redis, and the first node on it."""

    folder: Path
    redis: RedisServer
    first: Node


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For the tests that leave the node running, and for one that kills it at the end."""
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("site")
    redis = RedisServer(SYSTEM_REDIS, folder)
    redis.start()
    try:
        node = Node(folder, 0, redis.port, None)
        try:
            yield Site(folder, redis, node)
        finally:
            node.close()
    finally:
        redis.stop(kill=True)


@pytest.fixture
def first(tmp_path: Path, own_redis: RedisServer) -> Iterator[Node]:
    node = Node(tmp_path, 0, own_redis.port, None)
    try:
        yield node
    finally:
        node.close()


def test_a_start_that_is_refused_does_no_work_first(tmp_path: Path, own_redis: RedisServer, first: Node) -> None:
    """The node with the housekeeper is gone and records wait: a node whose identity is taken writes none of them."""
    second = Node(tmp_path, 1, own_redis.port, None)
    try:
        first.kill()
        books = Books(own_redis.url)
        account_id = books.open_account("38668100000", 5_000_000)
        with redis.Redis(port=own_redis.port) as client:
            wait_for(lambda: not list(client.scan_iter("*:l:housekeeper")), LEASE_S + 5)
        said = refusal(tmp_path / "third", own_redis.url, settings(SECOND))
        assert "needs an identity of its own" in said
        assert not [path for path in (tmp_path / "third" / "data").rglob("*") if path.suffix == ".jsonl"]
        server = Serving(tmp_path / "node1", own_redis.url, settings(FIRST))
        try:
            wait_for(lambda: [each for each in server.records() if each["account"] == account_id])
        finally:
            server.end()
    finally:
        second.close()


def test_of_two_that_start_together_the_first_says_when_the_other_has_come(site: Site) -> None:
    log = site.folder / "node1" / "log"
    missing = f"no node {SECOND} (diameter.hosts) has been on this Redis yet: no session can move there"
    wait_for(lambda: f"sessions may not move between nodes (diameter.hosts): {missing}" in log.read_text("utf-8"))
    second = Node(site.folder, 1, site.redis.port, None)
    try:
        wait_for(lambda: "sessions may move between all nodes of diameter.hosts" in log.read_text("utf-8"))
        assert f"no longer the case (diameter.hosts): {missing}" in log.read_text("utf-8")
        assert "sessions may not move" not in (site.folder / "node2" / "log").read_text("utf-8")
    finally:
        second.close()


def test_what_another_node_says_is_looked_at_before_the_start(tmp_path: Path, site: Site) -> None:
    where = f"{site.folder}/node1/data"
    for config, words in (
        (settings(FIRST, housekeeper=False), [f"diameter.identity = '{FIRST}'", where, "needs an identity of its own"]),
        (settings(SECOND), [f"the housekeeper of {FIRST} at ", where, "set server.housekeeper = false"]),
        (
            settings(SECOND, hosts=(), failover=False, housekeeper=False),
            [f"{SECOND} (", "refuses requests that name the first node", f"its diameter.hosts must name {FIRST}"],
        ),
    ):
        said = refusal(tmp_path / "node2", site.redis.url, config)
        assert all(word in said for word in words), said
        assert "ended" in said.splitlines()[-2], "in good order"
    assert site.first.serving.health() == 200

    # As it should be: it starts, and is warned of nothing.
    server = Serving(tmp_path / "node2", site.redis.url, settings(SECOND, housekeeper=False))
    server.end()
    said = (tmp_path / "node2" / "log").read_text(encoding="utf-8")
    assert "WARNING" not in said and "ERROR" not in said, said


def test_a_node_that_was_killed_keeps_nobody_out_for_long(tmp_path: Path, site: Site) -> None:
    """Another node may take its identity and its housekeeper's work: its machine is gone, and a new one replaces it."""
    site.first.kill()
    server = Serving(tmp_path / "elsewhere", site.redis.url, settings(FIRST))
    try:
        assert server.metrics()
    finally:
        server.end()
