"""Reads credit-control requests from a packet capture. scapy reassembles TCP, SCTP is read by chunks; other packets are
ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from scapy.error import Scapy_Exception
from scapy.fields import StrField
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.sctp import SCTPChunkData
from scapy.packet import Packet, bind_layers, split_layers
from scapy.sessions import TCPSession
from scapy.utils import PcapReader

from simulator.errors import SimulatorError
from simulator.wire import CMD_CCR, FrameSplitter, WireError, read_head

APP_CREDIT_CONTROL = 4
DIAMETER_PORT = 3868


class CaptureError(SimulatorError):
    """The file is not a capture, or has no request to replay."""


@dataclass(frozen=True, slots=True)
class CapturedRequest:
    """A CCR as captured, and its connection."""

    frame: bytes
    time_s: float
    stream: str
    """"source → destination", for messages."""


class _Stream(Packet):  # type: ignore[misc, unused-ignore]
    """The payload of a TCP stream, emitted whenever it ends with a whole Diameter message."""

    name = "Diameter stream"
    fields_desc = [StrField("octets", b"")]  # noqa: RUF012 - scapy's way of declaring a layer

    @classmethod
    def tcp_reassemble(cls, data: bytes, _metadata: dict[str, Any], _session: dict[str, Any]) -> _Stream | None:
        at = 0
        while at + 4 <= len(data):
            length = int.from_bytes(data[at + 1 : at + 4], "big")
            if data[at] != 1 or length < 20:
                return cls(data)  # not Diameter: drop it instead of buffering it
            at += length
        return cls(data) if at == len(data) else None


def captured_requests(path: Path, *, port: int = DIAMETER_PORT) -> list[CapturedRequest]:
    """Every CCR of application 4 that a client sent to `port`, in order. Raises CaptureError."""
    requests = []
    for payload, time_s, stream in _payloads(path, port):
        try:
            frames = FrameSplitter().feed(payload)
        except WireError:
            continue
        for frame in frames:
            head = read_head(frame)
            if head.is_request and head.command == CMD_CCR and head.application == APP_CREDIT_CONTROL:
                requests.append(CapturedRequest(frame, time_s, stream))
    if not requests:
        raise CaptureError(f"{path}: no credit-control request (command 272 of application 4) to port {port} in it")
    return requests


def _payloads(path: Path, port: int) -> Iterator[tuple[bytes, float, str]]:
    """(octets of whole messages, time, connection) in the order of the capture."""
    bind_layers(TCP, _Stream, dport=port)
    try:
        session = TCPSession()
        with (
            path.open("rb") as file,
            PcapReader(cast(Any, file)) as reader,
        ):  # also closes a file that is not a capture
            for packet in reader:
                if TCP in packet and packet[TCP].dport == port:
                    whole = session.process(packet)
                    if whole is not None and _Stream in whole:
                        yield bytes(whole[_Stream].octets), float(packet.time), _stream(packet)
                elif SCTPChunkData in packet:
                    yield from _sctp(packet, port)
    except (Scapy_Exception, OSError) as error:
        raise CaptureError(f"{path}: cannot be read as a capture ({error})") from error
    finally:
        split_layers(TCP, _Stream, dport=port)


def _sctp(packet: Any, port: int) -> Iterator[tuple[bytes, float, str]]:
    """Unfragmented user messages of an SCTP packet; a Diameter message is one user message (RFC 6733 §2.1.1)."""
    chunk = packet.getlayer(SCTPChunkData)
    while chunk is not None:
        if chunk.beginning and chunk.ending and packet["SCTP"].dport == port:
            yield bytes(chunk.data), float(packet.time), _stream(packet)
        chunk = chunk.payload.getlayer(SCTPChunkData)


def _stream(packet: Any) -> str:
    layer = next((packet[kind] for kind in (IP, IPv6) if kind in packet), None)
    return f"{layer.src} → {layer.dst}" if layer is not None else "?"
