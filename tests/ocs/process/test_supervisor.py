"""`ocs serve` as a whole: it starts completely or not at all, replaces killed processes, stops in order, and leaves no
process behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ocs.process.embedded_redis import EmbeddedRedis
from ocs.process.processes import command_line, is_alive
from protocol.frame import FrameReader
from tests.catalogue import CATALOGUE
from tests.ocs.diameter.certificates import Certificates
from tests.ocs.diameter.site import HOST, cer, code_of
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[3]
CONFIG = """
[diameter]
listen = ["127.0.0.1:0"]
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
[api]
listen = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[ledger]
durability = "everysec"
[server]
workers = 2
data_dir = "data"
"""


class Server:
    """`ocs serve` in a folder of its own."""

    def __init__(self, folder: Path, config: str = CONFIG, **environment: str) -> None:
        self.folder = folder
        (folder / "ocs.toml").write_text(config, encoding="utf-8")
        self.log = (folder / "log").open("ab")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
        catalogue = {"OCS_SERVER_CATALOGUE": str(CATALOGUE)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from ocs.cli.main import run; run()", "serve", "--config", "ocs.toml"],
            cwd=folder,
            env={**kept, **catalogue, **environment},
            stderr=self.log,
        )

    def facts(self) -> dict[str, Any]:
        path = self.folder / "data" / "server.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def health(self) -> tuple[int, dict[str, Any]]:
        if not (facts := self.facts()):
            return 0, {}
        try:
            with urllib.request.urlopen(f"http://{facts['metrics']}/health", timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, {}

    def wait_whole(self) -> dict[str, Any]:
        wait_for(lambda: self.health()[1].get("workers") == 2 and self.others_are_ready())
        return self.facts()

    def others_are_ready(self) -> bool:
        health = self.health()[1]
        return bool(health["housekeeper"] and health["backoffice"] and health["api"])

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.facts()['metrics']}/metrics", timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            return str(answer.read().decode())

    def children(self) -> dict[int, str]:
        """Roles by process id."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii").split()
        words = {int(pid): " ".join(command_line(int(pid))) for pid in listed}
        modules = [f"ocs.process.{name}" for name in ("worker", "housekeeper", "backoffice", "api")]
        roles = (*modules, "redis.conf")
        return {pid: role for pid, line in words.items() for role in roles if role in line}

    def of(self, role: str) -> list[int]:
        return [pid for pid, its in self.children().items() if its == role]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self.log.close()
        return status

    def end_whatever_it_does(self) -> None:
        """After a test, which may have failed anywhere. Its children end with the supervisor."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def text(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")


Starts = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Starts]:
    """`start(folder, config, **environment)` starts a server, which is ended after the test."""
    with contextlib.ExitStack() as started:

        def started_server(*arguments: Any, **environment: str) -> Server:
            server = Server(*arguments, **environment)
            started.callback(server.end_whatever_it_does)
            return server

        yield started_server


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


@pytest.mark.parametrize("key", ["diameter", "api", "metrics"])
def test_a_port_in_use_is_named_and_nothing_starts(tmp_path: Path, start: Starts, key: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start(tmp_path, **{f"OCS_{key.upper()}_LISTEN": address})
        assert server.process.wait(PATIENCE_S) == 1
        server.log.close()
    assert f"{key}.listen" in server.text() and address in server.text() and "Address already in use" in server.text()
    assert "Traceback" not in server.text()
    assert not (tmp_path / "data" / "redis" / "redis.log").exists()


@pytest.mark.parametrize("key", ["diameter", "api"])
def test_of_two_servers_started_together_one_gets_the_port(tmp_path: Path, start: Starts, key: str) -> None:
    """Else both would listen on it (SO_REUSEPORT), and each would get a part of the sessions of one peer."""
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    both = [start(tmp_path / name, **{f"OCS_{key.upper()}_LISTEN": address}) for name in ("one", "two")]
    wait_for(lambda: any(server.process.poll() is not None for server in both))
    refused = next(server for server in both if server.process.poll() is not None)
    (serving,) = [server for server in both if server is not refused]
    assert refused.process.wait(PATIENCE_S) == 1
    assert f"{key}.listen = '{address}'" in refused.text() and "Address already in use" in refused.text()
    serving.wait_whole()
    assert serving.end() == 0


def with_tls(folder: Path, certificates: Certificates) -> str:
    """Settings with TLS only."""
    certificate, key = certificates.server
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nca = "{folder / "ca.pem"}"\n'
    return CONFIG.replace('listen = ["127.0.0.1:0"]', 'listen = []\nlisten_tls = ["127.0.0.1:0"]', 1) + tls


def test_a_tls_port_in_use_is_named_and_nothing_starts(tmp_path: Path, start: Starts) -> None:
    config = with_tls(tmp_path, Certificates(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start(tmp_path, config, OCS_DIAMETER_LISTEN_TLS=address)
        assert server.process.wait(PATIENCE_S) == 1
        server.log.close()
    assert f"diameter.listen_tls = '{address}'" in server.text() and "Address already in use" in server.text()
    assert "Traceback" not in server.text() and not (tmp_path / "data" / "redis" / "redis.log").exists()


def test_workers_share_the_tls_port_and_reload_certificates(tmp_path: Path, start: Starts) -> None:
    certificates = Certificates(tmp_path)
    old = certificates.client("pgw.example.net")
    server = start(tmp_path, with_tls(tmp_path, certificates))
    try:
        facts = server.wait_whole()
        assert facts["diameter"] == []
        (address,) = facts["diameter_tls"]
        assert f"{address} (TLS)" in wait_for(lambda: server.text() if "ready:" in server.text() else "")
        host, _, port = address.rpartition(":")
        for _ in range(8):  # either worker
            assert capabilities((host, int(port)), old) == 2001

        certificates.renew()
        new = certificates.client("pgw.example.net")
        old.load_verify_locations(str(tmp_path / "ca.pem"))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.text().count("TLS certificates reloaded") == 2)
        for _ in range(8):
            assert capabilities((host, int(port)), new) == 2001
            with pytest.raises((OSError, EOFError)):
                capabilities((host, int(port)), old)
        wait_for(lambda: 'ocs_connections_refused_total{reason="tls"} 8.0' in server.metrics())
    finally:
        assert server.end() == 0
    assert "Traceback" not in server.text()


def capabilities(address: tuple[str, int], context: ssl.SSLContext) -> int:
    """Result-Code of the CEA. Tries again while a worker has not yet noticed that the last connection ended."""
    end = time.monotonic() + PATIENCE_S
    while (code := capabilities_once(address, context)) == 5012 and time.monotonic() < end:
        time.sleep(0.05)
    return code


def capabilities_once(address: tuple[str, int], context: ssl.SSLContext) -> int:
    with (
        socket.create_connection(address, timeout=PATIENCE_S) as tcp,
        context.wrap_socket(tcp, server_hostname=HOST) as tls,
    ):
        tls.sendall(cer("pgw.example.net", origin_realm="example.net"))
        reader = FrameReader()
        while not (frames := reader.feed(data := tls.recv(65_536))):
            if not data:
                raise EOFError
        return code_of(frames[0])


def test_a_mistake_in_the_catalogue_stops_the_start(tmp_path: Path, start: Starts) -> None:
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text('[catalogue]\ncurrency = "EUR"\n', encoding="utf-8")
    server = start(tmp_path, OCS_SERVER_CATALOGUE=str(catalogue))
    assert server.process.wait(PATIENCE_S) == 1
    server.log.close()
    assert str(catalogue) in server.text() and "Traceback" not in server.text()
    assert not (tmp_path / "data").exists()
