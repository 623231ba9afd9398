"""A Diameter message as readable text: header and AVP tree; a malformed message as far as possible."""

from __future__ import annotations

from datetime import UTC, datetime

from protocol.avp import (
    FLAG_MANDATORY,
    FLAG_PRIVATE,
    FLAG_VENDOR,
    MAX_NESTING,
    Address,
    AvpLengthError,
    BadLength,
    BadValue,
    Kind,
    RawAvp,
    decode_value,
    walk,
)
from protocol.dictionary import BY_KEY
from protocol.errors import ResultCode
from protocol.header import HEADER_OCTETS, VERSION, Header, parse_header

COMMAND_NAMES = {
    257: "Capabilities-Exchange",
    258: "Re-Auth",
    271: "Accounting",
    272: "Credit-Control",
    274: "Abort-Session",
    275: "Session-Termination",
    280: "Device-Watchdog",
    282: "Disconnect-Peer",
}
ENUMERATIONS: dict[str, dict[int, str]] = {
    "CC-Request-Type": {1: "INITIAL_REQUEST", 2: "UPDATE_REQUEST", 3: "TERMINATION_REQUEST", 4: "EVENT_REQUEST"},
    "Requested-Action": {0: "DIRECT_DEBITING", 1: "REFUND_ACCOUNT", 2: "CHECK_BALANCE", 3: "PRICE_ENQUIRY"},
    "Subscription-Id-Type": {0: "E164", 1: "IMSI", 2: "SIP_URI", 3: "NAI", 4: "PRIVATE"},
    "Final-Unit-Action": {0: "TERMINATE", 1: "REDIRECT", 2: "RESTRICT_ACCESS"},
    "Role-Of-Node": {0: "ORIGINATING_ROLE", 1: "TERMINATING_ROLE", 2: "FORWARDING_ROLE"},
    "Disconnect-Cause": {0: "REBOOTING", 1: "BUSY", 2: "DO_NOT_WANT_TO_TALK_TO_YOU"},
    "Multiple-Services-Indicator": {0: "NOT_SUPPORTED", 1: "SUPPORTED"},
    "Result-Code": {int(code): code.name for code in ResultCode},
}
INDENT = "  "


def render(frame: bytes) -> str:
    """The text. Raises ValueError if the header is incomplete."""
    if len(frame) < HEADER_OCTETS:
        raise ValueError(f"a Diameter message has at least {HEADER_OCTETS} octets, this has {len(frame)}")
    header = parse_header(frame)
    lines = [_header_line(header)]
    if frame[0] != VERSION:
        lines.append(f"! version {frame[0]}, only 1 is Diameter")
    if header.length != len(frame):
        lines.append(f"! the header says {header.length} octets, there are {len(frame)}")
    _render_avps(frame, HEADER_OCTETS, len(frame), 1, lines)
    return "\n".join(lines)


def _header_line(header: Header) -> str:
    name = COMMAND_NAMES.get(header.command_code, f"Command {header.command_code}")
    kind = "Request" if header.is_request else "Answer"
    flags = "".join(
        letter if header.flags & bit else "-" for letter, bit in (("R", 128), ("P", 64), ("E", 32), ("T", 16))
    )
    return (
        f"{name}-{kind} ({header.command_code}) flags={flags} application={header.application_id} "
        f"hop-by-hop=0x{header.hop_by_hop:08x} end-to-end=0x{header.end_to_end:08x} length={header.length}"
    )


def _render_avps(frame: bytes, start: int, end: int, depth: int, lines: list[str]) -> None:
    try:
        for avp in walk(frame, start, end):
            _render_avp(frame, avp, depth, lines)
    except AvpLengthError as error:
        lines.append(f"{INDENT * depth}! AVP {error.avp.code} at octet {error.avp.start} lies about its length")


def _render_avp(frame: bytes, avp: RawAvp, depth: int, lines: list[str]) -> None:
    definition = BY_KEY.get(avp.vendor << 32 | avp.code)
    flags = "".join(
        letter if avp.flags & bit else "-"
        for letter, bit in (("V", FLAG_VENDOR), ("M", FLAG_MANDATORY), ("P", FLAG_PRIVATE))
    )
    vendor = f" vendor={avp.vendor}" if avp.vendor else ""
    name = definition.name if definition is not None else "Unknown"
    head = f"{INDENT * depth}{name} ({avp.code}) {flags}{vendor}"
    if definition is not None and definition.kind is Kind.GROUPED and depth < MAX_NESTING:
        lines.append(head)
        _render_avps(frame, avp.payload, avp.stop, depth + 1, lines)
        return
    kind = definition.kind if definition is not None else Kind.OCTETS
    lines.append(f"{head} = {_render_value(name, kind, frame, avp)}")


def _render_value(name: str, kind: Kind, frame: bytes, avp: RawAvp) -> str:
    octets = frame[avp.payload : avp.stop]
    if kind in (Kind.OCTETS, Kind.GROUPED, Kind.RAW):
        return f"0x{octets.hex()}"
    try:
        value = decode_value(kind, frame, avp.payload, avp.stop)
    except (BadLength, BadValue):
        return f"! 0x{octets.hex()} is no {kind.name}"
    if isinstance(value, Address):
        return value.value
    if isinstance(value, str):
        return f'"{value}"' if value.isprintable() else repr(value)
    if kind is Kind.TIME and isinstance(value, int):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    meaning = ENUMERATIONS.get(name, {}).get(value) if isinstance(value, int) else None
    return f"{value!r} {meaning}" if meaning else repr(value)
