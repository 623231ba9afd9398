"""Diameter messages of both directions from a capture, fast: packets are read by scapy but taken apart here.

scapy dissects some thousand packets a second; a mirrored port has more. Ethernet (also VLAN), Linux cooked, raw IP;
IPv4 and IPv6 without fragments; TCP reassembled by sequence number, SCTP by whole user messages (RFC 6733 §2.1.1).
"""

from __future__ import annotations

import contextlib
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from scapy.error import Scapy_Exception
from scapy.utils import RawPcapReader

from simulator.errors import CaptureError
from simulator.wire import FrameSplitter, WireError

MAX_AHEAD = 64
"""Segments of one stream kept after a gap; then the gap counts as lost and the stream goes on behind it."""
MAX_STREAMS = 100_000
"""Directions of connections that are read at once; the one that was silent for longest is then forgotten."""
ETHERNET, RAW_IP, RAW_IP_BSD, LINUX_COOKED, LINUX_COOKED_2 = 1, 101, 12, 113, 276
_LINK_OCTETS = {RAW_IP: 0, RAW_IP_BSD: 0, 228: 0, 229: 0, LINUX_COOKED: 16, LINUX_COOKED_2: 20}
TCP, SCTP = 6, 132
FIN, SYN, RST = 0x01, 0x02, 0x04
_HALF = 1 << 31
_WHOLE = 1 << 32
_VLAN = frozenset((0x8100, 0x88A8))
_IP = frozenset((0x0800, 0x86DD))


@dataclass(frozen=True, slots=True)
class CapturedMessage:
    """A Diameter message; `client` and `server` are "address:port"."""

    frame: bytes
    time_s: float
    client: str
    server: str
    to_server: bool


@dataclass(slots=True)
class Losses:
    """What of a capture could not be read."""

    gaps: int = 0
    """Places where segments of a TCP stream are missing."""
    broken: int = 0
    """Places where a stream is not Diameter."""


@dataclass(slots=True)
class _Stream:
    """One direction of a TCP connection."""

    next_seq: int = -1
    ahead: dict[int, bytes] = field(default_factory=dict)
    splitter: FrameSplitter = field(default_factory=FrameSplitter)


Ends = tuple[bytes, int, bytes, int]
"""Source and its port, destination and its port."""
Streams = OrderedDict[Ends, _Stream]


def captured_messages(capture: Path | BinaryIO, port: int, losses: Losses) -> Iterator[CapturedMessage]:
    """Every Diameter message from or to `port`, in the order of the capture: a file, or a stream such as tcpdump's.
    Raises CaptureError.
    """
    streams: Streams = OrderedDict()
    try:
        with (
            capture.open("rb") if isinstance(capture, Path) else contextlib.nullcontext(capture) as file,
            RawPcapReader(cast(Any, file)) as reader,  # the file is closed too if it is no capture
        ):
            meta: Any
            for packet, meta in reader:
                found = _transport(packet, _link(reader, meta))
                if found is None:
                    continue
                protocol, source, destination, payload = found
                ends = (source, *struct.unpack_from("!H", payload), destination, *struct.unpack_from("!H", payload, 2))
                if port not in (ends[1], ends[3]):
                    continue
                frames = _tcp(streams, ends, payload, losses) if protocol == TCP else list(_sctp(payload))
                if frames:
                    yield from _named(frames, _time_s(reader, meta), ends, port)
        losses.gaps += sum(bool(stream.ahead) for stream in streams.values())
    except (Scapy_Exception, OSError, EOFError) as error:
        name = capture if isinstance(capture, Path) else "the stream"
        raise CaptureError(f"{name}: cannot be read as a capture ({error})") from error


def _named(frames: list[bytes], time_s: float, ends: Ends, port: int) -> Iterator[CapturedMessage]:
    to_server = ends[3] == port
    source, destination = f"{ends[0].hex()}:{ends[1]}", f"{ends[2].hex()}:{ends[3]}"
    client, server = (source, destination) if to_server else (destination, source)
    for frame in frames:
        yield CapturedMessage(frame, time_s, client, server, to_server)


def _link(reader: Any, meta: Any) -> int:
    """The link type: pcapng has it for each packet, pcap for the file."""
    return int(getattr(meta, "linktype", 0) or getattr(reader, "linktype", ETHERNET))


def _time_s(reader: Any, meta: Any) -> float:
    """pcap: seconds, and µs or ns; pcapng: a 64-bit count of the interface's resolution."""
    if hasattr(meta, "sec"):
        return int(meta.sec) + int(meta.usec) / (1_000_000_000 if reader.nano else 1_000_000)
    return float((int(meta.tshigh) << 32 | int(meta.tslow)) / int(meta.tsresol))


def _transport(packet: bytes, link: int) -> tuple[int, bytes, bytes, bytes] | None:
    """(protocol, source, destination, transport header and data) of a TCP or SCTP packet."""
    if link == ETHERNET:
        at = 12
        while at + 4 <= len(packet) and int.from_bytes(packet[at : at + 2], "big") in _VLAN:
            at += 4
        if int.from_bytes(packet[at : at + 2], "big") not in _IP:
            return None
        at += 2
    elif link in _LINK_OCTETS:
        at = _LINK_OCTETS[link]
    else:
        raise CaptureError(f"link type {link} of the capture is not known; use Ethernet, Linux cooked or raw IP")
    if len(packet) < at + 20:
        return None
    return _ipv4(packet, at) if packet[at] >> 4 == 4 else _ipv6(packet, at) if packet[at] >> 4 == 6 else None


def _ipv4(packet: bytes, at: int) -> tuple[int, bytes, bytes, bytes] | None:
    start = at + (packet[at] & 15) * 4
    length = int.from_bytes(packet[at + 2 : at + 4], "big")  # 0: the network card cut it into segments later
    end = at + length if length else len(packet)
    is_fragment = int.from_bytes(packet[at + 6 : at + 8], "big") & 0x3FFF
    if is_fragment or packet[at + 9] not in (TCP, SCTP) or len(packet) < start + 12:
        return None
    return packet[at + 9], packet[at + 12 : at + 16], packet[at + 16 : at + 20], packet[start:end]


def _ipv6(packet: bytes, at: int) -> tuple[int, bytes, bytes, bytes] | None:
    if len(packet) < at + 52 or packet[at + 6] not in (TCP, SCTP):
        return None
    end = at + 40 + int.from_bytes(packet[at + 4 : at + 6], "big")
    return packet[at + 6], packet[at + 8 : at + 24], packet[at + 24 : at + 40], packet[at + 40 : end]


def _tcp(streams: Streams, ends: Ends, segment: bytes, losses: Losses) -> list[bytes]:
    """Whole messages that the segment completes. A stream ends with FIN or RST."""
    frames = _read(_stream(streams, ends, segment), segment, losses)
    if segment[13] & (FIN | RST):
        losses.gaps += bool(streams.pop(ends).ahead)
    return frames


def _stream(streams: Streams, ends: Ends, segment: bytes) -> _Stream:
    seq, flags = int.from_bytes(segment[4:8], "big"), segment[13]
    stream = streams.get(ends)
    if stream is None or flags & SYN:
        if len(streams) >= MAX_STREAMS:
            streams.popitem(last=False)
        stream = streams[ends] = _Stream()
        if flags & SYN:
            stream.next_seq = (seq + 1) % _WHOLE
    streams.move_to_end(ends)
    return stream


def _read(stream: _Stream, segment: bytes, losses: Losses) -> list[bytes]:
    seq, data = int.from_bytes(segment[4:8], "big"), segment[(segment[12] >> 4) * 4 :]
    if not data:
        return []
    if stream.next_seq < 0:
        stream.next_seq = seq  # the capture began within the connection
    stream.ahead.setdefault(seq, data)
    if len(stream.ahead) > MAX_AHEAD:
        losses.gaps += 1
        stream.next_seq = min(stream.ahead, key=lambda each: (each - stream.next_seq) % _WHOLE)
        stream.splitter = FrameSplitter()
    try:
        return stream.splitter.feed(_in_order(stream))
    except WireError:
        losses.broken += 1
        stream.splitter = FrameSplitter()
        return []


def _in_order(stream: _Stream) -> bytes:
    """The octets that follow those read before; what was repeated is dropped."""
    found = b""
    while stream.ahead:
        first = min(stream.ahead, key=lambda each: (each - stream.next_seq + _HALF) % _WHOLE)
        behind = (stream.next_seq - first) % _WHOLE
        if behind >= _HALF:
            break  # it is ahead: a segment is missing
        data = stream.ahead.pop(first)[behind:]
        found += data
        stream.next_seq = (stream.next_seq + len(data)) % _WHOLE
    return found


def _sctp(packet: bytes) -> Iterator[bytes]:
    """Unfragmented user messages (RFC 9260 §3.3.1)."""
    at = 12
    while at + 4 <= len(packet):
        kind, flags, length = packet[at], packet[at + 1], int.from_bytes(packet[at + 2 : at + 4], "big")
        if length < 4:
            return
        if kind == 0 and flags & 3 == 3:
            yield packet[at + 16 : at + length]
        at += (length + 3) & ~3
