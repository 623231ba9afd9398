"""A request taken apart at leisure, for the stages that find out what is wrong with it, and what they copy into
Failed-AVP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from protocol.avp import (
    FIXED_OCTETS,
    MAX_NESTING,
    PADDING,
    AvpLengthLie,
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
from protocol.undeclared import is_minded


class Node(NamedTuple):
    """One AVP of the request, with the class it was met in and the groups around it, outermost first."""

    avp: RawAvp
    field: Field | None
    codec: Codec[Any]
    parents: tuple[RawAvp, ...]
    path: Path
    """() if the AVP is not declared."""


@dataclass(slots=True)
class Examined:
    """A request taken apart as far as its lengths and our limits allow."""

    frame: bytes
    header: Header
    command: Command | None
    routing: Routing | None = None
    limits: Limits = LIMITS
    nodes: list[Node] = field(default_factory=list)
    groups: list[tuple[Codec[Any], tuple[RawAvp, ...]]] = field(default_factory=list)
    """Every group met (the message itself first), for what must be in it."""
    children: dict[int, list[Node]] = field(default_factory=dict)
    """What is in the group that starts there: looking for it among all nodes would take the square of their number."""
    walk_error: DiameterError | None = None
    """Why the walk ended early: a length that lies (5014), more AVPs (5009) or deeper ones (5004) than are taken."""

    def top(self, attribute: str) -> Any:
        """The value of a top-level AVP (a list if it may repeat), None if it is absent or wrong."""
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
    """Depth is bounded by the definitions, and where there are none (`undeclared` levels so far) by MAX_NESTING."""
    request.groups.append((codec, parents))
    avps = walk(request.frame, start, end)
    while True:
        try:
            avp = next(avps, None)
        except AvpLengthLie as lie:
            raise _Stop(_length_error(lie.avp, codec.fields.get(key_of(lie.avp)), parents)) from None
        if avp is None:
            return
        declared = codec.fields.get(key_of(avp))
        inner = (*path, declared.attribute) if declared is not None else ()
        node = Node(avp, declared, codec, parents, inner)
        if len(request.nodes) >= request.limits.max_avps:
            raise _Stop(_beyond_the_limit(request, node))
        request.nodes.append(node)
        if parents:
            request.children.setdefault(parents[-1].start, []).append(node)
        if declared is None or key_of(avp) in codec.forbidden:
            _look_into(request, node, undeclared)
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
                pass  # stage "values" reports it, after the stages that come first


def _look_into(request: Examined, node: Node, undeclared: int) -> None:
    """An AVP that is not declared, if it is minded (`undeclared`). Of a request that is not served nothing is."""
    avp = node.avp
    if request.command is None or not is_minded(key_of(avp), avp.flags):
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


def first_lie(data: bytes, start: int, end: int) -> RawAvp | None:
    """The first AVP of a group (one level) whose length cannot be."""
    try:
        for _ in walk(data, start, end):
            pass
    except AvpLengthLie as lie:
        return lie.avp
    return None


def count_avps(frame: bytes, codec: Codec[Any], start: int, end: int, most: int) -> int:
    """How many AVPs `examine` would meet, or some number above `most`. The frame must be one that `codec` has read."""
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
    minded = is_minded(key_of(avp), avp.flags)
    return UNDECLARED if minded and BY_KEY[key_of(avp)].kind is Kind.GROUPED else None


def _length_error(avp: RawAvp, declared: Field | None, parents: tuple[RawAvp, ...]) -> DiameterError:
    """RFC 6733 §7.1.5: the header with a corrected length and zero data of the type's least length."""
    known = declared.definition if declared is not None else BY_KEY.get(key_of(avp))
    payload = minimum_payload(known.kind) if known is not None else b""
    failed = wrap_in(encode_avp(avp.code, avp.vendor, avp.flags, payload), parents)
    return DiameterError(ResultCode.INVALID_AVP_LENGTH, f"{name_of(avp)} has a wrong length", failed_avp=failed)


def _beyond_the_limit(request: Examined, node: Node) -> DiameterError:
    """No Result-Code is made for it; 5009 says what it is: too many, and this is the first beyond (RFC 6733 §7.1.5)."""
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
    """The AVP as it came, bit for bit."""
    octets = request.frame[node.avp.start : node.avp.stop]
    return octets + PADDING[len(octets) & 3]


def copy_of(request: Examined, node: Node) -> bytes:
    """RFC 6733 §7.5: the offender within its parents, and nothing else of them."""
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
    """The group's object; one with a fault in it as far as it goes, as the fault may be another stage's."""
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
