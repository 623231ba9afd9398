"""Two errors in one request: the one whose stage is first is reported, wherever they are (RFC 6733 §7)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from protocol.avp import encode_avp
from protocol.errors import DiameterError
from protocol.header import build, parse_header
from protocol.pipeline import STAGES, Routing, decode_request
from tests.protocol.test_ccr_table import code_at, split
from tests.protocol.test_pipeline import UNKNOWN, body_of, ccr

M = 0x40
US = Routing("ocs.example.org", frozenset({"example.org"}))
REFUND = encode_avp(436, 0, M, b"\0\0\0\1")


@dataclass(frozen=True)
class Wrong:
    """The change to a valid request that makes this stage fail."""

    code: int
    flags: int = 0xC0
    command: int = 272
    application: int = 4
    drop: frozenset[int] = frozenset()
    add: bytes = b""


def only(*codes: int) -> frozenset[int]:
    return frozenset(codes)


WRONG = {
    5: Wrong(3008, flags=0xE0),
    6: Wrong(5014, add=encode_avp(411, 0, 0, b"") + bytes.fromhex("0000019b 00000004".replace(" ", ""))),
    7: Wrong(3009, add=bytes.fromhex("00000037 c0000010 00000000 00000007".replace(" ", ""))),
    8: Wrong(3007, application=16777238),
    9: Wrong(3001, command=275),
    10: Wrong(3005, add=encode_avp(282, 0, M, b"ocs.example.org")),
    11: Wrong(3002, add=encode_avp(293, 0, M, b"other.example.org")),
    12: Wrong(3003, drop=only(283), add=encode_avp(283, 0, M, b"elsewhere.org")),
    15: Wrong(5001, add=UNKNOWN),
    16: Wrong(5005, drop=only(461)),
    17: Wrong(5009, add=encode_avp(415, 0, M, b"\0\0\0\7")),
    18: Wrong(5008, add=encode_avp(268, 0, M, b"\0\0\7\xd1")),
    19: Wrong(5004, add=encode_avp(1, 0, M, b"\xff")),
    20: Wrong(5007, add=REFUND),
}
"""By the stages' numbers; 20: a refund within a session."""
PAIRS = list(itertools.combinations(WRONG, 2))


def request(*wrongs: Wrong) -> bytes:
    drop = frozenset().union(*(wrong.drop for wrong in wrongs))
    body = b"".join(avp for avp in split(body_of(ccr())) if code_at(avp) not in drop)
    extra = b"".join(wrong.add for wrong in wrongs)
    flags, command, application = 0xC0, 272, 4
    for wrong in wrongs:
        flags |= wrong.flags
        command = wrong.command if wrong.command != 272 else command
        application = wrong.application if wrong.application != 4 else application
    return build(body + extra, flags, command, application, 1, 2)


def error_of(frame: bytes) -> DiameterError:
    with pytest.raises(DiameterError) as caught:
        decode_request(frame, parse_header(frame), US)
    return caught.value


def test_there_is_something_wrong_for_every_stage() -> None:
    assert [int(name.split(" ")[0]) for name, _ in STAGES] == list(WRONG)


@pytest.mark.parametrize("stage", WRONG)
def test_each_alone(stage: int) -> None:
    error = error_of(request(WRONG[stage]))
    assert (error.result_code, error.stage) == (WRONG[stage].code, stage)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_of_two_the_first_stage_is_reported(first: int, second: int) -> None:
    # Nothing after a wrong length can be read, so it is behind the other error.
    orders = (
        [(first, second)] if second == 6 else [(second, first)] if first == 6 else [(first, second), (second, first)]
    )
    for order in orders:
        error = error_of(request(*(WRONG[stage] for stage in order)))
        assert (error.result_code, error.stage) == (WRONG[first].code, first)
