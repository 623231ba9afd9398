"""Corrupts each AVP of a request in turn, at every level: absent, doubled, truncated, too long, wrong flags.

The expected result follows from RFC 6733 §4.1, §7.1 and §7.5, the kind of mutation and the message's class (how often,
which type, which values; `test_ccr_table` compares the classes with the standard). It does not follow from the
pipeline, which these mutations test. `mutations` needs a valid request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from protocol.avp import FIXED_OCTETS, FLAG_MANDATORY, FLAG_PRIVATE, FLAG_VENDOR, PADDING, Kind
from protocol.compiler import UNDECLARED, Codec, Field
from protocol.dictionary import BY_KEY, UNDERSTOOD_VENDORS
from protocol.header import FLAG_ERROR, FLAG_PROXIABLE, FLAG_RETRANSMITTED, HEADER_OCTETS, build, parse_header
from protocol.registry import COMMANDS

RESERVED_BITS = 0x1F
RESERVED_HEADER_BITS = 0x0F
AUTH_APPLICATION_ID, VENDOR_SPECIFIC_APPLICATION_ID, REQUESTED_ACTION = 258, 260, 436
SUBSCRIPTION_ID_EXTENSION = 659
CC_REQUEST_TYPE, EVENT_REQUEST = 416, 4
BAD_TEXT = b"\xff\xfe"
NO_SUCH_VALUE = b"\x7f\xff\xff\xff"
EMPTY_ADDRESS = bytes.fromhex("000100000000")

UNDERSTOOD = frozenset({0})
ANYTHING = frozenset({0, 3009, 5001, 5004, 5005, 5007, 5008, 5009, 5014})
"""Results for an AVP that has become another one, or a part of one: any error, or none."""


class Mutation(NamedTuple):
    name: str
    frame: bytes
    expected: frozenset[int]
    """Allowed Result-Codes; 0 = the request is understood."""
    failed: bytes | None = None
    """Required contents of Failed-AVP, octet by octet; None = not checked."""


@dataclass(frozen=True, slots=True)
class Node:
    code: int
    vendor: int
    flags: int
    payload: bytes
    children: tuple[Node, ...] | None
    declared: Field | None
    codec: Codec[Any]
    """Codec of the group (or message) that contains it."""
    seen: bool = field(default=True)
    """False: it is inside a group that may be skipped (undeclared, and without M)."""
    length: int | None = None
    """A wrong AVP Length for the header, or None."""
    bare_vendor: bool = field(default=False)
    """The V bit is set without a Vendor-Id."""

    def octets(self) -> bytes:
        inside = self.payload if self.children is None else b"".join(child.octets() for child in self.children)
        has_vendor = bool(self.flags & FLAG_VENDOR) and not self.bare_vendor
        vendor = self.vendor.to_bytes(4, "big") if has_vendor else b""
        length = 8 + len(vendor) + len(inside)
        said = length if self.length is None else self.length
        head = self.code.to_bytes(4, "big") + (self.flags << 24 | said).to_bytes(4, "big")
        return head + vendor + inside + PADDING[length & 3]

    @property
    def key(self) -> int:
        return self.vendor << 32 | self.code

    @property
    def known(self) -> bool:
        return self.vendor in UNDERSTOOD_VENDORS and self.key in BY_KEY

    @property
    def kind(self) -> Kind | None:
        """None: its contents are not checked (unknown, or undeclared and without M)."""
        if self.declared is not None:
            return self.declared.definition.kind
        return BY_KEY[self.key].kind if self.known and self.flags & FLAG_MANDATORY else None

    @property
    def name(self) -> str:
        known = BY_KEY.get(self.key)
        return known.name if known else f"{self.vendor}:{self.code}"


def least(key: int) -> bytes:
    """RFC 6733 §7.5: zeros of the type's least length."""
    known = BY_KEY.get(key)
    if known is None:
        return b""
    return EMPTY_ADDRESS if known.kind is Kind.ADDRESS else bytes(FIXED_OCTETS.get(known.kind, 0))


Place = tuple[int, ...]
"""Index at each level."""


def parse(data: bytes, codec: Codec[Any], seen: bool = True) -> tuple[Node, ...]:
    """A second implementation of RFC 6733 §4.1."""
    nodes, position = [], 0
    while position < len(data):
        code, word = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        flags, length = word[0], int.from_bytes(word[1:], "big")
        begin = position + (12 if flags & FLAG_VENDOR else 8)
        vendor = int.from_bytes(data[position + 8 : begin], "big")
        declared = codec.fields.get(vendor << 32 | code)
        payload = data[begin : position + length]
        node = Node(code, vendor, flags, payload, None, declared, codec, seen)
        if declared is not None:
            group = declared.group or declared.inside
        else:
            group = UNDECLARED if node.known and BY_KEY[node.key].kind is Kind.GROUPED else None
        if group is not None:
            inside = parse(payload, group, seen and (declared is not None or bool(flags & FLAG_MANDATORY)))
            node = replace(node, children=inside)
        nodes.append(node)
        position += length + (-length % 4)
    return tuple(nodes)


def mutations(frame: bytes) -> Iterator[Mutation]:
    """All mutations of a valid request. Each is a request, so each must be answered."""
    header = parse_header(frame)
    command = COMMANDS[header.application_id, header.command_code]
    roots = parse(frame[HEADER_OCTETS:], command.codec)
    assert b"".join(node.octets() for node in roots) == frame[HEADER_OCTETS:], "the request is rebuilt as it was"

    yield from _of_header(frame, proxiable=command.proxiable)
    for place, chain in _places(roots, (), ()):
        node = chain[-1]
        label = "/".join(f"{one.name}[{index}]" for one, index in zip(chain, place, strict=True))
        for change in _of_node(roots, place, node):
            body = b"".join(one.octets() for one in change.nodes)
            whole = build(body, header.flags, header.command_code, header.application_id, *header[4:])
            failed = None if change.failed is None else _wrapped(change.failed, chain[:-1])
            if not node.seen:
                yield Mutation(f"{change.kind} unseen {label}", whole, UNDERSTOOD)
            else:
                yield Mutation(f"{change.kind} {label}", whole, change.expected, failed)


def _of_header(frame: bytes, *, proxiable: bool) -> Iterator[Mutation]:
    """RFC 6733 §3: E only in answers, P only if proxiable; T and the reserved bits have no effect."""
    flags = frame[4]

    def with_flags(name: str, changed: int, *expected: int) -> Mutation:
        return Mutation(f"header {name}", frame[:4] + bytes([changed]) + frame[5:], _codes(*expected), b"")

    yield with_flags("with E", flags | FLAG_ERROR, 3008)
    yield with_flags("with the other T", flags ^ FLAG_RETRANSMITTED, 0)
    yield with_flags("with reserved bits", flags | RESERVED_HEADER_BITS, 0)
    yield with_flags("with the other P", flags ^ FLAG_PROXIABLE, 0 if proxiable else 3008)


def _wrapped(avps: bytes, parents: tuple[Node, ...]) -> bytes:
    for parent in reversed(parents):
        avps = replace(parent, payload=avps, children=None).octets()
    return avps


def _places(nodes: tuple[Node, ...], place: Place, chain: tuple[Node, ...]) -> Iterator[tuple[Place, tuple[Node, ...]]]:
    for index, node in enumerate(nodes):
        yield (*place, index), (*chain, node)
        if node.children is not None:
            yield from _places(node.children, (*place, index), (*chain, node))


def _put(nodes: tuple[Node, ...], place: Place, *instead: Node) -> tuple[Node, ...]:
    index, rest = place[0], place[1:]
    if rest:
        instead = (replace(nodes[index], children=_put(nodes[index].children or (), rest, *instead)),)
    return (*nodes[:index], *instead, *nodes[index + 1 :])


def _codes(*codes: int) -> frozenset[int]:
    return frozenset(codes)


class Change(NamedTuple):
    kind: str
    nodes: tuple[Node, ...]
    expected: frozenset[int]
    failed: bytes | None = None
    """The AVP without its parents."""


def _of_node(roots: tuple[Node, ...], place: Place, node: Node) -> Iterator[Change]:
    def put(kind: str, expected: frozenset[int], failed: bytes | None, *instead: Node) -> Change:
        return Change(kind, _put(roots, place, *instead), expected, failed)

    yield Change("absent", *_without(roots, place, node))
    second = _another(node)
    doubled = _if_doubled(node)
    yield put("doubled", doubled, second.octets() if doubled != UNDERSTOOD else None, node, second)
    for change in (*_lengths(node, _neighbour(roots, place)), *_values(node)):
        yield put(*change)
    for name, bits in (("P", FLAG_PRIVATE), ("reserved bits", RESERVED_BITS)):
        yield put(f"with {name}", UNDERSTOOD, None, replace(node, flags=node.flags | bits))
    toggled = replace(node, flags=node.flags ^ FLAG_MANDATORY)
    refused = _is_refused(toggled)
    yield put(
        "with the other M", _codes(5001) if refused else UNDERSTOOD, toggled.octets() if refused else None, toggled
    )
    for kind, other in _other_vendors(node):
        yield _as_another(roots, place, node, kind, other)


def _without(
    roots: tuple[Node, ...], place: Place, node: Node
) -> tuple[tuple[Node, ...], frozenset[int], bytes | None]:
    rest = _put(roots, place)
    if node.declared is not None and node.declared.required:
        instances = [one for one in _siblings(roots, place) if one.key == node.key]
        if len(instances) == 1:
            flags = FLAG_MANDATORY if node.declared.definition.mandatory else 0
            example = replace(node, flags=node.flags & FLAG_VENDOR | flags, payload=least(node.key), children=None)
            return rest, _codes(5005), example.octets()
    return rest, _codes(5005) if _is_short_of_something(roots, rest) else UNDERSTOOD, None


def _is_short_of_something(roots: tuple[Node, ...], rest: tuple[Node, ...]) -> bool:
    """Whether required AVPs are missing (RFC 8506 §3.1, §8.41); the application may also be in the vendor-specific
    group (RFC 6733 §6.11).
    """
    if roots[0].codec is not COMMANDS[4, 272].codec:
        return False
    groups = [one for one in rest if one.code == VENDOR_SPECIFIC_APPLICATION_ID]
    offered = {child.code for group in groups for child in group.children or ()}
    has_application = AUTH_APPLICATION_ID in {one.code for one in rest} | offered
    is_event = any(one.code == CC_REQUEST_TYPE and one.payload[-1] == EVENT_REQUEST for one in rest)
    has_action = any(one.code == REQUESTED_ACTION for one in rest)
    names_none = any(not {258, 259} & {child.code for child in group.children or ()} for group in groups)
    emptied = any(group.code == SUBSCRIPTION_ID_EXTENSION and not group.children for group in rest)
    return not has_application or names_none or emptied or (is_event and not has_action)


def _siblings(roots: tuple[Node, ...], place: Place) -> tuple[Node, ...]:
    for index in place[:-1]:
        roots = roots[index].children or ()
    return roots


def _neighbour(roots: tuple[Node, ...], place: Place) -> Node | None:
    following = _siblings(roots, place)[place[-1] + 1 :]
    return following[0] if following else None


def _another(node: Node) -> Node:
    """An AVP of the same kind with another value, if possible, so that the blamed one can be identified."""
    if node.children is not None or not node.payload:
        return node
    kind = BY_KEY[node.key].kind if node.known else None
    allowed = node.declared.allowed if node.declared is not None else None
    if allowed is not None:
        others = sorted(allowed - {int.from_bytes(node.payload, "big")})
        return replace(node, payload=others[0].to_bytes(4, "big")) if others else node
    if kind in (Kind.UTF8, Kind.IDENTITY):
        return replace(node, payload=node.payload + b"x")
    if kind in FIXED_OCTETS:
        return replace(node, payload=node.payload[:-1] + bytes([node.payload[-1] ^ 1]))
    return node


def _if_doubled(node: Node) -> frozenset[int]:
    declared = node.declared
    if declared is None or declared.repeated or declared.doubled:
        return UNDERSTOOD
    return _codes(5009)


Instead = tuple[str, frozenset[int], bytes | None, Node]


def _lengths(node: Node, neighbour: Node | None) -> Iterator[Instead]:
    wrong = _codes(5014)
    header = 12 if node.flags & FLAG_VENDOR else 8
    corrected = replace(node, payload=least(node.key), children=None).octets()
    is_group = node.children is not None
    for name, length in (("shorter than its header:", header - 1), ("of length 0:", 0), ("longer than all:", 0xFFFFFF)):
        yield name, wrong, corrected, replace(node, length=length)
    for name, octets in (("truncated", -1), ("over-long", 1)):
        if octets > 0 or node.payload:
            payload = node.payload + b"x" if octets > 0 else node.payload[:-1]
            minds = _minds(node, octets)
            told = corrected if minds and not is_group else None
            if _is_bad_text(node, payload):
                minds, told = True, None
            expected = wrong if minds and not _is_bad_text(node, payload) else UNDERSTOOD
            yield (
                name,
                _codes(5004) if _is_bad_text(node, payload) else expected,
                told,
                replace(node, payload=payload, children=None),
            )
    if neighbour is None:
        return
    inside = len(node.payload) if not is_group else len(b"".join(child.octets() for child in node.children or ()))
    padded = header + inside + -(header + inside) % 4
    swallowed = replace(neighbour, length=None).octets()
    for name, length in (("swallowing", padded + len(swallowed)), ("biting into", padded + 4)):
        strict = node.kind in FIXED_OCTETS
        yield (
            f"{name} its neighbour:",
            wrong if strict else ANYTHING,
            corrected if strict else None,
            replace(node, length=length),
        )


def _is_bad_text(node: Node, payload: bytes) -> bool:
    """Whether the text ends within a character, or is an empty identity."""
    if node.declared is None or node.declared.kind not in (Kind.UTF8, Kind.IDENTITY):
        return False
    try:
        return not payload.decode() and node.declared.kind is Kind.IDENTITY
    except UnicodeDecodeError:
        return True


def _minds(node: Node, octets: int) -> bool:
    """Whether the type does not allow one octet more or less."""
    kind = node.kind
    if kind in FIXED_OCTETS:
        return True
    if node.declared is not None and kind is Kind.ADDRESS:
        return node.payload[:2] in (b"\0\1", b"\0\2") or len(node.payload) + octets < 2
    if kind is not Kind.GROUPED:
        return False
    if octets > 0:
        return True
    last = (node.children or ())[-1]
    return len(last.octets()) == _length(last)  # else only padding is cut


def _length(node: Node) -> int:
    """AVP Length, without padding."""
    inside = len(node.payload)
    return inside + (12 if node.flags & FLAG_VENDOR else 8)


def _values(node: Node) -> Iterator[Instead]:
    declared = node.declared
    if declared is None:
        return
    if declared.kind in (Kind.UTF8, Kind.IDENTITY):
        bad = replace(node, payload=BAD_TEXT)
        yield "no text in", _codes(5004), bad.octets(), bad
    if declared.kind is Kind.IDENTITY:
        bad = replace(node, payload=b"")
        yield "nothing in", _codes(5004), bad.octets(), bad
    elif declared.allowed is not None:
        bad = replace(node, payload=NO_SUCH_VALUE)
        yield "no such value in", _codes(5004), bad.octets(), bad


def _is_refused(node: Node) -> bool:
    """RFC 6733 §4.1: M and unsupported."""
    return node.declared is None and bool(node.flags & FLAG_MANDATORY) and not node.known


def _other_vendors(node: Node) -> Iterator[tuple[str, Node]]:
    """All wrong combinations of V bit and Vendor-Id."""
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
    """The same code of another vendor is another AVP."""
    changed = _put(roots, place, other)
    other = replace(other, declared=node.codec.fields.get(other.key))
    left = len(node.payload) - 4 if other.bare_vendor else len(node.payload)
    fits = left == FIXED_OCTETS.get(other.kind, left) if other.kind is not None else True
    looked_into = other.kind in (Kind.GROUPED, Kind.ADDRESS)
    if other.flags & FLAG_VENDOR and not other.vendor:
        expected = _codes(3009, 5014) if looked_into else _codes(3009 if fits else 5014)
        return Change(kind, changed, expected, other.octets() if expected == _codes(3009) else None)
    if other.declared is not None:
        return Change(kind, changed, ANYTHING)  # it has become an AVP that is declared
    if _is_refused(other):
        return Change(kind, changed, _codes(5001), other.octets())
    if looked_into or not fits:
        return Change(kind, changed, ANYTHING if looked_into else _codes(5014))
    if len(place) == 2 and roots[place[0]].code == SUBSCRIPTION_ID_EXTENSION:
        return Change(kind, changed, UNDERSTOOD)  # RFC 8506 §8.58: perhaps an identity of a type defined later
    _, expected, failed = _without(roots, place, node)
    return Change(f"absent, as {kind}", changed, expected, failed)
