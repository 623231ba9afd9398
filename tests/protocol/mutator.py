"""Every AVP of a request in turn absent, doubled, truncated, over-long or of wrong flags, at every level, and what must come of it.

What is expected follows from the kind of mutation and from what the message's class says of the AVP (how often, which type,
which values), by RFC 6733 §4.1, §7.1 and §7.5; not from the pipeline, which these mutations test. `mutations` wants a request
without fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from protocol.avp import FIXED_OCTETS, FLAG_MANDATORY, FLAG_PRIVATE, FLAG_VENDOR, PADDING, Kind
from protocol.compiler import Codec, Field
from protocol.dictionary import BY_KEY, UNDERSTOOD_VENDORS
from protocol.header import HEADER_OCTETS, build, parse_header
from protocol.registry import COMMANDS

RESERVED_BITS = 0x1F
AUTH_APPLICATION_ID, VENDOR_SPECIFIC_APPLICATION_ID, REQUESTED_ACTION = 258, 260, 436
SUBSCRIPTION_ID_EXTENSION = 659
CC_REQUEST_TYPE, EVENT_REQUEST = 416, 4
BAD_TEXT = b"\xff\xfe"
NO_SUCH_VALUE = b"\x7f\xff\xff\xff"


class Mutation(NamedTuple):
    name: str
    frame: bytes
    expected: frozenset[int] | None
    """Result-Codes, one of which must be the answer's; None = the request must still be understood."""
    blame: tuple[int, ...] = ()
    """AVP codes that the Failed-AVP must hold, from the outermost parent to the offender; () = not told."""


@dataclass(frozen=True, slots=True)
class Node:
    code: int
    vendor: int
    flags: int
    payload: bytes
    children: tuple[Node, ...] | None
    declared: Field | None
    codec: Codec[Any]
    """Of the group (or message) it stands in."""
    length: int | None = None
    """What the header says, if it lies."""
    bare_vendor: bool = field(default=False)
    """The V bit is set, but no Vendor-Id is put in."""

    def octets(self) -> bytes:
        inside = self.payload if self.children is None else b"".join(child.octets() for child in self.children)
        has_vendor = bool(self.flags & FLAG_VENDOR) and not self.bare_vendor
        vendor = self.vendor.to_bytes(4, "big") if has_vendor else b""
        length = 8 + len(vendor) + len(inside)
        said = length if self.length is None else self.length
        head = self.code.to_bytes(4, "big") + (self.flags << 24 | said).to_bytes(4, "big")
        return head + vendor + inside + PADDING[length & 3]

    @property
    def name(self) -> str:
        known = BY_KEY.get(self.vendor << 32 | self.code)
        return known.name if known else f"{self.vendor}:{self.code}"


Place = tuple[int, ...]
"""Index at each level."""


def parse(data: bytes, codec: Codec[Any]) -> tuple[Node, ...]:
    """Its own walk: RFC 6733 §4.1 once more."""
    nodes, position = [], 0
    while position < len(data):
        code, word = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        flags, length = word[0], int.from_bytes(word[1:], "big")
        begin = position + (12 if flags & FLAG_VENDOR else 8)
        vendor = int.from_bytes(data[position + 8 : begin], "big")
        declared = codec.fields.get(vendor << 32 | code)
        payload = data[begin : position + length]
        children = parse(payload, declared.group) if declared is not None and declared.group is not None else None
        nodes.append(Node(code, vendor, flags, payload, children, declared, codec))
        position += length + (-length % 4)
    return tuple(nodes)


def mutations(frame: bytes) -> Iterator[Mutation]:
    """All mutations of a sound request."""
    header = parse_header(frame)
    command = COMMANDS[header.application_id, header.command_code]
    roots = parse(frame[HEADER_OCTETS:], command.codec)
    assert b"".join(node.octets() for node in roots) == frame[HEADER_OCTETS:], "the request is rebuilt as it was"

    for place, chain in _places(roots, (), ()):
        node = chain[-1]
        label = "/".join(f"{one.name}[{index}]" for one, index in zip(chain, place, strict=True))
        codes = tuple(one.code for one in chain)
        for kind, changed, expected in _of_node(roots, place, node):
            body = b"".join(one.octets() for one in changed)
            whole = build(body, header.flags, header.command_code, header.application_id, *header[4:])
            told = expected is not None and not (
                # The offender is a part of the group, or what is missing is told by other AVPs.
                (_is_group(node) and kind in ("truncated", "over-long"))
                or (kind.startswith("absent") and node.declared is not None and not node.declared.required)
            )
            yield Mutation(f"{kind} {label}", whole, expected, codes if told else ())


def _places(nodes: tuple[Node, ...], place: Place, chain: tuple[Node, ...]) -> Iterator[tuple[Place, tuple[Node, ...]]]:
    for index, node in enumerate(nodes):
        yield (*place, index), (*chain, node)
        if node.children is not None:
            yield from _places(node.children, (*place, index), (*chain, node))


def _is_group(node: Node) -> bool:
    return node.children is not None or (node.declared is not None and node.declared.kind is Kind.RAW)


def _put(nodes: tuple[Node, ...], place: Place, *instead: Node) -> tuple[Node, ...]:
    index, rest = place[0], place[1:]
    if rest:
        instead = (replace(nodes[index], children=_put(nodes[index].children or (), rest, *instead)),)
    return (*nodes[:index], *instead, *nodes[index + 1 :])


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


Change = tuple[str, tuple[Node, ...], frozenset[int] | None]


def _of_node(roots: tuple[Node, ...], place: Place, node: Node) -> Iterator[Change]:
    def put(kind: str, expected: frozenset[int] | None, *instead: Node) -> Change:
        return kind, _put(roots, place, *instead), expected

    absent = _put(roots, place)
    yield "absent", absent, _if_absent(roots, absent, place, node)
    yield put("doubled", _if_doubled(node), node, node)
    yield from (put(*change) for change in _lengths(node))
    yield from (put(*change) for change in _values(node))
    for name, bits in (("P", FLAG_PRIVATE), ("reserved bits", RESERVED_BITS)):
        yield put(f"with {name}", None, replace(node, flags=node.flags | bits))
    toggled = replace(node, flags=node.flags ^ FLAG_MANDATORY)
    yield put("with the other M", _codes(5001) if _is_refused(toggled) else None, toggled)
    yield from (_as_another(roots, place, node, *other) for other in _other_vendors(node))


def _if_absent(roots: tuple[Node, ...], rest: tuple[Node, ...], place: Place, node: Node) -> frozenset[int] | None:
    if node.declared is not None and node.declared.required:
        instances = _siblings(roots, place)
        if sum((one.code, one.vendor) == (node.code, node.vendor) for one in instances) == 1:
            return _codes(5005)
    if roots[0].codec is not COMMANDS[4, 272].codec:
        return None
    # RFC 8506 §3.1 and §8.41; the application may also stand in the vendor-specific group (§6.11 of RFC 6733).
    groups = [one for one in rest if one.code == VENDOR_SPECIFIC_APPLICATION_ID]
    offered = {child.code for group in groups for child in group.children or ()}
    has_application = AUTH_APPLICATION_ID in {one.code for one in rest} | offered
    is_event = any(one.code == CC_REQUEST_TYPE and one.payload[-1] == EVENT_REQUEST for one in rest)
    has_action = any(one.code == REQUESTED_ACTION for one in rest)
    names_none = any(not {258, 259} & {child.code for child in group.children or ()} for group in groups)
    emptied = any(group.code == SUBSCRIPTION_ID_EXTENSION and not group.children for group in rest)
    wrong = not has_application or names_none or emptied or (is_event and not has_action)
    return _codes(5005) if wrong else None


def _siblings(roots: tuple[Node, ...], place: Place) -> tuple[Node, ...]:
    for index in place[:-1]:
        roots = roots[index].children or ()
    return roots


def _if_doubled(node: Node) -> frozenset[int] | None:
    declared = node.declared
    if declared is None or declared.repeated or declared.doubled:
        return None
    return _codes(5009)


def _lengths(node: Node) -> Iterator[tuple[str, frozenset[int] | None, Node]]:
    wrong = _codes(5014)
    header = 12 if node.flags & FLAG_VENDOR else 8
    yield "shorter than its header:", wrong, replace(node, length=header - 1)
    yield "of length 0:", wrong, replace(node, length=0)
    yield "longer than all:", wrong, replace(node, length=0xFFFFFF)
    if node.payload:
        cut = replace(node, payload=node.payload[:-1], children=None)
        yield "truncated", wrong if _minds(node, -1) else None, cut
    yield "over-long", wrong if _minds(node, 1) else None, replace(node, payload=node.payload + b"x", children=None)


def _minds(node: Node, octets: int) -> bool:
    """Whether the type is one that an octet more or less makes impossible."""
    declared = node.declared
    if declared is None:
        return False
    if declared.kind is Kind.RAW:  # a group that is looked into for its lengths only
        return octets > 0 or node.octets()[-1:] != b"\0"
    if declared.kind in FIXED_OCTETS:
        return True
    if declared.kind is Kind.ADDRESS:
        return node.payload[:2] in (b"\0\1", b"\0\2") or len(node.payload) + octets < 2
    if node.children is None:
        return False
    if octets > 0:
        return True
    last = node.children[-1]
    return len(last.octets()) == _length(last)  # else only padding is cut


def _length(node: Node) -> int:
    """AVP Length, without padding."""
    inside = len(node.payload)
    return inside + (12 if node.flags & FLAG_VENDOR else 8)


def _values(node: Node) -> Iterator[tuple[str, frozenset[int] | None, Node]]:
    declared = node.declared
    if declared is None:
        return
    if declared.kind in (Kind.UTF8, Kind.IDENTITY):
        yield "no text in", _codes(5004), replace(node, payload=BAD_TEXT)
    elif declared.allowed is not None:
        yield "no such value in", _codes(5004), replace(node, payload=NO_SUCH_VALUE)


def _is_refused(node: Node) -> bool:
    """RFC 6733 §4.1: M, and not understood."""
    if node.declared is not None or not node.flags & FLAG_MANDATORY:
        return False
    return node.vendor not in UNDERSTOOD_VENDORS or node.vendor << 32 | node.code not in BY_KEY


def _other_vendors(node: Node) -> Iterator[tuple[str, Node]]:
    """The V bit and Vendor-Id wrong in every way."""
    if node.flags & FLAG_VENDOR:
        yield "without V:", replace(node, flags=node.flags & ~FLAG_VENDOR, vendor=0)
        yield "of vendor 0:", replace(node, vendor=0)
    else:
        yield "of vendor 0:", replace(node, flags=node.flags | FLAG_VENDOR)
        yield "of vendor 10415:", replace(node, flags=node.flags | FLAG_VENDOR, vendor=10415)
        whole = node.octets()
        if len(node.payload) >= 4 and node.children is None:
            vendor = int.from_bytes(whole[8:12], "big")
            yield "V without Vendor-Id:", replace(node, flags=node.flags | FLAG_VENDOR, vendor=vendor, bare_vendor=True)
    yield "of vendor 9:", replace(node, flags=node.flags | FLAG_VENDOR, vendor=9)


def _as_another(roots: tuple[Node, ...], place: Place, node: Node, kind: str, other: Node) -> Change:
    changed = _put(roots, place, other)
    if other.flags & FLAG_VENDOR and not other.vendor:
        left = len(node.payload) - 4 if other.bare_vendor else len(node.payload)
        size = FIXED_OCTETS.get(node.declared.kind) if node.declared is not None else None
        return kind, changed, _codes(3009 if size in (None, left) else 5014)
    declared = node.codec.fields.get(other.vendor << 32 | other.code)
    other = replace(other, declared=declared)
    if declared is not None:
        return kind, changed, frozenset({3009, 5001, 5004, 5005, 5009, 5014})  # it has become an AVP that is declared
    if _is_refused(other):
        return kind, changed, _codes(5001)
    if len(place) == 2 and roots[place[0]].code == SUBSCRIPTION_ID_EXTENSION:
        return kind, changed, None  # RFC 8506 §8.58: perhaps an identity of a type defined later
    return f"absent, as {kind}", changed, _if_absent(roots, _put(roots, place), place, node)
