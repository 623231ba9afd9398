"""The API process: ready, answering over HTTP and HTTPS, draining at SIGTERM; nothing but loopback in clear."""

from __future__ import annotations

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.catalogue import CATALOGUE
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.ports import free_port
from tests.waiting import PATIENCE_S

CONFIG = """
[diameter]
listen = ["127.0.0.1:0"]
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
[ledger]
partitions = 4
[server]
data_dir = "data"
[api]
listen = "127.0.0.1:{port}"
{more}
"""
OCS = [sys.executable, "-c", "from ocs.cli.main import run; run()"]


class Api:
    """`python -m ocs.process.api` on a Redis, in a folder of its own."""

    def __init__(self, folder: Path, redis_url: str, more: str = "") -> None:
        self.port, self.folder = free_port(), folder
        (folder / "ocs.toml").write_text(CONFIG.format(port=self.port, more=more), encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
        self.environment = {**kept, "OCS_SERVER_CATALOGUE": str(CATALOGUE), "OCS_REDIS_URL": redis_url}
        self.log = (folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ocs.process.api", "--config", "ocs.toml"],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=self.log,
        )

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline())["ready"], (self.folder / "log").read_text()

    def ocs(self, *words: str) -> str:
        done = subprocess.run(
            [*OCS, *words, "--config", "ocs.toml"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self.log.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


@pytest.fixture
def api(own_redis: RedisServer, tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path, own_redis.url)
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    server = RedisServer(SYSTEM_REDIS, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop(kill=True)


@pytest.fixture(scope="module")
def one_api(shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """For all tests that leave it as it was: one takes two seconds of the processor to start."""
    made = Api(tmp_path_factory.mktemp("api"), shared_redis.url)
    made.wait_ready()
    yield made
    assert made.end() == 0


@pytest.fixture(scope="module")
def small_api(shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """As `one_api`, with 20 connections."""
    made = Api(tmp_path_factory.mktemp("api"), shared_redis.url, "max_connections = 20\n")
    made.wait_ready()
    yield made
    assert made.end() == 0


def call(api: Api, path: str, key: str = "", context: ssl.SSLContext | None = None) -> tuple[int, dict[str, Any]]:
    scheme = "http" if context is None else "https"
    request = urllib.request.Request(f"{scheme}://localhost:{api.port}{path}")
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_it_answers_and_a_revoked_key_is_refused_at_once(api: Api) -> None:
    api.wait_ready()
    assert call(api, "/health") == (200, {"status": "ok", "ledger": True})
    api.ocs("account", "open", "--msisdn", "38668100000", "--imsi", "293400000000001", "--credit", "5")
    key = api.ocs("key", "create", "--role", "care", "--name", "test")
    status, account = call(api, "/v1/accounts/38668100000", key)
    assert (status, account["credit"]) == (200, "5.00")
    assert json.loads(api.ocs("key", "list", "--json"))[0]["last_used"] is not None
    api.ocs("key", "revoke", key.split("_")[1])
    assert call(api, "/v1/accounts/38668100000", key)[0] == 401


def test_sigterm_lets_a_request_under_way_be_answered(api: Api) -> None:
    api.wait_ready()
    api.ocs("account", "open", "--msisdn", "38668100000", "--imsi", "293400000000001")
    key = api.ocs("key", "create", "--role", "care", "--name", "test")
    body = b'{"amount": "1.00"}'
    head = (
        "POST /v1/accounts/38668100000/top-ups HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nIdempotency-Key: k1\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE_S) as client:
        client.sendall(head.encode() + body[:5])
        time.sleep(0.3)  # the request has begun
        api.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        client.sendall(body[5:])
        answer = client.makefile("rb").readline()
    assert answer.startswith(b"HTTP/1.1 201")
    assert api.end() == 0
    assert "1.00" in api.ocs("account", "show", "38668100000")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE_S).close()


HTTPS = 'certificate = "api.pem"\nkey = "api.key"\n'


def install(authority: trustme.CA, folder: Path) -> None:
    certificate = authority.issue_cert("localhost")
    (folder / "api.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(str(folder / "api.key"))


def test_with_a_certificate_it_speaks_https_and_reads_it_again(own_redis: RedisServer, tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    install(old, tmp_path)
    api = Api(tmp_path, own_redis.url, HTTPS)
    try:
        api.wait_ready()
        context = ssl.create_default_context()
        old.configure_trust(context)
        assert call(api, "/health", context=context)[0] == 200
        with pytest.raises(OSError):
            call(api, "/health")
        install(new, tmp_path)
        api.process.send_signal(signal.SIGHUP)
        fresh = ssl.create_default_context()
        new.configure_trust(fresh)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                assert call(api, "/health", context=fresh)[0] == 200
                break
            except OSError:
                assert time.monotonic() < end, "the new certificate is not in use"
                time.sleep(0.05)
    finally:
        assert api.end() == 0


def test_a_port_in_use_is_named(own_redis: RedisServer, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        api = Api(tmp_path, own_redis.url)
        api.end()
        (tmp_path / "ocs.toml").write_text(CONFIG.format(port=taken.getsockname()[1], more=""), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "ocs.process.api", "--config", "ocs.toml"],
            cwd=tmp_path,
            env=api.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 1 and "api.listen" in done.stdout and "Traceback" not in done.stderr


# -- clients that send nothing, or too much


class Client:
    """A connection on which octets are sent as they are."""

    def __init__(self, api: Api, octets: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", api.port), timeout=PATIENCE_S)
        self.socket.sendall(octets)

    def answer(self) -> bytes:
        """All that comes until the server ends the connection."""
        with self.socket, self.socket.makefile("rb") as stream:
            try:
                return stream.read()
            except ConnectionResetError:
                return b""


HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SLOW_BODY = b"POST /v1/payments/webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
REFUSED_BODY = b"POST /v1/accounts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n{"


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nX-A: ", SLOW_BODY, REFUSED_BODY])
def test_connections_of_clients_that_owe_octets_keep_nobody_out(small_api: Api, begun: bytes) -> None:
    slow = []
    try:
        slow = [Client(small_api, begun) for _ in range(50)]
        for _ in range(30):
            assert Client(small_api, HEALTH).answer().startswith(b"HTTP/1.1 200")
    finally:
        for each in slow:
            each.socket.close()


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_tls_handshakes_that_do_not_end_keep_nobody_out(own_redis: RedisServer, tmp_path: Path, begun: bytes) -> None:
    """They are among `max_connections`: the oldest make room."""
    authority, slow = trustme.CA(), []
    install(authority, tmp_path)
    api = Api(tmp_path, own_redis.url, f"{HTTPS}max_connections = 20\n")
    try:
        api.wait_ready()
        context = ssl.create_default_context()
        authority.configure_trust(context)
        slow = [Client(api, begun) for _ in range(50)]
        for _ in range(5):
            assert call(api, "/health", context=context)[0] == 200
        assert [each.answer() for each in slow[:30]] == [b""] * 30
        slow[-1].socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow[-1].socket.recv(1)
        garbage = Client(api, b"GET / HTTP/1.1\r\n\r\n")
        assert not garbage.answer().startswith(b"HTTP")
        assert "Traceback" not in (tmp_path / "log").read_text()
    finally:
        for each in slow:
            each.socket.close()
        assert api.end() == 0


def test_connections_whose_answers_are_under_way_are_kept_and_further_ones_told(
    own_redis: RedisServer, tmp_path: Path
) -> None:
    api = Api(tmp_path, own_redis.url, "max_connections = 1\n")
    try:
        api.wait_ready()
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            first = Client(api, HEALTH)
            time.sleep(0.3)
            told = Client(api, HEALTH).answer()
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        assert told.startswith(b"HTTP/1.1 503") and b'"code":"connections"' in told
        assert first.answer().startswith(b"HTTP/1.1 200")
    finally:
        assert api.end() == 0


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000,
        b"GET /health HTTP/1.1\r\nX-A: " + b"a" * 40_000,
        b"GET /health HTTP/1.1\r\n" + b"X-A: b\r\n" * 6_000,
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n",
    ],
    ids=["address", "header", "headers", "complete"],
)
def test_the_head_of_a_request_has_a_limit(one_api: Api, head: bytes) -> None:
    client = Client(one_api)
    for begin in range(0, len(head), 1_000):
        try:
            client.socket.sendall(head[begin : begin + 1_000])
        except OSError:
            break
        time.sleep(0.001)
    answer = client.answer()
    assert answer.startswith(b"HTTP/1.1 431") and b'"code":"head_too_large"' in answer
    assert call(one_api, "/health")[0] == 200


def test_many_requests_on_a_connection_have_each_their_limit(one_api: Api) -> None:
    request = HEALTH.replace(b"close", b"keep-alive\r\nX-A: " + b"a" * 20_000)
    answer = Client(one_api, request * 5 + HEALTH).answer()
    assert answer.count(b"HTTP/1.1 200") == 6


def test_what_is_no_http_is_told_and_not_logged(one_api: Api) -> None:
    answer = Client(one_api, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").answer()
    assert answer.startswith(b"HTTP/1.1 400") and b'"code":"not_http"' in answer
    assert "Invalid HTTP" not in (one_api.folder / "log").read_text(encoding="utf-8")
