"""A request decoded AVP by AVP, for the stages that determine its error and copy AVPs into Failed-AVP."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from protocol.avp import (
    FIXED_OCTETS,
    MAX_NESTING,
    PADDING,
    AvpLengthError,
    BadLength,
    BadValue,
    Kind,
    RawAvp,
    decode_value,
    encode_avp,
    walk,
)
from protocol.compiler import UNDECLARED, Codec, Fault, Field
from protocol.dictionary import BY_KEY
from protocol.errors import DiameterError, ResultCode
from protocol.failed_avp import minimum_payload
from protocol.header import HEADER_OCTETS, Header
from protocol.registry import LIMITS, Command, Limits, Path, Routing
from protocol.undeclared import must_be_understood


class Node(NamedTuple):
    """One AVP of the request, with the codec of its group and the enclosing groups, outermost first."""

    avp: RawAvp
    field: Field | None
    codec: Codec[Any]
    parents: tuple[RawAvp, ...]
    path: Path
    """() if the AVP is undeclared."""


@dataclass(slots=True)
class Examined:
    """A request, decoded up to its first length error and our limits."""

    frame: bytes
    header: Header
    command: Command | None
    routing: Routing | None = None
    limits: Limits = LIMITS
    nodes: list[Node] = field(default_factory=list)
    groups: list[tuple[Codec[Any], tuple[RawAvp, ...]]] = field(default_factory=list)
    """All groups (the message itself first) with their codecs, for the check of required AVPs."""
    children: dict[int, list[Node]] = field(default_factory=dict)
    """Offset of a group → its AVPs. (A search among all nodes would take quadratic time.)"""
    walk_error: DiameterError | None = None
    """Why decoding ended early: a wrong length (5014), too many AVPs (5009) or too deep groups (5004)."""

    def top(self, attribute: str) -> Any:
        """The value of a top-level AVP (a list if it is repeatable); None if it is absent or invalid."""
        values = []
        repeated = False
        for node in self.nodes:
            if node.field is not None and node.path == (attribute,):
                repeated = node.field.repeated
                values.append(value_of(self, node))
        if repeated:
            return [value for value in values if value is not None]
        return values[0] if values else None

    def has(self, attribute: str) -> bool:
        return any(node.path == (attribute,) for node in self.nodes)


class _Stop(Exception):
    def __init__(self, error: DiameterError) -> None:
        self.error = error


def examine(frame: bytes, header: Header, routing: Routing | None = None, limits: Limits = LIMITS) -> Examined:
    command = limits.commands.get((header.application_id, header.command_code))
    request = Examined(frame, header, command, routing, limits)
    try:
        _collect(request, command.codec if command is not None else UNDECLARED, HEADER_OCTETS, len(frame), (), ())
    except _Stop as stop:
        request.walk_error = stop.error
    return request


def _collect(
    request: Examined,
    codec: Codec[Any],
    start: int,
    end: int,
    parents: tuple[RawAvp, ...],
    path: Path,
    undeclared: int = 0,
) -> None:
    """Adds the AVPs in frame[start:end]. Depth is limited by the declarations, and by MAX_NESTING for undeclared groups
    (`undeclared` levels so far).
    """
    request.groups.append((codec, parents))
    avps = walk(request.frame, start, end)
    while True:
        try:
            avp = next(avps, None)
        except AvpLengthError as error:
            raise _Stop(_length_error(error.avp, codec.fields.get(key_of(error.avp)), parents)) from None
        if avp is None:
            return
        declared = codec.fields.get(key_of(avp))
        inner = (*path, declared.attribute) if declared is not None else ()
        node = Node(avp, declared, codec, parents, inner)
        if len(request.nodes) >= request.limits.max_avps:
            raise _Stop(_too_many_avps(request, node))
        request.nodes.append(node)
        if parents:
            request.children.setdefault(parents[-1].start, []).append(node)
        if declared is None or key_of(avp) in codec.forbidden:
            _examine_undeclared(request, node, undeclared)
            continue
        group = declared.group or declared.inside
        if group is not None:
            _collect(request, group, avp.payload, avp.stop, (*parents, avp), inner)
        elif declared.kind is not Kind.GROUPED:
            try:
                decode_value(declared.kind, request.frame, avp.payload, avp.stop)
            except BadLength:
                raise _Stop(_length_error(avp, declared, parents)) from None
            except BadValue:
                pass  # reported by stage "values", after the stages before it


def _examine_undeclared(request: Examined, node: Node, undeclared: int) -> None:
    """Examines an undeclared AVP that must be understood. Those of a request that is not served are ignored."""
    avp = node.avp
    if request.command is None or not must_be_understood(key_of(avp), avp.flags):
        return
    kind = BY_KEY[key_of(avp)].kind
    if avp.stop - avp.payload != FIXED_OCTETS.get(kind, avp.stop - avp.payload):
        raise _Stop(_length_error(avp, None, node.parents))
    if kind is not Kind.GROUPED:
        return
    if undeclared >= MAX_NESTING:
        reason = f"groups nest deeper than {MAX_NESTING} levels"
        raise _Stop(DiameterError(ResultCode.INVALID_AVP_VALUE, reason, failed_avp=copy_of(request, node)))
    _collect(request, UNDECLARED, avp.payload, avp.stop, (*node.parents, avp), (), undeclared + 1)


def first_length_error(data: bytes, start: int, end: int) -> RawAvp | None:
    """The first AVP of a group (one level) with a wrong length."""
    try:
        for _ in walk(data, start, end):
            pass
    except AvpLengthError as error:
        return error.avp
    return None


def count_avps(frame: bytes, codec: Codec[Any], start: int, end: int, most: int) -> int:
    """AVPs that `examine` would find, or some number above `most`. `codec` must have decoded the frame."""
    count = 0
    for avp in walk(frame, start, end):
        count += 1
        group = _group_in(codec, avp)
        if group is not None:
            count += count_avps(frame, group, avp.payload, avp.stop, most - count)
        if count > most:
            break
    return count


def _group_in(codec: Codec[Any], avp: RawAvp) -> Codec[Any] | None:
    declared = codec.fields.get(key_of(avp))
    if declared is not None:
        return declared.group or declared.inside
    minded = must_be_understood(key_of(avp), avp.flags)
    return UNDECLARED if minded and BY_KEY[key_of(avp)].kind is Kind.GROUPED else None


def _length_error(avp: RawAvp, declared: Field | None, parents: tuple[RawAvp, ...]) -> DiameterError:
    """RFC 6733 §7.1.5: Failed-AVP has the header with a corrected length and zero data of the type's least length."""
    known = declared.definition if declared is not None else BY_KEY.get(key_of(avp))
    payload = minimum_payload(known.kind) if known is not None else b""
    failed = wrap_in(encode_avp(avp.code, avp.vendor, avp.flags, payload), parents)
    return DiameterError(ResultCode.INVALID_AVP_LENGTH, f"{name_of(avp)} has a wrong length", failed_avp=failed)


def _too_many_avps(request: Examined, node: Node) -> DiameterError:
    """RFC 6733 has no Result-Code for it; 5009 is the closest, with the first AVP beyond the limit (§7.1.5)."""
    return DiameterError(
        ResultCode.AVP_OCCURS_TOO_MANY_TIMES,
        f"more than {request.limits.max_avps} AVPs in one request",
        failed_avp=copy_of(request, node),
    )


def key_of(avp: RawAvp) -> int:
    return avp.vendor << 32 | avp.code


def name_of(avp: RawAvp) -> str:
    known = BY_KEY.get(key_of(avp))
    return known.name if known is not None else f"AVP {avp.code} of vendor {avp.vendor}"


def wrap_in(avps: bytes, parents: tuple[RawAvp, ...]) -> bytes:
    for parent in reversed(parents):
        avps = encode_avp(parent.code, parent.vendor, parent.flags, avps)
    return avps


def bare_copy(request: Examined, node: Node) -> bytes:
    """The AVP as received, octet by octet."""
    octets = request.frame[node.avp.start : node.avp.stop]
    return octets + PADDING[len(octets) & 3]


def copy_of(request: Examined, node: Node) -> bytes:
    """RFC 6733 §7.5: the AVP within its parents, without their other AVPs."""
    return wrap_in(bare_copy(request, node), node.parents)


def value_of(request: Examined, node: Node) -> Any:
    declared, avp = node.field, node.avp
    assert declared is not None
    if declared.group is not None:
        return _group_of(request, node, declared.group)
    try:
        if declared.kind in (Kind.RAW, Kind.GROUPED):
            return request.frame[avp.payload : avp.stop]
        return decode_value(declared.kind, request.frame, avp.payload, avp.stop)
    except (BadLength, BadValue):
        return None


def _group_of(request: Examined, node: Node, codec: Codec[Any]) -> Any:
    """The group's object. An invalid group is filled as far as possible: another stage reports the fault."""
    try:
        return codec.read(request.frame, node.avp.payload, node.avp.stop)
    except Fault:
        group = codec.make()
    for child in request.children.get(node.avp.start, ()):
        if child.field is not None:
            value = value_of(request, child)
            if child.field.repeated:
                getattr(group, child.field.attribute).append(value)
            elif value is not None:
                setattr(group, child.field.attribute, value)
    return group
