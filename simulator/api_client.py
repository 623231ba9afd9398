"""A client of the server's HTTP API, as a shop or a subscriber's app is one: JSON, a key, and an Idempotency-Key."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from simulator.errors import SimulatorError

TIMEOUT_S = 10.0
START_TIMEOUT_S = 30.0
ATTEMPTS = 5
"""Of a request that got no answer, 429 or 503; with the same Idempotency-Key it is done once."""
PAUSE_S = 0.5
MAX_PAUSE_S = 10.0
_LATER = (http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE)


class ApiError(SimulatorError):
    """The API refused a request, or did not answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        """`status`: 0 = no answer."""
        super().__init__(text)
        self.status = status


class ApiClient:
    """Calls under `/v1` by one key. May be used by several threads: each call has a connection of its own."""

    def __init__(self, port: int, key: str = "", host: str = "127.0.0.1") -> None:
        self._host, self._port = host, port
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def wait_until_up(self) -> None:
        """ApiError: it does not answer within START_TIMEOUT_S."""
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if self._exchange("GET", "/health", b"", self._headers)[0] == http.client.OK:
                    return
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > end:
                raise ApiError(f"the API on port {self._port} did not answer within {START_TIMEOUT_S:g} s")
            time.sleep(PAUSE_S)

    def get(self, path: str) -> Any:
        """Raises ApiError, as the others do."""
        return self._call("GET", path)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("PUT", path, body)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        octets = b"" if body is None else json.dumps(body).encode()
        headers = self._headers | ({"Idempotency-Key": uuid.uuid4().hex} if method != "GET" else {})
        said, status, pause = "no answer", 0, 0.0
        for _ in range(ATTEMPTS):
            time.sleep(pause)
            pause = PAUSE_S
            try:
                status, answer, later = self._exchange(method, f"/v1{path}", octets, headers)
            except (OSError, http.client.HTTPException) as error:
                said, status = str(error) or type(error).__name__, 0
                continue
            if status // 100 == 2:
                return json.loads(answer) if answer else None
            said = f"{status} {answer.decode('utf-8', 'replace')}"
            if status not in _LATER:
                break
            pause = min(float(later), MAX_PAUSE_S) if later.isdecimal() else PAUSE_S
        raise ApiError(f"{method} {path}: {said}", status)

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes, str]:
        """Status, body, Retry-After ("" = none)."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body or None, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers.get("Retry-After", "")
        finally:
            connection.close()
