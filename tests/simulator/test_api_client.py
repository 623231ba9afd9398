"""The simulator's client of the API waits when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from simulator.api_client import ATTEMPTS, ApiClient, ApiError


class Server(HTTPServer):
    """Answers 429 so many times, then 200."""

    refusals = 0
    keys: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_PUT(self) -> None:
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.server.refusals -= 1
        self.send_response(429 if self.server.refusals >= 0 else 200)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.keys = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_request_that_is_sent_too_early_is_sent_again(server: Server) -> None:
    server.refusals = ATTEMPTS - 1
    assert ApiClient(server.server_port).put("/thing", {}) == {}
    assert len(server.keys) == ATTEMPTS and len(set(server.keys)) == 1


def test_it_gives_up_in_the_end(server: Server) -> None:
    server.refusals = ATTEMPTS
    with pytest.raises(ApiError, match="429") as refused:
        ApiClient(server.server_port).put("/thing", {})
    assert refused.value.status == 429 and len(server.keys) == ATTEMPTS
