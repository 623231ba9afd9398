"""Peers on raw sockets, and everything that a server sends to them: stored as received, written to a pcap, and read by
tshark.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from protocol import commands
from protocol.avp import FAMILY_IPV4, Address, walk
from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    GrantedServiceUnit,
    MultipleServicesCreditControl,
    decode_cca,
    encode_ccr,
)
from protocol.frame import FrameReader
from protocol.header import FLAG_PROXIABLE, HEADER_OCTETS, Header, build, parse_header
from protocol.registry import COMMANDS
from tests.faults.harness import Serving
from tests.protocol.mutator import Node, parse
from tests.protocol.test_tshark import without_failed_avp
from tests.waiting import PATIENCE_S

DIAMETER_PORT = 3868
CREDIT_CONTROL, WATCHDOG, DISCONNECT = 272, commands.DEVICE_WATCHDOG, commands.DISCONNECT_PEER
RESULT_CODE, FAILED_AVP = 268, 279
WARNING = 0x00600000
"""Severity of tshark's expert notes; what is less is chat."""
_numbers = itertools.count(0x1000)


@dataclass(frozen=True)
class Answer:
    frame: bytes
    header: Header
    code: int
    cca: CreditControlAnswer | None
    """None for an answer in the grammar of protocol errors (E bit), and for other commands."""

    @classmethod
    def of(cls, frame: bytes) -> Answer:
        header = parse_header(frame)
        has_cca = header.command_code == CREDIT_CONTROL and not header.is_error
        return cls(frame, header, result_code(frame), decode_cca(frame, header) if has_cca else None)

    @property
    def services(self) -> list[MultipleServicesCreditControl]:
        assert self.cca is not None, f"answered {self.code} with the E bit"
        return self.cca.multiple_services_credit_control

    @property
    def codes(self) -> tuple[int, ...]:
        """Result-Codes of the command and of each service."""
        return (self.code, *(each.result_code or 0 for each in self.services))

    @property
    def granted(self) -> GrantedServiceUnit:
        """Of the one service."""
        (service,) = self.services
        return service.granted_service_unit or GrantedServiceUnit()

    @property
    def octets(self) -> int | None:
        return self.granted.cc_total_octets

    @property
    def seconds(self) -> int | None:
        return self.granted.cc_time


def result_code(frame: bytes) -> int:
    for avp in walk(frame, HEADER_OCTETS, len(frame)):
        if avp.code == RESULT_CODE:
            return int.from_bytes(frame[avp.payload : avp.stop], "big")
    raise AssertionError("no Result-Code")


def cer(host: str, realm: str, **changes: object) -> bytes:
    here = [Address(FAMILY_IPV4, "127.0.0.1")]
    message = commands.CapabilitiesExchangeRequest(host, realm, here, 10415, "raw", auth_application_id=[4])
    return commands.encode(replace(message, **changes), hop_by_hop=1, end_to_end=1)


class Peer:
    """One connection, read only while waiting. Answers DWR and DPR; sets RAR and ASR aside."""

    def __init__(self, heard: list[bytes], connection: socket.socket, host: str, realm: str) -> None:
        self.heard = heard
        """Every message of the server, in order."""
        self.socket, self.host, self.realm = connection, host, realm
        self.frames = FrameReader()
        self.waiting: list[bytes] = []
        self.asked: list[bytes] = []

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def read(self, seconds: float = PATIENCE_S) -> bytes:
        """The next message, whatever it is."""
        self.socket.settimeout(seconds)
        while not self.waiting:
            data = self.socket.recv(65_536)
            if not data:
                raise EOFError("the server closed the connection")
            found = self.frames.feed(data)
            self.heard += found
            self.waiting += found
        return self.waiting.pop(0)

    def _answer(self, seconds: float = PATIENCE_S) -> bytes:
        while True:
            frame = self.read(seconds)
            header = parse_header(frame)
            if not header.is_request:
                return frame
            if header.command_code == WATCHDOG:
                answer = commands.DeviceWatchdogAnswer(2001, self.host, self.realm)
                self.send(commands.encode_answer(answer, header))
            else:
                self.asked.append(frame)

    def ask(self, request: CreditControlRequest | bytes) -> Answer:
        """Sends octets as they are; a request object gets new identifiers."""
        frame = encoded(request) if isinstance(request, CreditControlRequest) else request
        self.send(frame)
        answer = Answer.of(self._answer())
        assert answer.header[4:] == parse_header(frame)[4:], "the answer has the request's identifiers"
        return answer

    def told(self, command: int) -> tuple[Header, bytes]:
        """The server's next request, which must be this one; a watchdog between is answered."""
        while not self.asked:
            frame = self.read()
            header = parse_header(frame)
            assert header.is_request, header
            if header.command_code == WATCHDOG != command:
                answer = commands.DeviceWatchdogAnswer(2001, self.host, self.realm)
                self.send(commands.encode_answer(answer, header))
            else:
                self.asked.append(frame)
        frame = self.asked.pop(0)
        header = parse_header(frame)
        assert header.command_code == command, header
        return header, frame

    def disconnect(self) -> bytes:
        """DPR and its answer."""
        request = commands.DisconnectPeerRequest(self.host, self.realm, commands.REBOOTING)
        self.send(commands.encode(request, hop_by_hop=7, end_to_end=next(_numbers)))
        return self._answer()

    def close(self) -> None:
        self.socket.close()


@dataclass
class Wire:
    """All connections to a server, and what it has sent on each."""

    serving: Serving
    heard: list[list[bytes]] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)

    def dial(self, host: str, realm: str) -> Peer:
        address, _, port = self.serving.facts()["diameter"][0].rpartition(":")
        return self.peer(socket.create_connection((address, int(port)), PATIENCE_S), host, realm)

    def peer(self, connection: socket.socket, host: str, realm: str) -> Peer:
        self.heard.append([])
        self.peers.append(Peer(self.heard[-1], connection, host, realm))
        return self.peers[-1]

    def connect(self, host: str, realm: str, **changes: object) -> Peer:
        """A peer that is open."""
        peer = self.dial(host, realm)
        peer.send(cer(host, realm, **changes))
        assert result_code(peer.read()) == 2001
        return peer

    def close(self) -> None:
        for peer in self.peers:
            peer.close()

    def dissected(self, folder: Path) -> list[Dissected]:
        """All that the server said as tshark reads it, after it has found nothing wrong with it.

        Failed-AVP holds what was wrong with a request as it was: where tshark objects to that, it must find nothing
        without it.
        """
        found = dissect(self.heard, folder / "heard.pcap")
        frames = [frame for frames in self.heard for frame in frames]
        objected = [(one, frame) for one, frame in zip(found, frames, strict=True) if one.objections]
        assert [one for one, _ in objected if FAILED_AVP not in one.avps] == []
        if objected:
            again = dissect([[without_failed_avp(frame) for _, frame in objected]], folder / "again.pcap")
            assert [one for one in again if one.objections] == []
        return found


def encoded(request: CreditControlRequest, **more: bool) -> bytes:
    number = next(_numbers)
    return encode_ccr(request, hop_by_hop=number, end_to_end=number + 0x10000, **more)


# -- surgery: requests as our encoder does not make them


Change = Callable[[Node], Iterable[Node]]


def changed(request: CreditControlRequest | bytes, change: Change, *, flags: int = FLAG_PROXIABLE) -> bytes:
    """The request with every AVP, at every level and inner ones first, replaced by the result of `change`. `flags`: of
    the header, besides R.
    """
    frame = encoded(request) if isinstance(request, CreditControlRequest) else request
    header = parse_header(frame)
    nodes = _changed(parse(frame[HEADER_OCTETS:], COMMANDS[4, CREDIT_CONTROL].codec), change)
    body = b"".join(node.octets() for node in nodes)
    return build(body, 0x80 | flags, CREDIT_CONTROL, 4, header.hop_by_hop, header.end_to_end)


def _changed(nodes: Iterable[Node], change: Change) -> tuple[Node, ...]:
    found: list[Node] = []
    for node in nodes:
        inner = node if node.children is None else replace(node, children=_changed(node.children, change))
        found += change(inner)
    return tuple(found)


def inserted(request: CreditControlRequest | bytes, avps: bytes) -> bytes:
    """With these AVPs at the end."""
    frame = encoded(request) if isinstance(request, CreditControlRequest) else request
    header = parse_header(frame)
    body = frame[HEADER_OCTETS:] + avps
    return build(body, header.flags, CREDIT_CONTROL, 4, header.hop_by_hop, header.end_to_end)


def without_p(request: CreditControlRequest) -> bytes:
    return changed(request, lambda node: [node], flags=0)


# -- tshark


@dataclass(frozen=True)
class Dissected:
    """A message as tshark read it."""

    command: int
    is_request: bool
    is_error: bool
    codes: tuple[int, ...]
    """Result-Codes, the command's first."""
    avps: frozenset[int]
    """AVP codes at all levels."""
    notes: tuple[str, ...]
    """Malformed packets, and expert notes from a warning up."""

    @property
    def objections(self) -> tuple[str, ...]:
        """All but that Wireshark 4.0 has no QoS-Final-Unit-Indication in its dictionary."""
        return tuple(note for note in self.notes if note != UNKNOWN_TO_TSHARK)


FIELDS = {
    "number": "frame.number",
    "command": "diameter.cmd.code",
    "request": "diameter.flags.request",
    "error": "diameter.flags.error",
    "codes": "diameter.Result-Code",
    "avps": "diameter.avp.code",
    "severity": "_ws.expert.severity",
    "notes": "_ws.expert.message",
    "malformed": "_ws.malformed",
}
UNKNOWN_TO_TSHARK = "Unknown AVP 669 (vendor=Reserved), if you know what this is you can add it to dictionary.xml"
BETWEEN = "\x1e"


def dissect(heard: list[list[bytes]], path: Path) -> list[Dissected]:
    """Each connection's messages as one TCP stream in a pcap at `path`; tshark must see every message of it."""
    assert shutil.which("tshark"), "the tests need tshark: apt-get install tshark (make tools)"
    packets = []
    for number, frames in enumerate(heard):
        place = 1
        for frame in frames:
            segment = TCP(sport=DIAMETER_PORT, dport=20_000 + number, seq=place, ack=1, flags="PA")
            packets.append(Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / segment / frame)
            place += len(frame)
    wrpcap(str(path), packets)
    show = [word for name in FIELDS.values() for word in ("-e", name)]
    run = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=a", "-E", f"aggregator={BETWEEN}", *show],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    found = [_dissected(line) for line in run.stdout.rstrip("\n").split("\n")]
    assert len(found) == len(packets), "tshark saw every message"
    return found


def _dissected(line: str) -> Dissected:
    said = {name: text.split(BETWEEN) if text else [] for name, text in zip(FIELDS, line.split("\t"), strict=True)}
    (command,) = said["command"]
    severe = [note for note, severity in zip(said["notes"], said["severity"], strict=True) if int(severity) >= WARNING]
    return Dissected(
        int(command),
        said["request"] == ["1"],
        said["error"] == ["1"],
        tuple(map(int, said["codes"])),
        frozenset(map(int, said["avps"])),
        (*severe, *(["malformed"] if said["malformed"] else [])),
    )
