"""How fast the codec is against python-diameter, in one process: `run()` gives medians in µs, `make bench` prints them.

The request is a real P-GW's: 780 octets, an update with one service. The answer grants it a volume with validity time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from diameter.message import Message
from diameter.message.commands.credit_control import GrantedServiceUnit as TheirGrant
from diameter.message.commands.credit_control import MultipleServicesCreditControl as TheirService

from protocol.credit_control import (
    CreditControlRequest,
    GrantedServiceUnit,
    MultipleServicesCreditControl,
    decode_ccr,
    encode_cca,
)
from protocol.header import parse_header
from tests.protocol.captures import OPEN5GS, requests

ROUNDS = 61


def update_frame() -> bytes:
    frame = requests(OPEN5GS)[0]
    assert len(frame) == 780
    initial, update = (bytes.fromhex("000001a04000000c") + number.to_bytes(4, "big") for number in (1, 2))
    assert initial in frame
    return frame.replace(initial, update)


def answer(request: CreditControlRequest) -> bytes:
    made = request.answer(2001)
    made.multiple_services_credit_control.append(
        MultipleServicesCreditControl(
            granted_service_unit=GrantedServiceUnit(cc_total_octets=10_485_760),
            rating_group=100,
            validity_time=3_600,
            result_code=2001,
        )
    )
    return encode_cca(made, request.header, "ocs.example.org", "example.org")


def their_answer(request: Message) -> bytes:
    made = request.to_answer()
    made.session_id = request.session_id
    made.origin_host = b"ocs.example.org"
    made.origin_realm = b"example.org"
    made.auth_application_id = 4
    made.cc_request_type = request.cc_request_type
    made.cc_request_number = request.cc_request_number
    made.result_code = 2001
    made.multiple_services_credit_control = [
        TheirService(
            granted_service_unit=TheirGrant(cc_total_octets=10_485_760),
            rating_group=100,
            validity_time=3_600,
            result_code=2001,
        )
    ]
    return bytes(made.as_bytes())


def _once_us(action: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - start) / repeats * 1e6


def run() -> dict[str, float]:
    """Medians in µs per operation, and how many times faster decode + encode is.

    The rounds of the two codecs alternate, so that a busy moment of the machine hits both.
    """
    frame = update_frame()
    ours, theirs = decode_ccr(frame, parse_header(frame)), Message.from_bytes(frame)
    actions: dict[str, tuple[Callable[[], object], int]] = {
        "decode_us": (lambda: decode_ccr(frame, parse_header(frame)), 100),
        "encode_us": (lambda: answer(ours), 200),
        "python_diameter_decode_us": (lambda: Message.from_bytes(frame), 10),
        "python_diameter_encode_us": (lambda: their_answer(theirs), 20),
    }
    timings: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, (action, repeats) in actions.items():
            timings[name].append(_once_us(action, repeats))
    result = {name: statistics.median(values) for name, values in timings.items()}
    result["ratio"] = statistics.median(
        (their_decode + their_encode) / (decode + encode)
        for decode, encode, their_decode, their_encode in zip(*timings.values(), strict=True)
    )
    return result


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:28} {value:9.1f}")
