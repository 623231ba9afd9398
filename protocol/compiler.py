"""Turns a message class into tables, once at import, and walks them: the hot path of the protocol.

The class is the definition (see `units`). Compiling it gives a flat table from AVP key to (kind, slot, …) for reading and a
flat list of closures for writing (`coders`). Reading fills a list of slots and makes the object from it: no object per AVP.
The reader stops at the first thing that is not as it should be with `Fault` and no detail; `pipeline` then finds out, stage by
stage and at leisure, what to answer. Invariant, held by tests: `read` faults exactly when `pipeline` finds an error.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from types import NoneType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from protocol.avp import Address, BadLength, BadValue, Kind
from protocol.coders import read_forbidden, read_payload, reader_of, writer_of
from protocol.dictionary import UNDERSTOOD, VENDOR_3GPP, Definition, definition_of

T = TypeVar("T")

READ_MARGIN = bytes(16)
"""Zero octets behind a frame, so that a header may be read whole wherever it begins."""

_HEADER = struct.Struct(">IBBHII").unpack_from
"""Code, flags, length (high octet, low octets), Vendor-Id or data, data behind a Vendor-Id."""

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


Reader = tuple[int, int, bool, Any]
"""Branch of the reading loop, slot, whether the AVP may repeat, and what the branch needs."""
BRANCH_UNSIGNED32, BRANCH_UTF8, BRANCH_GROUPED, BRANCH_ENUMERATED, BRANCH_OCTETS, BRANCH_CLOSURE = range(6)
_BRANCHES = {
    Kind.UNSIGNED32: BRANCH_UNSIGNED32,
    Kind.UTF8: BRANCH_UTF8,
    Kind.ENUMERATED: BRANCH_ENUMERATED,
    Kind.OCTETS: BRANCH_OCTETS,
}


class Codec(Generic[T]):
    """The tables of one class under one set of rules."""

    __slots__ = (
        "_defaults",
        "_get",
        "_lists",
        "_readers",
        "_readers_3gpp",
        "_readers_ietf",
        "_required",
        "_writers",
        "fields",
        "forbidden",
        "make",
    )

    def __init__(self, cls: type[T], rules: Rules = NO_RULES, *, extra_slots: Collection[str] = ()) -> None:
        """`extra_slots`: attributes of the class that are no AVPs."""
        self.make: Callable[..., T] = cls
        declared = dataclasses.fields(cls)  # type: ignore[arg-type]
        self._defaults: list[Any] = [item.default if item.name in extra_slots else None for item in declared]
        hints = get_type_hints(cls)
        self.fields: dict[int, Field] = {}
        for slot, item in enumerate(declared):
            if item.name not in extra_slots:
                field = _field(cls, item.name, hints[item.name], slot, rules)
                assert field.definition.key not in self.fields, f"{cls.__name__} declares {item.name} twice"
                self.fields[field.definition.key] = field
                if item.name in rules.payload:
                    self._defaults[slot] = b""
        self.forbidden = frozenset(definition_of(name).key for name in rules.forbidden.get(cls.__name__, ()))
        self._lists = tuple(field.slot for field in self.fields.values() if field.repeated)
        self._required = tuple(field.slot for field in self.fields.values() if field.required)
        self._readers: dict[int, Reader] = {key: _reader(field) for key, field in self.fields.items()}
        self._readers.update((key, (BRANCH_CLOSURE, 0, False, read_forbidden)) for key in self.forbidden)
        # Two small tables by code alone: a wider key costs more than everything else about finding an AVP.
        self._readers_ietf = {key: reader for key, reader in self._readers.items() if key >> 32 == 0}
        self._readers_3gpp = {
            key & 0xFFFFFFFF: reader for key, reader in self._readers.items() if key >> 32 == VENDOR_3GPP
        }
        self._writers = tuple(
            writer_of(field.definition, field.kind, field.group.write if field.group else None, field.repeated)
            for field in self.fields.values()
        )
        self._get = _getter([field.attribute for field in self.fields.values()])

    def read(self, data: bytes, position: int, end: int) -> T:
        """The object in data[position:end]; `data` must go on with READ_MARGIN. Raises Fault."""
        try:
            return self._read(data, position, end)
        except (BadLength, BadValue, UnicodeDecodeError):
            raise Fault from None

    def _read(self, data: bytes, position: int, end: int) -> T:
        slots = self._defaults[:]
        for slot in self._lists:
            slots[slot] = []
        readers, readers_3gpp = self._readers_ietf, self._readers_3gpp
        while position < end:
            code, flags, high, length, word, after = _HEADER(data, position)
            if flags & 0x80:
                start = position + 12
                reader = readers_3gpp.get(code) if word == 10415 else self._readers.get(word << 32 | code)
                word = after
            else:
                start = position + 8
                reader = readers.get(code)
            stop = position + (high << 16 | length if high else length)
            if stop < start or stop > end:
                raise Fault
            if reader is None:
                if flags & 0x40:
                    _check_understood(code, flags, data, position)
                position = (stop + 3) & ~3
                continue
            branch, slot, repeated, extra = reader
            value: Any
            if branch == 0:  # BRANCH_UNSIGNED32
                if stop - start != 4 or (extra is not None and word not in extra):
                    raise Fault
                value = word
            elif branch == 1:  # BRANCH_UTF8
                value = data[start:stop].decode()
            elif branch == 2:  # BRANCH_GROUPED
                value = extra(data, start, stop)
            elif branch == 3:  # BRANCH_ENUMERATED
                if stop - start != 4 or (extra is not None and word not in extra):
                    raise Fault
                value = word if word < 0x80000000 else word - 0x100000000
            elif branch == 4:  # BRANCH_OCTETS
                value = data[start:stop]
            else:  # BRANCH_CLOSURE
                value = extra(data, position, start, stop)
            position = (stop + 3) & ~3
            if repeated:
                slots[slot].append(value)
            elif slots[slot] is None:
                slots[slot] = value
            else:
                self._again(slot, slots, value)
        for slot in self._required:
            if slots[slot] is None:
                raise Fault
        return self.make(*slots)

    def _again(self, slot: int, slots: list[Any], value: Any) -> None:
        """A single AVP came again: a fault, unless real clients are known to do it (the first one counts)."""
        field = next(field for field in self.fields.values() if field.slot == slot)
        if field.kind is Kind.GROUPED and field.group is None and slots[slot] == b"":
            slots[slot] = value
        elif not field.doubled:
            raise Fault

    def write(self, message: T) -> bytes:
        """The AVPs of `message` in the order its class declares them."""
        return b"".join(
            [write(value) for value, write in zip(self._get(message), self._writers, strict=True) if value is not None]
        )


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    get: Callable[[Any], Any] = attrgetter(*names)
    return get if len(names) > 1 else lambda message: (get(message),)


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
    if dataclasses.is_dataclass(inner) and isinstance(inner, type):
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


def _reader(field: Field) -> Reader:
    if field.group is not None:
        return BRANCH_GROUPED, field.slot, field.repeated, field.group._read
    if field.kind is Kind.GROUPED:
        return BRANCH_CLOSURE, field.slot, field.repeated, read_payload
    branch = _BRANCHES.get(field.kind)
    if branch is not None:
        return branch, field.slot, field.repeated, field.allowed
    return BRANCH_CLOSURE, field.slot, field.repeated, reader_of(field.kind, field.allowed)


def _check_understood(code: int, flags: int, data: bytes, position: int) -> None:
    """An AVP the class does not declare, with the M flag: recognised by the dictionary, or a fault (5001)."""
    vendor = int.from_bytes(data[position + 8 : position + 12], "big") if flags & 0x80 else 0
    if vendor << 32 | code not in UNDERSTOOD:
        raise Fault
