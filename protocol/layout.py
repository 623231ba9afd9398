"""Decodes messages whose layout was seen before, without walking their AVPs. Nearly all messages of a client have a few
layouts.

A layout is the positions and octets of all AVP headers of a message (code, flags, length, vendor, at every declared
depth). Two messages of one length have the same layout if these octets are equal; one masked comparison of the whole
message as a number shows it. All values are then at known offsets: one `struct` unpacks them, and a function generated
for the shape (`builders`) makes the object.

Invariant, checked by tests: `Layouts.read` gives the same result as `Codec.read`, object or Fault. Messages that do not
match are decoded by `Codec.read`, the only place with the rules.

Learning a layout costs more than decoding once. It is therefore paid from budgets that grow with the octets decoded by
`Codec.read`: a peer that never repeats a layout is served about a tenth slower than without layouts, once the initial
budgets are used up. Layouts and builders have separate budgets, so that a flood of layouts does not prevent other
peers' builders.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from protocol.avp import FLAG_VENDOR, Kind
from protocol.builders import REFUSALS, Builder, Shape, builder_of, statements_of, unpack_format
from protocol.compiler import UNDECLARED, Codec
from protocol.dictionary import BY_KEY
from protocol.header import HEADER_OCTETS
from protocol.undeclared import must_be_understood

T = TypeVar("T")

MAX_LAYOUTS = 512
"""Some tens of shapes times some tens of lengths of Session-Id and addresses. With MAX_LAYOUT_OCTETS at most 5 MB."""
MAX_LAYOUT_OCTETS = 4_096
"""Longer messages are decoded by the codec: they are rare, and a layout takes twice the octets of its message."""
MAX_LAYOUTS_PER_LENGTH = 8
"""They are compared one after the other (0.2 µs each): a miss must be cheap compared with decoding."""
CHANCES = 4
"""Second-chance eviction: how often a used layout is spared when another needs its place."""
MAX_BUILDERS = 128
"""A client has about ten kinds of request, and layouts of one shape share a builder."""
MAX_STATEMENTS = 1_280
"""Most statements of one builder. A request with twenty services has about as many; generating it blocks for some 10
ms.
"""

LEARNING_SHARE = 64
"""Learning layouts and generating builders may each take 1/64 of the decoding time."""
SURVEY_COST = 3 * LEARNING_SHARE
"""Octets to decode for one octet of a learned layout: learning takes two to three times as long as decoding."""
STATEMENT_COST = 256 * LEARNING_SHARE
"""Octets to decode for one statement of a builder: generating it takes as long as decoding some 250 octets."""
SURVEY_BUDGET = 2 * MAX_LAYOUTS * 780 * SURVEY_COST
BUILDER_BUDGET = MAX_BUILDERS * 200 * STATEMENT_COST
"""Both budgets: initial value and maximum. For ordinary requests of 780 octets and 200 statements, so that a network's
clients are learned at once (about 0.4 s of CPU, spread over their first requests).
"""

_TWO = struct.Struct(">II").unpack_from
_ONE = struct.Struct(">I").unpack_from


class Layout:
    """Offsets in messages of one layout. Recorded when first seen; a builder is assigned when seen again."""

    __slots__ = ("build", "chances", "format", "length", "mask", "pattern", "shape", "statements", "unpack")

    def __init__(self, codec: Codec[Any], frame: bytes, start: int) -> None:
        """`codec` must have decoded `frame` without Fault."""
        self.length = len(frame)
        headers = bytearray(self.length)
        parts = [">"]
        self.shape, _ = _survey(codec, frame, (start, self.length), headers, parts, 0)
        self.format = "".join(parts)
        self.statements = statements_of(codec, self.shape)
        self.mask = int.from_bytes(headers, "big")
        self.pattern = int.from_bytes(frame, "big") & self.mask
        self.chances = 0
        self.build: Builder | None = None
        self.unpack = struct.Struct(">").unpack_from

    def make_ready(self, build: Builder) -> None:
        self.unpack = struct.Struct(self.format).unpack_from
        self.build = build


def _survey(
    codec: Codec[Any], frame: bytes, span: tuple[int, int], headers: bytearray, parts: list[str], taken: int
) -> tuple[Shape, int]:
    """Marks the headers in `span` and extends the unpacking format. `taken`: end of the format so far; the new end is
    returned.
    """
    rows: list[tuple[int, Shape]] = []
    position, end = span
    while position < end:
        code, word = _TWO(frame, position)
        payload, vendor = position + 8, 0
        if word >> 24 & FLAG_VENDOR:
            (vendor,) = _ONE(frame, payload)
            payload += 4
        stop = position + (word & 0xFFFFFF)
        headers[position:payload] = b"\xff" * (payload - position)
        field = codec.fields.get(vendor << 32 | code)
        if field is not None and field.group is not None:
            inner, taken = _survey(field.group, frame, (payload, stop), headers, parts, taken)
            rows.append((field.slot, inner))
        elif field is None:
            key = vendor << 32 | code
            if must_be_understood(key, word >> 24) and BY_KEY[key].kind is Kind.GROUPED:
                # Its values are not unpacked: the new end of the format is ignored.
                _survey(UNDECLARED, frame, (payload, stop), headers, parts, taken)
        else:
            begin = position if field.kind is Kind.RAW else payload
            parts.append(f"{begin - taken}x{unpack_format(field.kind, stop - begin)}")
            taken = stop
            rows.append((field.slot, ()))
        position = (stop + 3) & ~3
    return tuple(rows), taken


class Layouts(Generic[T]):
    """The known layouts of one kind of message. Not thread-safe."""

    __slots__ = ("_builder_budget", "_builders", "_by_length", "_codec", "_layouts", "_start", "_survey_budget")

    def __init__(self, codec: Codec[T], start: int = HEADER_OCTETS) -> None:
        self._codec = codec
        self._start = start
        self._by_length: dict[int, tuple[Layout, ...]] = {}
        self._layouts: dict[Layout, None] = {}
        self._builders: dict[Shape, Builder] = {}
        self._survey_budget = SURVEY_BUDGET
        self._builder_budget = BUILDER_BUDGET

    def read(self, frame: bytes) -> T:
        """Decodes the message. Raises Fault."""
        known = self._by_length.get(len(frame))
        if known is None:
            return self._walk(frame, None)
        number = int.from_bytes(frame, "big")
        for layout in known:
            if number & layout.mask == layout.pattern:
                if layout.build is None:
                    return self._walk(frame, layout)
                layout.chances = CHANCES
                try:
                    message: T = layout.build(layout.unpack(frame))
                except REFUSALS:
                    break
                return message
        else:
            return self._walk(frame, None)
        return self._codec.read(frame, self._start, len(frame))

    def _walk(self, frame: bytes, layout: Layout | None) -> T:
        """Decodes by the codec, and learns if the budgets allow it."""
        octets = len(frame)
        message = self._codec.read(frame, self._start, octets)
        if octets > MAX_LAYOUT_OCTETS:
            return message
        self._survey_budget = min(self._survey_budget + octets, SURVEY_BUDGET)
        self._builder_budget = min(self._builder_budget + octets, BUILDER_BUDGET)
        if layout is not None:
            self._make_ready(layout)
        elif self._survey_budget >= SURVEY_COST * octets:
            self._survey_budget -= SURVEY_COST * octets
            layout = Layout(self._codec, frame, self._start)
            self._make_room(octets)
            self._layouts[layout] = None
            self._by_length[octets] = (*self._by_length.get(octets, ()), layout)
        return message

    def _make_ready(self, layout: Layout) -> None:
        """Assigns a builder, if the budget allows it."""
        cost = STATEMENT_COST * layout.statements
        if layout.statements > MAX_STATEMENTS or cost > self._builder_budget:
            return
        build = self._builders.get(layout.shape)
        if build is None:
            self._builder_budget -= cost
            if len(self._builders) >= MAX_BUILDERS:
                self._forget_builder()
            build = self._builders[layout.shape] = builder_of(self._codec, layout.shape)
        layout.make_ready(build)

    def _forget_builder(self) -> None:
        """Drops the oldest builder that no recently used layout needs, with all its layouts."""
        needed = {layout.build for layout in self._layouts if layout.chances}
        oldest = next(iter(self._builders))
        shape = next((shape for shape, build in self._builders.items() if build not in needed), oldest)
        build = self._builders.pop(shape)
        for layout in [layout for layout in self._layouts if layout.build is build]:
            self._forget(layout)

    def _make_room(self, length: int) -> None:
        same = self._by_length.get(length, ())
        if len(same) >= MAX_LAYOUTS_PER_LENGTH:
            self._forget(_least_used(same))
        elif len(self._layouts) >= MAX_LAYOUTS:
            self._forget(_least_used(self._layouts))

    def _forget(self, layout: Layout) -> None:
        del self._layouts[layout]
        rest = tuple(other for other in self._by_length[layout.length] if other is not layout)
        if rest:
            self._by_length[layout.length] = rest
        else:
            del self._by_length[layout.length]


def _least_used(layouts: Iterable[Layout]) -> Layout:
    """The oldest layout without chances; if all have some, the oldest. Takes one chance from those it passes."""
    oldest: Layout | None = None
    for layout in layouts:
        if not layout.chances:
            return layout
        layout.chances -= 1
        oldest = oldest or layout
    assert oldest is not None
    return oldest
