"""`ocs serve` as a whole: it starts completely or not at all, replaces killed processes, stops in order, and leaves no
process behind.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from ocs.process.embedded_redis import EmbeddedRedis
from ocs.process.processes import is_alive
from tests.catalogue import CATALOGUE
from tests.ocs.process.served import Server, Starts
from tests.waiting import PATIENCE_S, wait_for


@pytest.fixture
def server(tmp_path: Path, start: Starts) -> Server:
    return start(tmp_path)


def test_a_server_charges_replaces_killed_processes_and_stops(server: Server) -> None:
    facts = server.wait_whole()
    host, port = facts["diameter"][0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S):
        pass
    assert server.health() == (
        200,
        {
            "status": "ok",
            "redis": True,
            "workers": 2,
            "workers_wanted": 2,
            "housekeeper": True,
            "backoffice": True,
            "api": True,
        },
    )
    assert "ocs_workers_up 2.0" in server.metrics()
    for role in ("api", "backoffice", "housekeeper"):
        assert f'ocs_process_up{{role="{role}"}} 1.0' in server.metrics()
    before = server.children()
    assert sorted(before.values()) == [
        "ocs.process.api",
        "ocs.process.backoffice",
        "ocs.process.housekeeper",
        "ocs.process.worker",
        "ocs.process.worker",
        "redis.conf",
    ]

    # One process of each role is killed: each is replaced, and the ledger is unchanged.
    killed = [server.of(role)[0] for role in sorted({*before.values()})]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(is_alive(pid) for pid in killed) and len(server.children()) == 6)
    server.wait_whole()
    assert server.health()[0] == 200
    assert server.facts() == facts
    text = server.metrics()
    for role in ("worker", "housekeeper", "backoffice", "api", "redis"):
        assert f'ocs_process_restarts_total{{role="{role}"}} 1.0' in text

    running = list(server.children())
    assert server.end() == 0
    assert not any(is_alive(pid) for pid in running)
    assert not (server.folder / "data" / "server.json").exists()
    assert "Traceback" not in server.text()


def test_commands_use_the_running_servers_redis_and_a_second_server_does_not(server: Server, start: Starts) -> None:
    server.wait_whole()
    second = start(server.folder)
    assert second.process.wait(PATIENCE_S) == 1
    second.log.close()
    assert "another ocs server uses it" in server.text()
    assert server.health()[0] == 200

    def ocs(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from ocs.cli.main import run; run()", *words, "--config", "ocs.toml"],
            cwd=server.folder,
            env={**os.environ, "OCS_SERVER_CATALOGUE": str(CATALOGUE)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    made = ocs(
        "account",
        "create",
        "--msisdn",
        "38668100000",
        "--imsi",
        "293400000000000",
        "--package",
        "MAXI",
        "--credit",
        "20",
    )
    assert made.returncode == 0, made.stderr

    def records() -> list[dict[str, Any]]:
        paths = (server.folder / "data" / "records").glob("*.jsonl")
        return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]

    wait_for(lambda: len(records()) == 2)
    assert [record["kind"] for record in records()] == ["opened", "package"]
    assert sum(r.get("credit_in_micro_eur", 0) - r.get("debit_micro_eur", 0) for r in records()) == 10_010_000
    assert server.end(signal.SIGINT) == 0
    shown = ocs("account", "show", "38668100000", "--json")
    assert json.loads(shown.stdout)["credit_micro_eur"] == 10_010_000


def test_a_killed_supervisor_leaves_nothing_running(server: Server) -> None:
    server.wait_whole()
    running = list(server.children())
    assert len(running) == 6
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not any(is_alive(pid) for pid in running))


def test_without_redis_the_server_is_unhealthy_and_recovers(tmp_path: Path, start: Starts) -> None:
    """The server waits for an external Redis that is not running yet."""
    elsewhere = tmp_path / "e"  # the path of its socket must be short
    server = start(tmp_path, OCS_REDIS_URL=f"unix://{elsewhere}/redis/redis.sock")
    wait_for(lambda: server.health()[0] == 503)
    assert server.health()[1]["redis"] is False
    private = EmbeddedRedis(elsewhere, durability="everysec")
    private.acquire()
    try:
        server.wait_whole()
        assert server.health()[0] == 200
        assert server.end() == 0
    finally:
        private.release()


def first_layout(folder: Path) -> None:
    """A data folder of a server with the first layout."""
    server = EmbeddedRedis(folder, durability="everysec")
    with redis.Redis.from_url(server.acquire()) as client:
        client.hset("{p00}:subscribers", "m38668100000", "00-0000000000000001")
    server.release()


def test_a_data_folder_of_the_first_layout_is_refused(tmp_path: Path, start: Starts) -> None:
    first_layout(tmp_path / "data")
    server = start(tmp_path)
    assert server.process.wait(PATIENCE_S) == 1
    server.log.close()
    assert server.text().splitlines()[-1].startswith("ocs: Redis holds a ledger of the first layout")
    assert "Traceback" not in server.text() and "replacing" not in server.text()
    assert not (tmp_path / "data" / "server.json").exists()


def test_a_redis_that_evicts_is_refused_only_at_the_start(tmp_path: Path, start: Starts) -> None:
    elsewhere = EmbeddedRedis(tmp_path / "elsewhere", durability="everysec")
    url = elsewhere.acquire()
    client = redis.Redis.from_url(url)

    def evicts(policy: str) -> None:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", policy)

    try:
        evicts("allkeys-lru")
        server = start(tmp_path, OCS_REDIS_URL=url)
        assert server.process.wait(PATIENCE_S) == 1
        assert "CONFIG SET maxmemory-policy noeviction" in server.text().splitlines()[-1]
        server.log.close()

        # A running server continues.
        evicts("noeviction")
        server = start(tmp_path, OCS_REDIS_URL=url)
        server.wait_whole()
        wait_for(lambda: "ready:" in server.text())
        evicts("allkeys-lru")
        said = server.text().count("CONFIG SET maxmemory-policy noeviction")
        os.kill(server.of("ocs.process.worker")[0], signal.SIGKILL)
        wait_for(lambda: server.text().count("CONFIG SET maxmemory-policy noeviction") > said)
        wait_for(lambda: server.health()[1]["workers"] == 1)
        evicts("noeviction")
        server.wait_whole()
        assert server.end() == 0
    finally:
        client.close()
        elsewhere.release()
    assert "Traceback" not in server.text()


def test_a_mistake_in_the_catalogue_stops_the_start(tmp_path: Path, start: Starts) -> None:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text('[catalogue]\ncurrency = "EUR"\n', encoding="utf-8")
    server = start(tmp_path, OCS_SERVER_CATALOGUE=str(catalogue))
    assert server.process.wait(PATIENCE_S) == 1
    server.log.close()
    assert str(catalogue) in server.text() and "Traceback" not in server.text()
    assert not (tmp_path / "data").exists()
