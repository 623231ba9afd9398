"""Undeclared AVPs of the dictionary: with M their contents are checked, without M not (RFC 6733 §4.1, §4.4)."""

from __future__ import annotations

import pytest

from protocol.avp import MAX_NESTING, encode_avp, walk
from protocol.credit_control import decode_ccr
from protocol.dictionary import BY_KEY, UNDERSTOOD
from protocol.errors import DiameterError
from protocol.header import parse_header
from protocol.pipeline import Limits, examine
from tests.protocol.test_pipeline import put

M, V = 0x40, 10415
SERVICE_INFORMATION, POC_INFORMATION, PS_INFORMATION = 873, 879, 874
UNKNOWN = encode_avp(999_999, 0, M, b"what")
LIE = bytes.fromhex("00000384 c000ffff 000028af".replace(" ", ""))
PROXY = (280, 0, M, b"dra.example.net"), (33, 0, M, b"state")


def error_of(frame: bytes, limits: Limits | None = None) -> DiameterError | None:
    found: DiameterError | None = None
    for _ in range(3):  # walked, noted, built: the checks must not depend on the way it is read
        try:
            decode_ccr(frame, parse_header(frame), None, limits or Limits())
            found = None
        except DiameterError as error:
            found = error
    return found


def group(code: int, *inside: bytes, flags: int = M, vendor: int = V) -> bytes:
    return encode_avp(code, vendor, flags, b"".join(inside))


def in_service(*inside: bytes, flags: int = M) -> bytes:
    """In a group of Service-Information that is in the dictionary but undeclared."""
    return put(group(SERVICE_INFORMATION, group(POC_INFORMATION, *inside, flags=flags)))


def chain(*codes: tuple[int, int], inside: bytes) -> bytes:
    for code, vendor in reversed(codes):
        inside = encode_avp(code, vendor, M, inside)
    return inside


def test_the_group_used_here_is_known_and_not_declared() -> None:
    key = V << 32 | POC_INFORMATION
    assert key in UNDERSTOOD and BY_KEY[key].kind.name == "GROUPED"
    frame = in_service(encode_avp(268, 0, M, bytes(4)))
    found = [node for node in examine(frame, parse_header(frame)).nodes if node.avp.code in (POC_INFORMATION, 268)]
    assert [node.field for node in found] == [None, None]
    assert error_of(frame) is None


IN_POC = ((SERVICE_INFORMATION, V), (POC_INFORMATION, V))
CASES = {
    "a number of three octets": (put(encode_avp(432, 0, M, b"abc")), 5014, encode_avp(432, 0, M, bytes(4))),
    "a length that lies": (in_service(LIE), 5014, chain(*IN_POC, inside=encode_avp(900, V, M, b""))),
    "a number of three octets inside": (
        in_service(encode_avp(432, 0, M, b"abc")),
        5014,
        chain(*IN_POC, inside=encode_avp(432, 0, M, bytes(4))),
    ),
    "an unknown one with M": (in_service(UNKNOWN), 5001, chain(*IN_POC, inside=UNKNOWN)),
    "one of vendor 0": (
        in_service(bytes.fromhex("000001b0c000001000000000 00000001".replace(" ", ""))),
        3009,
        chain(*IN_POC, inside=bytes.fromhex("000001b0c000001000000000 00000001".replace(" ", ""))),
    ),
    "a group in the group": (
        in_service(group(PS_INFORMATION, UNKNOWN)),
        5001,
        chain(*IN_POC, (PS_INFORMATION, V), inside=UNKNOWN),
    ),
    "an empty Proxy-Info": (
        put(encode_avp(284, 0, M, b"")),
        5005,
        encode_avp(284, 0, M, encode_avp(280, 0, M, b"")),
    ),
    "a Proxy-Info without Proxy-State": (
        put(encode_avp(284, 0, M, encode_avp(*PROXY[0]))),
        5005,
        encode_avp(284, 0, M, encode_avp(33, 0, M, b"")),
    ),
    "a Proxy-Info with something unknown": (
        put(encode_avp(284, 0, M, encode_avp(*PROXY[0]) + encode_avp(*PROXY[1]) + UNKNOWN)),
        5001,
        encode_avp(284, 0, M, UNKNOWN),
    ),
    "a Proxy-Host of no text": (
        put(encode_avp(284, 0, M, encode_avp(280, 0, M, b"\xff") + encode_avp(*PROXY[1]))),
        5004,
        encode_avp(284, 0, M, encode_avp(280, 0, M, b"\xff")),
    ),
}


@pytest.mark.parametrize(("frame", "code", "failed"), CASES.values(), ids=CASES)
def test_what_is_wrong_with_m(frame: bytes, code: int, failed: bytes) -> None:
    error = error_of(frame)
    assert error is not None
    assert (error.result_code, error.failed_avp) == (code, failed)


@pytest.mark.parametrize(
    "frame",
    [
        put(encode_avp(432, 0, 0, b"abc")),
        in_service(LIE, flags=0),
        in_service(UNKNOWN, flags=0),
        in_service(encode_avp(432, 0, 0, b"abc")),
        in_service(group(PS_INFORMATION, UNKNOWN, flags=0)),
        in_service(encode_avp(999_999, 0, 0, b"what")),
        put(encode_avp(284, 0, M, encode_avp(*PROXY[0]) + encode_avp(*PROXY[1]) + encode_avp(70_000, 0, 0, b"new"))),
    ],
)
def test_without_m_it_may_be_anything(frame: bytes) -> None:
    """RFC 6733 §4.4."""
    assert error_of(frame) is None


def test_a_layout_that_was_learned_does_not_hide_what_is_inside() -> None:
    """The headers inside are part of the layout: octets of equal length only are not decoded by it."""
    good = in_service(encode_avp(432, 0, M, b"\0\0\0\1"))
    for _ in range(4):
        assert error_of(good) is None
    before, after = good.rsplit(b"\x01\xb0\x40\0\0\x0c", 1)
    bad = before + b"\x01\xb0\x40\0\xff\x0c" + after
    assert len(bad) == len(good)
    error = error_of(bad)
    assert error is not None and error.result_code == 5014


@pytest.mark.parametrize("depth", [MAX_NESTING, MAX_NESTING + 1, 1_500])
def test_groups_nest_so_deep_and_no_deeper(depth: int) -> None:
    inside = b""
    for _ in range(depth):
        inside = encode_avp(POC_INFORMATION, V, M, inside)
    error = error_of(put(inside))
    also = error_of(put(inside, UNKNOWN))
    if depth <= MAX_NESTING:
        assert error is None
        assert also is not None and also.result_code == 5001
        return
    assert also is not None and also.result_code == 5004
    assert error is not None and error.result_code == 5004
    levels, data = 0, error.failed_avp
    while data:
        (avp,) = walk(data, 0, len(data))
        data, levels = data[avp.payload : avp.stop], levels + 1
    assert levels == depth, "the one that goes too far, with what is in it"


def test_avps_in_undeclared_groups_count() -> None:
    frame = in_service(*[encode_avp(70_000, 0, 0, b"")] * 3_000)
    assert len(frame) > Limits().uncounted_octets
    error = error_of(frame)
    assert error is not None and error.result_code == 5009
    assert error_of(frame, Limits(4_000)) is None
    unminded = in_service(*[encode_avp(70_000, 0, 0, b"")] * 3_000, flags=0)
    assert error_of(unminded) is None, "it is not looked into, so it is no work"
