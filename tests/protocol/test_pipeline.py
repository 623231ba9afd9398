"""Every error of the pipeline, with its Failed-AVP; codec and pipeline agree on what is an error."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import failed_avp, pipeline
from protocol.answers import error_answer
from protocol.avp import Address, AvpLengthError, encode_avp, walk
from protocol.credit_control import (
    CreditControlRequest,
    MultipleServicesCreditControl,
    ServiceInformation,
    SmsInformation,
    SubscriptionId,
    VendorSpecificApplicationId,
    decode_cca,
    decode_ccr,
    encode_ccr,
)
from protocol.errors import DiameterError
from protocol.header import HEADER_OCTETS, build, parse_header
from tests.protocol import captures
from tests.protocol.echoes import echoed, has_e_bit

ALL = [*captures.requests(captures.OPEN5GS), *captures.requests(captures.KAMAILIO)]
M = 0x40


def ccr() -> CreditControlRequest:
    return CreditControlRequest(
        "pgw.example.org;1;2",
        "pgw.example.org",
        "example.org",
        "example.org",
        4,
        "32251@3gpp.org",
        1,
        0,
        subscription_id=[SubscriptionId(0, "38668100000")],
        multiple_services_credit_control=[MultipleServicesCreditControl(rating_group=100)],
    )


def body_of(request: CreditControlRequest) -> bytes:
    return encode_ccr(request, hop_by_hop=1, end_to_end=2)[HEADER_OCTETS:]


def frame_of(body: bytes, flags: int = 0xC0, command: int = 272, application: int = 4) -> bytes:
    return build(body, flags, command, application, 1, 2)


def without(code: int, body: bytes | None = None) -> bytes:
    body = body_of(ccr()) if body is None else body
    return b"".join(body[avp.start : (avp.stop + 3) & ~3] for avp in walk(body, 0, len(body)) if avp.code != code)


def error_of(frame: bytes) -> DiameterError:
    with pytest.raises(DiameterError) as caught:
        decode_ccr(frame, parse_header(frame))
    return caught.value


def put(*extra: bytes) -> bytes:
    return frame_of(body_of(ccr()) + b"".join(extra))


def in_service(avp: bytes) -> bytes:
    body = without(456)
    return frame_of(body + encode_avp(456, 0, M, encode_avp(432, 0, M, b"\0\0\0\x64") + avp))


UNKNOWN = encode_avp(999_999, 0, M, b"what")
UNKNOWN_3GPP = encode_avp(999_999, 10415, M, b"what")
GRANT = encode_avp(431, 0, M, encode_avp(420, 0, M, bytes(4)))

CASES = {
    "3008 E in a request": (frame_of(body_of(ccr()), 0xE0), 3008, b""),
    "3007 Gx": (frame_of(body_of(ccr()), application=16777238), 3007, b""),
    "3001 session termination": (frame_of(body_of(ccr()), command=275), 3001, b""),
    "3001 re-auth towards a server": (frame_of(body_of(ccr()), command=258), 3001, b""),
    "5001 unknown with M": (put(UNKNOWN), 5001, UNKNOWN),
    "5001 unknown of 3GPP with M": (put(UNKNOWN_3GPP), 5001, UNKNOWN_3GPP),
    "5001 nested": (in_service(UNKNOWN), 5001, encode_avp(456, 0, M, UNKNOWN)),
    "5001 another vendor's": (put(encode_avp(1, 9, M, b"x")), 5001, encode_avp(1, 9, M, b"x")),
    "5005 Service-Context-Id": (frame_of(without(461)), 5005, encode_avp(461, 0, M, b"")),
    "5005 CC-Request-Number": (frame_of(without(415)), 5005, encode_avp(415, 0, M, bytes(4))),
    "5005 Auth-Application-Id": (frame_of(without(258)), 5005, encode_avp(258, 0, M, bytes(4))),
    "5005 empty message": (frame_of(b""), 5005, encode_avp(263, 0, M, b"")),
    "5005 Subscription-Id-Data": (
        put(encode_avp(443, 0, M, encode_avp(450, 0, M, bytes(4)))),
        5005,
        encode_avp(443, 0, M, encode_avp(444, 0, M, b"")),
    ),
    "5005 Requested-Action of an event": (
        frame_of(without(416) + encode_avp(416, 0, M, b"\0\0\0\4")),
        5005,
        encode_avp(436, 0, M, bytes(4)),
    ),
    "5009 second CC-Request-Number": (
        put(encode_avp(415, 0, M, b"\0\0\0\7")),
        5009,
        encode_avp(415, 0, M, b"\0\0\0\7"),
    ),
    "5009 second Rating-Group": (
        in_service(encode_avp(432, 0, M, b"\0\0\0\1")),
        5009,
        encode_avp(456, 0, M, encode_avp(432, 0, M, b"\0\0\0\1")),
    ),
    "5008 Granted-Service-Unit": (put(GRANT), 5008, GRANT),
    "5008 Granted-Service-Unit of a service": (in_service(GRANT), 5008, encode_avp(456, 0, M, GRANT)),
    "5004 CC-Request-Type 0": (
        frame_of(without(416) + encode_avp(416, 0, M, bytes(4))),
        5004,
        encode_avp(416, 0, M, bytes(4)),
    ),
    "5004 Auth-Application-Id 5": (
        frame_of(without(258) + encode_avp(258, 0, M, b"\0\0\0\5")),
        5004,
        encode_avp(258, 0, M, b"\0\0\0\5"),
    ),
    "5004 no UTF-8": (
        frame_of(without(461) + encode_avp(461, 0, M, b"\xff\xfe")),
        5004,
        encode_avp(461, 0, M, b"\xff\xfe"),
    ),
    "5004 an identity that is not ASCII": (
        put(encode_avp(293, 0, M, "höst".encode())),
        5004,
        encode_avp(293, 0, M, "höst".encode()),
    ),
    "5014 number of three octets": (
        frame_of(without(415) + encode_avp(415, 0, M, b"\0\0\0")),
        5014,
        encode_avp(415, 0, M, bytes(4)),
    ),
    "5014 number of five octets in a service": (
        in_service(encode_avp(439, 0, M, bytes(5))),
        5014,
        encode_avp(456, 0, M, encode_avp(439, 0, M, bytes(4))),
    ),
    "5014 length shorter than the header": (
        put(bytes.fromhex("0000019f 40000007 00000000".replace(" ", ""))),
        5014,
        encode_avp(415, 0, M, bytes(4)),
    ),
    "5014 length past the end": (
        put(bytes.fromhex("000001cd 40000100".replace(" ", ""))),
        5014,
        encode_avp(461, 0, M, b""),
    ),
    "5014 child past its group": (
        put(encode_avp(456, 0, M, bytes.fromhex("000001b040000020000000aa"))),
        5014,
        encode_avp(456, 0, M, encode_avp(432, 0, M, bytes(4))),
    ),
    "5014 Address of one octet": (
        put(
            encode_avp(873, 10415, M, encode_avp(874, 10415, M, encode_avp(847, 10415, M, b"\0"))),
        ),
        5014,
        encode_avp(873, 10415, M, encode_avp(874, 10415, M, encode_avp(847, 10415, M, b"\0\x01\0\0\0\0"))),
    ),
}


@pytest.mark.parametrize(("frame", "code", "failed"), CASES.values(), ids=CASES)
def test_each_error_and_its_answer(frame: bytes, code: int, failed: bytes) -> None:
    error = error_of(frame)
    assert (error.result_code, error.failed_avp) == (code, failed)
    header = parse_header(frame)
    answer = error_answer(frame, header, error, "ocs.example.org", "example.org")
    head = parse_header(answer)
    assert head.length == len(answer)
    assert not head.is_request and not head.is_retransmission
    assert head[2:] == header[2:]
    assert head.is_proxiable == header.is_proxiable
    found = {avp.code: answer[avp.payload : avp.stop] for avp in walk(answer, HEADER_OCTETS, len(answer))}
    assert found[268] == code.to_bytes(4, "big")
    present, proxies = echoed(frame)
    assert head.is_error == has_e_bit(header, code, present), "RFC 6733 §7.1.3, §7.2"
    assert found.get(263) == present.get(263) and proxies == []
    assert found.get(279, b"") == failed
    if not head.is_error:
        assert decode_cca(answer, head).result_code == code


@pytest.mark.parametrize("missing", [263, 416, 415])
def test_without_the_means_to_fill_a_cca_the_answer_is_the_generic_one(missing: int) -> None:
    """RFC 6733 §7.2."""
    frame = frame_of(without(missing))
    error = error_of(frame)
    answer = error_answer(frame, parse_header(frame), error, "ocs.example.org", "example.org")
    assert error.result_code == 5005
    assert parse_header(answer).is_error
    codes = {avp.code for avp in walk(answer, HEADER_OCTETS, len(answer))}
    assert not codes & {258, 415, 416}


def test_only_the_first_error_in_the_order_of_the_stages_is_reported() -> None:
    body = without(461) + UNKNOWN + encode_avp(415, 0, M, b"\0\0\0\7") + GRANT
    assert error_of(frame_of(body)).result_code == 5001
    assert error_of(frame_of(body + encode_avp(415, 0, M, b"\0"))).result_code == 5014
    assert error_of(frame_of(body, 0xE0)).result_code == 3008


@pytest.mark.parametrize(
    "extra",
    [
        encode_avp(999_999, 0, 0, b"what"),
        encode_avp(999_999, 10415, 0, b"what"),
        encode_avp(999_999, 9, 0x20, b"what"),
        encode_avp(2040, 10415, M, b""),
        encode_avp(480, 0, M, b"\0\0\0\2"),
        encode_avp(264, 0, M, b"second.example.org"),
        encode_avp(283, 0, M, b"")[:0],
    ],
)
def test_what_is_tolerated(extra: bytes) -> None:
    """Unknown AVPs without M, undeclared AVPs of 3GPP, the P bit, a repeated identity."""
    frame = put(extra)
    assert decode_ccr(frame, parse_header(frame)).origin_host == "pgw.example.org"


def test_flags_of_known_avps_do_not_matter() -> None:
    for flags in (0, 0x20, 0x40, 0x60, 0x1F):
        frame = frame_of(without(461) + encode_avp(461, 0, flags, b"32251@3gpp.org"))
        assert decode_ccr(frame, parse_header(frame)).service_context_id == "32251@3gpp.org"


def test_a_vendor_specific_avp_is_not_the_ietf_one_of_its_number() -> None:
    frame = put(encode_avp(415, 9, 0, b"\0\0\0\7"), encode_avp(415, 10415, 0, b"\0\0\0\7"))
    for _ in range(2):  # also once the header is remembered
        assert decode_ccr(frame, parse_header(frame)).cc_request_number == 0


def test_remembered_headers_of_two_vendors_are_told_apart() -> None:
    ours = ServiceInformation(sms_information=SmsInformation(client_address=Address(1, "10.0.0.1")))
    request = ccr()
    request.service_information = ours
    good = encode_ccr(request, hop_by_hop=1, end_to_end=2)
    assert decode_ccr(good, parse_header(good)).service_information == ours
    other = good.replace(b"\0\0\x28\xaf", b"\0\0\0\x09")
    error = error_of(other)
    assert error.result_code == 5001


def test_services_beyond_the_limit() -> None:
    request = ccr()
    request.multiple_services_credit_control *= 257
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=2)
    error = error_of(frame)
    assert error.result_code == 5009
    assert error.failed_avp == failed_avp.copy(
        "multiple_services_credit_control", request.multiple_services_credit_control[0]
    )
    request.multiple_services_credit_control.pop()
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=2)
    assert len(decode_ccr(frame, parse_header(frame)).multiple_services_credit_control) == 256


def test_the_application_may_stand_in_the_vendor_specific_group() -> None:
    request = ccr()
    request.auth_application_id = None
    request.vendor_specific_application_id = [VendorSpecificApplicationId(10415, 4)]
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=2)
    assert decode_ccr(frame, parse_header(frame)).auth_application_id is None
    request.vendor_specific_application_id = [VendorSpecificApplicationId(10415, None, 4)]
    assert error_of(encode_ccr(request, hop_by_hop=1, end_to_end=2)).result_code == 5005


def test_proxy_info_is_echoed_in_order_even_in_errors() -> None:
    proxies = [
        encode_avp(284, 0, M, encode_avp(280, 0, M, host) + encode_avp(33, 0, M, b"x")) for host in (b"a", b"bb")
    ]
    frame = put(*proxies)
    request = decode_ccr(frame, parse_header(frame))
    assert request.proxy_info == proxies
    answer = error_answer(frame, request.header, DiameterError(5012, ""), "ocs", "r")
    assert answer.endswith(b"".join(proxies))


def test_failed_avp_helpers() -> None:
    assert failed_avp.example("service_context_id") == encode_avp(461, 0, M, b"")
    assert failed_avp.copy("rating_group", 7, "multiple_services_credit_control") == encode_avp(
        456, 0, M, encode_avp(432, 0, M, b"\0\0\0\7")
    )
    assert failed_avp.example("cc_total_octets", "used_service_unit") == encode_avp(
        446, 0, M, encode_avp(421, 0, M, bytes(8))
    )


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real request with some octets changed, removed or inserted; the header's length is adjusted."""
    body = bytearray(draw(st.sampled_from(ALL))[HEADER_OCTETS:])
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        match draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                body[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del body[at : at + draw(st.integers(1, 40))]
            case _:
                body[at:at] = draw(st.binary(max_size=12))
    body += bytes(-len(body) % 4)
    return frame_of(bytes(body))


@given(damaged())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_reader_and_pipeline_agree_and_every_error_can_be_answered(frame: bytes) -> None:
    header = parse_header(frame)
    try:
        decode_ccr(frame, header)
    except DiameterError as error:
        assert error.result_code != 5012, "the reader saw a fault that no stage finds"
        answer = error_answer(frame, header, error, "ocs.example.org", "example.org")
        assert parse_header(answer).length == len(answer)
        for avp in walk(answer, HEADER_OCTETS, len(answer)):
            assert avp.stop <= len(answer)
    else:
        examined = pipeline.examine(frame, header)
        assert [stage(examined) for _, stage in pipeline.STAGES] == [None] * len(pipeline.STAGES)


@given(st.binary(max_size=200).map(lambda data: data + bytes(-len(data) % 4)))
@settings(max_examples=300, deadline=None)
def test_garbage_after_a_header(body: bytes) -> None:
    frame = frame_of(body)
    error = error_of(frame)
    assert error.result_code in (5001, 5005, 5014)
    error_answer(frame, parse_header(frame), error, "ocs", "r")


def test_truncation_at_every_octet_is_an_error() -> None:
    frame = ALL[0]
    for end in range(HEADER_OCTETS, len(frame), 4):
        cut = frame_of(frame[HEADER_OCTETS:end])
        try:
            decode_ccr(cut, parse_header(cut))
        except DiameterError as error:
            assert error.result_code in (5005, 5014)


def test_the_walk_stops_at_a_lie() -> None:
    with pytest.raises(AvpLengthError):
        list(walk(bytes(8), 0, 8))
    with pytest.raises(AvpLengthError):
        list(walk(bytes(3), 0, 3))
