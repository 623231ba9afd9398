"""Real clients' requests, sent again for other subscribers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from diameter.message._base import Message
from diameter.message.commands.credit_control import CreditControlRequest

from simulator.capture import captured_requests
from simulator.errors import CaptureError
from simulator.grantor import Grant, Grantor
from simulator.peer import Identity
from simulator.replay import (
    Numbers,
    ReplayedRequest,
    ReplayResult,
    SubscriberMap,
    replay,
    replay_json,
    reported_use,
    rewrite,
)
from simulator.wire import Answer, Head, ServiceAnswer
from tests.protocol.captures import KAMAILIO, OPEN5GS, TERAVM, needs_teravm
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
ALICE, BOB = Numbers("38668100000", "293400000000000"), Numbers("38668100001", "293400000000001")


def test_only_credit_control_requests_of_clients_are_taken() -> None:
    """The Open5GS capture has Gx requests (application 16777238) beside them; they are left aside."""
    requests = captured_requests(OPEN5GS)
    assert [len(request.frame) for request in requests] == [780, 844, 832]
    assert list(reported_use(requests[0].frame)) == []
    assert len(captured_requests(KAMAILIO)) == 1


@needs_teravm
def test_a_capture_over_sctp() -> None:
    requests = captured_requests(TERAVM)
    assert len(requests) == 14
    assert {group for request in requests for group, _ in reported_use(request.frame)} == {1, 2, 3, 9}


def test_a_file_that_is_no_capture_or_has_nothing_in_it(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pcap"
    junk.write_bytes(b"not a capture at all")
    with pytest.raises(CaptureError, match="cannot be read as a capture"):
        captured_requests(junk)
    with pytest.raises(CaptureError, match="no credit-control request"):
        captured_requests(OPEN5GS, port=3999)


SMF = Identity("smf.sim.example.net", "sim.example.net")


def test_only_what_must_differ_is_rewritten() -> None:
    frame = captured_requests(OPEN5GS)[0].frame
    before: CreditControlRequest = Message.from_bytes(frame)
    after: CreditControlRequest = Message.from_bytes(
        rewrite(
            frame,
            session_id="smf.localdomain;1;2;replay",
            subscribers=SubscriberMap(ALICE),
            client=SMF,
            server_realm="example.net",
            server_host="ocs.example.net",
            hop_by_hop=1,
            end_to_end=2,
        )
    )
    assert after.session_id == "smf.localdomain;1;2;replay"
    assert after.destination_realm == b"example.net"
    assert after.destination_host is None
    assert [one.subscription_id_data for one in after.subscription_id if one.subscription_id_type == 1] == [ALICE.imsi]
    assert (after.origin_host, after.origin_realm) == (b"smf.sim.example.net", b"sim.example.net")
    assert after.service_context_id == before.service_context_id
    assert after.service_information == before.service_information
    assert (after.header.hop_by_hop_identifier, after.header.end_to_end_identifier) == (1, 2)


def test_a_request_for_the_captured_server_goes_to_ours() -> None:
    """The P-GW names its server from the first update on."""
    frame = captured_requests(OPEN5GS)[1].frame
    octets = rewrite(
        frame,
        session_id="s;1;2",
        subscribers=SubscriberMap(ALICE),
        client=SMF,
        server_realm="example.net",
        server_host="ocs.example.net",
        hop_by_hop=1,
        end_to_end=2,
    )
    before: CreditControlRequest = Message.from_bytes(frame)
    after: CreditControlRequest = Message.from_bytes(octets)
    assert (before.destination_host, after.destination_host) == (b"ocs.localdomain", b"ocs.example.net")


def test_subscriber_ids_inside_service_information_and_in_sip_uris_are_mapped() -> None:
    """Kamailio names the subscriber on both levels, as a SIP URI."""
    frame = captured_requests(KAMAILIO)[0].frame
    mapping = SubscriberMap(ALICE, {"447700900001": BOB})
    octets = rewrite(
        frame,
        session_id="s;1;2",
        subscribers=mapping,
        client=SMF,
        server_realm="r",
        server_host="ocs.r",
        hop_by_hop=1,
        end_to_end=2,
    )
    after: CreditControlRequest = Message.from_bytes(octets)
    assert after.subscription_id[0].subscription_id_data == f"sip:{BOB.msisdn}@localdomain"
    assert after.service_information.subscription_id[0].subscription_id_data == f"sip:{BOB.msisdn}@localdomain"
    assert octets.count(b"447700900001") < frame.count(b"447700900001")


def test_a_mapping_file(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("captured,msisdn,imsi\n447700900001,38668100001,293400000000001\n")
    mapping = SubscriberMap.read(path, ALICE)
    assert mapping.numbers(["sip:447700900001@localdomain"]) == BOB
    assert mapping.numbers(["001010000000001"]) == ALICE
    path.write_text("from,to\n")
    path.write_text("from,to\n1,2\n")
    with pytest.raises(CaptureError, match="columns captured, msisdn and imsi"):
        SubscriberMap.read(path)


@pytest.mark.parametrize(("capture", "kinds"), [(OPEN5GS, "IUT"), (KAMAILIO, "I")])
async def test_a_capture_is_replayed_and_a_second_time_too(
    grantor: Grantor, requests_seen: list[CreditControlRequest], capture: Path, kinds: str
) -> None:
    results = [
        await replay(
            captured_requests(capture),
            host="127.0.0.1",
            port=grantor.port,
            server_realm="example.net",
            subscribers=SubscriberMap(ALICE),
        )
        for _ in range(2)
    ]
    for result in results:
        assert "".join(request.kind for request in result.requests) == kinds
        assert result.unanswered == 0
        assert {request.answer.result_code for request in result.requests if request.answer} == {2001}
        assert result.sessions[0].closed is ("T" in kinds)
    assert results[0].sessions[0].session_id != results[1].sessions[0].session_id
    assert len(requests_seen) == 2 * len(kinds)
    if capture is OPEN5GS:
        assert results[0].sessions[0].services[0].used == sum(
            used for request in captured_requests(capture) for _, used in reported_use(request.frame)
        )


def answered(code: int, *services: int) -> ReplayedRequest:
    return ReplayedRequest(
        "s",
        "U",
        1,
        Answer(Head(20, 0, 272, 4, 1, 1), code, services=[ServiceAnswer(result_code=each) for each in services]),
        1.0,
    )


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        (answered(2001, 2001), False),
        (answered(2001), False),
        (answered(2001, 2001, 4012), False),  # its credit has ended: an answer as good as another
        (answered(2001, 2001, 5031), True),
        (answered(5030), True),
        (answered(3004), True),
        (answered(4012), True),
        (answered(0), True),
    ],
)
def test_which_answers_are_errors(request_: ReplayedRequest, wrong: bool) -> None:
    result = ReplayResult([request_])
    assert (result.errors, result.ok, replay_json(result)["errors"]) == (int(wrong), not wrong, int(wrong))


@pytest.mark.parametrize(("code", "status"), [(2001, 0), (4012, 0), (5030, 1)])
def test_a_replay_that_is_answered_with_errors_is_not_done(
    grantor: Grantor, tmp_path: Path, code: int, status: int
) -> None:
    report = tmp_path / "replay.html"
    words = ["replay", str(OPEN5GS), "--port", str(grantor.port), "--report", str(report)]
    command = [sys.executable, "-c", "from simulator.cli import run; run()", *words]
    before = grantor.application.policy
    grantor.application.policy = lambda request, mscc: Grant(None, code)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    finally:
        grantor.application.policy = before
    assert done.returncode == status, done.stdout + done.stderr
    assert ("3 requests: 0 unanswered, 3 answered with an error" in done.stdout) == bool(status)
    page = report.read_text("utf-8")
    assert ("errors, or requests without an answer" in page) == bool(status)
    assert f"<td>{code} " in page and "CCR-T" in page
