"""Messages of real clients: Diameter frames from the captures, with TCP reassembled and SCTP read by chunks."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether  # noqa: F401 - registers the link layer
from scapy.layers.sctp import SCTPChunkData
from scapy.utils import rdpcap

from protocol.frame import FrameReader

HERE = Path(__file__).parents[1] / "data"
OPEN5GS = HERE / "pgw-open5gs-gy.pcap"
KAMAILIO = HERE / "scscf-kamailio-ro.pcap"
SHARED = Path(__file__).parents[2] / ".." / "shared"
TERAVM = SHARED / "data" / "captures" / "pgw-teravm-gy.pcapng"
"""Not in the repository because of its licence; used if the folder exists."""
BY_CLIENT = {"open5gs": OPEN5GS, "kamailio": KAMAILIO} | ({"teravm": TERAVM} if SHARED.exists() else {})
needs_teravm = pytest.mark.skipif(not SHARED.exists(), reason="the capture of another licence is not here")
GX = (16777238).to_bytes(4, "big")


@cache
def frames(path: Path) -> tuple[bytes, ...]:
    """Every Diameter message of a capture, except Gx."""
    found: list[bytes] = []
    streams: dict[tuple[str, int, str, int], tuple[FrameReader, dict[int, bytes], int]] = {}
    for packet in rdpcap(str(path)):
        if TCP in packet and 3868 in (packet[TCP].sport, packet[TCP].dport):
            found += _tcp(packet, streams)
        chunk = packet.getlayer(SCTPChunkData)
        while chunk is not None:
            data = bytes(chunk.data)
            if data[:1] == b"\x01":
                found.append(data[: int.from_bytes(data[1:4], "big")])
            chunk = chunk.payload.getlayer(SCTPChunkData)
    return tuple(frame for frame in found if frame[8:12] != GX)


def _tcp(packet, streams) -> list[bytes]:  # type: ignore[no-untyped-def]
    tcp = packet[TCP]
    key = (packet[IP].src, tcp.sport, packet[IP].dst, tcp.dport)
    if tcp.flags.S:
        streams[key] = (FrameReader(), {}, tcp.seq + 1)
        return []
    payload = bytes(tcp.payload)[: packet[IP].len - packet[IP].ihl * 4 - tcp.dataofs * 4]
    nothing: dict[int, bytes] = {}
    reader, segments, expected = streams.get(key) or (FrameReader(), nothing, tcp.seq)
    if payload:
        segments.setdefault(tcp.seq, payload)
    found: list[bytes] = []
    while expected in segments:
        data = segments.pop(expected)
        expected += len(data)
        found += reader.feed(data)
    streams[key] = (reader, segments, expected)
    return found


def requests(path: Path, command_code: int = 272) -> list[bytes]:
    return [frame for frame in frames(path) if frame[4] & 0x80 and int.from_bytes(frame[5:8], "big") == command_code]


def answers(path: Path, command_code: int = 272) -> list[bytes]:
    return [
        frame for frame in frames(path) if not frame[4] & 0x80 and int.from_bytes(frame[5:8], "big") == command_code
    ]


def vectors() -> dict[str, bytes]:
    return {name: bytes.fromhex(text) for name, text in json.loads((HERE / "vectors.json").read_text()).items()}
