"""The simulator's own decoder of answers: frames of a stream, and a minimal AVP scan.

It shares no code with the server's codec, so that two codecs meet. python-diameter encodes the requests (see
`templates.py`). Answers are only scanned for what a network element needs (RFC 6733 §3, §4.1; RFC 8506 §3.2, §8).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

HEADER_OCTETS = 20
MAX_MESSAGE_OCTETS = 1 << 20
"""Longer answers mean a broken stream."""
SECONDS_1900_TO_1970 = 2_208_988_800
"""Diameter Time counts from 1900 (RFC 6733 §4.3.1)."""

CMD_CER, CMD_RAR, CMD_CCR, CMD_ASR, CMD_DWR, CMD_DPR = 257, 258, 272, 274, 280, 282
FLAG_REQUEST, FLAG_PROXIABLE, FLAG_ERROR, FLAG_REPEAT = 0x80, 0x40, 0x20, 0x10

AVP_SESSION_ID, AVP_RESULT_CODE, AVP_ERROR_MESSAGE, AVP_ORIGIN_HOST = 263, 268, 281, 264
AVP_ROUTE_RECORD, AVP_DESTINATION_HOST = 282, 293
AVP_RATING_GROUP, AVP_SERVICE_IDENTIFIER, AVP_VALIDITY_TIME = 432, 439, 448
AVP_CC_TIME, AVP_CC_SPECIFIC_UNITS, AVP_CC_TOTAL_OCTETS = 420, 417, 421
AVP_CC_INPUT_OCTETS, AVP_CC_OUTPUT_OCTETS = 412, 414
AVP_GRANTED_SERVICE_UNIT, AVP_USED_SERVICE_UNIT, AVP_FINAL_UNIT_INDICATION, AVP_FINAL_UNIT_ACTION = 431, 446, 430, 449
AVP_MSCC, AVP_CC_REQUEST_TYPE, AVP_CC_REQUEST_NUMBER, AVP_SUBSCRIPTION_ID = 456, 416, 415, 443
AVP_TIME_QUOTA_THRESHOLD, AVP_VOLUME_QUOTA_THRESHOLD, AVP_UNIT_QUOTA_THRESHOLD, AVP_QUOTA_HOLDING_TIME = (
    868,
    869,
    1226,
    871,
)
AVP_TRIGGER, AVP_TRIGGER_TYPE, AVP_TARIFF_TIME_CHANGE = 1264, 870, 451
_THRESHOLDS = frozenset((AVP_TIME_QUOTA_THRESHOLD, AVP_VOLUME_QUOTA_THRESHOLD, AVP_UNIT_QUOTA_THRESHOLD))

_HEAD = struct.Struct("!IIIII")
_AVP = struct.Struct("!II")
_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")


class WireError(Exception):
    """The peer sent something that is not a Diameter message."""


@dataclass(frozen=True, slots=True)
class Head:
    """A Diameter header (RFC 6733 §3)."""

    length: int
    flags: int
    command: int
    application: int
    hop_by_hop: int
    end_to_end: int

    @property
    def is_request(self) -> bool:
        return bool(self.flags & FLAG_REQUEST)


def read_head(frame: bytes | memoryview) -> Head:
    first, second, application, hop_by_hop, end_to_end = _HEAD.unpack_from(frame)
    if first >> 24 != 1:
        raise WireError(f"Diameter version {first >> 24} instead of 1")
    return Head(first & 0xFFFFFF, second >> 24, second & 0xFFFFFF, application, hop_by_hop, end_to_end)


def avps(
    data: bytes | memoryview, start: int = HEADER_OCTETS, end: int | None = None
) -> Iterator[tuple[int, int, int, int]]:
    """(code, vendor, start of the data, end of the data) of every AVP in data[start:end], without children."""
    stop = len(data) if end is None else end
    at = start
    while at + 8 <= stop:
        code, rest = _AVP.unpack_from(data, at)
        length = rest & 0xFFFFFF
        head, vendor = 8, 0
        if rest & 0x80000000:
            if at + 12 > stop:
                raise WireError(f"AVP {code} is cut off in its header")
            head, vendor = 12, _U32.unpack_from(data, at + 8)[0]
        if length < head or at + length > stop:
            raise WireError(f"AVP {code} has the wrong length {length}")
        yield code, vendor, at + head, at + length
        at += (length + 3) & ~3


def u32(data: bytes | memoryview, at: int) -> int:
    return int(_U32.unpack_from(data, at)[0])


def u64(data: bytes | memoryview, at: int) -> int:
    return int(_U64.unpack_from(data, at)[0])


@dataclass(slots=True)
class ServiceAnswer:
    """The contents of one MSCC of an answer (or of the command level without MSCC)."""

    rating_group: int | None = None
    service_identifier: int | None = None
    result_code: int = 0
    """0 = the Result-Code at command level applies."""
    granted: int | None = None
    """Octets, seconds or messages; None = no Granted-Service-Unit."""
    granted_kind: str = ""
    validity_s: int = 0
    threshold: int = 0
    final_action: int | None = None
    """Final-Unit-Action: 0 TERMINATE, 1 REDIRECT, 2 RESTRICT_ACCESS."""
    triggers: tuple[int, ...] | None = None
    """Trigger-Types that the client reports from now on (TS 32.299 §7.1.31); None = the answer does not say."""
    changes_at: int = 0
    """Tariff-Time-Change, Unix seconds (RFC 8506 §8.20); 0 = none."""


@dataclass(slots=True)
class Answer:
    """The parts of an answer that a network element needs."""

    head: Head
    result_code: int = 0
    session_id: str = ""
    origin_host: str = ""
    error_message: str = ""
    request_number: int = -1
    services: list[ServiceAnswer] = field(default_factory=list)
    command: ServiceAnswer = field(default_factory=ServiceAnswer)


def read_answer(frame: bytes) -> Answer:
    """Scans a credit-control answer (RFC 8506 §3.2)."""
    answer = Answer(head=read_head(frame))
    for code, vendor, at, end in avps(frame):
        if vendor:
            continue
        if code == AVP_RESULT_CODE:
            answer.result_code = u32(frame, at)
        elif code == AVP_SESSION_ID:
            answer.session_id = frame[at:end].decode("utf-8", "replace")
        elif code == AVP_ORIGIN_HOST:
            answer.origin_host = frame[at:end].decode("utf-8", "replace")
        elif code == AVP_CC_REQUEST_NUMBER:
            answer.request_number = u32(frame, at)
        elif code == AVP_ERROR_MESSAGE:
            answer.error_message = frame[at:end].decode("utf-8", "replace")
        elif code == AVP_MSCC:
            service = ServiceAnswer()
            for child in avps(frame, at, end):
                _read_service_avp(frame, service, *child)
            answer.services.append(service)
        else:
            _read_service_avp(frame, answer.command, code, vendor, at, end)
    return answer


def _read_service_avp(frame: bytes, service: ServiceAnswer, code: int, vendor: int, at: int, end: int) -> None:
    """One AVP of an MSCC, or of the command level without MSCC."""
    if code == AVP_GRANTED_SERVICE_UNIT:
        service.granted_kind, service.granted = _read_units(frame, at, end)
        service.changes_at = _read_tariff_change(frame, at, end)
    elif code == AVP_TRIGGER and vendor:
        types = avps(frame, at, end)
        service.triggers = tuple(
            u32(frame, inner) for inner_code, _, inner, _ in types if inner_code == AVP_TRIGGER_TYPE
        )
    elif code == AVP_RATING_GROUP:
        service.rating_group = u32(frame, at)
    elif code == AVP_SERVICE_IDENTIFIER:
        service.service_identifier = u32(frame, at)
    elif code == AVP_RESULT_CODE:
        service.result_code = u32(frame, at)
    elif code == AVP_VALIDITY_TIME:
        service.validity_s = u32(frame, at)
    elif code in _THRESHOLDS and vendor:
        service.threshold = u32(frame, at)
    elif code == AVP_FINAL_UNIT_INDICATION:
        for inner, _, inner_at, _ in avps(frame, at, end):
            if inner == AVP_FINAL_UNIT_ACTION:
                service.final_action = u32(frame, inner_at)


def _read_units(frame: bytes, at: int, end: int) -> tuple[str, int]:
    """Kind and amount of a service-unit group; an empty group is an empty grant."""
    for code, _, inner, _ in avps(frame, at, end):
        if code == AVP_CC_TOTAL_OCTETS:
            return "octets", u64(frame, inner)
        if code == AVP_CC_TIME:
            return "seconds", u32(frame, inner)
        if code == AVP_CC_SPECIFIC_UNITS:
            return "messages", u64(frame, inner)
    return "", 0


def _read_tariff_change(frame: bytes, at: int, end: int) -> int:
    for code, vendor, inner, _ in avps(frame, at, end):
        if code == AVP_TARIFF_TIME_CHANGE and not vendor:
            return u32(frame, inner) - SECONDS_1900_TO_1970
    return 0


class FrameSplitter:
    """Splits a TCP stream into whole messages."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        if self._rest:
            data = self._rest + data
        frames = []
        at, stop = 0, len(data)
        while at + 4 <= stop:
            first = _U32.unpack_from(data, at)[0]
            length = first & 0xFFFFFF
            if first >> 24 != 1 or not HEADER_OCTETS <= length <= MAX_MESSAGE_OCTETS:
                raise WireError(f"not a Diameter message: {data[at : at + 8].hex()}")
            if at + length > stop:
                break
            frames.append(data[at : at + length])
            at += length
        self._rest = data[at:]
        return frames
