"""The section [tracing]: spans of requests, sent to an OpenTelemetry collector."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from ocs.settings.base import CombinationError, Section


class TracingSection(Section):
    """Spans of requests for an OpenTelemetry collector (docs/MONITORING.md, Tracing); needs `ocs[tracing]`."""

    endpoint: str = Field(
        default="",
        max_length=2000,
        description='"" (off) or an http or https URL, such as http://127.0.0.1:4318/v1/traces',
    )
    """Where spans go by OTLP over HTTP."""
    ratio: float = Field(default=0.01, ge=0, le=1, description="0 to 1")
    """Share of the requests that are traced, chosen at random by the worker."""
    max_queue_spans: int = Field(default=2_048, ge=64, le=100_000, description="64 to 100000")
    """Spans of a worker that may wait for the collector; beyond it the oldest are dropped."""
    max_batch_spans: int = Field(default=128, ge=1, le=8_192, description="1 to 8192, at most max_queue_spans")
    """Spans of one export. Its encoding competes with the worker for the processor."""
    export_every_ms: int = Field(default=1_000, ge=10, le=60_000, description="10 to 60000 ms")
    """Longest time that a span waits for others."""
    timeout_ms: int = Field(default=5_000, ge=100, le=60_000, description="100 to 60000 ms")
    """How long the collector may take for one export; then its spans are lost."""

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("is no http or https URL")
        return url

    @model_validator(mode="after")
    def _batch_fits(self) -> TracingSection:
        if self.max_batch_spans > self.max_queue_spans:
            most = f"must not exceed tracing.max_queue_spans, which is {self.max_queue_spans}"
            raise CombinationError([(("max_batch_spans",), self.max_batch_spans, most)])
        return self
