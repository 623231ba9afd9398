"""Turns a message class into tables, once at import, and walks them: the hot path of the protocol.

The class is the definition (see `units`). Compiling it gives a flat table from AVP key to (kind, slot, …) for reading and a
flat list of (kind, header prefix, …) for writing. Reading fills a list of slots and makes the object from it: no object per
AVP. The reader stops at the first thing that is not as it should be with `Fault` and no detail; `pipeline` then finds out,
stage by stage and at leisure, what to answer. Invariant, held by tests: `read` faults exactly when `pipeline` finds an error.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from protocol.avp import (
    FLAG_MANDATORY,
    FLAG_VENDOR,
    PADDING,
    Address,
    BadLength,
    BadValue,
    Kind,
    decode_address,
    decode_value,
    encode_address,
    encode_time,
    encode_value,
)
from protocol.dictionary import UNDERSTOOD, Definition, definition_of

T = TypeVar("T")

READ_MARGIN = bytes(16)
"""Zero octets behind a frame, so that a header may be read whole wherever it begins."""

_HEADER = struct.Struct(">IIII").unpack_from
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_TWO = struct.Struct(">II").pack
_THREE = struct.Struct(">III").pack

_TYPES: dict[type, frozenset[Kind]] = {
    int: frozenset(
        {Kind.UNSIGNED32, Kind.UNSIGNED64, Kind.ENUMERATED, Kind.INTEGER32, Kind.INTEGER64, Kind.TIME},
    ),
    str: frozenset({Kind.UTF8, Kind.IDENTITY}),
    bytes: frozenset({Kind.OCTETS}),
    float: frozenset({Kind.FLOAT32, Kind.FLOAT64}),
    Address: frozenset({Kind.ADDRESS}),
}


class Fault(Exception):
    """The message is not as its definition says; `pipeline.diagnose` knows how to find out why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a message allows beyond what its classes' annotations say."""

    forbidden: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """Class name → attributes that must not come there (5008)."""
    doubled: frozenset[str] = frozenset()
    """Attributes that real clients send twice: the first counts (no 5009)."""
    raw: frozenset[str] = frozenset()
    """Attributes kept as whole AVPs, header included."""
    payload: frozenset[str] = frozenset()
    """Grouped AVPs kept as the bytes inside; b"" = absent."""
    values: Mapping[str, frozenset[int]] = dataclasses.field(default_factory=dict)
    """Attribute → the values it may have (5004). Enumerations not named here are open: newer releases add values."""


NO_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Field:
    """One declared AVP of a class."""

    attribute: str
    definition: Definition
    kind: Kind
    slot: int
    repeated: bool
    required: bool
    doubled: bool
    allowed: frozenset[int] | None
    group: Codec[Any] | None


class _Reader(NamedTuple):
    kind: int
    slot: int
    repeated: bool
    extra: Any
    """The group's codec, the allowed values, or None."""


class Codec(Generic[T]):
    """The tables of one class under one set of rules."""

    __slots__ = ("_defaults", "_get", "_lists", "_readers", "_required", "_writers", "fields", "forbidden", "make")

    def __init__(self, cls: type[T], rules: Rules = NO_RULES, *, extra_slots: Collection[str] = ()) -> None:
        """`extra_slots`: attributes of the class that are no AVPs."""
        self.make: Callable[..., T] = cls
        names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
        self._defaults: list[Any] = [
            None if item.default is dataclasses.MISSING or item.name not in extra_slots else item.default
            for item in dataclasses.fields(cls)  # type: ignore[arg-type]
        ]
        hints = get_type_hints(cls)
        self.fields: dict[int, Field] = {}
        for slot, name in enumerate(names):
            if name not in extra_slots:
                field = _field(cls, name, hints[name], slot, rules)
                assert field.definition.key not in self.fields, f"{cls.__name__} declares {name} twice"
                self.fields[field.definition.key] = field
                if name in rules.payload:
                    self._defaults[slot] = b""
        self._lists = tuple(field.slot for field in self.fields.values() if field.repeated)
        self._required = tuple(field.slot for field in self.fields.values() if field.required)
        self._readers = {key: _reader(field) for key, field in self.fields.items()}
        self.forbidden = frozenset(definition_of(name).key for name in rules.forbidden.get(cls.__name__, ()))
        for key in self.forbidden:
            self._readers[key] = _Reader(KIND_FORBIDDEN, 0, False, None)
        self._writers = tuple(_writer(field) for field in self.fields.values())
        self._get = _getter([field.attribute for field in self.fields.values()])

    def read(self, data: bytes, position: int, end: int) -> T:
        """The object in data[position:end]; `data` must go on with READ_MARGIN. Raises Fault."""
        return self.make(*self.read_slots(data, position, end))

    def read_slots(self, data: bytes, position: int, end: int) -> list[Any]:
        slots = self._defaults[:]
        for slot in self._lists:
            slots[slot] = []
        readers = self._readers
        while position < end:
            code, length, word, after = _HEADER(data, position)
            if length & 0x80000000:
                start = position + 12
                reader = readers.get(word << 32 | code)
                word = after
            else:
                start = position + 8
                reader = readers.get(code)
            stop = position + (length & 0xFFFFFF)
            if stop < start or stop > end:
                raise Fault
            if reader is None:
                if length & 0x40000000:
                    _check_understood(code, length, data, position)
                position = (stop + 3) & ~3
                continue
            kind, slot, repeated, extra = reader
            value: Any
            if kind == 1:  # UTF8
                try:
                    value = data[start:stop].decode()
                except UnicodeDecodeError:
                    raise Fault from None
            elif kind == 0:  # UNSIGNED32
                if stop - start != 4 or (extra is not None and word not in extra):
                    raise Fault
                value = word
            elif kind == 2:  # GROUPED
                value = extra.make(*extra.read_slots(data, start, stop))
            elif kind == 3:  # ENUMERATED
                if stop - start != 4 or (extra is not None and word not in extra):
                    raise Fault
                value = word if word < 0x80000000 else word - 0x100000000
            elif kind == 4:  # OCTETS
                value = data[start:stop]
            else:
                value = _read_rare(kind, extra, data, position, start, stop)
            position = (stop + 3) & ~3
            if repeated:
                slots[slot].append(value)
            elif slots[slot] is None:
                slots[slot] = value
            else:
                _again(self.fields, code, slot, slots, value)
        for slot in self._required:
            if slots[slot] is None:
                raise Fault
        return slots

    def write(self, message: T) -> bytes:
        """The AVPs of `message` in the order its class declares them."""
        parts: list[bytes] = []
        for value, (kind, prefix, flags_length, repeated, extra) in zip(self._get(message), self._writers, strict=True):
            if value is None:
                continue
            if repeated:
                for item in value:
                    parts.append(_write_one(kind, prefix, flags_length, extra, item))
            elif kind == 0:  # UNSIGNED32
                parts.append(prefix + _U32.pack(value))
            else:
                parts.append(_write_one(kind, prefix, flags_length, extra, value))
        return b"".join(parts)


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    get: Callable[[Any], Any] = attrgetter(*names)
    return get if len(names) > 1 else lambda message: (get(message),)


class _Writer(NamedTuple):
    kind: int
    prefix: bytes
    """Types of fixed size: the whole header. Others: the Vendor-Id, or nothing."""
    flags_length: tuple[int, int]
    """Types of other sizes: code, and flags with the header's length, to which the payload's is added."""
    repeated: bool
    extra: Any


_FIXED32 = frozenset({Kind.UNSIGNED32, Kind.ENUMERATED, Kind.INTEGER32, Kind.TIME, Kind.FLOAT32})
_FIXED64 = frozenset({Kind.UNSIGNED64, Kind.INTEGER64, Kind.FLOAT64})
KIND_PAYLOAD = 14
"""A Grouped AVP of which only the bytes inside are kept (Failed-AVP)."""
KIND_FORBIDDEN = 15
"""An AVP that must not come here."""


def _field(cls: type, name: str, hint: Any, slot: int, rules: Rules) -> Field:
    """What the annotation of one attribute says."""
    definition = definition_of(name)
    repeated = get_origin(hint) is list
    inner = get_args(hint)[0] if repeated else hint
    choices = [arg for arg in get_args(inner) if arg is not NoneType]
    required = not repeated and NoneType not in get_args(inner) and name not in rules.payload
    inner = choices[0] if choices else inner
    kind = Kind.RAW if name in rules.raw else definition.kind
    group: Codec[Any] | None = None
    if dataclasses.is_dataclass(inner):
        assert kind == Kind.GROUPED, f"{cls.__name__}.{name} is a group here but {kind.name} in the dictionary"
        group = compile_group(inner, rules)
    elif kind != Kind.RAW and name not in rules.payload:
        assert kind in _TYPES[inner], (
            f"{cls.__name__}.{name} is {inner.__name__} here but {kind.name} in the dictionary"
        )
    return Field(
        attribute=name,
        definition=definition,
        kind=kind,
        slot=slot,
        repeated=repeated,
        required=required,
        doubled=name in rules.doubled,
        allowed=rules.values.get(name),
        group=group,
    )


_groups: dict[tuple[type, int], tuple[Rules, Codec[Any]]] = {}


def compile_group(cls: type, rules: Rules) -> Codec[Any]:
    """The codec of a group, made once per set of rules."""
    known = _groups.get((cls, id(rules)))
    if known is None:
        known = _groups[cls, id(rules)] = (rules, Codec(cls, rules))
    return known[1]


def _reader(field: Field) -> _Reader:
    kind = int(field.kind)
    extra: Any = field.allowed
    if kind == Kind.GROUPED:
        extra = field.group
        if extra is None:
            kind = KIND_PAYLOAD
    return _Reader(kind, field.slot, field.repeated, extra)


def _writer(field: Field) -> _Writer:
    definition, kind = field.definition, int(field.kind)
    if kind == Kind.GROUPED and field.group is None:
        kind = KIND_PAYLOAD
    flags = (FLAG_MANDATORY if definition.mandatory else 0) | (FLAG_VENDOR if definition.vendor else 0)
    header_octets = 12 if definition.vendor else 8
    vendor = _U32.pack(definition.vendor) if definition.vendor else b""
    first = (definition.code, flags << 24 | header_octets)
    if kind in _FIXED32 or kind in _FIXED64:
        octets = header_octets + (4 if kind in _FIXED32 else 8)
        prefix = _TWO(definition.code, flags << 24 | octets) + vendor
    else:
        prefix = vendor
    return _Writer(kind, prefix, first, field.repeated, field.group)


def _write_one(kind: int, prefix: bytes, first: tuple[int, int], group: Codec[Any] | None, value: Any) -> bytes:
    if kind == Kind.UNSIGNED32:
        return prefix + _U32.pack(value)
    if kind == Kind.GROUPED:
        assert group is not None
        payload = group.write(value)
        return _TWO(first[0], first[1] + len(payload)) + prefix + payload
    if kind == Kind.UNSIGNED64:
        return prefix + _U64.pack(value)
    if kind == Kind.RAW:
        return bytes(value)
    if kind == Kind.TIME:
        return prefix + encode_time(value)
    if kind in _FIXED32 or kind in _FIXED64:
        return prefix + encode_value(Kind(kind), value)
    if kind == KIND_PAYLOAD:
        if not value:
            return b""
        payload = value
    elif kind == Kind.ADDRESS:
        payload = encode_address(value)
    elif kind == Kind.OCTETS:
        payload = value
    else:
        payload = value.encode("ascii" if kind == Kind.IDENTITY else "utf-8")
    size = len(payload)
    return _TWO(first[0], first[1] + size) + prefix + payload + PADDING[size & 3]


def _check_understood(code: int, flags_length: int, data: bytes, position: int) -> None:
    """An AVP the class does not declare, with the M flag: recognised by the dictionary, or a fault (5001)."""
    key = code
    if flags_length & 0x80000000:
        key |= _U32.unpack_from(data, position + 8)[0] << 32
    if key not in UNDERSTOOD:
        raise Fault


def _read_rare(kind: int, extra: Any, data: bytes, position: int, start: int, stop: int) -> Any:
    """The types that come less often than the ones the loop handles itself."""
    if kind == Kind.RAW:
        raw = data[position:stop]
        return raw + PADDING[len(raw) & 3]
    if kind == KIND_PAYLOAD:
        return data[start:stop]
    if kind == KIND_FORBIDDEN:
        raise Fault
    try:
        if kind == Kind.ADDRESS:
            return decode_address(data, start, stop)
        value = decode_value(Kind(kind), data, start, stop)
    except (BadLength, BadValue):
        raise Fault from None
    if extra is not None and value not in extra:
        raise Fault
    return value


def _again(fields: Mapping[int, Field], code: int, slot: int, slots: list[Any], value: Any) -> None:
    """A single AVP came again: a fault, unless real clients are known to do it (the first one counts)."""
    field = next(field for field in fields.values() if field.slot == slot)
    if field.kind == Kind.GROUPED and field.group is None and slots[slot] == b"":
        slots[slot] = value
    elif not field.doubled:
        raise Fault
