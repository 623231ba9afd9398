"""Reads messages whose layout was seen before without walking them: what a client sends is nearly always of a few
layouts.

A layout is where every AVP header of a message stands and what its octets are (code, flags, length, vendor, at every
depth that is declared). Two messages of one length have the same layout if these octets are equal, which one masked
comparison of the whole message as a number shows. Then all values are at known places: one `struct` unpacks them and a
function made for the shape (`builders`) turns them into the object.

Invariant, held by tests: `Layouts.read` gives what `Codec.read` gives, object or Fault. Whatever is not as expected is
read by the walk, which stays the only place where the rules are.

Learning costs more than walking, so it is paid from allowances that only walking fills: a peer that never sends the
same layout twice is served about a tenth slower than by the walk alone, once the initial allowances are used up. Noting
layouts and making functions have an allowance each, so that a flood of layouts does not keep others' functions from
being made.
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
from protocol.undeclared import is_minded

T = TypeVar("T")

MAX_LAYOUTS = 512
"""Layouts kept: some tens of shapes times some tens of lengths of Session-Id and addresses. At most 5 MB with the next
bound.
"""
MAX_LAYOUT_OCTETS = 4_096
"""Longer messages are walked: they are rare, and what is kept of a layout is twice as long as the message."""
MAX_LAYOUTS_PER_LENGTH = 8
"""Compared one after the other (a fifth of a microsecond each), so that a miss stays cheap against a walk."""
CHANCES = 4
"""How often a layout is passed over, after its last use, when another has to make room."""
MAX_BUILDERS = 128
"""Functions kept: a client has some ten kinds of request, and layouts of one shape share a function."""
MAX_STATEMENTS = 1_280
"""In one function; a request with twenty services has about as many, and making it holds up the caller for some 10
ms.
"""

PAYBACK = 64
"""Each of noting layouts and making functions may take this part of the time that walking takes."""
SURVEY_PRICE = 3 * PAYBACK
"""Octets walked that pay for noting the layout of one octet: it takes two to three times as long as walking it."""
STATEMENT_PRICE = 256 * PAYBACK
"""Octets walked that pay for one statement of a function: making it takes as long as walking some 250 octets."""
SURVEY_ALLOWANCE = 2 * MAX_LAYOUTS * 780 * SURVEY_PRICE
FUNCTION_ALLOWANCE = MAX_BUILDERS * 200 * STATEMENT_PRICE
"""The most that can be saved up, and what is there at the start: for ordinary requests of 780 octets and 200
statements, so that a network's clients are learned at once (about four tenths of a second, spread over their first
requests)."""

_TWO = struct.Struct(">II").unpack_from
_ONE = struct.Struct(">I").unpack_from


class Layout:
    """Where things are in messages of one layout. Noted at first sight, made ready to build at the second."""

    __slots__ = ("build", "chances", "format", "length", "mask", "pattern", "shape", "statements", "unpack")

    def __init__(self, codec: Codec[Any], frame: bytes, start: int) -> None:
        """`frame` was read by `codec` without Fault."""
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
    """Marks the headers in `span`, adds to the unpacking format. `taken`: up to where the format reaches; returned
    anew.
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
            if is_minded(key, word >> 24) and BY_KEY[key].kind is Kind.GROUPED:
                _survey(
                    UNDECLARED, frame, (payload, stop), headers, parts, taken
                )  # what was found right of its inside stays so
        else:
            begin = position if field.kind is Kind.RAW else payload
            parts.append(f"{begin - taken}x{unpack_format(field.kind, stop - begin)}")
            taken = stop
            rows.append((field.slot, ()))
        position = (stop + 3) & ~3
    return tuple(rows), taken


class Layouts(Generic[T]):
    """The layouts known of one kind of message. Used by one thread."""

    __slots__ = ("_builders", "_by_length", "_codec", "_for_functions", "_for_surveys", "_layouts", "_start")

    def __init__(self, codec: Codec[T], start: int = HEADER_OCTETS) -> None:
        self._codec = codec
        self._start = start
        self._by_length: dict[int, tuple[Layout, ...]] = {}
        self._layouts: dict[Layout, None] = {}
        self._builders: dict[Shape, Builder] = {}
        self._for_surveys = SURVEY_ALLOWANCE
        self._for_functions = FUNCTION_ALLOWANCE

    def read(self, frame: bytes) -> T:
        """The object in the message. Raises Fault."""
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
        """Reads the ordinary way, and learns if that may be afforded."""
        octets = len(frame)
        message = self._codec.read(frame, self._start, octets)
        if octets > MAX_LAYOUT_OCTETS:
            return message
        self._for_surveys = min(self._for_surveys + octets, SURVEY_ALLOWANCE)
        self._for_functions = min(self._for_functions + octets, FUNCTION_ALLOWANCE)
        if layout is not None:
            self._make_ready(layout)
        elif self._for_surveys >= SURVEY_PRICE * octets:
            self._for_surveys -= SURVEY_PRICE * octets
            layout = Layout(self._codec, frame, self._start)
            self._make_room(octets)
            self._layouts[layout] = None
            self._by_length[octets] = (*self._by_length.get(octets, ()), layout)
        return message

    def _make_ready(self, layout: Layout) -> None:
        """Seen for the second time at least."""
        price = STATEMENT_PRICE * layout.statements
        if layout.statements > MAX_STATEMENTS or price > self._for_functions:
            return
        build = self._builders.get(layout.shape)
        if build is None:
            self._for_functions -= price
            if len(self._builders) >= MAX_BUILDERS:
                self._forget_builder()
            build = self._builders[layout.shape] = builder_of(self._codec, layout.shape)
        layout.make_ready(build)

    def _forget_builder(self) -> None:
        """The oldest that no layout in use needs; with it go the layouts that have it."""
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
    """The oldest one that has no chance left; if all have, the oldest."""
    oldest: Layout | None = None
    for layout in layouts:
        if not layout.chances:
            return layout
        layout.chances -= 1
        oldest = oldest or layout
    assert oldest is not None
    return oldest
