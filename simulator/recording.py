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
from dataclasses import dataclass
from pathlib import Path

import orjson

from simulator.errors import CaptureError
from simulator.wire import Answer, ServiceAnswer

FORMAT, VERSION = "ocs-sim recording", 1

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


class RecordingWriter:
    """Writes a recording. A context manager: the file is there when it ends; if it fails, what was there stays."""

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")

    def __enter__(self) -> RecordingWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("wb")
        self._lines = gzip.GzipFile("", "wb", mtime=0, fileobj=self._file)
        self._lines.write(orjson.dumps({"format": FORMAT, "version": VERSION}) + b"\n")
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self._lines.close()
        self._file.close()
        if failed is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def write(self, request: RecordedRequest) -> None:
        self._lines.write(_line(request))


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
