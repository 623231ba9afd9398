"""Sends the spans of traced requests to an OpenTelemetry collector, by OTLP over HTTP.

A worker only appends ended spans to a bounded queue; a thread of the SDK's BatchSpanProcessor exports them. While the
collector is away, exports fail after their timeout, the queue drops its oldest spans, and one line a minute is logged.
This module is imported only where tracing is on: the SDK is an optional dependency (`ocs[tracing]`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf, log1p
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

from ocs.telemetry.request_span import LEDGER, RequestSpan
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
METRIC = "ocs_trace_spans"
MADE, EXPORTED, FAILED = "made", "exported", "failed"
CLOSE_S = 1.0
"""How long a worker that ends waits for its last spans to leave."""
SESSION_DIGEST_OCTETS = 8


class SpanMetrics(Protocol):
    def count(self, name: str, *labels: str, by: int = 1) -> None: ...


class Limits(Protocol):
    """Of the queue and its exports (`ocs.settings.tracing_section`)."""

    @property
    def endpoint(self) -> str: ...
    @property
    def ratio(self) -> float: ...
    @property
    def max_queue_spans(self) -> int: ...
    @property
    def max_batch_spans(self) -> int: ...
    @property
    def export_every_ms(self) -> int: ...
    @property
    def timeout_ms(self) -> int: ...


class _CountingExporter(SpanExporter):
    """Counts and logs what the exporter does. Runs in the thread of the processor."""

    def __init__(self, exporter: SpanExporter, metrics: SpanMetrics, clock: Callable[[], float], endpoint: str) -> None:
        self._exporter = exporter
        self._metrics = metrics
        self._endpoint = endpoint
        self._throttled_log = ThrottledLog(clock)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._metrics.count(METRIC, EXPORTED, by=len(spans))
        else:
            self._metrics.count(METRIC, FAILED, by=len(spans))
            if (more := self._throttled_log.allow(FAILED)) is not None:
                log.warning(
                    "the collector at %s takes no spans: they are lost, charging goes on%s", self._endpoint, more
                )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return self._exporter.force_flush(timeout_millis)


class OtlpTraces:
    """One per worker; implements `Traces`. `clock`: monotonic seconds; `random`: from 0 to below 1."""

    def __init__(
        self,
        limits: Limits,
        metrics: SpanMetrics,
        *,
        key: bytes,
        resource: Mapping[str, str | int],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        """`key`: of the pseudonyms. `resource`: attributes of the process (semantic conventions of resources)."""
        self.clock = clock
        self._unix_clock = unix_clock
        self._random = random
        self._ratio = limits.ratio
        self._skip = self._requests_to_skip()
        self._metrics = metrics
        self._key = key[: hashlib.blake2b.MAX_KEY_SIZE]
        for result in (MADE, EXPORTED, FAILED):  # the thread adds no keys: a snapshot may be under way
            metrics.count(METRIC, result, by=0)
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `_CountingExporter` says it, once a minute
        exporter = OTLPSpanExporter(limits.endpoint, timeout=limits.timeout_ms / 1_000)
        self._processor = BatchSpanProcessor(
            _CountingExporter(exporter, metrics, clock, limits.endpoint),
            max_queue_size=limits.max_queue_spans,
            max_export_batch_size=limits.max_batch_spans,
            schedule_delay_millis=limits.export_every_ms,
            export_timeout_millis=limits.timeout_ms,
        )
        # Sampling was decided before: a request that is not sampled has no span at all.
        provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create(resource), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("ocs")

    def sampled(self) -> bool:
        if self._skip:
            self._skip -= 1
            return False
        self._skip = self._requests_to_skip()
        return True

    def _requests_to_skip(self) -> float:
        """Requests until the next one that is sampled: one drawing for all of them, each as likely as `ratio`."""
        if self._ratio >= 1:
            return 0
        return log1p(-self._random()) // log1p(-self._ratio) if self._ratio > 0 else inf

    def pseudonym(self, session_id: str) -> str:
        digest = hashlib.blake2b(session_id.encode(), key=self._key, digest_size=SESSION_DIGEST_OCTETS, person=b"trace")
        return digest.hexdigest()

    def record(self, name: str, span: RequestSpan) -> str:
        offset = self._unix_clock() - self.clock()

        def ns(moment: float) -> int:
            return int((moment + offset) * NS_PER_S)

        root = self._tracer.start_span(
            name, kind=SpanKind.SERVER, start_time=ns(span.started), attributes=span.attributes
        )
        context = set_span_in_context(root)
        for phase, started, ended, attributes in span.phases:
            kind = SpanKind.CLIENT if phase == LEDGER else SpanKind.INTERNAL
            child = self._tracer.start_span(phase, context, kind, attributes, start_time=ns(started))
            if "error.type" in attributes:
                child.set_status(StatusCode.ERROR)
            child.end(ns(ended))
        if span.error:
            root.set_attribute("error.type", span.error)
            root.set_status(StatusCode.ERROR)
        root.end(ns(span.ended))
        self._metrics.count(METRIC, MADE, by=1 + len(span.phases))
        return f"{root.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Export what is left, for at most CLOSE_S. Blocks: call it when nothing is charged any more."""
        closing = threading.Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)
