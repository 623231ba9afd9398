"""Decoding answers of the base protocol, and the capabilities exchange in both roles."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import commands
from protocol.answers import MAX_ERROR_MESSAGE_OCTETS, error_answer
from protocol.avp import FAMILY_IPV4, Address, encode_avp, walk
from protocol.capabilities import (
    RELAY,
    LocalNode,
    check_cea,
    check_cer,
    make_cea,
    make_cer,
    make_dwa,
    make_dwr,
    refusal,
)
from protocol.commands import (
    AbortSessionAnswer,
    CapabilitiesExchangeAnswer,
    CapabilitiesExchangeRequest,
    DeviceWatchdogAnswer,
    DisconnectPeerAnswer,
    ErrorMessage,
    ReAuthAnswer,
    decode,
    decode_answer,
    encode,
    encode_answer,
)
from protocol.compiler import Fault
from protocol.errors import DiameterError
from protocol.header import HEADER_OCTETS, build, parse_header
from protocol.pipeline import decode_request
from protocol.units import VendorSpecificApplicationId

M = 0x40
LOCAL = LocalNode("ocs.example.org", "example.org", origin_state_id=7)
HERE = [Address(FAMILY_IPV4, "10.0.0.1")]
NAMES = encode_avp(264, 0, M, b"pgw.example.net") + encode_avp(296, 0, M, b"example.net")
SESSION = encode_avp(263, 0, M, b"s;1;2")
KINDS: dict[type, tuple[int, bytes]] = {
    ReAuthAnswer: (258, SESSION),
    AbortSessionAnswer: (274, SESSION),
    DeviceWatchdogAnswer: (280, b""),
    DisconnectPeerAnswer: (282, b""),
}


def code(value: int) -> bytes:
    return encode_avp(268, 0, M, value.to_bytes(4, "big"))


def read(cls: type, body: bytes, flags: int = 0x40) -> Any:
    frame = build(body, flags, KINDS[cls][0], 4, 1, 2)
    return decode_answer(cls, frame, parse_header(frame))


@pytest.mark.parametrize("cls", KINDS)
def test_an_answer_is_read_leniently(cls: type) -> None:
    """Unknown AVPs with any flags, a repeated identity, any order."""
    unknown = (
        encode_avp(999_999, 0, M, b"x") + encode_avp(999_999, 9, M, b"x") + bytes.fromhex("0000019fc000000c00000000")
    )
    answer = read(cls, unknown + NAMES + code(2001) + KINDS[cls][1] + NAMES + unknown)
    assert isinstance(answer, cls)
    assert (answer.result_code, answer.origin_host) == (2001, "pgw.example.net")  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize("result_code", [3002, 5002, 5012])
def test_an_error_message_gives_its_result_code(cls: type, result_code: int) -> None:
    """RFC 6733 §7.2: with the E bit and the generic grammar, or an error without AVPs that its command requires."""
    whole = read(cls, KINDS[cls][1] + NAMES + code(result_code) + encode_avp(281, 0, 0, b"no"), 0x60)
    assert isinstance(whole, ErrorMessage)
    assert (whole.code, whole.origin_host, whole.error_message) == (result_code, "pgw.example.net", "no")
    short = read(cls, code(result_code))
    assert isinstance(short, ErrorMessage) and short.code == result_code


@pytest.mark.parametrize("cls", KINDS)
def test_an_experimental_result_counts(cls: type) -> None:
    inner = encode_avp(266, 0, M, (10415).to_bytes(4, "big")) + encode_avp(298, 0, M, (5420).to_bytes(4, "big"))
    answer = read(cls, NAMES + encode_avp(297, 0, M, inner))
    assert isinstance(answer, ErrorMessage) and answer.code == 5420


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize("body", [b"", NAMES, code(2001), encode_avp(268, 0, M, b"\0\0"), b"\0\0\1\x0c\x40\0\0\xff"])
def test_what_is_no_answer_is_dropped(cls: type, body: bytes) -> None:
    with pytest.raises(Fault):
        read(cls, body)
    with pytest.raises(Fault):
        read(cls, NAMES + code(2001), 0x80)


def test_a_re_auth_answer_that_asks_for_patience() -> None:
    answer = read(ReAuthAnswer, SESSION + code(2002) + NAMES)
    assert isinstance(answer, ReAuthAnswer) and (answer.session_id, answer.result_code) == ("s;1;2", 2002)


@pytest.mark.parametrize("command", [258, 274])
def test_server_initiated_requests_that_come_to_the_server(command: int) -> None:
    """RFC 6733 §7.1.3: 3001."""
    frame = build(SESSION + NAMES, 0xC0, command, 4, 1, 2)
    with pytest.raises(DiameterError) as caught:
        decode_request(frame, parse_header(frame))
    assert (caught.value.result_code, caught.value.protocol_error) == (3001, True)


# --- capabilities exchange (RFC 6733 §5.3)


def offer(**changes: Any) -> CapabilitiesExchangeRequest:
    request = CapabilitiesExchangeRequest(
        "pgw.example.net", "example.net", HERE, 0, "pgw", supported_vendor_id=[10415], auth_application_id=[4]
    )
    for name, value in changes.items():
        setattr(request, name, value)
    return request


OFFERS: list[tuple[dict[str, Any], int]] = [
    ({}, 0),
    ({"auth_application_id": [RELAY]}, 0),
    ({"auth_application_id": [16777238]}, 5010),
    ({"auth_application_id": []}, 5010),
    ({"auth_application_id": [], "vendor_specific_application_id": [VendorSpecificApplicationId(10415, 4)]}, 0),
    ({"auth_application_id": [], "vendor_specific_application_id": [VendorSpecificApplicationId(9, 4)]}, 0),
    ({"auth_application_id": [], "vendor_specific_application_id": [VendorSpecificApplicationId(9, None, 4)]}, 0),
    ({"vendor_specific_application_id": [VendorSpecificApplicationId(10415)]}, 5005),
    ({"vendor_specific_application_id": [VendorSpecificApplicationId(10415, 4, 4)]}, 5009),
    ({"inband_security_id": [0]}, 0),
    ({"inband_security_id": [1, 0]}, 0),
    ({"inband_security_id": [1]}, 5017),
    ({"origin_host": "OCS.example.org"}, 3010),
]


@pytest.mark.parametrize(("changes", "expected"), OFFERS)
def test_offers_and_their_answers(changes: dict[str, Any], expected: int) -> None:
    """As responder; a refusal is a CEA with all required AVPs."""
    frame = encode(offer(**changes), hop_by_hop=1, end_to_end=2)
    header = parse_header(frame)
    error = check_cer(decode_request(frame, header), LOCAL)
    assert (0 if error is None else error.result_code) == expected
    if error is None:
        return
    assert error.close
    answer = refusal(header, LOCAL, HERE, error)
    head = parse_header(answer)
    assert head.is_error == (expected < 4_000) and head[2:] == header[2:]
    cea = decode(CapabilitiesExchangeAnswer, answer, head)
    assert (cea.result_code, cea.error_message, cea.failed_avp) == (expected, error.message, error.failed_avp)
    assert cea.host_ip_address == HERE and cea.product_name and cea.auth_application_id == [4]


@pytest.mark.parametrize(("changes", "expected"), OFFERS)
def test_what_an_initiator_makes_of_a_cea(changes: dict[str, Any], expected: int) -> None:
    answer = CapabilitiesExchangeAnswer(2001, "pgw.example.net", "example.net", HERE, 0, "pgw", auth_application_id=[4])
    for name, value in changes.items():
        setattr(answer, name, value)
    error = check_cea(answer, LOCAL)
    assert (0 if error is None else error.result_code) == expected


def test_a_cea_that_refuses_or_is_somebody_elses() -> None:
    answer = CapabilitiesExchangeAnswer(3010, "pgw.example.net", "example.net", HERE, 0, "pgw", auth_application_id=[4])
    error = check_cea(answer, LOCAL)
    assert error is not None and error.result_code == 3010
    answer.result_code = 2001
    assert check_cea(answer, LOCAL, "PGW.example.net") is None
    error = check_cea(answer, LOCAL, "other.example.net")
    assert error is not None and error.result_code == 3010


def test_what_we_advertise() -> None:
    """Application 4, alone and as 3GPP's (some clients read only that); Origin-State-Id if configured (§8.16)."""
    cer = make_cer(LOCAL, HERE)
    for message in (cer, make_cea(LOCAL, HERE, 2001)):
        assert message.auth_application_id == [4] and message.supported_vendor_id == [10415]
        assert message.vendor_specific_application_id == [VendorSpecificApplicationId(10415, 4)]
        assert message.origin_state_id == 7
    assert make_dwr(LOCAL).origin_state_id == make_dwa(LOCAL).origin_state_id == 7
    assert make_dwa(LOCAL).result_code == 2001
    assert make_cea(LocalNode("a", "b"), HERE, 2001).origin_state_id is None
    assert check_cer(cer, LocalNode("other.example.org", "example.org")) is None


def test_an_error_about_a_cer_that_has_no_cea_of_its_own_is_the_generic_one() -> None:
    """RFC 6733 §7.2: `error_answer` cannot fill a CEA."""
    frame = encode(offer(), hop_by_hop=1, end_to_end=2)
    answer = error_answer(frame, parse_header(frame), DiameterError(5012, "x" * 1_000), "ocs", "r")
    assert parse_header(answer).is_error
    (text,) = (answer[a.payload : a.stop] for a in walk(answer, HEADER_OCTETS, len(answer)) if a.code == 281)
    assert len(text) == MAX_ERROR_MESSAGE_OCTETS


def test_an_answer_of_3xxx_carries_the_e_bit() -> None:
    frame = encode(commands.DeviceWatchdogRequest("a", "b"), hop_by_hop=1, end_to_end=2)
    answer = encode_answer(DeviceWatchdogAnswer(3004, "ocs", "r"), parse_header(frame), error=True)
    assert parse_header(answer).is_error
