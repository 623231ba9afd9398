"""An OpenTelemetry collector for tests: takes OTLP over HTTP on loopback, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.waiting import PATIENCE_S, wait_for


class Collector:
    """Use it in `with`. `spans`: those that have arrived; `bodies`: what arrived, unpacked."""

    def __init__(self, status: int = 200) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def _take(self, body: bytes) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        self.bodies.append(body)
        for each in message.resource_spans:
            self.resources.append(attributes(each.resource))
            for scope in each.scope_spans:
                self.spans += scope.spans

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)

    def roots(self) -> list[Any]:
        return sorted((span for span in self.spans if not span.parent_span_id), key=lambda s: s.start_time_unix_nano)

    def children(self, root: Any) -> list[Any]:
        own = [span for span in self.spans if span.parent_span_id == root.span_id and span.trace_id == root.trace_id]
        return sorted(own, key=lambda span: span.start_time_unix_nano)

    def wait(self, condition: Callable[[Self], Any]) -> Any:
        return wait_for(lambda: condition(self))


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in of.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)
