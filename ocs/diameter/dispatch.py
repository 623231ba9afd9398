"""Takes a CCR from its frame to its answer: decode, call the handler, encode. There is no task per request.

Before the handler, a request passes the receive pipeline (decode), `overload` and `admission`. Invariant 6: every
request gets exactly one answer, or its connection is closed. A second or late reply of the handler is ignored, as is a
reply after the connection is gone. If the handler raises, the answer is 5012; if it does not reply, 3004 or 3002.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from ocs.charging.source import Source
from ocs.charging.subscriber import ForeignSubscriberError
from ocs.diameter.metrics import DiameterMetrics
from ocs.diameter.origin_state import OriginStates
from ocs.diameter.overload import Overload
from ocs.diameter.peers import Peer, RelayedClient
from ocs.diameter.refusals import Kind, Refusals
from ocs.settings.diameter import DiameterConfig
from ocs.telemetry.logs import describe
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.requests import REQUEST_TYPES
from ocs.values.service_context import OTHER
from protocol.answers import error_answer
from protocol.avp import walk
from protocol.credit_control import CreditControlAnswer, CreditControlRequest, decode_ccr, encode_cca
from protocol.errors import DiameterError, ResultCode
from protocol.header import HEADER_OCTETS, Header
from protocol.registry import Routing

logger = logging.getLogger(__name__)

Reply = Callable[[CreditControlAnswer | DiameterError], None]
Handler = Callable[[CreditControlRequest, Source, Reply], None]
"""Called once per CCR with its source; must call the reply exactly once, now or later."""
OnRefused = Callable[[CreditControlRequest, Source, DiameterError], None]

TYPE_LABELS = {number: kind.value for number, kind in REQUEST_TYPES.items()}
CC_REQUEST_TYPE, DESTINATION_HOST = 416, 293
OVERLOAD_STAGE = 13
"""The stage of the receive pipeline that checks overload (`protocol.pipeline`)."""


def _too_busy(pinned: bool, reason: str) -> DiameterError:
    """3004 if Destination-Host names this server (`pinned`), else 3002, so that the client tries another node (RFC 6733
    §7.1.3).
    """
    return DiameterError(ResultCode.TOO_BUSY if pinned else ResultCode.UNABLE_TO_DELIVER, reason)


class Sink(Protocol):
    """What the dispatcher needs of an open connection."""

    source: Peer

    def answered(self, frame: bytes) -> bool:
        """Send the answer to one of its requests; False = the connection is gone."""


class Pending:
    """One request that waits for the handler's reply. The object is the reply callback."""

    __slots__ = ("_dispatcher", "context", "done", "request", "sink", "started", "type")

    def __init__(
        self, dispatcher: Dispatcher, sink: Sink, request: CreditControlRequest, context: str, started: float
    ) -> None:
        self._dispatcher = dispatcher
        self.sink = sink
        self.request = request
        self.type = TYPE_LABELS[request.cc_request_type]
        self.context = context
        self.started = started
        self.done = False

    def __call__(self, answer: CreditControlAnswer | DiameterError) -> None:
        if self.done:
            return
        self.done = True
        self._dispatcher.finish(self, answer)


class Dispatcher:
    """One per worker. `expire` must be called about every tenth of the answer timeout."""

    pending_class = Pending

    def __init__(
        self,
        config: DiameterConfig,
        handler: Handler,
        metrics: DiameterMetrics,
        clock: Callable[[], float],
        origin_states: OriginStates,
        unix_clock: Callable[[], float],
    ) -> None:
        self.clock = clock
        self.in_flight = 0
        self.draining = False
        """Set when the worker stops: new sessions are refused, running requests finish."""
        self._origin_host = config.origin_host
        self._realm = config.realm
        realms = frozenset((config.realm, *config.realms))
        self._routing = Routing(config.origin_host, realms, frozenset(config.hosts))
        self.overload = Overload(config.max_in_flight, unix_clock)
        self.refusals = Refusals(metrics, clock)
        self._origin_states = origin_states
        self._timeout_s = config.answer_timeout_ms / 1_000
        self._handler = handler
        self._metrics = metrics
        self._waiting: dict[Pending, None] = {}
        """Requests without a reply, oldest first. An entry is removed with its answer, which leaves the garbage
        collector nothing to do.
        """
        self._throttled_log = ThrottledLog(clock)
        self._on_refused: OnRefused | None = None

    def watch_by(self, handler: Handler, on_refused: OnRefused | None) -> None:
        """From now on requests go to this handler, and those that are refused before it are told."""
        self._handler, self._on_refused = handler, on_refused

    def request(self, sink: Sink, frame: bytes, header: Header) -> bytes | None:
        """Handle a CCR. Returns the answer if there is one at once; else the sink gets it later."""
        peer = sink.source
        try:
            limits = peer.limits_of(frame) if peer.limits_differ else peer.limits
            request = decode_ccr(frame, header, self._routing, limits)
        except DiameterError as error:
            self._metrics.request("CCR" if header.command_code == 272 else "other", "", "")
            if error.result_code == ResultCode.AVP_UNSUPPORTED:
                self._not_understood(peer.label, error)
            return self.refuse(frame, header, self._busy_instead(sink, frame, error))
        source = peer.speaking_for(request.origin_host) if peer.carries else peer
        context = source.service_contexts[request.service_context_id]
        label = OTHER if context is None else context.value
        pending = self.pending_class(self, sink, request, label, self.clock())
        self._metrics.request("CCR", pending.type, pending.context)
        refusal = self._refusal(pending, peer, source)
        if refusal is not None:
            return self._refuse_pending(pending, *refusal)
        self.in_flight += 1
        self._metrics.in_flight(1)
        self._waiting[pending] = None
        try:
            self._handler(request, source, pending)
        except Exception as error:  # noqa: BLE001 - the request must be answered
            self._fault("internal error at a CCR, answered 5012, please report it: " + describe(error))
            pending(DiameterError(ResultCode.UNABLE_TO_COMPLY, ""))
        return None

    def refuse(self, frame: bytes, header: Header, error: DiameterError) -> bytes:
        """The error answer to a request that is refused before the handler."""
        command = "CCR" if header.command_code == 272 else "other"
        self._metrics.answer(command, "", "", error.result_code, 0.0)
        return error_answer(frame, header, error, self._origin_host, self._realm)

    def _refusal(self, pending: Pending, peer: Peer, source: Peer | RelayedClient) -> tuple[Kind, DiameterError] | None:
        request, kind = pending.request, pending.type
        if self.in_flight >= self.overload.near and self.overload.refuses(kind, self.in_flight):
            return Kind.OVERLOAD, self._busy(request, "too many requests are waiting")
        refusal = peer.admission.objection(request, pending.context)
        if refusal is None and source is not peer:
            refusal = source.admission.objection(request, pending.context)
        if refusal is not None:
            return refusal
        if request.origin_state_id:
            self._origin_states.seen(request.origin_host, peer.origin_host, request.origin_state_id)
        if peer.limited and kind in "IE" and not peer.sessions.take(pending.started):
            return Kind.RATE, self._busy(request, "too many new sessions")
        if self.draining and kind == "I":
            return Kind.STOPPING, self._busy(request, "this node is being stopped")
        return None

    def _busy_instead(self, sink: Sink, frame: bytes, error: DiameterError) -> DiameterError:
        """`error`, or the overload error if that comes first (stage 13 before stages 15 to 20, the AVPs)."""
        if error.stage <= OVERLOAD_STAGE or self.in_flight < self.overload.near:
            return error
        # The AVP lengths were checked in an earlier stage.
        top = {
            avp.code: frame[avp.payload : avp.stop] for avp in walk(frame, HEADER_OCTETS, len(frame)) if not avp.vendor
        }
        kind = TYPE_LABELS.get(int.from_bytes(top.get(CC_REQUEST_TYPE, b""), "big"), "I")
        if not self.overload.refuses(kind, self.in_flight):
            return error
        self.refusals.note(sink.source.label, Kind.OVERLOAD)
        return _too_busy(DESTINATION_HOST in top, "too many requests are waiting")

    @staticmethod
    def _busy(request: CreditControlRequest, reason: str) -> DiameterError:
        return _too_busy(request.destination_host is not None, reason)

    def _refuse_pending(self, pending: Pending, kind: Kind, error: DiameterError) -> bytes:
        self.refusals.note(pending.sink.source.label, kind, pending.request)
        if self._on_refused is not None:
            self._on_refused(pending.request, pending.sink.source, error)
        self._metrics.answer("CCR", pending.type, pending.context, error.result_code, 0.0)
        self._metrics.peer_answer(pending.sink.source.label, error.result_code)
        return self._error(pending, error)

    def _error(self, pending: Pending, error: DiameterError) -> bytes:
        request = pending.request
        features, report = self.overload.told(request)
        more: list[tuple[str, object]] = []
        if features is not None:
            more.append(("oc_supported_features", features))
        if report is not None:
            more.append(("oc_olr", report))
        return error_answer(request.raw, request.header, error, self._origin_host, self._realm, more)

    def finish(self, pending: Pending, answer: CreditControlAnswer | DiameterError) -> None:
        del self._waiting[pending]
        self.in_flight -= 1
        self._metrics.in_flight(-1)
        result_code, frame = self._encode(pending, answer)
        if pending.sink.answered(frame):
            seconds = self.clock() - pending.started
            self._metrics.answer("CCR", pending.type, pending.context, result_code, seconds)
            self._metrics.peer_answer(pending.sink.source.label, result_code)
        else:
            self._metrics.dropped_answer()

    def _encode(self, pending: Pending, answer: CreditControlAnswer | DiameterError) -> tuple[int, bytes]:
        if isinstance(answer, CreditControlAnswer):
            request = pending.request
            answer.session_id = request.session_id
            answer.cc_request_type = request.cc_request_type
            answer.cc_request_number = request.cc_request_number
            answer.proxy_info = request.proxy_info
            if request.oc_supported_features is not None:
                answer.oc_supported_features, answer.oc_olr = self.overload.told(request)
            try:
                return answer.result_code or 0, encode_cca(answer, request.header, self._origin_host, self._realm)
            except Exception as error:  # noqa: BLE001 - the request must be answered
                self._fault(
                    "internal error in the answer to a CCR, answered 5012, please report it: " + describe(error)
                )
                answer = DiameterError(ResultCode.UNABLE_TO_COMPLY, "")
        elif isinstance(answer, ForeignSubscriberError):
            self.refusals.note(pending.sink.source.label, Kind.SUBSCRIBER)
        return answer.result_code, self._error(pending, answer)

    def _not_understood(self, peer: str, error: DiameterError) -> None:
        if (more := self._throttled_log.allow((peer, error.result_code))) is not None:
            logger.warning(
                "peer %s: request refused (5001): %s; tolerate_avps can let it pass%s", peer, error.message, more
            )

    def _fault(self, text: str) -> None:
        """Log a fault of this server."""
        more = self._throttled_log.allow(text)
        if more is not None:
            logger.error("%s%s", text, more)

    def expire(self) -> None:
        """Answer requests whose handler has not replied in time."""
        limit = self.clock() - self._timeout_s
        self.overload.look(self.in_flight)
        self._metrics.overload(self.overload.reduction_percent)
        late: list[Pending] = []
        for pending in self._waiting:  # in order of arrival
            if pending.started > limit:
                break
            late.append(pending)
        for pending in late:
            self._fault(
                f"a CCR was not handled within {self._timeout_s:.3f} s (diameter.answer_timeout_ms), answered 3002 "
                "or 3004"
            )
            pending(self._busy(pending.request, "the request could not be handled in time"))
