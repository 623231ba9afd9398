"""The stages that concern more than one AVP: destinations, contradictions, limits."""

from __future__ import annotations

from typing import Any

import pytest

from protocol import failed_avp, pipeline
from protocol.answers import error_answer
from protocol.avp import MAX_NESTING, encode_avp, walk
from protocol.compiler import Codec
from protocol.credit_control import (
    CreditControlRequest,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    SubscriptionIdExtension,
    UsedServiceUnit,
    VendorSpecificApplicationId,
    decode_cca,
    decode_ccr,
    encode_ccr,
)
from protocol.errors import DiameterError
from protocol.header import HEADER_OCTETS, build, parse_header
from protocol.pipeline import Limits, Routing, decode_request
from tests.protocol.requests import ccrs
from tests.protocol.test_pipeline import ccr, frame_of, put

US = Routing(
    "OCS.example.org",
    frozenset({"Example.org", "epc.mnc040.mcc293.3gppnetwork.org"}),
    frozenset({"OCS2.example.org"}),
)
M = 0x40


def error_of(
    request: CreditControlRequest | bytes, routing: Routing | None = US, **limits: int
) -> DiameterError | None:
    frame = request if isinstance(request, bytes) else encode_ccr(request, hop_by_hop=1, end_to_end=2)
    for _ in range(3):  # walked, noted, built: the checks must not depend on the way it is read
        try:
            decode_ccr(frame, parse_header(frame), routing, Limits(**limits))
        except DiameterError as error:
            found: DiameterError | None = error
        else:
            found = None
    return found


def code_of(request: CreditControlRequest | bytes, routing: Routing | None = US, **limits: int) -> int:
    error = error_of(request, routing, **limits)
    return 0 if error is None else error.result_code


def request(**changes: Any) -> CreditControlRequest:
    made = ccr()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


# --- 7: AVP bits


@pytest.mark.parametrize("nested", [False, True])
def test_vendor_0_behind_the_v_bit(nested: bool) -> None:
    """RFC 6733 §4.1: Vendor-Id 0 must not be written."""
    bad = bytes.fromhex("0000019fc000001000000000 00000007".replace(" ", ""))
    frame = put(encode_avp(456, 0, M, bad) if nested else bad)
    error = error_of(frame)
    assert error is not None and (error.result_code, error.protocol_error) == (3009, True)
    assert error.failed_avp == (encode_avp(456, 0, M, bad) if nested else bad)


def test_3009_comes_before_the_application_and_after_lengths() -> None:
    bad = bytes.fromhex("0000019fc00000100000000000000007")
    gx = build(bad, 0xC0, 272, 16777238, 1, 2)
    assert code_of(gx) == 3009
    assert code_of(put(bad, encode_avp(415, 0, M, b""))) == 5014


# --- 10 to 12: loops, destinations


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"route_record": ["dra.example.net", "ocs.EXAMPLE.org"]}, 3005),
        ({"route_record": ["dra.example.net"]}, 0),
        ({"destination_host": "ocs.example.org"}, 0),
        ({"destination_host": "OCS.EXAMPLE.ORG"}, 0),
        ({"destination_host": "other.example.org"}, 3002),
        # A node that shares our sessions: a client that fails over from it names it. A route through it is not a loop.
        ({"destination_host": "ocs2.example.org"}, 0),
        ({"destination_host": "oCs2.eXample.ORG"}, 0),
        ({"destination_host": "ocs2.example.org", "destination_realm": "elsewhere.org"}, 3003),
        ({"route_record": ["ocs2.example.org"]}, 0),
        ({"destination_realm": "elsewhere.org"}, 3003),
        ({"destination_realm": "EPC.mnc040.mcc293.3gppnetwork.org"}, 0),
        ({"destination_host": "other.example.org", "destination_realm": "elsewhere.org"}, 3002),
        ({"route_record": ["ocs.example.org"], "destination_host": "other.example.org"}, 3005),
        ({"destination_host": "other.example.org", "service_context_id": None}, 3002),
    ],
)
def test_routing(changes: dict[str, Any], code: int) -> None:
    """RFC 6733 §6.1.3, §6.1.4, §6.1.6."""
    message = request(**changes)
    error = error_of(message)
    assert (0 if error is None else error.result_code) == code
    if error is not None:
        assert error.protocol_error
        frame = encode_ccr(message, hop_by_hop=1, end_to_end=2)
        assert parse_header(error_answer(frame, parse_header(frame), error, "ocs.example.org", "example.org")).is_error
    if changes.get("service_context_id", "") is not None:
        assert code_of(message, None) == 0, "without routing it does not matter"


def test_a_host_without_its_realm() -> None:
    """RFC 6733 §6.1.6. Without both it is a missing AVP."""
    message = request(destination_host="ocs.example.org", destination_realm=None)
    assert code_of(message) == 3002
    assert code_of(message, None) == 5005
    assert code_of(request(destination_realm=None)) == 5005


def test_base_requests_have_no_destination() -> None:
    from tests.protocol.requests import base

    for frame in base().values():
        assert decode_request(frame, parse_header(frame), Routing("nobody", frozenset())) is not None


# --- 16: missing


def test_an_empty_session_id_is_none() -> None:
    """Two sessions without a Session-Id must not be one; the answer is generic, without it (RFC 6733 §7.2, §8.8)."""
    message = request(session_id="")
    error = error_of(message)
    assert error is not None and error.result_code == 5005
    assert error.failed_avp == failed_avp.example("session_id")
    frame = encode_ccr(message, hop_by_hop=1, end_to_end=2)
    answer = error_answer(frame, parse_header(frame), error, "ocs.example.org", "example.org")
    assert parse_header(answer).is_error and 263 not in {avp.code for avp in walk(answer, HEADER_OCTETS, len(answer))}


# --- 5: the P bit


@pytest.mark.parametrize("name", ccrs())
def test_a_ccr_without_the_p_bit_is_served_and_its_answer_has_none(name: str) -> None:
    """Some real clients omit the P bit; the answer copies it (RFC 6733 §6.2)."""
    frame = ccrs()[name]
    bare = frame[:4] + bytes([frame[4] & ~0x40]) + frame[5:]
    assert decode_ccr(bare, parse_header(bare)).session_id
    error = DiameterError(5012, "")
    assert not parse_header(error_answer(bare, parse_header(bare), error, "ocs", "r")).is_proxiable


# --- 20: contradictions

USED = [UsedServiceUnit(cc_total_octets=1)]
SERVICE = MultipleServicesCreditControl(rating_group=1, used_service_unit=USED)


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("action", [1, 2, 3])
def test_an_action_within_a_session(kind: int, action: int) -> None:
    """RFC 8506 §8.41; Failed-AVP names both."""
    error = error_of(request(cc_request_type=kind, requested_action=action))
    assert error is not None and error.result_code == 5007
    assert error.failed_avp == failed_avp.copy("cc_request_type", kind) + failed_avp.copy("requested_action", action)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_direct_debiting_within_a_session_is_let_pass(kind: int) -> None:
    """A real P-GW sends it."""
    assert code_of(request(cc_request_type=kind, requested_action=0)) == 0


@pytest.mark.parametrize("action", [1, 2, 3])
def test_use_reported_with_a_refund_or_an_enquiry(action: int) -> None:
    event = {"cc_request_type": 4, "requested_action": action}
    assert code_of(request(**event)) == 0
    error = error_of(request(**event, used_service_unit=USED, multiple_services_credit_control=[SERVICE]))
    assert error is not None and error.result_code == 5007
    used = failed_avp.copy("used_service_unit", USED[0])
    expected = [
        failed_avp.copy("requested_action", action),
        used,
        failed_avp.wrap(used, "multiple_services_credit_control"),
    ]
    assert sorted(split(error.failed_avp)) == sorted(expected)


def split(avps: bytes) -> list[bytes]:
    return [avps[avp.start : (avp.stop + 3) & ~3] for avp in walk(avps, 0, len(avps))]


def test_a_direct_debit_that_reports_use_is_let_pass() -> None:
    """Some clients report instead of requesting (`ocs.charging.prepare`)."""
    event = {"cc_request_type": 4, "requested_action": 0}
    assert code_of(request(**event, used_service_unit=USED)) == 0
    assert code_of(request(**event, multiple_services_credit_control=[SERVICE])) == 0
    assert code_of(request(**event, requested_service_unit=RequestedServiceUnit())) == 0


# --- exactly one of several


def test_subscription_id_extension_names_exactly_one() -> None:
    """RFC 8506 §8.58; one of a type defined later is let pass."""
    assert code_of(request(subscription_id_extension=[SubscriptionIdExtension(subscription_id_nai="a@b")])) == 0
    both = SubscriptionIdExtension(subscription_id_e164="38668100000", subscription_id_imsi="293400000000000")
    error = error_of(request(subscription_id_extension=[both]))
    assert error is not None and error.result_code == 5007
    assert error.failed_avp == failed_avp.copy("subscription_id_extension", both)
    error = error_of(request(subscription_id_extension=[SubscriptionIdExtension()]))
    assert error is not None and error.result_code == 5005
    assert error.failed_avp == failed_avp.example("subscription_id_e164", "subscription_id_extension")
    assert code_of(put(encode_avp(659, 0, 0, encode_avp(70_000, 0, 0, b"new")))) == 0


def test_vendor_specific_application_id_names_exactly_one() -> None:
    """RFC 6733 §6.11."""
    both = VendorSpecificApplicationId(10415, 4, 3)
    error = error_of(request(vendor_specific_application_id=[both]))
    assert error is not None and error.result_code == 5009
    assert error.failed_avp == failed_avp.copy("acct_application_id", 3, "vendor_specific_application_id")
    error = error_of(request(vendor_specific_application_id=[VendorSpecificApplicationId(10415)]))
    assert error is not None and error.result_code == 5005
    assert error.failed_avp == failed_avp.example("auth_application_id", "vendor_specific_application_id")


# --- limits


def test_avps_beyond_the_limit_are_counted_over_all_levels() -> None:
    message = request(multiple_services_credit_control=[MultipleServicesCreditControl(service_identifier=[7] * 100)])
    frame = encode_ccr(message, hop_by_hop=1, end_to_end=2)
    held = len(pipeline.examine(frame, parse_header(frame)).nodes)
    assert code_of(frame, max_avps=held) == 0
    error = error_of(frame, max_avps=held - 1)
    assert error is not None and error.result_code == 5009
    assert error.failed_avp == failed_avp.copy("service_identifier", 7, "multiple_services_credit_control")


def test_the_shipped_limits() -> None:
    ok = request(user_name="x" * 20_000)
    assert code_of(ok) == 0
    many = frame_of(b"".join(encode_avp(70_000, 0, 0, b"") for _ in range(2_001)))
    assert code_of(many) == 5009
    services = [MultipleServicesCreditControl(rating_group=n) for n in range(4)]
    assert code_of(request(multiple_services_credit_control=services), max_services=4) == 0
    error = error_of(request(multiple_services_credit_control=services), max_services=3)
    assert error is not None and error.result_code == 5009
    assert error.failed_avp == failed_avp.copy("multiple_services_credit_control", services[3])


def depth(codec: Codec[Any]) -> int:
    return 1 + max((depth(field.group) for field in codec.fields.values() if field.group is not None), default=0)


def test_no_request_can_nest_deeper_than_the_limit() -> None:
    """Only declared groups are entered, so the declarations limit the depth."""
    assert max(depth(command.codec) for command in pipeline.COMMANDS.values()) <= MAX_NESTING


# --- the answer


def test_proxy_info_is_echoed_in_order_in_every_answer() -> None:
    """RFC 6733 §6.2, §7.2."""
    frame = ccrs()["data I over relays"]
    header = parse_header(frame)
    proxies = [frame[a.start : (a.stop + 3) & ~3] for a in walk(frame, HEADER_OCTETS, len(frame)) if a.code == 284]
    assert len(proxies) == 2
    for code in (3004, 5012):
        answer = error_answer(frame, header, DiameterError(code, "no"), "ocs.example.org", "example.org")
        found = [answer[a.start : (a.stop + 3) & ~3] for a in walk(answer, HEADER_OCTETS, len(answer)) if a.code == 284]
        assert found == proxies
        assert parse_header(answer)[2:] == header[2:]


def test_a_broken_proxy_info_is_refused_and_not_echoed() -> None:
    broken = encode_avp(284, 0, M, encode_avp(280, 0, M, b"dra.example.net") + b"\0\0\0\x21\x40\0\0\xff")
    frame = put(broken)
    error = error_of(frame)
    assert error is not None and error.result_code == 5014
    assert error.failed_avp == encode_avp(284, 0, M, encode_avp(33, 0, M, b""))
    answer = error_answer(frame, parse_header(frame), error, "ocs.example.org", "example.org")
    assert decode_cca(answer, parse_header(answer)).proxy_info == []


def test_answers_are_never_answered() -> None:
    """RFC 6733 §6.2."""
    frame = error_answer(ccrs()["sms E"], parse_header(ccrs()["sms E"]), DiameterError(5012, ""), "ocs", "r")
    header = parse_header(frame)
    with pytest.raises(AssertionError):
        error_answer(frame, header, DiameterError(5012, ""), "ocs", "r")
    with pytest.raises(AssertionError):
        decode_request(frame, header)
