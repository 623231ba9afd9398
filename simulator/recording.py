"""A recording: credit-control requests with their times, as JSON lines in gzip. It has pseudonyms only.

First line: {"format": "ocs-sim recording", "version": 1}. Then one line a request: [seconds from the first, peer,
session, request in base64, answer or null]; the answer is [Result-Code, [[Rating-Group, Service-Identifier,
Result-Code, unit, granted, Final-Unit-Action], …]]. Peers (one each Origin-Host) and sessions are numbers of their own:
the Session-Id is not kept.
"""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from simulator.capture import APP_CREDIT_CONTROL, CaptureError
from simulator.packets import CapturedMessage, Losses, captured_messages
from simulator.pseudonyms import Pseudonyms
from simulator.wire import (
    AVP_ORIGIN_HOST,
    AVP_SESSION_ID,
    CMD_CCR,
    FLAG_REPEAT,
    Answer,
    ServiceAnswer,
    WireError,
    avps,
    read_answer,
    read_head,
)

FORMAT, VERSION = "ocs-sim recording", 1
MAX_PENDING = 200_000
"""Requests that wait for their answer in the capture; the oldest ones then count as unanswered."""

RecordedService = tuple[int | None, int | None, int, str, int | None, int | None]
"""Rating-Group, Service-Identifier, Result-Code (0 = that of the command), unit, granted, Final-Unit-Action."""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    result_code: int
    services: tuple[RecordedService, ...]


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    at_s: float
    """From the first request."""
    peer: int
    session: int
    frame: bytes
    answer: RecordedAnswer | None


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    requests: int
    repetitions: int
    """Requests with the T flag: left out, as the replay repeats by itself."""
    unanswered: int
    sessions: int
    peers: int
    seconds: float
    losses: Losses


def answer_facts(answer: Answer) -> RecordedAnswer:
    """What of an answer is compared. Without MSCC it is the command level's grant."""
    services = answer.services or ([answer.command] if answer.command != ServiceAnswer() else [])
    return RecordedAnswer(
        answer.result_code,
        tuple(
            (one.rating_group, one.service_identifier, one.result_code, one.granted_kind, one.granted, one.final_action)
            for one in services
        ),
    )


def record(capture: Path, out: Path, pseudonyms: Pseudonyms, *, port: int) -> RecordingSummary:
    """Writes the recording of a capture, in the order of the answers. Raises CaptureError."""
    losses = Losses()
    recorder = _Recorder(pseudonyms)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("wb") as file, gzip.GzipFile("", "wb", mtime=0, fileobj=file) as lines:
        lines.write(orjson.dumps({"format": FORMAT, "version": VERSION}) + b"\n")
        for request in recorder.requests(captured_messages(capture, port, losses)):
            lines.write(_line(request))
    if not recorder.count:
        out.unlink()
        raise CaptureError(f"{capture}: no credit-control request (command 272 of application 4) to port {port} in it")
    return recorder.summary(losses)


class _Recorder:
    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._pending: dict[tuple[str, str, int], RecordedRequest] = {}
        self._peers: dict[bytes, int] = {}
        self._sessions: dict[bytes, int] = {}
        self._first_s = 0.0
        self.count = self._repetitions = self._unanswered = 0
        self._last_s = 0.0

    def requests(self, messages: Iterable[CapturedMessage]) -> Iterator[RecordedRequest]:
        for message in messages:
            try:
                head = read_head(message.frame)
                if head.command != CMD_CCR or head.application != APP_CREDIT_CONTROL:
                    continue
                key = (message.client, message.server, head.hop_by_hop)
                if head.is_request:
                    if message.to_server:
                        yield from self._request(key, message, bool(head.flags & FLAG_REPEAT))
                elif key in self._pending and not message.to_server:
                    yield _answered(self._pending.pop(key), read_answer(message.frame))
            except WireError:
                continue
        self._unanswered += len(self._pending)
        yield from self._pending.values()

    def _request(
        self, key: tuple[str, str, int], message: CapturedMessage, is_repetition: bool
    ) -> Iterator[RecordedRequest]:
        if is_repetition:
            self._repetitions += 1
            return
        self._first_s = self._first_s if self.count else message.time_s
        self.count += 1
        self._last_s = message.time_s
        names = {code: message.frame[at:end] for code, vendor, at, end in avps(message.frame) if not vendor}
        if key in self._pending or len(self._pending) >= MAX_PENDING:
            self._unanswered += 1
            yield self._pending.pop(key if key in self._pending else next(iter(self._pending)))
        self._pending[key] = RecordedRequest(
            round(message.time_s - self._first_s, 6),
            self._peers.setdefault(names.get(AVP_ORIGIN_HOST, b""), len(self._peers)),
            self._sessions.setdefault(names.get(AVP_SESSION_ID, b""), len(self._sessions)),
            self._pseudonyms.request(message.frame),
            None,
        )

    def summary(self, losses: Losses) -> RecordingSummary:
        return RecordingSummary(
            self.count, self._repetitions, self._unanswered, len(self._sessions), len(self._peers),
            round(self._last_s - self._first_s, 3), losses,
        )  # fmt: skip


def _answered(request: RecordedRequest, answer: Answer) -> RecordedRequest:
    return RecordedRequest(request.at_s, request.peer, request.session, request.frame, answer_facts(answer))


def _line(request: RecordedRequest) -> bytes:
    answer = request.answer
    facts = [answer.result_code, answer.services] if answer else None
    frame = base64.b64encode(request.frame).decode("ascii")
    return orjson.dumps([request.at_s, request.peer, request.session, frame, facts]) + b"\n"


def is_recording(path: Path) -> bool:
    """Whether the file is gzip; captures are not."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_recording(path: Path) -> list[RecordedRequest]:
    """In the order of their times. Raises CaptureError."""
    try:
        with gzip.open(path) as lines:
            head = orjson.loads(next(lines, b"null"))
            if not isinstance(head, dict) or (head.get("format"), head.get("version")) != (FORMAT, VERSION):
                raise CaptureError(f"{path}: not a recording of version {VERSION} by `ocs-sim record`")
            found = [_parsed(line) for line in lines]
    except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
        raise CaptureError(f"{path}: cannot be read as a recording ({error})") from error
    return sorted(found, key=lambda request: request.at_s)


def _service(
    rating_group: int | None, identifier: int | None, code: int, unit: str, granted: int | None, final: int | None
) -> RecordedService:
    return rating_group, identifier, code, unit, granted, final


def _parsed(line: bytes) -> RecordedRequest:
    at_s, peer, session, frame, facts = orjson.loads(line)
    answer = None
    if facts is not None:
        code, services = facts
        answer = RecordedAnswer(int(code), tuple(_service(*service) for service in services))
    return RecordedRequest(at_s, peer, session, base64.b64decode(frame), answer)
