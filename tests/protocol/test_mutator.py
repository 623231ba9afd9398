"""One AVP at a time made wrong: the request is understood, or gets exactly the answer that the standard has for it."""

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


def path_of(failed_avp: bytes, depth: int) -> tuple[int, ...]:
    """The one AVP at each level down to `depth`."""
    codes: list[int] = []
    while len(codes) < depth:
        (avp,) = walk(failed_avp, 0, len(failed_avp))
        codes.append(avp.code)
        failed_avp = failed_avp[avp.payload : avp.stop]
    return tuple(codes)


def check_answer(frame: bytes, error: DiameterError) -> bytes:
    header = parse_header(frame)
    answer = error_answer(frame, header, error, HOST, REALM)
    head = parse_header(answer)
    assert (head.length, head.flags & 0x90) == (len(answer), 0)
    assert head[2:] == header[2:] and head.is_proxiable == header.is_proxiable
    avps = list(walk(answer, HEADER_OCTETS, len(answer)))
    assert [avp.code for avp in avps].count(268) == 1
    assert not {283, 293} & {avp.code for avp in avps}, "an answer has no destination"
    if head.is_error or head.command_code == 272:
        theirs = Message.from_bytes(answer)
        assert theirs.result_code == error.result_code  # type: ignore[attr-defined]
    if head.command_code == 272 and not head.is_error:
        assert decode_cca(answer, head).result_code == error.result_code
    return answer


@pytest.mark.parametrize("frame", REQUESTS.values(), ids=REQUESTS)
def test_every_mutation_gets_what_the_standard_says(frame: bytes) -> None:
    assert decode_request(frame, parse_header(frame)) is not None
    seen: set[str] = set()
    for mutation in mutations(frame):
        error = error_of_mutation(mutation)
        seen.add(mutation.name.split(" ")[0])
        if mutation.expected is None:
            assert error is None, f"{mutation.name}: {error and error.result_code} {error}"
            continue
        if error is None:
            assert len(mutation.expected) > 1, mutation.name
            continue
        assert error.result_code in mutation.expected, f"{mutation.name}: {error.result_code} {error}"
        if mutation.blame:
            assert path_of(error.failed_avp, len(mutation.blame)) == mutation.blame, mutation.name
        check_answer(mutation.frame, error)
    assert {"absent", "doubled", "truncated", "over-long", "with", "without", "of"} - seen <= {"without"}


def test_error_message_reads_the_generic_answer() -> None:
    frame = base()["DWR"]
    answer = error_answer(frame, parse_header(frame), DiameterError(3008, "bits"), HOST, REALM)
    found = decode_answer(DeviceWatchdogAnswer, answer, parse_header(answer))
    assert isinstance(found, ErrorMessage) and found.code == 3008
