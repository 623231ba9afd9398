"""One AVP at a time is corrupted: the request is understood, or gets exactly the answer of the standard."""

from __future__ import annotations

import pytest
from diameter.message import Message

from protocol.answers import error_answer
from protocol.avp import walk
from protocol.commands import DeviceWatchdogAnswer, ErrorMessage, decode_answer
from protocol.credit_control import decode_cca
from protocol.errors import DiameterError
from protocol.header import HEADER_OCTETS, parse_header
from protocol.pipeline import decode_request
from tests.protocol.echoes import echoed, has_e_bit, is_ccr
from tests.protocol.mutator import Mutation, mutations
from tests.protocol.requests import base, ccrs

REQUESTS = {**ccrs(), **base()}
HOST, REALM = "ocs.example.org", "example.org"


def error_of_mutation(mutation: Mutation) -> DiameterError | None:
    try:
        decode_request(mutation.frame, parse_header(mutation.frame))
    except DiameterError as error:
        return error
    return None


def check_answer(frame: bytes, error: DiameterError) -> bytes:
    """Header, E bit, grammar and echoes of an error answer (RFC 6733 §6.2, §7.1, §7.2; RFC 8506 §3.2)."""
    header = parse_header(frame)
    answer = error_answer(frame, header, error, HOST, REALM)
    head = parse_header(answer)
    assert (head.length, head.flags & 0x9F) == (len(answer), 0)
    assert head[2:] == header[2:] and head.is_proxiable == header.is_proxiable
    avps = list(walk(answer, HEADER_OCTETS, len(answer)))
    codes = [avp.code for avp in avps]
    assert [codes.count(code) for code in (268, 264, 296)] == [1, 1, 1]
    assert not {283, 293, 282} & set(codes), "an answer has no destination, and the route is not told"
    found, proxies = echoed(frame)
    generic = has_e_bit(header, error.result_code, found)
    assert head.is_error == generic, "the E bit goes with the answer-message grammar"
    values = {avp.code: answer[avp.payload : avp.stop] for avp in reversed(avps)}
    assert values.get(263) == found.get(263)
    assert (codes[0] == 263) == (263 in found), "Session-Id stands first"
    assert [answer[avp.payload : avp.stop] for avp in avps if avp.code == 284] == proxies
    if is_ccr(header) and not generic:
        assert (values[416], values[415], values[258]) == (found[416], found[415], b"\0\0\0\4")
    else:
        assert not {258, 415, 416} & set(codes)
    assert values.get(279, b"") == error.failed_avp
    if head.is_error or head.command_code == 272:
        theirs = Message.from_bytes(answer)
        assert theirs.result_code == error.result_code
    if is_ccr(header) and not generic:
        assert decode_cca(answer, head).result_code == error.result_code
    return answer


KINDS = {
    "header",
    "absent",
    "absent,",
    "doubled",
    "shorter",
    "longer",
    "truncated",
    "over-long",
    "swallowing",
    "biting",
    "with",
    "of",
    "no",
    "nothing",
}


@pytest.mark.parametrize("frame", REQUESTS.values(), ids=REQUESTS)
def test_every_mutation_gets_what_the_standard_says(frame: bytes) -> None:
    assert decode_request(frame, parse_header(frame)) is not None
    seen: set[str] = set()
    for mutation in mutations(frame):
        error = error_of_mutation(mutation)
        seen.add(mutation.name.split(" ")[0])
        code = 0 if error is None else error.result_code
        assert code in mutation.expected, f"{mutation.name}: {code} {error}"
        if error is None:
            continue
        if mutation.failed is not None:
            assert error.failed_avp == mutation.failed, mutation.name
        check_answer(mutation.frame, error)
    assert KINDS - seen <= {"absent,"}


def test_the_mutations_reach_every_kind_of_place() -> None:
    names = [mutation.name for frame in ccrs().values() for mutation in mutations(frame)]
    for part in (
        "Proxy-State",
        "PoC-Information[12]/Charged-Party",
        "unseen",
        "Requested-Action",
        "Acct-Application-Id",
    ):
        assert any(part in name for name in names), part
    told = [mutation for frame in ccrs().values() for mutation in mutations(frame) if mutation.failed]
    sure = [mutation for frame in ccrs().values() for mutation in mutations(frame) if len(mutation.expected) == 1]
    assert len(sure) > 0.8 * len(names) and len(told) > 0.4 * len(names)


def test_what_is_no_request_is_never_answered() -> None:
    """With the R bit clear, the frame is an answer to none of our requests."""
    for frame in REQUESTS.values():
        bare = frame[:4] + bytes([frame[4] & 0x7F]) + frame[5:]
        with pytest.raises(AssertionError):
            decode_request(bare, parse_header(bare))


def test_error_message_reads_the_generic_answer() -> None:
    frame = base()["DWR"]
    answer = error_answer(frame, parse_header(frame), DiameterError(3008, "bits"), HOST, REALM)
    found = decode_answer(DeviceWatchdogAnswer, answer, parse_header(answer))
    assert isinstance(found, ErrorMessage) and found.code == 3008
