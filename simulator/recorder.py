"""Makes a recording of messages: from a capture, live from a mirrored port, or as a proxy (`recording_proxy`).

Memory is bounded however long it runs: what waits for an answer, the sessions and the peers that are known, and the
streams that are read (`packets`) have limits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from simulator.capture import APP_CREDIT_CONTROL
from simulator.errors import CaptureError
from simulator.packets import CapturedMessage, Losses, captured_messages
from simulator.pseudonyms import Pseudonyms
from simulator.recording import RecordedRequest, RecordingWriter, answer_facts
from simulator.wire import (
    AVP_CC_REQUEST_NUMBER,
    AVP_CC_REQUEST_TYPE,
    AVP_ORIGIN_HOST,
    AVP_SESSION_ID,
    CMD_CCR,
    FLAG_REPEAT,
    WireError,
    avps,
    read_answer,
    read_head,
)

MAX_PENDING = 200_000
"""Requests that wait for their answer; the oldest ones then count as unanswered."""
MAX_SESSIONS = 500_000
"""Open sessions whose number is known; a request of the one that was silent for longest then begins another session."""
MAX_ENDED = 50_000
"""Ended sessions that are known, for repetitions of their last request."""
MAX_PEERS = 10_000
"""Origin-Hosts; requests of further ones are left out."""
LAST_TYPES = frozenset((b"\0\0\0\3", b"\0\0\0\4"))
"""CC-Request-Type of the last request of a session: TERMINATION, EVENT."""


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    requests: int
    repetitions: int
    """Requests with the T flag whose first copy is in the recording: left out, as the replay repeats by itself."""
    unanswered: int
    sessions: int
    peers: int
    seconds: float
    losses: Losses
    left_out: int = 0
    """Requests of more than MAX_PEERS peers."""
    forgotten: int = 0
    """Sessions that were forgotten while they were open."""


@dataclass(slots=True)
class _Session:
    number: int
    last_request: int = -1
    """Highest CC-Request-Number so far."""


class Recorder:
    """Takes messages in their order; gives requests, each with its answer, as soon as it has come."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self.count = self.unanswered = self.sessions = 0
        self.left_out = self.forgotten = self.repetitions = 0
        self._pseudonyms = pseudonyms
        self._pending: dict[tuple[str, str, int], tuple[RecordedRequest, bytes]] = {}
        """With the Session-Id if it is the session's last request."""
        self._peers: dict[bytes, int] = {}
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._ended: OrderedDict[bytes, None] = OrderedDict()
        self._first_s = self._last_s = 0.0

    @property
    def open_sessions(self) -> int:
        return len(self._sessions)

    @property
    def seconds(self) -> float:
        """From the first request to the last one."""
        return round(self._last_s - self._first_s, 3)

    def take(self, message: CapturedMessage) -> Iterator[RecordedRequest]:
        try:
            head = read_head(message.frame)
            if head.command != CMD_CCR or head.application != APP_CREDIT_CONTROL:
                return
            key = (message.client, message.server, head.hop_by_hop)
            if head.is_request:
                if message.to_server:
                    yield from self._request(key, message, bool(head.flags & FLAG_REPEAT))
            elif key in self._pending and not message.to_server:
                answer = answer_facts(read_answer(message.frame))
                request, ended = self._pending.pop(key)
                self._end(ended)
                yield replace(request, answer=answer)
        except WireError:
            return

    def finish(self) -> Iterator[RecordedRequest]:
        """The requests that have no answer."""
        self.unanswered += len(self._pending)
        yield from (request for request, _ in self._pending.values())
        self._pending.clear()

    def summary(self, losses: Losses) -> RecordingSummary:
        return RecordingSummary(
            self.count, self.repetitions, self.unanswered, self.sessions, len(self._peers), self.seconds, losses,
            self.left_out, self.forgotten,
        )  # fmt: skip

    def _request(
        self, key: tuple[str, str, int], message: CapturedMessage, is_repetition: bool
    ) -> Iterator[RecordedRequest]:
        names = {code: message.frame[at:end] for code, vendor, at, end in avps(message.frame) if not vendor}
        session, number = names.get(AVP_SESSION_ID, b""), int.from_bytes(names.get(AVP_CC_REQUEST_NUMBER, b""), "big")
        if is_repetition and self._has(session, number):
            self.repetitions += 1
            return
        peer = self._peer(names.get(AVP_ORIGIN_HOST, b""))
        if peer is None:
            self.left_out += 1
            return
        frame = self._pseudonyms.request(message.frame)
        self._first_s = self._first_s if self.count else message.time_s
        self._last_s = message.time_s
        self.count += 1
        if key in self._pending or len(self._pending) >= MAX_PENDING:
            self.unanswered += 1
            yield self._pending.pop(key if key in self._pending else next(iter(self._pending)))[0]
        is_last = names.get(AVP_CC_REQUEST_TYPE) in LAST_TYPES
        at_s = round(message.time_s - self._first_s, 6)
        request = RecordedRequest(at_s, peer, self._session(session, number), frame, None)
        self._pending[key] = request, session if is_last else b""

    def _peer(self, host: bytes) -> int | None:
        if host not in self._peers and len(self._peers) >= MAX_PEERS:
            return None
        return self._peers.setdefault(host, len(self._peers))

    def _session(self, session_id: bytes, request_number: int) -> int:
        session = self._sessions.get(session_id)
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS:
                self._sessions.popitem(last=False)
                self.forgotten += 1
            session = self._sessions[session_id] = _Session(self.sessions)
            self.sessions += 1
        self._sessions.move_to_end(session_id)
        session.last_request = max(session.last_request, request_number)
        return session.number

    def _has(self, session_id: bytes, request_number: int) -> bool:
        """Whether this request is in the recording. After a failover its first copy may have been lost on the way."""
        session = self._sessions.get(session_id)
        return session_id in self._ended if session is None else request_number <= session.last_request

    def _end(self, session_id: bytes) -> None:
        if self._sessions.pop(session_id, None) is not None:
            if len(self._ended) >= MAX_ENDED:
                self._ended.popitem(last=False)
            self._ended[session_id] = None


Tell = Callable[[Recorder], None]
"""Called now and then while it records."""


def record(
    capture: Path | BinaryIO,
    out: Path,
    pseudonyms: Pseudonyms,
    *,
    port: int,
    stopped: Callable[[], bool] = lambda: False,
    tell: Tell = lambda recorder: None,
) -> RecordingSummary:
    """Writes the recording of a capture, or of a stream of one, in the order of the answers, until its end or until
    `stopped`. Raises CaptureError.
    """
    losses = Losses()
    return write_recording(captured_messages(capture, port, losses), out, pseudonyms, losses, stopped, tell)


def write_recording(
    messages: Iterable[CapturedMessage],
    out: Path,
    pseudonyms: Pseudonyms,
    losses: Losses,
    stopped: Callable[[], bool],
    tell: Tell,
) -> RecordingSummary:
    recorder = Recorder(pseudonyms)
    with RecordingWriter(out) as writer:
        for message in messages:
            for request in recorder.take(message):
                writer.write(request)
            tell(recorder)
            if stopped():
                break
        for request in recorder.finish():
            writer.write(request)
        return finished(recorder, out, losses)


def finished(recorder: Recorder, out: Path, losses: Losses) -> RecordingSummary:
    """The summary of what was written. Raises CaptureError if that is nothing."""
    if not recorder.count:
        raise CaptureError(
            f"{out}: nothing to record: no credit-control request (command 272 of application 4) came to"
            " the server's port; a capture with another one needs --capture-port"
        )
    return recorder.summary(losses)
