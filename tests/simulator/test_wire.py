"""The simulator's own decoder, with messages that python-diameter encodes."""

from __future__ import annotations

import pytest
from diameter.message.avp.grouped import FinalUnitIndication, GrantedServiceUnit, MultipleServicesCreditControl
from diameter.message.commands.credit_control import CreditControlAnswer

from simulator.wire import FrameSplitter, WireError, avps, read_answer, read_head


def answer_frame() -> bytes:
    answer = CreditControlAnswer()
    answer.header.application_id = 4
    answer.header.hop_by_hop_identifier = 7
    answer.header.end_to_end_identifier = 9
    answer.session_id = "pgw.sim.example.net;1;2"
    answer.result_code = 2001
    answer.origin_host = b"ocs.example.net"
    answer.origin_realm = b"example.net"
    answer.cc_request_type = 2
    answer.cc_request_number = 3
    granted = MultipleServicesCreditControl(
        granted_service_unit=GrantedServiceUnit(cc_total_octets=1_000_000), rating_group=100, result_code=2001
    )
    granted.validity_time = 600
    granted.volume_quota_threshold = 100_000
    granted.final_unit_indication = FinalUnitIndication(final_unit_action=0)
    answer.multiple_services_credit_control = [
        granted,
        MultipleServicesCreditControl(rating_group=200, service_identifier=[5], result_code=4012),
    ]
    return bytes(answer.as_bytes())


def test_an_answer_is_read_as_it_was_encoded() -> None:
    answer = read_answer(answer_frame())
    assert (answer.head.hop_by_hop, answer.head.end_to_end, answer.result_code, answer.request_number) == (
        7,
        9,
        2001,
        3,
    )
    first, second = answer.services
    assert (first.rating_group, first.granted, first.granted_kind, first.validity_s) == (100, 1_000_000, "octets", 600)
    assert (first.threshold, first.final_action, first.result_code) == (100_000, 0, 2001)
    assert (second.rating_group, second.service_identifier, second.result_code, second.granted) == (200, 5, 4012, None)


def test_frames_come_out_whole_however_the_stream_is_cut() -> None:
    stream = answer_frame() * 3
    for size in (1, 7, 19, 100, len(stream)):
        splitter, found = FrameSplitter(), []
        for at in range(0, len(stream), size):
            found += splitter.feed(stream[at : at + size])
        assert found == [answer_frame()] * 3


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\x01\x00\x00\x04" + bytes(20), b"\x02\x00\x00\x14" + bytes(20)]
)
def test_what_is_no_diameter_ends_the_stream(data: bytes) -> None:
    with pytest.raises(WireError):
        FrameSplitter().feed(data)


def test_an_avp_that_lies_about_its_length_is_found() -> None:
    frame = bytearray(answer_frame())
    frame[27] = 255
    with pytest.raises(WireError):
        list(avps(bytes(frame[:60])))
    with pytest.raises(WireError):
        read_head(b"\x03" + bytes(19))
