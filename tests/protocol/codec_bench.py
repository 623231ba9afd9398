"""Speed of the codec compared with python-diameter, in one process. `run()` returns medians in µs; `make bench` prints
them.

The requests are those of a real P-GW: 780 octets (some a few more or less), an update with one service. All differ in
session, subscriber, number, time, charging id, bearer address, cell and octets, like a network's requests. The answer
grants volume with a validity time. Both codecs read the same requests and write answers of equal content.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

from diameter.message import Message
from diameter.message.commands.credit_control import GrantedServiceUnit as TheirGrant
from diameter.message.commands.credit_control import MultipleServicesCreditControl as TheirService

from protocol.avp import FLAG_MANDATORY, encode_avp, walk
from protocol.credit_control import (
    CreditControlRequest,
    GrantedServiceUnit,
    MultipleServicesCreditControl,
    decode_cca,
    decode_ccr,
    encode_cca,
)
from protocol.header import HEADER_OCTETS, build, parse_header
from tests.protocol.captures import OPEN5GS, requests

ROUNDS = 61
REQUESTS = 6_000
"""More than any cache of the codec holds, so that each subscriber's values are new to it."""
SEED = 8506
GRANT_OCTETS = 10_485_760


def update_frame() -> bytes:
    """The captured request with another type."""
    frame = requests(OPEN5GS)[0]
    assert len(frame) == 780
    initial, update = (bytes.fromhex("000001a04000000c") + number.to_bytes(4, "big") for number in (1, 2))
    assert initial in frame
    return frame.replace(initial, update)


def update_frames(count: int = REQUESTS) -> list[bytes]:
    """Three in four are 780 octets long; the others' Session-Ids are four or eight octets longer."""
    rng = random.Random(SEED)
    whole = update_frame()
    return [_varied(whole, number, rng) for number in range(count)]


def _varied(whole: bytes, number: int, rng: random.Random) -> bytes:
    """The request with other values for this subscriber (found by the octets before them)."""
    session = f"smf.localdomain;{1_700_000_000 + number};2;app_gy" + "1" * rng.choice((0, 0, 0, 0, 0, 0, 4, 8))
    avps = [whole[avp.start : (avp.stop + 3) & ~3] for avp in walk(whole, HEADER_OCTETS, len(whole))]
    body = b"".join([encode_avp(263, 0, FLAG_MANDATORY, session.encode()), *avps[1:]])
    changes = {
        "0000019f4000000c": rng.randrange(500).to_bytes(4, "big"),  # CC-Request-Number
        "000000374000000c": rng.randrange(0xE9000000, 0xEE000000).to_bytes(4, "big"),  # Event-Timestamp
        "000001bc40000017": b"%015d" % (1_010_000_000_000 + number),  # IMSI
        "000001bc40000014": b"4477%08d" % number,  # MSISDN
        "000001a540000010": rng.randrange(1 << 32).to_bytes(8, "big"),  # CC-Total-Octets
        "00000002c0000010000028af": rng.randbytes(4),  # 3GPP-Charging-Id
        "000004cbc0000012000028af0001": b"\x0a" + (number + 1).to_bytes(3, "big"),  # PDP-Address
        "00000016c0000019000028af8200f110000100f110": rng.randbytes(4),  # 3GPP-User-Location-Info, the cell
    }
    for before, value in changes.items():
        head = bytes.fromhex(before)
        assert body.count(head) == 1, before
        place = body.index(head) + len(head)
        body = body[:place] + value + body[place + len(value) :]
    return build(body, whole[4], 272, 4, rng.randrange(1 << 32), number)


def answer(request: CreditControlRequest) -> bytes:
    made = request.answer(2001)
    made.multiple_services_credit_control.append(
        MultipleServicesCreditControl(
            granted_service_unit=GrantedServiceUnit(cc_total_octets=GRANT_OCTETS - request.header.end_to_end),
            rating_group=100,
            validity_time=3_600,
            result_code=2001,
        )
    )
    return encode_cca(made, request.header, "ocs.example.org", "example.org")


def their_answer(request: Any) -> bytes:
    made: Any = request.to_answer()
    made.session_id = request.session_id
    made.origin_host = b"ocs.example.org"
    made.origin_realm = b"example.org"
    made.auth_application_id = 4
    made.cc_request_type = request.cc_request_type
    made.cc_request_number = request.cc_request_number
    made.result_code = 2001
    made.multiple_services_credit_control = [
        TheirService(
            granted_service_unit=TheirGrant(cc_total_octets=GRANT_OCTETS - request.header.end_to_end_identifier),
            rating_group=100,
            validity_time=3_600,
            result_code=2001,
        )
    ]
    return bytes(made.as_bytes())


def decode(frame: bytes) -> CreditControlRequest:
    return decode_ccr(frame, parse_header(frame))


def _check(frame: bytes) -> None:
    """Checks that both codecs do the same work."""
    ours, theirs = answer(decode(frame)), their_answer(Message.from_bytes(frame))
    assert decode_cca(ours, parse_header(ours)) == decode_cca(theirs, parse_header(theirs))


def _each_us(action: Callable[[Any], object], inputs: Iterator[Any], repeats: int) -> float:
    batch = list(islice(inputs, repeats))
    start = time.perf_counter()
    for one in batch:
        action(one)
    return (time.perf_counter() - start) / repeats * 1e6


def run() -> dict[str, float]:
    """Medians in µs per operation, and how many times faster decode + encode is.

    The rounds of the two codecs alternate, so that a busy moment of the machine hits both.
    """
    frames = update_frames()
    for frame in frames[:20]:
        _check(frame)
    actions: dict[str, tuple[Callable[[Any], object], Iterator[Any], int]] = {
        "decode_us": (decode, cycle(frames), 100),
        "encode_us": (answer, map(decode, cycle(frames)), 200),
        "python_diameter_decode_us": (Message.from_bytes, cycle(frames), 10),
        "python_diameter_encode_us": (their_answer, map(Message.from_bytes, cycle(frames)), 20),
    }
    timings: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):
        for name, (action, inputs, repeats) in actions.items():
            timings[name].append(_each_us(action, inputs, repeats))
    result = {name: statistics.median(values) for name, values in timings.items()}
    result["ratio"] = statistics.median(
        (their_decode + their_encode) / (decode + encode)
        for decode, encode, their_decode, their_encode in zip(*timings.values(), strict=True)
    )
    return result


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:28} {value:9.1f}")
