"""The cost of an invalid request grows linearly with its length, wherever the error is."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time

import pytest

from protocol.avp import encode_avp
from protocol.credit_control import decode_ccr
from protocol.errors import DiameterError
from protocol.header import parse_header
from protocol.pipeline import Limits
from tests.protocol.test_pipeline import frame_of, put, without
from tests.protocol.test_undeclared import POC_INFORMATION, PROXY, UNKNOWN, M, group


def faulty_applications(groups: int) -> bytes:
    """No Auth-Application-Id, and many groups with an error each: formerly each was searched among all AVPs."""
    return frame_of(without(258) + encode_avp(260, 0, M, encode_avp(258, 0, M, b"\0\0\0\5")) * groups)


def contradicting_subscribers(groups: int) -> bytes:
    one, other = encode_avp(660, 0, 0, b"38668100000"), encode_avp(661, 0, 0, b"293400000000000")
    return put(encode_avp(659, 0, 0, one) * (groups - 1) + encode_avp(659, 0, 0, one + other))


def use_beside_a_refund(groups: int) -> bytes:
    event = without(416) + encode_avp(416, 0, M, b"\0\0\0\4") + encode_avp(436, 0, M, b"\0\0\0\1")
    used = encode_avp(446, 0, M, encode_avp(420, 0, M, bytes(4)))
    return frame_of(event + encode_avp(456, 0, M, used) * groups)


def proxies(groups: int) -> bytes:
    sound = encode_avp(284, 0, M, encode_avp(*PROXY[0]) + encode_avp(*PROXY[1]))
    return put(sound * (groups - 1) + encode_avp(284, 0, M, b""))


def undeclared_groups(groups: int) -> bytes:
    return put(group(POC_INFORMATION, encode_avp(268, 0, M, bytes(4))) * groups + UNKNOWN)


SHAPES: dict[Callable[[int], bytes], int] = {
    faulty_applications: 5004,
    contradicting_subscribers: 5007,
    use_beside_a_refund: 5007,
    proxies: 5005,
    undeclared_groups: 5001,
}


def took_s(frame: bytes, code: int) -> float:
    """Least CPU time of this thread."""
    best = float("inf")
    for _ in range(5):
        began = thread_time()
        with pytest.raises(DiameterError) as caught:
            decode_ccr(frame, parse_header(frame), None, Limits(100_000, 100_000))
        best = min(best, thread_time() - began)
        assert caught.value.result_code == code
    return best


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_the_work_grows_with_the_request_and_no_faster(shape: Callable[[int], bytes]) -> None:
    """Four times the groups took sixteen times as long; now about four, and eight is allowed on a busy machine."""
    few, many, code = shape(250), shape(1_000), SHAPES[shape]
    assert min(took_s(many, code) / took_s(few, code) for _ in range(3)) < 8
