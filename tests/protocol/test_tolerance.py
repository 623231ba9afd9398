"""Unsupported AVPs with M: refused, or skipped if the receiver tolerates them (RFC 6733 §4.1)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import commands
from protocol.avp import FAMILY_IPV4, Address, encode_avp, walk
from protocol.credit_control import CreditControlRequest, decode_ccr
from protocol.dictionary import BY_KEY, UNDERSTOOD
from protocol.errors import DiameterError
from protocol.header import HEADER_OCTETS, build, parse_header
from protocol.pipeline import decode_request, first_error
from protocol.registry import Limits
from protocol.tolerance import NOTHING, Tolerance, of_dictionary
from tests.protocol.test_pipeline import damaged, put

M, V = 0x40, 10415
VODAFONE, OTHER_VENDOR, NOVEL = 12645, 99_999, 4_000_000
SERVICE_INFORMATION, PS_INFORMATION, POC_INFORMATION, SERVICES = (873, V), (874, V), (879, V), (456, 0)
TOLERANCES = {
    "nothing": NOTHING,
    "Vodafone 256 and 267": Tolerance(frozenset({VODAFONE << 32 | 256, VODAFONE << 32 | 267})),
    "all of Vodafone": Tolerance(vendors=frozenset({VODAFONE})),
    "all of 3GPP": Tolerance(vendors=frozenset({V})),
    "what the dictionary has": of_dictionary(),
    "one of the IETF": Tolerance(frozenset({NOVEL})),
}
AVPS = {
    "Vodafone 256": (256, VODAFONE, {"Vodafone 256 and 267", "all of Vodafone", "what the dictionary has"}),
    "Vodafone 267": (267, VODAFONE, {"Vodafone 256 and 267", "all of Vodafone", "what the dictionary has"}),
    "Vodafone's newest": (NOVEL, VODAFONE, {"all of Vodafone"}),
    "another vendor's": (256, OTHER_VENDOR, set[str]()),
    "3GPP's newest": (NOVEL, V, {"all of 3GPP"}),
    "the IETF's newest": (NOVEL, 0, {"one of the IETF"}),
}
PLACES = {
    "top": (),
    "in a group that is declared": (SERVICES,),
    "in two": (SERVICE_INFORMATION, PS_INFORMATION),
    "in one that is known and not declared": (SERVICE_INFORMATION, POC_INFORMATION),
}
CONTENTS = {"empty": b"", "text": b"what", "as if a group that lies": bytes.fromhex("00000001400000ff")}


def placed(avp: bytes, groups: tuple[tuple[int, int], ...]) -> bytes:
    for code, vendor in reversed(groups):
        avp = encode_avp(code, vendor, M, avp)
    return put(avp)


def code_of(frame: bytes, tolerated: Tolerance, times: int = 3) -> int:
    """Result-Code of the refusal, 0 = accepted; the same by codec, learned layout and builder."""
    limits, header, found = Limits(tolerated=tolerated), parse_header(frame), set()
    for _ in range(times):
        try:
            decode_ccr(frame, header, None, limits)
            found.add(0)
        except DiameterError as error:
            found.add(error.result_code)
    error_found = first_error(frame, header, None, limits)
    found.add(error_found.result_code if error_found else 0)
    (code,) = found
    return int(code)


@pytest.mark.parametrize("tolerated", TOLERANCES)
@pytest.mark.parametrize("avp", AVPS)
def test_what_is_tolerated_where(avp: str, tolerated: str) -> None:
    code, vendor, by = AVPS[avp]
    for groups, contents in itertools.product(PLACES.values(), CONTENTS.values()):
        frame = placed(encode_avp(code, vendor, M, contents), groups)
        assert code_of(frame, TOLERANCES[tolerated]) == (0 if tolerated in by else 5001), (groups, contents)
        assert code_of(placed(encode_avp(code, vendor, 0, contents), groups), TOLERANCES[tolerated]) == 0


def test_what_a_tolerant_reader_has_learned_lets_nothing_pass_from_others() -> None:
    """A message of the same layout, for both kinds of peer alternately."""
    frame, all_of = put(encode_avp(256, VODAFONE, M, b"\0\0\0\1")), TOLERANCES["all of Vodafone"]
    for _ in range(4):
        assert code_of(frame, all_of) == 0
        assert code_of(frame, NOTHING) == 5001
        assert code_of(frame, TOLERANCES["all of 3GPP"]) == 5001


@pytest.mark.parametrize("tolerance", TOLERANCES.values(), ids=TOLERANCES)
def test_nothing_else_is_let_pass(tolerance: Tolerance) -> None:
    """Supported AVPs are checked, whatever is tolerated."""
    wrong = {
        "a number of three octets": (placed(encode_avp(432, 0, M, b"abc"), ()), 5014),
        "in a group not declared": (
            placed(encode_avp(432, 0, M, b"abc"), PLACES["in one that is known and not declared"]),
            5014,
        ),
        "what only an answer may hold": (placed(encode_avp(268, 0, M, b"\0\0\x07\xd1"), ()), 5008),
        "twice": (placed(encode_avp(461, 0, M, b"32251@3gpp.org"), ()), 5009),
        "a length that lies": (put(bytes.fromhex("00000100c000ffff00003165")), 5014),
        "vendor 0 named": (put(bytes.fromhex("00000100c000000c00000000")), 3009),
    }  # fmt: skip
    for name, (frame, code) in wrong.items():
        assert code_of(frame, tolerance) == code, name


BASE = {
    "CER": commands.CapabilitiesExchangeRequest(
        "pgw.example.org", "example.org", [Address(FAMILY_IPV4, "127.0.0.1")], 0, "test", auth_application_id=[4]
    ),
    "DWR": commands.DeviceWatchdogRequest("pgw.example.org", "example.org"),
    "DPR": commands.DisconnectPeerRequest("pgw.example.org", "example.org", 0),
}


@pytest.mark.parametrize("request_name", BASE)
def test_requests_of_the_base_protocol(request_name: str) -> None:
    plain = commands.encode(BASE[request_name], hop_by_hop=1, end_to_end=1)
    header = parse_header(plain)
    body = plain[HEADER_OCTETS:] + encode_avp(256, VODAFONE, M, b"\0\0\0\1")
    frame = build(body, header.flags, header.command_code, 0, 1, 1)
    with pytest.raises(DiameterError) as caught:
        decode_request(frame, parse_header(frame))
    assert caught.value.result_code == 5001
    limits = Limits(tolerated=TOLERANCES["all of Vodafone"])
    assert decode_request(frame, parse_header(frame), limits=limits) == BASE[request_name]


FOREIGN = st.builds(
    encode_avp,
    st.sampled_from([256, 267, NOVEL]),
    st.sampled_from([VODAFONE, OTHER_VENDOR, 9]),
    st.just(M),
    st.binary(max_size=12),
)


@given(st.lists(st.tuples(FOREIGN, st.sampled_from(sorted(PLACES))), max_size=4), st.sampled_from(sorted(TOLERANCES)))
def test_a_tolerated_avp_is_as_one_without_m(avps: list[tuple[bytes, str]], name: str) -> None:
    tolerated = TOLERANCES[name]
    frame, cleared = put(), put()
    for avp, place in avps:
        (raw,) = walk(avp, 0, len(avp))
        meek = avp[:4] + bytes([avp[4] & ~M]) + avp[5:] if raw.vendor << 32 | raw.code in tolerated else avp
        frame, cleared = (_with(each, placed(one, PLACES[place])) for each, one in ((frame, avp), (cleared, meek)))
    assert code_of(frame, tolerated) == code_of(cleared, NOTHING)
    if not code_of(frame, tolerated):
        assert _read(frame, tolerated) == _read(cleared, NOTHING)


def _with(frame: bytes, other: bytes) -> bytes:
    """The request with the additional AVPs of the other."""
    header, more = parse_header(frame), other[len(put()) :]
    return build(frame[HEADER_OCTETS:] + more, header.flags, header.command_code, header.application_id, 1, 2)


def _read(frame: bytes, tolerated: Tolerance) -> CreditControlRequest:
    request = decode_ccr(frame, parse_header(frame), None, Limits(tolerated=tolerated))
    request.header, request.raw = parse_header(put()), b""
    return request


@given(damaged(), st.sampled_from(sorted(TOLERANCES)), st.lists(FOREIGN, max_size=2))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_reader_and_pipeline_agree(frame: bytes, name: str, avps: list[bytes]) -> None:
    """With any tolerance, and any other error in the request."""
    header = parse_header(frame)
    frame = build(
        frame[HEADER_OCTETS:] + b"".join(avps), header.flags, header.command_code, header.application_id, 1, 2
    )
    assert code_of(frame, TOLERANCES[name]) != 5012


def test_the_dictionary_is_of_other_vendors() -> None:
    assert of_dictionary().avps and not of_dictionary().avps & UNDERSTOOD
    assert all(key in BY_KEY for key in of_dictionary().avps)
    assert VODAFONE << 32 | 256 in of_dictionary()
