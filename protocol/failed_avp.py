"""Contents of Failed-AVP (RFC 6733 §7.5): a copy of the wrong AVP or an example of a missing one, within its parents.

AVPs are named by attribute name ("service_context_id"), parents from the outermost inwards. All functions return the
encoded AVPs *inside* one Failed-AVP.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from protocol.avp import FIXED_OCTETS, FLAG_MANDATORY, Kind, encode_avp, encode_value
from protocol.compiler import NO_RULES, compile_group
from protocol.dictionary import Definition, definition_of

_EMPTY_ADDRESS = b"\0\x01\0\0\0\0"
"""The shortest address: IPv4, zero-filled."""


def minimum_payload(kind: Kind) -> bytes:
    """Zero-filled data of the type's least length; b"" for a Grouped AVP."""
    return _EMPTY_ADDRESS if kind == Kind.ADDRESS else bytes(FIXED_OCTETS.get(kind, 0))


def example(name: str, *parents: str) -> bytes:
    """An example of a missing AVP: for 5005 (and 5031 if an input is missing)."""
    definition = definition_of(name)
    return wrap(_encode(definition, minimum_payload(definition.kind)), *parents)


def copy(name: str, value: Any, *parents: str) -> bytes:
    """The AVP with this value: str, int, bytes, Address, or an object of a group's class."""
    definition = definition_of(name)
    return wrap(_encode(definition, _payload(definition, value)), *parents)


def _payload(definition: Definition, value: Any) -> bytes:
    if dataclasses.is_dataclass(value):
        return compile_group(type(value), NO_RULES).write(value)
    return encode_value(definition.kind, value)


def wrap(avps: bytes, *parents: str) -> bytes:
    """`avps` inside a chain of groups that contain nothing else, so that the answer points at the one wrong child."""
    for name in reversed(parents):
        avps = _encode(definition_of(name), avps)
    return avps


def _encode(definition: Definition, payload: bytes) -> bytes:
    return encode_avp(definition.code, definition.vendor, FLAG_MANDATORY if definition.mandatory else 0, payload)
