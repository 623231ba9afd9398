"""Replays the credit-control requests of a capture for another subscriber, with new identifiers.

Only these are changed, by python-diameter: Session-Id (so that a second run works), Subscription-Ids (to provisioned
ones), Destination-Realm and -Host, and the identifiers in the header. All else is sent as captured.
"""

from __future__ import annotations

import asyncio
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diameter.message._base import Message
from diameter.message.avp.avp import Avp, AvpGrouped

from simulator.errors import CaptureError
from simulator.identifiers import new_run, session_id
from simulator.packets import CapturedMessage
from simulator.peer import DiameterPeer, Identity, PeerError
from simulator.tally import SessionReport, UsedService
from simulator.wire import (
    AVP_CC_INPUT_OCTETS,
    AVP_CC_OUTPUT_OCTETS,
    AVP_CC_REQUEST_NUMBER,
    AVP_CC_REQUEST_TYPE,
    AVP_CC_SPECIFIC_UNITS,
    AVP_CC_TIME,
    AVP_CC_TOTAL_OCTETS,
    AVP_MSCC,
    AVP_RATING_GROUP,
    AVP_SESSION_ID,
    AVP_SUBSCRIPTION_ID,
    AVP_USED_SERVICE_UNIT,
    Answer,
    avps,
    read_answer,
    u32,
    u64,
)

AVP_ORIGIN_HOST, AVP_ORIGIN_REALM, AVP_DESTINATION_HOST, AVP_DESTINATION_REALM = 264, 296, 293, 283
AVP_SUBSCRIPTION_ID_TYPE, AVP_SUBSCRIPTION_ID_DATA, AVP_SERVICE_INFORMATION = 450, 444, 873
E164, IMSI, SIP_URI = 0, 1, 2
ANSWER_TIMEOUT_S = 10.0
TYPE_NAMES = {1: "I", 2: "U", 3: "T", 4: "E"}


@dataclass(frozen=True, slots=True)
class Numbers:
    """A provisioned subscriber."""

    msisdn: str
    imsi: str


class SubscriberMap:
    """Captured subscriber → provisioned subscriber."""

    def __init__(self, default: Numbers | None, by_captured: dict[str, Numbers] | None = None) -> None:
        self._default, self._by_captured = default, by_captured or {}

    @classmethod
    def read(cls, path: Path, default: Numbers | None = None) -> SubscriberMap:
        """A CSV file with columns captured, msisdn, imsi. Raises CaptureError."""
        try:
            with path.open(newline="", encoding="utf-8") as lines:
                rows = {row["captured"]: Numbers(row["msisdn"], row["imsi"]) for row in csv.DictReader(lines)}
        except (OSError, KeyError, TypeError) as error:
            raise CaptureError(f"{path}: needs the columns captured, msisdn and imsi ({error})") from error
        return cls(default, rows)

    def numbers(self, captured: list[str]) -> Numbers | None:
        """The subscriber for the ids of a request; None = leave them unchanged."""
        for text in captured:
            found = self._by_captured.get(text) or self._by_captured.get(user_part(text))
            if found is not None:
                return found
        return self._default


@dataclass(frozen=True, slots=True)
class ReplayedRequest:
    """A replayed request and its answer."""

    session_id: str
    kind: str
    number: int
    answer: Answer | None
    latency_ms: float

    @property
    def is_error(self) -> bool:
        """Answered with an error, at command level or for a service (exhausted credit, 4xxx, is none)."""
        if self.answer is None:
            return False
        services = (service.result_code // 1000 for service in self.answer.services)
        return self.answer.result_code // 1000 != 2 or any(kind in (3, 5) for kind in services)


@dataclass(slots=True)
class ReplayResult:
    requests: list[ReplayedRequest] = field(default_factory=list)
    sessions: list[SessionReport] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        return sum(request.answer is None for request in self.requests)

    @property
    def errors(self) -> int:
        return sum(request.is_error for request in self.requests)

    @property
    def ok(self) -> bool:
        return not self.unanswered and not self.errors


def rewrite(
    frame: bytes,
    *,
    session_id: str,
    subscribers: SubscriberMap,
    client: Identity,
    server_realm: str,
    server_host: str,
    hop_by_hop: int,
    end_to_end: int,
) -> bytes:
    """The captured request with new identifiers, our client and server, and a provisioned subscriber."""
    message: Any = Message.from_bytes(frame, plain_msg=True)
    message.header.hop_by_hop_identifier = hop_by_hop
    message.header.end_to_end_identifier = end_to_end
    message.header.is_retransmit = False
    groups = list(_subscription_ids(message.avps))
    captured = [str(child.value) for group in groups for child in group.value if child.code == AVP_SUBSCRIPTION_ID_DATA]
    numbers = subscribers.numbers(captured)
    for avp in message.avps:
        if avp.code == AVP_DESTINATION_HOST and not avp.vendor_id:
            avp.value = server_host.encode()
        elif avp.code == AVP_ORIGIN_HOST and not avp.vendor_id:
            avp.value = client.host.encode()
        elif avp.code == AVP_ORIGIN_REALM and not avp.vendor_id:
            avp.value = client.realm.encode()
        elif avp.code == AVP_SESSION_ID and not avp.vendor_id:
            avp.value = session_id
        elif avp.code == AVP_DESTINATION_REALM and not avp.vendor_id:
            avp.value = server_realm.encode()
        elif numbers is not None:
            _give_numbers(avp, numbers)
    return bytes(message.as_bytes())


def _subscription_ids(avps_: Sequence[Avp]) -> Iterator[AvpGrouped]:
    for avp in avps_:
        if avp.code == AVP_SUBSCRIPTION_ID and isinstance(avp, AvpGrouped):
            yield avp
        elif avp.code == AVP_SERVICE_INFORMATION and isinstance(avp, AvpGrouped):
            yield from _subscription_ids(avp.value)


def _give_numbers(avp: Avp, numbers: Numbers) -> None:
    """Puts a provisioned subscriber's ids into a Subscription-Id, at either level."""
    if not isinstance(avp, AvpGrouped):
        return
    children: Any = avp.value
    if avp.code == AVP_SUBSCRIPTION_ID:
        kind = next((child.value for child in children if child.code == AVP_SUBSCRIPTION_ID_TYPE), None)
        for child in children:
            if child.code == AVP_SUBSCRIPTION_ID_DATA:
                child.value = _replacement(kind, str(child.value), numbers)
        avp.value = children
    elif avp.code == AVP_SERVICE_INFORMATION:
        for child in children:
            _give_numbers(child, numbers)
        avp.value = children


def _replacement(kind: object, text: str, numbers: Numbers) -> str:
    if kind == E164:
        return numbers.msisdn
    if kind == IMSI:
        return numbers.imsi
    if kind == SIP_URI:
        return text.replace(user_part(text), numbers.msisdn, 1)
    return text


def user_part(text: str) -> str:
    """The digits of "sip:386…@host", "tel:+386…" or plain digits."""
    return text.split(":", 1)[-1].split("@", 1)[0].split(";", 1)[0].lstrip("+")


def captured_client(frame: bytes) -> Identity:
    """The client that sent a captured request. Raises CaptureError."""
    return Identity(_text(frame, AVP_ORIGIN_HOST), _text(frame, AVP_ORIGIN_REALM), product="ocs-sim replay")


async def replay(
    requests: list[CapturedMessage],
    *,
    host: str,
    port: int,
    server_realm: str,
    subscribers: SubscriberMap,
    origin_host: str | None = None,
    origin_realm: str | None = None,
    on_request: Callable[[ReplayedRequest], None] | None = None,
) -> ReplayResult:
    """Sends them in order, each after the answer to the one before. Raises PeerError."""
    captured = captured_client(requests[0].frame)
    identity = replace(captured, host=origin_host or captured.host, realm=origin_realm or captured.realm)
    peer = await DiameterPeer.connect(identity, host, port)
    result, run = ReplayResult(), new_run()
    sessions: dict[str, SessionReport] = {}
    try:
        for request in requests:
            captured_id = _text(request.frame, AVP_SESSION_ID)
            report = sessions.get(captured_id)
            if report is None:
                unique = session_id(identity.host, run, len(sessions))
                report = sessions[captured_id] = SessionReport(unique, "replay", "", "", "", "", False, 0.0)
                result.sessions.append(report)
            replayed = await _send(peer, identity, request, report, server_realm, subscribers)
            result.requests.append(replayed)
            if on_request:
                on_request(replayed)
            if not peer.is_open and len(result.requests) < len(requests):
                raise PeerError(
                    f"{identity.host}: the connection to the server was lost after {len(result.requests)} of"
                    f" {len(requests)} requests"
                )
    finally:
        await peer.disconnect()
    return result


async def _send(
    peer: DiameterPeer,
    client: Identity,
    request: CapturedMessage,
    report: SessionReport,
    server_realm: str,
    subscribers: SubscriberMap,
) -> ReplayedRequest:
    hop_by_hop, end_to_end = peer.next_ids()
    frame = rewrite(
        request.frame,
        session_id=report.session_id,
        subscribers=subscribers,
        client=client,
        server_realm=server_realm,
        server_host=peer.server_host,
        hop_by_hop=hop_by_hop,
        end_to_end=end_to_end,
    )
    future: asyncio.Future[tuple[bytes, float]] = asyncio.get_running_loop().create_future()
    peer.send(
        frame, hop_by_hop, lambda octets, seconds: None if future.done() else future.set_result((octets, seconds))
    )
    answer, latency_s = None, 0.0
    try:
        octets, latency_s = await asyncio.wait_for(future, ANSWER_TIMEOUT_S)
        answer = read_answer(octets) if octets else None
    except TimeoutError:
        peer.forget(hop_by_hop)
    kind = TYPE_NAMES.get(_number(frame, AVP_CC_REQUEST_TYPE), "?")
    _note_use(report, frame, answer, kind)
    return ReplayedRequest(report.session_id, kind, _number(frame, AVP_CC_REQUEST_NUMBER), answer, latency_s * 1000)


def _note_use(report: SessionReport, frame: bytes, answer: Answer | None, kind: str) -> None:
    """Counts the request's reported use if its answer accepts it."""
    report.ended_at = int(time.time())
    report.started_at = report.started_at or report.ended_at
    for rating_group, used in reported_use(frame):
        service = next((one for one in report.services if one.rating_group == rating_group), None)
        if service is None:
            service = UsedService("", rating_group)
            report.services.append(service)
        service.used += used
    if answer is None or answer.result_code // 1000 in (3, 5):
        report.uncertain = True
    elif kind in ("T", "E"):
        report.closed = True


def reported_use(frame: bytes) -> Iterator[tuple[int | None, int]]:
    """(rating group, units) of each MSCC that reports use: total octets, else input plus output, else time, else
    messages.
    """
    for code, vendor, at, end in avps(frame):
        if code != AVP_MSCC or vendor:
            continue
        rating_group, used, reports = None, 0, False
        for child, _, child_at, child_end in avps(frame, at, end):
            if child == AVP_RATING_GROUP:
                rating_group = u32(frame, child_at)
            elif child == AVP_USED_SERVICE_UNIT:
                used, reports = used + _used(frame, child_at, child_end), True
        if reports:
            yield rating_group, used


def _used(frame: bytes, at: int, end: int) -> int:
    found = {code: inner for code, vendor, inner, _ in avps(frame, at, end) if not vendor}
    if AVP_CC_TOTAL_OCTETS in found:
        return u64(frame, found[AVP_CC_TOTAL_OCTETS])
    octets = [u64(frame, found[code]) for code in (AVP_CC_INPUT_OCTETS, AVP_CC_OUTPUT_OCTETS) if code in found]
    if octets:
        return sum(octets)
    if AVP_CC_TIME in found:
        return u32(frame, found[AVP_CC_TIME])
    return u64(frame, found[AVP_CC_SPECIFIC_UNITS]) if AVP_CC_SPECIFIC_UNITS in found else 0


def _text(frame: bytes, wanted: int) -> str:
    for code, vendor, at, end in avps(frame):
        if code == wanted and not vendor:
            return frame[at:end].decode("utf-8", "replace")
    raise CaptureError(f"a captured request has no AVP {wanted}")


def _number(frame: bytes, wanted: int) -> int:
    return next((u32(frame, at) for code, vendor, at, _ in avps(frame) if code == wanted and not vendor), -1)


def replay_json(result: ReplayResult) -> dict[str, object]:
    """The output of `replay --json`."""
    return {
        "requests": [
            {
                "session_id": one.session_id,
                "type": one.kind,
                "number": one.number,
                "result_code": one.answer.result_code if one.answer else None,
                "services": [
                    {
                        "rating_group": service.rating_group,
                        "result_code": service.result_code,
                        "granted": service.granted,
                        "unit": service.granted_kind,
                    }
                    for service in (one.answer.services if one.answer else [])
                ],
                "latency_ms": round(one.latency_ms, 3),
            }
            for one in result.requests
        ],
        "unanswered": result.unanswered,
        "errors": result.errors,
    }
