"""What is wrong with a request: the receive pipeline as a table of stages, in the order of the standards' checks.

Decoding takes the fast way (`layout`, `compiler`) and comes here only when that faults. Each stage is a function of the examined request
that returns the error it finds or None; the first error found is the one reported (RFC 6733 §7). A further check is one more
row of STAGES. Which requests are served is the registry `COMMANDS`, filled by the modules that define them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from protocol.avp import (
    FLAG_MANDATORY,
    AvpLengthLie,
    BadLength,
    BadValue,
    Kind,
    RawAvp,
    decode_value,
    encode_avp,
    walk,
)
from protocol.compiler import Codec, Fault, Field
from protocol.dictionary import BY_KEY, UNDERSTOOD, definition_of
from protocol.errors import DiameterError, ResultCode
from protocol.failed_avp import minimum_payload
from protocol.header import FLAG_ERROR, FLAG_PROXIABLE, FLAG_REQUEST, HEADER_OCTETS, Header
from protocol.layout import Layouts

Lookup = Callable[[str], Any]
"""Gives the value of a top-level attribute of the request."""


def _nothing_more(_: Lookup) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Command:
    """A request that is served."""

    codec: Codec[Any]
    proxiable: bool
    missing: Callable[[Lookup], str | None] = _nothing_more
    """The attribute that is missing although its AVP is optional by itself: what must be there depends on other AVPs."""
    limits: tuple[tuple[str, int], ...] = ()
    """Repeated attributes and how often they may come at most."""
    layouts: Layouts[Any] | None = None
    """For a command that comes often."""


COMMANDS: dict[tuple[int, int], Command] = {}
"""(Application-Id, Command-Code) → how the request is read."""


def register(application_id: int, command_code: int, command: Command) -> None:
    COMMANDS[application_id, command_code] = command


class Node(NamedTuple):
    """One AVP of the request, with the class it was met in and the groups around it, outermost first."""

    avp: RawAvp
    field: Field | None
    codec: Codec[Any]
    parents: tuple[RawAvp, ...]


@dataclass(slots=True)
class Examined:
    """A request taken apart as far as its lengths allow."""

    frame: bytes
    header: Header
    command: Command | None
    nodes: list[Node] = field(default_factory=list)
    groups: list[tuple[Codec[Any], tuple[RawAvp, ...]]] = field(default_factory=list)
    """Every group met (the message itself first), for what must be in it."""
    length_error: DiameterError | None = None

    def top(self, attribute: str) -> Any:
        """The value of a top-level AVP (a list if it may repeat), None if it is absent or wrong."""
        values = []
        repeated = False
        for node in self.nodes:
            if node.field is not None and not node.parents and node.field.attribute == attribute:
                repeated = node.field.repeated
                values.append(_value(self.frame, node))
        if repeated:
            return [value for value in values if value is not None]
        return values[0] if values else None


def decode_request(frame: bytes, header: Header) -> Any:
    """The typed message of any request that is served. Raises DiameterError."""
    command = COMMANDS.get((header.application_id, header.command_code))
    flags = FLAG_REQUEST | FLAG_PROXIABLE if command is not None and command.proxiable else FLAG_REQUEST
    if command is None or header.flags & (FLAG_REQUEST | FLAG_PROXIABLE | FLAG_ERROR) != flags:
        raise diagnose(frame, header)
    try:
        layouts = command.layouts
        message = layouts.read(frame) if layouts else command.codec.read(frame, HEADER_OCTETS, len(frame))
    except Fault:
        raise diagnose(frame, header) from None
    if command.missing(partial(getattr, message)) is not None:
        raise diagnose(frame, header)
    for name, limit in command.limits:
        if len(getattr(message, name)) > limit:
            raise diagnose(frame, header)
    return message


def diagnose(frame: bytes, header: Header) -> DiameterError:
    """The first error of a request that could not be decoded."""
    request = examine(frame, header)
    for _, stage in STAGES:
        error = stage(request)
        if error is not None:
            return error
    return DiameterError(ResultCode.UNABLE_TO_COMPLY, "the request could not be decoded")


def examine(frame: bytes, header: Header) -> Examined:
    command = COMMANDS.get((header.application_id, header.command_code))
    request = Examined(frame, header, command)
    try:
        if command is None:
            for _ in walk(frame, HEADER_OCTETS, len(frame)):
                pass
        else:
            _collect(request, command.codec, HEADER_OCTETS, len(frame), ())
    except AvpLengthLie as lie:
        request.length_error = _length_error(lie.avp, None, ())
    except _BadAvpLength as bad:
        request.length_error = bad.error
    return request


class _BadAvpLength(Exception):
    def __init__(self, error: DiameterError) -> None:
        self.error = error


def _collect(request: Examined, codec: Codec[Any], start: int, end: int, parents: tuple[RawAvp, ...]) -> None:
    """Depth is bounded by the definitions: only declared groups are entered."""
    request.groups.append((codec, parents))
    avps = walk(request.frame, start, end)
    while True:
        try:
            avp = next(avps, None)
        except AvpLengthLie as lie:
            raise _BadAvpLength(_length_error(lie.avp, _declared(codec, lie.avp), parents)) from None
        if avp is None:
            return
        declared = _declared(codec, avp)
        request.nodes.append(Node(avp, declared, codec, parents))
        if declared is None or _key(avp) in codec.forbidden:
            continue
        if declared.group is not None:
            _collect(request, declared.group, avp.payload, avp.stop, (*parents, avp))
        elif declared.kind not in (Kind.RAW, Kind.GROUPED):
            try:
                decode_value(declared.kind, request.frame, avp.payload, avp.stop)
            except BadLength:
                raise _BadAvpLength(_length_error(avp, declared, parents)) from None
            except BadValue:
                pass  # stage "values" reports it, after the stages that come first


def _length_error(avp: RawAvp, declared: Field | None, parents: tuple[RawAvp, ...]) -> DiameterError:
    """RFC 6733 §7.1.5: the header with a corrected length and zero data of the type's least length."""
    vendor = avp.vendor
    known = declared.definition if declared is not None else BY_KEY.get(_key(avp))
    payload = minimum_payload(known.kind) if known is not None else b""
    failed = _wrap(encode_avp(avp.code, vendor, avp.flags, payload), parents)
    return DiameterError(ResultCode.INVALID_AVP_LENGTH, f"{_name(avp)} has a wrong length", failed_avp=failed)


def _key(avp: RawAvp) -> int:
    return avp.vendor << 32 | avp.code


def _declared(codec: Codec[Any], avp: RawAvp) -> Field | None:
    return codec.fields.get(_key(avp))


def _name(avp: RawAvp) -> str:
    known = BY_KEY.get(_key(avp))
    return known.name if known is not None else f"AVP {avp.code} of vendor {avp.vendor}"


def _wrap(avps: bytes, parents: tuple[RawAvp, ...]) -> bytes:
    for parent in reversed(parents):
        avps = encode_avp(parent.code, parent.vendor, parent.flags, avps)
    return avps


def _copy(request: Examined, node: Node) -> bytes:
    avp = node.avp
    payload = request.frame[avp.payload : avp.stop]
    return _wrap(encode_avp(avp.code, avp.vendor, avp.flags, payload), node.parents)


def _value(frame: bytes, node: Node) -> Any:
    declared, avp = node.field, node.avp
    assert declared is not None
    try:
        if declared.group is not None:
            return declared.group.read(frame, avp.payload, avp.stop)
        if declared.kind in (Kind.RAW, Kind.GROUPED):
            return frame[avp.payload : avp.stop]
        return decode_value(declared.kind, frame, avp.payload, avp.stop)
    except (Fault, BadLength, BadValue):
        return None


# --- the stages, digest §1.5 -----------------------------------------------------------------------------------------


def header_bits(request: Examined) -> DiameterError | None:
    """RFC 6733 §3: E never in a request; P as the command says."""
    flags, command = request.header.flags, request.command
    if flags & FLAG_ERROR:
        return DiameterError(ResultCode.INVALID_HDR_BITS, "the E bit must not be set in a request")
    if command is not None and bool(flags & FLAG_PROXIABLE) != command.proxiable:
        must = "must" if command.proxiable else "must not"
        return DiameterError(ResultCode.INVALID_HDR_BITS, f"the P bit {must} be set in this command")
    return None


def avp_lengths(request: Examined) -> DiameterError | None:
    return request.length_error


def application(request: Examined) -> DiameterError | None:
    served = {application_id for application_id, _ in COMMANDS}
    if request.header.application_id in served:
        return None
    return DiameterError(ResultCode.APPLICATION_UNSUPPORTED, "this application is not served here")


def command(request: Examined) -> DiameterError | None:
    if request.command is not None:
        return None
    return DiameterError(ResultCode.COMMAND_UNSUPPORTED, "this command is not served in this application")


def unknown_avps(request: Examined) -> DiameterError | None:
    """RFC 6733 §4.1: an AVP with M that is not understood."""
    for node in request.nodes:
        key = _key(node.avp)
        if node.field is None and node.avp.flags & FLAG_MANDATORY and key not in UNDERSTOOD:
            if key in node.codec.forbidden:
                continue
            return DiameterError(
                ResultCode.AVP_UNSUPPORTED,
                f"{_name(node.avp)} carries the M flag and is not supported",
                failed_avp=_copy(request, node),
            )
    return None


def missing_avps(request: Examined) -> DiameterError | None:
    """5005; with the answer-message grammar when a CCA could not be filled (RFC 6733 §7.2)."""
    for codec, parents in request.groups:
        start, end = (parents[-1].payload, parents[-1].stop) if parents else (HEADER_OCTETS, len(request.frame))
        present = {_key(avp) for avp in walk(request.frame, start, end)}
        for key, declared in codec.fields.items():
            if declared.required and key not in present:
                return _missing(declared.attribute, parents)
    if request.command is not None:
        attribute = request.command.missing(request.top)
        if attribute is not None:
            return _missing(attribute, ())
    return None


def _missing(attribute: str, parents: tuple[RawAvp, ...]) -> DiameterError:
    definition = definition_of(attribute)
    flags = FLAG_MANDATORY if definition.mandatory else 0
    example = encode_avp(definition.code, definition.vendor, flags, minimum_payload(definition.kind))
    return DiameterError(
        ResultCode.MISSING_AVP,
        f"{definition.name} is missing",
        failed_avp=_wrap(example, parents),
        protocol_error=not parents and attribute in NEEDED_BY_EVERY_ANSWER,
    )


NEEDED_BY_EVERY_ANSWER = frozenset({"session_id", "cc_request_type", "cc_request_number"})
"""Without these no CCA can be made, so the error goes out with the E bit and the answer-message grammar."""


def too_many(request: Examined) -> DiameterError | None:
    """5009 with the first instance beyond the limit."""
    limits = dict(request.command.limits) if request.command is not None else {}
    seen: dict[tuple[int, int], int] = {}
    for node in request.nodes:
        declared = node.field
        if declared is None or declared.doubled:
            continue
        at_top = not node.parents
        limit = limits.get(declared.attribute) if at_top else None
        if declared.repeated and limit is None:
            continue
        place = (node.parents[-1].start if node.parents else 0, _key(node.avp))
        seen[place] = seen.get(place, 0) + 1
        if seen[place] > (limit or 1):
            return DiameterError(
                ResultCode.AVP_OCCURS_TOO_MANY_TIMES,
                f"{_name(node.avp)} comes more often than allowed",
                failed_avp=_copy(request, node),
            )
    return None


def forbidden(request: Examined) -> DiameterError | None:
    for node in request.nodes:
        if _key(node.avp) in node.codec.forbidden:
            return DiameterError(
                ResultCode.AVP_NOT_ALLOWED,
                f"{_name(node.avp)} is not allowed in this request",
                failed_avp=_copy(request, node),
            )
    return None


def values(request: Examined) -> DiameterError | None:
    """5004: text that is not UTF-8, an enumeration or application id out of range."""
    for node in request.nodes:
        declared = node.field
        if declared is None or declared.group is not None or declared.kind in (Kind.RAW, Kind.GROUPED):
            continue
        value = _value(request.frame, node)
        if value is None or (declared.allowed is not None and value not in declared.allowed):
            return DiameterError(
                ResultCode.INVALID_AVP_VALUE,
                f"{_name(node.avp)} has a value that is not allowed",
                failed_avp=_copy(request, node),
            )
    return None


STAGES: tuple[tuple[str, Callable[[Examined], DiameterError | None]], ...] = (
    ("5 header bits: 3008", header_bits),
    ("6 AVP lengths: 5014", avp_lengths),
    ("8 application: 3007", application),
    ("9 command: 3001", command),
    ("15 unknown AVP with M: 5001", unknown_avps),
    ("16 missing AVP: 5005", missing_avps),
    ("17 too many: 5009", too_many),
    ("18 not allowed: 5008", forbidden),
    ("19 bad value: 5004", values),
)
"""Numbered as in the list of checks the design follows; numbers in between are rows still to come."""
