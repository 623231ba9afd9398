"""What the fuzzer calls with every input: octets from the wire, cut, decoded, charged and answered as a worker does it.

Invariant, whatever the octets:
1. the frame reader gives the same messages and the same error whether it is fed at once or in pieces;
2. a request is decoded, or refused with a Result-Code that names the fault (never 5012), and the refusal can be sent;
3. a CCR that was decoded gets exactly one reply, at once, and the handler raises nothing;
4. every answer has the request's command, application, identifiers and P bit, R and T clear, one Result-Code (or one
   Experimental-Result) and the length its header says; it repeats the request's Session-Id and every Proxy-Info in
   order, a CCA its type and number too; it has the E bit if and only if it is a protocol error or its command's grammar
   could not be filled; what is in its Failed-AVP are whole AVPs; it is read by our own decoder, one in 64 by
   python-diameter too;
5. no account is ever below zero or holds less than is reserved, and what it holds is what was paid in less what was
spent; 6. a message without the R bit raises nothing but Fault, and is never answered; 7. an input costs no more than
`MOST_CPU_S`.
"""

from __future__ import annotations

from collections.abc import Awaitable
from time import thread_time
from typing import Any

from diameter.message import Message

from ocs.charging.service import ChargingService
from ocs.ledger.contract.charging import ChargeRequest
from ocs.ledger.contract.operations import ChargeDone
from protocol import commands
from protocol.answers import error_answer
from protocol.avp import walk
from protocol.compiler import Fault
from protocol.credit_control import CreditControlAnswer, CreditControlRequest, decode_cca, decode_ccr, encode_cca
from protocol.errors import DiameterError
from protocol.frame import FrameReader
from protocol.header import FLAG_PROXIABLE, FLAG_REQUEST, FLAG_RETRANSMITTED, HEADER_OCTETS, Header, parse_header
from protocol.pipeline import LIMITS, Routing, decode_request
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import IMSI, MSISDN, Counted
from tests.ocs.charging.source import Origin
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import owner_of
from tests.protocol.echoes import echoed, has_e_bit, is_ccr, is_walkable

HOST, REALM = "ocs.example.org", "example.org"
ROUTINGS = (None, Routing(HOST, frozenset({REALM, "localdomain", "example.net"})))
SUBSCRIBERS = ((MSISDN, IMSI), ("38668100001", "293400000000001"), ("447700900000", "001010000000001"))
NOW, MONTH, EUR = 1_795_000_000, 202611, 1_000_000
INPUTS_PER_LEDGER = 2_000
"""Inputs after which the ledger is replaced, so that memory stays bounded."""
THEIRS_EVERY = 64
MOST_CPU_S = 0.5
"""CPU time of this thread. The most expensive inputs of 4 kB take a twentieth of it, including coverage."""
PROXY_INFO = 284
"""Echoed as received; python-diameter requires padding where we accept none."""
ANSWERS = {
    257: commands.CapabilitiesExchangeAnswer,
    258: commands.ReAuthAnswer,
    274: commands.AbortSessionAnswer,
    280: commands.DeviceWatchdogAnswer,
    282: commands.DisconnectPeerAnswer,
}
PIECE_OCTETS = (0, 0, 0, 0, 3, 7, 20, 61)
MAX_PIECES = 32
"""Most pieces; the rest of the input is fed at once."""
WHOLE, FIXED = 0, 1
"""Meaning of an input's first octet: use the rest as it is, or as one message with a valid header."""


class _Ledger:
    """The model ledger, answering at once."""

    def __init__(self) -> None:
        self.model = ModelLedger()
        self.names: dict[str, str] = {}
        for number, (msisdn, imsi) in enumerate(SUBSCRIBERS):
            account_id = f"{number:02x}-0000000000000001"
            self.model.open_account(
                account_id=account_id,
                msisdn=msisdn,
                imsi=imsi,
                credit_micro_eur=20 * EUR,
                package=None,
                now=NOW,
                month=MONTH,
            )
            self.names |= {"m" + msisdn: account_id, "i" + imsi: account_id}
        self.sessions: dict[tuple[str, str], str] = {}

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        outcome = self.model.charge(request)
        if outcome.code == 2001:
            self.sessions[request.session_id, owner_of(request)] = request.account_id
        done(outcome)

    async def find_subscriber(self, identity: str) -> str | None:
        return self.names.get(identity)

    async def find_session(self, session_id: str, owner: str) -> str | None:
        return self.sessions.get((session_id, owner))


def _run(work: Awaitable[None]) -> None:
    """Runs a coroutine that never waits: it ends at its first step."""
    try:
        work.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return
    raise AssertionError("charging waits for something that nobody gives")


class _Nothing(Counted):
    """Metrics that are ignored."""

    def __init__(self) -> None:
        self.calls = _Forgotten()


class _Forgotten(list[Any]):
    def append(self, value: Any) -> None:
        pass


class Target:
    def __init__(self) -> None:
        self.inputs = 0
        self.charged = 0
        self._catalogue = fixed_catalogue()
        self._renew()

    def _renew(self) -> None:
        self._ledger = _Ledger()
        self._service = ChargingService(self._catalogue, self._ledger, _Nothing(), lambda: NOW + 0.5, _run)

    def __call__(self, data: bytes) -> None:
        self.inputs += 1
        if self.inputs % INPUTS_PER_LEDGER == 0:
            self._renew()
        if not data:
            return
        control, stream = data[0], data[1:]
        if control & 3 == FIXED:
            stream = with_right_header(stream)
        routing = ROUTINGS[control >> 2 & 1]
        began = thread_time()
        self._stream(stream, control, routing)
        assert thread_time() - began < MOST_CPU_S, "too dear"

    def _stream(self, stream: bytes, control: int, routing: Routing | None) -> None:
        for frame in self._cut(stream, PIECE_OCTETS[control >> 3 & 7]):
            header = parse_header(frame)
            if header.is_request:
                self._request(frame, header, routing)
            else:
                self._answer(frame, header)

    def _cut(self, stream: bytes, size: int) -> list[bytes]:
        """Invariant 1."""
        whole = _fed(FrameReader(), [stream])
        if size > 1:
            cut = [slice(at, at + size) for at in range(0, min(len(stream), MAX_PIECES * size), size)]
            pieces = _fed(FrameReader(), [*(stream[part] for part in cut), stream[MAX_PIECES * size :]])
            assert whole == pieces, "cut in pieces, the stream says something else"
        return whole[0]

    def _request(self, frame: bytes, header: Header, routing: Routing | None) -> None:
        """Invariants 2 to 5."""
        try:
            if header.command_code == 272:
                message = decode_ccr(frame, header, routing, LIMITS)
            else:
                message = decode_request(frame, header, routing, LIMITS)
        except DiameterError as error:
            assert error.result_code != 5012, "no stage finds what the reader objects to"
            self._check(error_answer(frame, header, error, HOST, REALM), frame, error.result_code)
            return
        if isinstance(message, CreditControlRequest):
            self._charge(frame, header, message)

    def _charge(self, frame: bytes, header: Header, request: CreditControlRequest) -> None:
        self.charged += 1
        replies: list[CreditControlAnswer | DiameterError] = []
        self._service.handle(request, Origin(refunds=True), replies.append)
        assert len(replies) == 1, f"{len(replies)} replies"
        (reply,) = replies
        if isinstance(reply, DiameterError):
            self._check(error_answer(frame, header, reply, HOST, REALM), frame, reply.result_code)
        else:
            self._check(encode_cca(reply, header, HOST, REALM), frame, reply.result_code)
        for account in self._ledger.model.accounts.values():
            assert 0 <= account.held <= account.credit, "more is reserved than is there"
            assert account.credit == account.paid_in - account.spent - account.expired, "money came or went"

    def _check(self, answer: bytes, frame: bytes, result_code: int | None) -> None:
        """Invariant 4."""
        header, request = parse_header(answer), parse_header(frame)
        assert header.length == len(answer)
        assert header[2:] == request[2:], "another command, application or identifier"
        assert not header.flags & (FLAG_REQUEST | FLAG_RETRANSMITTED)
        assert (header.flags ^ request.flags) & FLAG_PROXIABLE == 0
        avps = [avp for avp in walk(answer, HEADER_OCTETS, len(answer)) if not avp.vendor]
        codes = [avp.code for avp in avps]
        assert codes.count(268) + codes.count(297) == 1
        found, proxies = echoed(frame)
        assert header.is_error == has_e_bit(request, result_code or 0, found)
        said = {avp.code: answer[avp.payload : avp.stop] for avp in avps}
        for code in (263, 415, 416) if is_ccr(request) and not header.is_error else (263,):
            assert said.get(code) == found.get(code), "something else is echoed"
        assert [answer[avp.payload : avp.stop] for avp in avps if avp.code == PROXY_INFO] == proxies
        assert is_walkable(said.get(279, b"")), "Failed-AVP holds half of something"
        if header.command_code == 272 and header.application_id == 4 and not header.is_error:
            assert decode_cca(answer, header).result_code == result_code
        elif header.command_code in ANSWERS:
            assert commands.decode_answer(ANSWERS[header.command_code], answer, header) is not None
        if self.inputs % THEIRS_EVERY == 0 and header.command_code == 272 and PROXY_INFO not in codes:
            assert Message.from_bytes(answer).header.command_code == 272

    def _answer(self, frame: bytes, header: Header) -> None:
        """Invariant 6."""
        try:
            if header.command_code == 272:
                decode_cca(frame, header)
            elif header.command_code in ANSWERS:
                commands.decode_answer(ANSWERS[header.command_code], frame, header)
        except Fault:
            pass


def _fed(reader: FrameReader, pieces: list[bytes]) -> tuple[list[bytes], int]:
    frames: list[bytes] = []
    for piece in pieces:
        try:
            frames += reader.feed(piece)
        except DiameterError as error:
            return frames + reader.rescued, error.result_code
    return frames, 0


def with_right_header(data: bytes) -> bytes:
    """One message with these octets, and a valid version and length."""
    data = data.ljust(HEADER_OCTETS, b"\0")[:0xFFFC]
    data += bytes(-len(data) % 4)
    return b"\1" + len(data).to_bytes(3, "big") + data[4:]
