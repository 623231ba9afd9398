"""The dispatcher of a worker whose requests are traced (`[tracing]`). Without tracing, `Dispatcher` itself is used.

Root span: one request of a peer, named by its command and type (CCR-U). Attributes are those of the semantic
conventions where there are some, else `diameter.…`; none identifies a subscriber: a Session-Id is a keyed hash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ocs.diameter.dispatch import Dispatcher, Handler, Pending, Sink
from ocs.diameter.metrics import DiameterMetrics
from ocs.diameter.origin_state import OriginStates
from ocs.diameter.peers import Peer, RelayedClient
from ocs.diameter.refusals import Kind
from ocs.settings.diameter import DiameterConfig
from ocs.telemetry.request_span import ADMISSION, ENCODE, RequestSpan, Traces
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from protocol.errors import DiameterError, ResultCode
from protocol.header import Header

MAX_RATING_GROUPS = 16
"""Rating groups of a request that its span names."""
OUR_FAULTS = frozenset((ResultCode.UNABLE_TO_DELIVER, ResultCode.TOO_BUSY, ResultCode.UNABLE_TO_COMPLY))
"""Answers by which a request has failed for us; others are answers like any, such as 4012."""


class ExemplarMetrics(DiameterMetrics, Protocol):
    def exemplar(self, type: str, context: str, seconds: float, trace_id: str, at: float) -> None:
        """Keep the trace of an answered CCR beside its latency. `at`: Unix seconds."""


class TracedPending(Pending):
    """A request; `span` is None if it is not sampled."""

    __slots__ = ("span",)

    def __init__(
        self, dispatcher: Dispatcher, sink: Sink, request: CreditControlRequest, context: str, started: float
    ) -> None:
        super().__init__(dispatcher, sink, request, context, started)
        assert isinstance(dispatcher, TracedDispatcher)
        self.span = dispatcher.span


class TracedDispatcher(Dispatcher):
    """`traces` decides which requests are sampled, and takes their spans."""

    pending_class = TracedPending

    def __init__(
        self,
        config: DiameterConfig,
        handler: Handler,
        metrics: ExemplarMetrics,
        clock: Callable[[], float],
        origin_states: OriginStates,
        unix_clock: Callable[[], float],
        *,
        traces: Traces,
    ) -> None:
        super().__init__(config, handler, metrics, clock, origin_states, unix_clock)
        self.span: RequestSpan | None = None
        """Of the request that is being admitted."""
        self._traces = traces
        self._exemplars = metrics
        self._unix_clock = unix_clock

    def request(self, sink: Sink, frame: bytes, header: Header) -> bytes | None:
        if not self._traces.sampled():
            return super().request(sink, frame, header)
        span = self.span = RequestSpan(self.clock())
        span.attributes["network.protocol.name"] = "diameter"
        span.attributes["diameter.peer"] = sink.source.label
        try:
            answer = super().request(sink, frame, header)
        finally:
            self.span = None
        if answer is not None:
            span.phase(ADMISSION, span.started, self.clock())
            self._record(span)
        return answer

    def _refusal(self, pending: Pending, peer: Peer, source: Peer | RelayedClient) -> tuple[Kind, DiameterError] | None:
        refusal = super()._refusal(pending, peer, source)
        if self.span is not None:
            self._describe(self.span, pending)
            if refusal is None:
                self.span.phase(ADMISSION, self.span.started, self.clock())
                self.span = None  # what the handler answers at once belongs to `pending`
        return refusal

    def refuse(self, frame: bytes, header: Header, error: DiameterError) -> bytes:
        if self.span is not None:
            _result(self.span, error.result_code)
        return super().refuse(frame, header, error)

    def _refuse_pending(self, pending: Pending, kind: Kind, error: DiameterError) -> bytes:
        if self.span is not None:
            _result(self.span, error.result_code)
            self.span.attributes["diameter.refused"] = kind.value
        return super()._refuse_pending(pending, kind, error)

    def _describe(self, span: RequestSpan, pending: Pending) -> None:
        request = pending.request
        span.attributes.update(
            {
                "diameter.cc_request_type": pending.type,
                "diameter.cc_request_number": request.cc_request_number,
                "diameter.service_context": pending.context,
                "diameter.session": self._traces.pseudonym(request.session_id),
                "diameter.retransmitted": request.header.is_retransmission,
            }
        )
        groups = [mscc.rating_group for mscc in request.multiple_services_credit_control[:MAX_RATING_GROUPS]]
        if groups:
            span.attributes["diameter.rating_groups"] = [group for group in groups if group is not None]

    def finish(self, pending: Pending, answer: CreditControlAnswer | DiameterError) -> None:
        super().finish(pending, answer)
        assert isinstance(pending, TracedPending)
        if (span := pending.span) is not None:
            trace_id = self._record(span)
            seconds = span.ended - pending.started
            self._exemplars.exemplar(pending.type, pending.context, seconds, trace_id, self._unix_clock())

    def _encode(self, pending: Pending, answer: CreditControlAnswer | DiameterError) -> tuple[int, bytes]:
        assert isinstance(pending, TracedPending)
        if (span := pending.span) is None:
            return super()._encode(pending, answer)
        started = self.clock()
        result_code, frame = super()._encode(pending, answer)
        span.phase(ENCODE, started, self.clock())
        _result(span, result_code)
        return result_code, frame

    def _record(self, span: RequestSpan) -> str:
        """Returns its trace id. A request that cannot be decoded has no type."""
        span.ended = self.clock()
        kind = span.attributes.get("diameter.cc_request_type")
        return self._traces.record(f"CCR-{kind}" if kind else "CCR", span)


def _result(span: RequestSpan, result_code: int) -> None:
    span.attributes["diameter.result_code"] = result_code
    if result_code in OUR_FAULTS:
        span.error = str(result_code)
