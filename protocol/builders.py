"""Generates a Python function for one shape of message: unpacked values in, the typed object out.

A shape says which declared AVPs occur, in which order and at which depth. Lengths and offsets are not part of it, so
messages that differ only in the length of a text share a function. The function has no loop over AVPs, no table look-up
and no call of `__init__`. It applies the same conversions and checks as the decode loop of `compiler`. Its source
consists of attribute names and constants of our own definitions; it contains no data of a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.avp import PADDING, TIME_OFFSET_S, BadLength, BadValue, Kind, address_of
from protocol.coders import FORMATS
from protocol.compiler import Codec, Field

Shape = tuple[tuple[int, "Shape"], ...]
"""The declared AVPs of one group in the order of the message: slot and, for a group, its own shape (else empty)."""
Builder = Callable[[tuple[Any, ...]], Any]
REFUSALS = (KeyError, UnicodeDecodeError, BadLength, BadValue)
"""What a builder raises for a value that its definition does not allow."""

_EXPRESSIONS = {
    Kind.UTF8: "{}.decode()",
    Kind.IDENTITY: "{}.decode('ascii')",
    Kind.TIME: f"({{0}} if {{0}} & 0x80000000 else {{0}} + 0x100000000) - {TIME_OFFSET_S}",
    Kind.ADDRESS: "address_of({})",
    Kind.RAW: "{0} + PADDING[len({0}) & 3]",
}
"""Conversion of the unpacked value; kinds not listed need none."""


def unpack_format(kind: Kind, octets: int) -> str:
    """`struct` format of the payload of one AVP."""
    if kind is Kind.TIME:
        return "I"
    return FORMATS[kind][1:] if kind in FORMATS else f"{octets}s"


def statements_of(codec: Codec[Any], shape: Shape) -> int:
    """Statements in the function for a shape: one for each attribute of each object, and one for each AVP."""
    groups = {field.slot: field.group for field in codec.fields.values() if field.group is not None}
    inside = sum(statements_of(groups[slot], inner) for slot, inner in shape if slot in groups)
    return len(codec.attributes) + len(shape) + inside


def builder_of(codec: Codec[Any], shape: Shape) -> Builder:
    source = _Source()
    result = source.group(codec, shape)
    values = "".join(f"{name}, " for name in source.values)
    body = "\n ".join([f"{values}= values" if values else "pass", *source.lines, f"return {result}"])
    exec(f"def build(values):\n {body}\n", source.names)
    build: Builder = source.names["build"]
    return build


class _Source:
    """The source being generated. Objects are o0, o1, …, unpacked values v0, v1, … in the order of the message."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.values: list[str] = []
        self.names: dict[str, Any] = {"new": object.__new__, "address_of": address_of, "PADDING": PADDING}
        self._objects = 0

    def group(self, codec: Codec[Any], shape: Shape) -> str:
        """Adds the lines that make one object; returns its name."""
        fields = {field.slot: field for field in codec.fields.values()}
        given: dict[int, list[str]] = {}
        for slot, inner in shape:
            field = fields[slot]
            expression = self._leaf(field) if field.group is None else self.group(field.group, inner)
            given.setdefault(slot, []).append(expression)
        name = f"o{self._objects}"
        self._objects += 1
        self.lines.append(f"{name} = new({self._name(codec.make)})")
        for slot, (attribute, default) in enumerate(zip(codec.attributes, codec.defaults, strict=True)):
            expressions = given.get(slot, [])
            if slot in codec.lists:
                value = f"[{', '.join(expressions)}]"
            elif not expressions:
                value = "None" if default is None else self._name(default)
            elif fields[slot].kind is Kind.GROUPED and fields[slot].group is None:
                value = expressions[
                    -1
                ]  # the earlier ones are empty, else the decode loop would have refused the message
            else:
                value = expressions[0]
                self.lines += expressions[1:]  # unused, but their values must be valid
            self.lines.append(f"{name}.{attribute} = {value}")
        return name

    def _leaf(self, field: Field) -> str:
        value = f"v{len(self.values)}"
        self.values.append(value)
        expression = _EXPRESSIONS.get(field.kind, "{}").format(value)
        if field.allowed is None:
            return expression
        return f"{self._name({number: number for number in field.allowed})}[{expression}]"

    def _name(self, value: Any) -> str:
        """A global name for a constant without a literal."""
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name
