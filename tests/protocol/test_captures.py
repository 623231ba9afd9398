"""Messages of real clients and the vectors: decoded completely (nothing skipped), and re-encoded to equal values."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol import commands
from protocol.avp import walk
from protocol.compiler import Codec
from protocol.credit_control import _CCA, _CCR, decode_cca, decode_ccr, encode_cca, encode_ccr
from protocol.header import HEADER_OCTETS, parse_header
from protocol.pipeline import decode_request
from protocol.pretty import render
from tests.protocol import captures

CAPTURES = captures.BY_CLIENT
DOUBLED = {264, 296}


def rows(frame: bytes, start: int, end: int, codec: Codec[object] | None) -> list[tuple[int, int, object]]:
    """(code, vendor, payload or subtree) of the AVPs in the octets; the definitions say which are groups."""
    found: list[tuple[int, int, object]] = []
    for avp in walk(frame, start, end):
        assert codec is not None
        field = codec.fields.get(avp.vendor << 32 | avp.code)
        assert field is not None, f"AVP {avp.code} of vendor {avp.vendor} is not declared"
        if field.doubled and any(row[0] == avp.code for row in found):
            continue
        inner: object = frame[avp.payload : avp.stop]
        if field.group is not None:
            inner = rows(frame, avp.payload, avp.stop, field.group)
        found.append((avp.code, avp.vendor, inner))
    return sorted(found, key=repr)


def test_the_captures_are_what_they_are_said_to_be() -> None:
    counts = {name: (len(captures.requests(path)), len(captures.answers(path))) for name, path in CAPTURES.items()}
    expected = {"open5gs": (3, 3), "kamailio": (1, 1), "teravm": (14, 14)}
    assert counts == {name: expected[name] for name in CAPTURES}


@pytest.mark.parametrize("path", CAPTURES.values(), ids=CAPTURES)
def test_requests_decode_whole_and_come_out_equal(path: Path) -> None:
    for frame in captures.requests(path):
        header = parse_header(frame)
        request = decode_ccr(frame, header)
        again = encode_ccr(request, hop_by_hop=header.hop_by_hop, end_to_end=header.end_to_end)
        assert rows(again, HEADER_OCTETS, len(again), _CCR) == rows(frame, HEADER_OCTETS, len(frame), _CCR)
        second = decode_ccr(again, header)
        second.raw = request.raw
        assert second == request


@pytest.mark.parametrize("path", CAPTURES.values(), ids=CAPTURES)
def test_answers_decode_and_come_out_equal(path: Path) -> None:
    for frame in captures.answers(path):
        answer = decode_cca(frame, parse_header(frame))
        again = encode_cca(answer, parse_header(frame), answer.origin_host, answer.origin_realm)
        assert decode_cca(again, parse_header(again)) == answer


@pytest.mark.parametrize("path", CAPTURES.values(), ids=CAPTURES)
def test_base_commands_decode(path: Path) -> None:
    kinds = {(257, True), (257, False), (280, True), (280, False), (282, True), (282, False)}
    for frame in captures.frames(path):
        header = parse_header(frame)
        if (header.command_code, header.is_request) in kinds and header.is_request:
            assert decode_request(frame, header).origin_host
        assert render(frame).count("\n") > 1


def test_an_ims_client_that_doubles_its_identity_and_hides_the_application_is_understood() -> None:
    (frame,) = captures.requests(captures.KAMAILIO)
    request = decode_ccr(frame, parse_header(frame))
    assert request.origin_host == "scscf.localdomain"
    assert request.auth_application_id is None
    assert request.vendor_specific_application_id[0].auth_application_id == 4
    ims = request.service_information and request.service_information.ims_information
    assert ims is not None
    assert ims.role_of_node == 0
    assert ims.called_party_address == "sip:447700900002@localdomain"
    assert request.multiple_services_credit_control[0].service_identifier == [1000]


def test_a_gateway_says_where_and_how_much() -> None:
    first, update, last = captures.requests(captures.OPEN5GS)
    request = decode_ccr(first, parse_header(first))
    bearer = request.service_information and request.service_information.ps_information
    assert bearer is not None
    assert bearer.called_station_id == "internet"
    assert bearer.tgpp_sgsn_mcc_mnc is not None and bearer.tgpp_sgsn_mcc_mnc.isdigit()
    assert [sub.subscription_id_type for sub in request.subscription_id].count(0) == 1
    used = decode_ccr(update, parse_header(update)).multiple_services_credit_control[0].used_service_unit
    assert (used[0].cc_input_octets, used[0].cc_output_octets, used[0].cc_time) == (100_928, 99_600, 1)
    assert decode_ccr(last, parse_header(last)).termination_cause is not None


def test_vectors() -> None:
    vectors = captures.vectors()
    for name in ("cca", "fui", "m5005", "r5031"):
        frame = vectors[name]
        header = parse_header(frame)
        answer = decode_cca(frame, header)
        again = encode_cca(answer, header, answer.origin_host, answer.origin_realm)
        # A Failed-AVP's inside is kept as bytes; the rest may stand in another order.
        assert len(again) == len(frame)
        assert decode_cca(again, header) == answer
        if name != "cca":
            assert again == frame
    cer = decode_request(vectors["cer"], parse_header(vectors["cer"]))
    assert cer.vendor_specific_application_id[0].auth_application_id == 4
    rar = commands.decode(commands.ReAuthRequest, vectors["rar"], parse_header(vectors["rar"]))
    assert rar.rating_group == 100
    assert {field.attribute for field in _CCA.fields.values()} >= {"failed_avp", "proxy_info"}
