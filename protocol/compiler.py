"""Compiles a message class into decode tables, once at import, and decodes by them: the hot path of the protocol.

The class is the definition (see `units`). Compiling it gives a flat table from AVP key to (kind, slot, …) for decoding,
and a function for encoding (`writers`). Decoding fills a list of slots and makes the object from it: there is no object
per AVP. Messages with a known layout are decoded by `layout` instead; its results must equal those of the tables.

Decoding stops at the first error with `Fault`, without details. `pipeline` then determines the error to answer, stage
by stage. Invariant, checked by tests: `read` raises Fault exactly when `pipeline` finds an error.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, NoneType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from protocol.avp import Address, BadLength, BadValue, Kind
from protocol.coders import FORMATS, read_forbidden, read_payload, reader_of
from protocol.dictionary import Definition, definition_of
from protocol.tolerance import NOTHING, Tolerance
from protocol.undeclared import is_acceptable
from protocol.writers import WRITTEN, writer_of

T = TypeVar("T")

NO_AVP: Mapping[str, bool] = MappingProxyType({"avp": False})
"""Metadata of a dataclass field that is not an AVP."""
_HEADER = struct.Struct(">IBBHI").unpack_from
"""Code, flags, length (high octet, low octets), Vendor-Id or data."""
_MARGIN = bytes(12)
"""Padding for the last header, which may be shorter than `_HEADER`."""
MAX_CACHED_HEADS = 2_048
"""Size of the cache of AVP headers per class. A class has some tens of AVPs whose lengths vary little; the limit is for
peers that make them vary.
"""

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
    """The message does not match its definition; `pipeline.diagnose` determines why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a message allows besides its classes' annotations."""

    forbidden: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """Class name → attributes that are not allowed there (5008)."""
    optional: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    """Class name → attributes that the standard's grammar does not list: sent without M (RFC 6733 §2.3)."""
    doubled: frozenset[str] = frozenset()
    """Attributes that some clients send twice: the first is used (no 5009)."""
    raw: Mapping[str, type] = dataclasses.field(default_factory=dict)
    """Attributes kept as whole AVPs, header included → class of their contents."""
    payload: frozenset[str] = frozenset()
    """Grouped AVPs kept as the octets inside; b"" = absent."""
    values: Mapping[str, frozenset[int]] = dataclasses.field(default_factory=dict)
    """Attribute → allowed values (5004). Other enumerations are open: newer releases add values."""
    lenient: bool = False
    """For answers: unknown AVPs are skipped whatever their flags; of a repeated AVP the first is used."""
    tolerated: Tolerance = NOTHING
    """Unsupported AVPs with the M flag that are skipped (no 5001)."""


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
    inside: Codec[Any] | None
    """Contents of an AVP that is kept whole. The pipeline checks them, the decode loop does not."""


Reader = tuple[int, int, Any]
"""(branch of the decode loop, slot, argument of the branch). The slot of a repeatable AVP holds a list."""
Head = tuple[int, int, Any, bytes | None, int, int, int]
"""A Reader, then: expected Vendor-Id (None = none), offset of the payload, size of the AVP, and size with padding."""
BRANCH_NUMBER, BRANCH_UTF8, BRANCH_OCTETS, BRANCH_GROUPED, BRANCH_CLOSURE, BRANCH_SKIP = range(6)


class Codec(Generic[T]):
    """The tables of one class under one set of rules."""

    __slots__ = (
        "_heads",
        "_lenient",
        "_readers",
        "_required",
        "attributes",
        "defaults",
        "fields",
        "forbidden",
        "lists",
        "make",
        "rules",
        "write",
    )

    def __init__(self, cls: type[T], rules: Rules = NO_RULES) -> None:
        self.make: Callable[..., T] = cls
        self.rules = rules
        declared = dataclasses.fields(cls)  # type: ignore[arg-type]
        extra_slots = frozenset(item.name for item in declared if item.metadata == NO_AVP)
        assert not hasattr(cls, "__post_init__"), "objects are also made without __init__ (`builders`)"
        self.attributes = tuple(item.name for item in declared)
        self.defaults: list[Any] = [item.default if item.name in extra_slots else None for item in declared]
        hints = get_type_hints(cls)
        self.fields: dict[int, Field] = {}
        for slot, item in enumerate(declared):
            if item.name not in extra_slots:
                field = _field(cls, item.name, hints[item.name], slot, rules)
                assert field.definition.key not in self.fields, f"{cls.__name__} declares {item.name} twice"
                self.fields[field.definition.key] = field
                if item.name in rules.payload:
                    self.defaults[slot] = b""
        self.forbidden = frozenset(definition_of(name).key for name in rules.forbidden.get(cls.__name__, ()))
        self.lists = tuple(field.slot for field in self.fields.values() if field.repeated)
        self._required = tuple(field.slot for field in self.fields.values() if field.required)
        self._readers: dict[int, Reader] = {key: _reader(field) for key, field in self.fields.items()}
        self._readers.update((key, (BRANCH_CLOSURE, 0, read_forbidden)) for key in self.forbidden)
        self._heads: dict[bytes, Head] = {}
        self._lenient = rules.lenient
        self.write = writer_of(self.fields.values(), keeps=WRITTEN in extra_slots)
        """The AVPs of a message in the order its class declares them."""

    def read(self, data: bytes, position: int, end: int) -> T:
        """The object in data[position:end]. Raises Fault."""
        try:
            return self._read(data, position, end)
        except (BadLength, BadValue, UnicodeDecodeError):
            raise Fault from None

    def _read(self, data: bytes, position: int, end: int) -> T:
        slots = self.defaults[:]
        for slot in self.lists:
            slots[slot] = []
        heads = self._heads
        while position < end:
            head = heads.get(data[position : position + 8]) or self._head(data, position, end)
            branch, slot, extra, vendor, offset, size, step = head
            if vendor is not None and data[position + 8 : position + 12] != vendor:
                branch, slot, extra, _, offset, size, step = self._head(data, position, end)
            stop = position + size
            if stop > end:
                raise Fault
            value: Any
            if branch == 0:  # BRANCH_NUMBER
                (value,) = extra(data, position + offset)
            elif branch == 1:  # BRANCH_UTF8
                value = data[position + offset : stop].decode()
            elif branch == 2:  # BRANCH_OCTETS
                value = data[position + offset : stop]
            elif branch == 3:  # BRANCH_GROUPED
                value = extra(data, position + offset, stop)
            elif branch == 4:  # BRANCH_CLOSURE
                value = extra(data, position, position + offset, stop)
            else:  # BRANCH_SKIP
                position += step
                continue
            position += step
            present = slots[slot]
            if present is None:
                slots[slot] = value
            elif present.__class__ is list:
                present.append(value)
            else:
                self._again(slot, slots, value)
        for slot in self._required:
            if slots[slot] is None:
                raise Fault
        return self.make(*slots)

    def _head(self, data: bytes, position: int, end: int) -> Head:
        """Parses an AVP header. The result is cached: the same eight octets occur again and again."""
        code, flags, high, low, vendor = _HEADER(data[position : position + 12] + _MARGIN)
        if not flags & 0x80:
            vendor = 0
        offset, size = 12 if flags & 0x80 else 8, high << 16 | low
        if size < offset or position + size > end:
            raise Fault
        if flags & 0x80 and not vendor and not self._lenient:
            raise Fault  # 3009
        step = (size + 3) & ~3
        vendor_octets = data[position + 8 : position + 12] if flags & 0x80 else None
        key = vendor << 32 | code
        reader = self._readers.get(key)
        if reader is None:
            if flags & 0x40 and not self._lenient:
                self._undeclared(data, key, position + offset, position + size)
            return BRANCH_SKIP, 0, None, vendor_octets, offset, size, step
        branch, slot, extra = reader
        if branch == BRANCH_NUMBER:
            if size - offset != extra.size:
                raise Fault  # 5014
            extra = extra.unpack_from
        head = (branch, slot, extra, vendor_octets, offset, size, step)
        if len(self._heads) < MAX_CACHED_HEADS:
            self._heads.setdefault(data[position : position + 8], head)
        return head

    def _undeclared(self, data: bytes, key: int, start: int, stop: int) -> None:
        """Checks an AVP with M that this class does not declare."""
        if not is_acceptable(data, key, start, stop, self.rules.tolerated):
            raise Fault  # 5001, or 5014 and others

    def _again(self, slot: int, slots: list[Any], value: Any) -> None:
        """A non-repeatable AVP was repeated: a Fault, unless `Rules.doubled` allows it (the first is used)."""
        field = next(field for field in self.fields.values() if field.slot == slot)
        if field.kind is Kind.GROUPED and field.group is None and slots[slot] == b"":
            slots[slot] = value
        elif not field.doubled and not self._lenient:
            raise Fault


def _field(cls: type, name: str, hint: Any, slot: int, rules: Rules) -> Field:
    """The Field that the annotation of one attribute declares."""
    definition = definition_of(name)
    if name in rules.optional.get(cls.__name__, ()):
        definition = definition._replace(mandatory=False)
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
        inside=compile_group(rules.raw[name], rules) if name in rules.raw else None,
    )


_groups: dict[tuple[type, int], tuple[Rules, Codec[Any]]] = {}


@dataclass(slots=True)
class _Nothing:
    """Declares no AVP."""


UNDECLARED = Codec(_Nothing)
"""For requests that are not served, and for the contents of undeclared AVPs."""


def compile_group(cls: type, rules: Rules) -> Codec[Any]:
    """The codec of a group, cached per set of rules."""
    known = _groups.get((cls, id(rules)))
    if known is None:
        known = _groups[cls, id(rules)] = (rules, Codec(cls, rules))
    return known[1]


def _reader(field: Field) -> Reader:
    if field.group is not None:
        return BRANCH_GROUPED, field.slot, field.group._read
    if field.kind is Kind.GROUPED:
        return BRANCH_CLOSURE, field.slot, read_payload
    if field.kind in FORMATS and field.allowed is None:
        return BRANCH_NUMBER, field.slot, struct.Struct(FORMATS[field.kind])
    if field.kind is Kind.UTF8:
        return BRANCH_UTF8, field.slot, None
    if field.kind is Kind.OCTETS:
        return BRANCH_OCTETS, field.slot, None
    return BRANCH_CLOSURE, field.slot, reader_of(field.kind, field.allowed)
