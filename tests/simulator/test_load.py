"""The load generator: its requests, its decoding of answers, and the names that other programs use."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from diameter.message._base import Message
from diameter.message.avp.grouped import GrantedServiceUnit, MultipleServicesCreditControl
from diameter.message.commands.credit_control import CreditControlAnswer, CreditControlRequest

from simulator.dialects import Sender, encode
from simulator.elements import SERVER_REALM, SIMULATED_REALM, load_hosts
from simulator.engine import Target
from simulator.grantor import Grantor
from simulator.load_processes import run_load
from simulator.load_run import LoadOptions
from simulator.load_templates import HOME, LoadTemplates, Step
from simulator.loadgen import AnswerReader
from simulator.pacing import Rate
from simulator.requests import Element, Kind, Request, ServicePart, Subscriber
from simulator.stats import Latencies, summarise
from simulator.subscribers import default_subscribers
from tests.waiting import PATIENCE_S

ALICE = Subscriber("38668100007", "293400000000007")


@pytest.mark.parametrize(
    ("step", "kind", "part"),
    [
        (Step.INITIAL, Kind.INITIAL, ServicePart(100, None, 5000, None)),
        (Step.UPDATE, Kind.UPDATE, ServicePart(100, 1234, 5000, 3)),
        (Step.TERMINATION, Kind.TERMINATION, ServicePart(100, 1234, None, 2)),
    ],
)
def test_a_patched_request_is_what_python_diameter_encodes(step: Step, kind: Kind, part: ServicePart) -> None:
    templates = LoadTemplates(
        rating_group=100, octets=5000, realm=SIMULATED_REALM, destination_realm=SERVER_REALM, run=3
    )
    session_id = templates.session_id(42)
    patched = bytes(templates.render(step, ALICE, session_id, 9, 1234 if part.used else 0, 17, 18))
    at = Message.from_bytes(patched).event_timestamp.timestamp()
    request = Request(Element.PGW, kind, session_id.decode(), 9, int(at), ALICE, HOME, (part,))
    sender = Sender.of(Element.PGW, SIMULATED_REALM, SERVER_REALM)
    assert patched == encode(request, sender, hop_by_hop=17, end_to_end=18)


def test_numbers_of_another_width_are_refused() -> None:
    templates = LoadTemplates(rating_group=100, octets=5000, realm=SIMULATED_REALM, destination_realm=SERVER_REALM)
    with pytest.raises(ValueError, match="11 digits"):
        templates.render(Step.INITIAL, Subscriber("1", "2"), templates.session_id(0), 0, 0, 0, 0)


def test_answers_are_read_by_offset_and_by_scan_alike() -> None:
    def frame(granted: int | None, code: int, host: bytes = b"ocs.example.net") -> bytes:
        answer = CreditControlAnswer()
        answer.session_id, answer.result_code, answer.origin_host, answer.origin_realm = "a;1;2", 2001, host, b"r"
        answer.cc_request_type, answer.cc_request_number = 1, 0
        mscc = MultipleServicesCreditControl(rating_group=100, result_code=code)
        if granted is not None:
            mscc.granted_service_unit = GrantedServiceUnit(cc_total_octets=granted)
        answer.multiple_services_credit_control = [mscc]
        return bytes(answer.as_bytes())

    reader = AnswerReader()
    for _ in range(2):  # first scanned, then by offset
        assert reader.read(frame(777, 2001)) == (2001, 2001, 777)
        assert reader.read(frame(None, 4012)) == (2001, 4012, 0)
    longer = frame(555, 2001, b"an-answer-of-the-same-length.but-another-layout"[: len(b"ocs.example.net")])
    assert reader.read(longer) == (2001, 2001, 555)


def test_closed_loop_plays_whole_sessions(grantor: Grantor, requests_seen: list[CreditControlRequest]) -> None:
    target = Target("127.0.0.1", grantor.port, SIMULATED_REALM, SERVER_REALM)
    outcome = run_load(LoadOptions(target, default_subscribers(20), 0.6, outstanding=4, octets=1000, keep_usage=True))
    assert outcome.unanswered == 0
    assert outcome.result.sessions_started == outcome.result.sessions_finished
    by_session: dict[str, list[int]] = {}
    for request in requests_seen:
        by_session.setdefault(request.session_id, []).append(request.cc_request_type)
    assert [1, 2, 2, 2, 3] in by_session.values()
    assert all(kinds[0] == 1 and kinds[-1] == 3 for kinds in by_session.values())
    assert outcome.result.octets_reported == sum(outcome.result.used_by_session.values())
    assert set(outcome.as_json()) >= {"ccr_per_s", "p50_ms", "p99_ms", "p999_ms", "result_codes"}


@pytest.mark.alone
def test_open_loop_keeps_its_rate(grantor: Grantor) -> None:
    target = Target("127.0.0.1", grantor.port, SIMULATED_REALM, SERVER_REALM)
    outcome = run_load(LoadOptions(target, default_subscribers(20), 1.0, outstanding=200, rate=Rate(150.0)))
    assert outcome.result.measured == pytest.approx(150, abs=30)
    assert outcome.unanswered == 0
    assert outcome.result.sessions_started == outcome.result.sessions_finished


def test_the_command_and_its_json(grantor: Grantor) -> None:
    command = [
        "-m",
        "simulator.cli",
        "load",
        "--outstanding",
        "2",
        "--seconds",
        "0.5",
        "--port",
        str(grantor.port),
        "--json",
    ]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ccr_per_s"] > 0
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p999_ms"]
    assert found["result_codes"] == {"2001": found["answered"]}
    both = [*command, "--rate", "5"]
    assert subprocess.run([sys.executable, *both], capture_output=True, check=False, timeout=PATIENCE_S).returncode == 2


def test_peers_have_hosts_of_their_own() -> None:
    assert load_hosts(3) == ("pgw.sim.example.net", "load2.sim.example.net", "load3.sim.example.net")
    with pytest.raises(ValueError, match="1 to 64 peers"):
        load_hosts(0)


def test_latencies_are_summarised() -> None:
    latencies = Latencies()
    for milliseconds in range(1, 1001):
        latencies.add(milliseconds / 1000)
    found = summarise(latencies)
    assert found.p50_ms == pytest.approx(500, rel=0.01)
    assert found.p99_ms == pytest.approx(990, rel=0.01)
    assert (found.samples, found.max_ms) == (1000, 1000)
    assert summarise(Latencies()).samples == 0
