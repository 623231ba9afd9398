"""The frame reader: any split gives the same messages; an invalid stream ends; memory is limited."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import DiameterError
from protocol.frame import FrameReader
from protocol.header import build, parse_header
from tests.protocol import captures

STREAM = b"".join(captures.requests(captures.OPEN5GS)[:2])
WHOLE = captures.requests(captures.OPEN5GS)[:2]


def test_split_at_every_octet() -> None:
    for cut in range(len(STREAM) + 1):
        reader = FrameReader()
        assert [*reader.feed(STREAM[:cut]), *reader.feed(STREAM[cut:])] == WHOLE
        assert reader.pending_octets == 0


def test_one_octet_at_a_time() -> None:
    reader = FrameReader()
    assert [frame for octet in STREAM for frame in reader.feed(bytes([octet]))] == WHOLE


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
@settings(deadline=None)
def test_any_pieces(cuts: list[int]) -> None:
    reader, frames, at = FrameReader(), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        frames += reader.feed(STREAM[at:cut])
        at = cut
    assert frames == WHOLE


@pytest.mark.parametrize(
    ("start", "code"),
    [
        (b"\x02", 5011),
        (b"\x00\x00\x00\x14", 5011),
        (b"GET / HTTP/1.1\r\n\r\n", 5011),
        (b"\x01\x00\x00\x00", 5015),
        (b"\x01\x00\x00\x13", 5015),
        (b"\x01\x00\x00\x15", 5015),
        (b"\x01\x00\x00\x10", 5015),
        (b"\x01\x01\x00\x04", 5015),
        (b"\x01\xff\xff\xfc", 5015),
    ],
)
@pytest.mark.parametrize("first", [0, 1, 4, 8, 19, 20])
def test_a_stream_that_cannot_be_parsed(start: bytes, code: int, first: int) -> None:
    """The header is complete before the error is raised, so that it can be answered (RFC 6733 §7.1.5)."""
    header = start + WHOLE[1][len(start) : 20]
    reader = FrameReader()
    rescued = reader.feed(WHOLE[0] + header[:first]) if first < 20 else []
    with pytest.raises(DiameterError) as caught:
        reader.feed(header[first:] if first < 20 else WHOLE[0] + header)
    assert (caught.value.result_code, caught.value.close) == (code, True)
    assert rescued + reader.rescued == [WHOLE[0]]
    assert reader.broken == header
    assert reader.feed(WHOLE[0]) == []
    assert reader.pending_octets == 0


def test_the_largest_message_and_one_more() -> None:
    body = bytes(65_536 - 20)
    frame = build(body, 0x80, 1, 0, 0, 0)
    assert FrameReader().feed(frame) == [frame]
    with pytest.raises(DiameterError):
        FrameReader(65_532).feed(frame)


@given(st.binary(max_size=400))
def test_garbage_never_does_worse_than_an_error(data: bytes) -> None:
    reader = FrameReader(256)
    try:
        for frame in reader.feed(data):
            assert parse_header(frame).length == len(frame)
    except DiameterError as error:
        assert error.result_code in (5011, 5015)
    assert reader.pending_octets <= 256
