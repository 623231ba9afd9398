"""One traced request: when it came, its phases, its attributes. It becomes spans of OpenTelemetry when it is answered.

Only sampled requests have one. `CURRENT` is the one whose request is being handled: code that traces a phase finds it
there, also in a task that the request has started.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

Attribute = str | int | float | bool | list[int]
Attributes = dict[str, Attribute]
ADMISSION, RATING, LEDGER, ENCODE = "admission", "rating", "ledger", "encode"
MAX_PHASES = 32
"""Phases of a request; one that is charged again and again has no more."""


class RequestSpan:
    """Times are those of the monotonic clock, in seconds."""

    __slots__ = ("attributes", "ended", "error", "phases", "started")

    def __init__(self, started: float) -> None:
        self.started = self.ended = started
        self.phases: list[tuple[str, float, float, Attributes]] = []
        """Name, start, end, attributes."""
        self.attributes: Attributes = {}
        self.error = ""
        """`error.type`; "" = none."""

    def phase(self, name: str, started: float, ended: float, attributes: Attributes | None = None) -> None:
        if len(self.phases) < MAX_PHASES:
            self.phases.append((name, started, ended, attributes or {}))


CURRENT: ContextVar[RequestSpan | None] = ContextVar("request_span", default=None)


class Traces(Protocol):
    """What the traced dispatcher and the traced charging need; `ocs.telemetry.otlp_traces` implements it."""

    clock: Callable[[], float]
    """Monotonic seconds."""

    def sampled(self) -> bool:
        """Whether the next request is traced."""

    def pseudonym(self, session_id: str) -> str:
        """A keyed hash of a Session-Id, the same at all workers."""

    def record(self, name: str, span: RequestSpan) -> str:
        """Export an answered request; returns its trace id. Never blocks, never raises."""
