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

ROUNDS = 15


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


def _median_us(action: Callable[[], object], repeats: int) -> float:
    timings = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeats):
            action()
        timings.append((time.perf_counter() - start) / repeats)
    return statistics.median(timings) * 1e6


def run() -> dict[str, float]:
    """Medians in µs per operation, and how many times faster decode + encode is."""
    frame = update_frame()
    header = parse_header(frame)
    ours = decode_ccr(frame, header)
    theirs = Message.from_bytes(frame)
    result = {
        "decode_us": _median_us(lambda: decode_ccr(frame, parse_header(frame)), 300),
        "encode_us": _median_us(lambda: answer(ours), 600),
        "python_diameter_decode_us": _median_us(lambda: Message.from_bytes(frame), 30),
        "python_diameter_encode_us": _median_us(lambda: their_answer(theirs), 60),
    }
    ours_us = result["decode_us"] + result["encode_us"]
    result["ratio"] = (result["python_diameter_decode_us"] + result["python_diameter_encode_us"]) / ours_us
    return result


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:28} {value:9.1f}")
