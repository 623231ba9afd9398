"""Mutations that respect AVPs: random octets rarely pass the length checks."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from protocol.avp import AvpLengthError, encode_avp, walk
from protocol.dictionary import BY_KEY, UNDERSTOOD_VENDORS, Definition
from protocol.header import HEADER_OCTETS
from tests.fuzz.target import FIXED

INTERESTING = [
    bytes(4),
    b"\xff" * 4,
    b"\0\0\0\1",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    bytes(8),
    b"\xff" * 8,
    b"",
    b"\xff",
]
MAX_DEPTH = 6


@cache
def _known() -> list[Definition]:
    return [definition for definition in BY_KEY.values() if definition.vendor in UNDERSTOOD_VENDORS]


def mutate(data: bytes, max_size: int, seed: int, plain: Callable[[bytes, int], bytes]) -> bytes:
    """Mutates an AVP; in three cases of four, `plain` changes octets of one value."""
    rng = random.Random(seed)
    if len(data) <= 1 + HEADER_OCTETS or rng.random() < 0.25:
        return plain(data, max_size)
    head, body = data[: 1 + HEADER_OCTETS], data[1 + HEADER_OCTETS :]
    if rng.random() < 0.05:
        flags = bytes([head[5] ^ 1 << rng.randrange(8)])
        head = head[:5] + flags + head[6:]
    control = head[0] & ~3 | FIXED
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        body = _in_group(body, rng, plain, 0)
    return (bytes([control]) + head[1:] + body)[:max_size]


def _in_group(body: bytes, rng: random.Random, plain: Callable[[bytes, int], bytes], depth: int) -> bytes:
    try:
        avps = list(walk(body, 0, len(body)))
    except AvpLengthError:
        return plain(body, len(body) + 64)
    if not avps:
        return body + _drawn(rng)
    chosen = rng.choice(avps)
    end = (chosen.stop + 3) & ~3
    before, whole, after = body[: chosen.start], body[chosen.start : end], body[end:]
    payload = body[chosen.payload : chosen.stop]
    definition = BY_KEY.get(chosen.vendor << 32 | chosen.code)
    if definition is not None and definition.kind.name == "GROUPED" and depth < MAX_DEPTH and rng.random() < 0.8:
        inner = _in_group(payload, rng, plain, depth + 1)
        return before + encode_avp(chosen.code, chosen.vendor, chosen.flags, inner) + after
    match rng.randrange(8):
        case 0:
            return before + after
        case 1:
            return before + whole + whole + after
        case 2:
            return before + whole + _drawn(rng) + after
        case 3:
            flags = chosen.flags ^ 1 << rng.randrange(8)
            return before + encode_avp(chosen.code, chosen.vendor, flags, payload) + after
        case 4:
            payload = rng.choice(INTERESTING)
        case 5:
            payload = (int.from_bytes(payload, "big") + rng.choice((-1, 1))).to_bytes(
                len(payload) + 1, "big", signed=True
            )[1:]
        case _:
            payload = plain(payload or b"\0", len(payload) + 16)
    return before + encode_avp(chosen.code, chosen.vendor, chosen.flags, payload) + after


def _drawn(rng: random.Random) -> bytes:
    """Any AVP of the dictionary."""
    definition = rng.choice(_known())
    payload = rng.choice(INTERESTING)
    return encode_avp(definition.code, definition.vendor, 0x40, payload)
