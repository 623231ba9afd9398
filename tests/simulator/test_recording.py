"""Recordings: messages of a capture, pseudonyms, the file, and the replay that compares answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from diameter.message._base import Message
from diameter.message.avp.grouped import GrantedServiceUnit, MultipleServicesCreditControl
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import wrpcap, wrpcapng

from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.errors import CaptureError
from simulator.grantor import BLIND_OCTETS, Grant, Grantor
from simulator.packets import Losses, captured_messages
from simulator.pseudonyms import Pseudonyms
from simulator.recorder import record
from simulator.recording import RecordedAnswer, RecordedRequest, read_recording
from simulator.replay_recording import compare, for_people, replay_recording, subscribers_of
from simulator.wire import read_head
from tests.protocol.captures import KAMAILIO, OPEN5GS, TERAVM, needs_teravm
from tests.simulator.watched_server import Server
from tests.waiting import PATIENCE_S, until, wait_for

KEY = b"a key of sixteen octets or more"
PORT = 3868


def ccrs(path: Path) -> list[bytes]:
    messages = captured_messages(path, PORT, Losses())
    heads = ((read_head(one.frame), one.frame) for one in messages if one.to_server)
    return [frame for head, frame in heads if head.command == 272 and head.application == 4]


def granted(frame: bytes) -> bytes:
    """The answer that the grantor of the tests gives."""
    request: Any = Message.from_bytes(frame)
    answer: Any = request.to_answer()
    answer.session_id, answer.result_code = request.session_id, 2001
    answer.origin_host, answer.origin_realm = b"ocs.localdomain", b"localdomain"
    answer.auth_application_id = 4
    answer.cc_request_type, answer.cc_request_number = request.cc_request_type, request.cc_request_number
    for mscc in request.multiple_services_credit_control:
        asked = mscc.requested_service_unit
        one = MultipleServicesCreditControl(rating_group=mscc.rating_group, result_code=2001)
        if asked is not None:
            one.granted_service_unit = GrantedServiceUnit(cc_total_octets=asked.cc_total_octets or BLIND_OCTETS)
        if mscc.service_identifier:
            one.service_identifier = mscc.service_identifier
        answer.multiple_services_credit_control.append(one)
    return bytes(answer.as_bytes())


def segments(
    data: Sequence[bytes], *, client: bool, first_seq: int = 4_294_967_000, size: int = 500, network: Any = IP
) -> list[Any]:
    """The octets of one direction in TCP segments, over the wrap of the sequence number."""
    whole, found = b"".join(data), []
    sport, dport = (40000, PORT) if client else (PORT, 40000)
    ends = ("10.0.0.1", "10.0.0.2") if network is IP else ("fd00::1", "fd00::2")
    source, destination = ends if client else ends[::-1]
    for at in range(0, len(whole), size):
        tcp = TCP(sport=sport, dport=dport, seq=(first_seq + at) % (1 << 32), flags="PA")
        found.append(Ether() / network(src=source, dst=destination) / tcp / whole[at : at + size])
    return found


def conversation(path: Path, frames: Sequence[bytes], answers: Sequence[bytes], gap_s: float = 0.02) -> None:
    """A capture in which each request is followed by its answer."""
    packets, seqs = [], [1, 1]
    for number, (request, answer) in enumerate(zip(frames, answers, strict=True)):
        for side, octets in enumerate((request, answer)):
            for packet in segments([octets], client=not side, first_seq=seqs[side]):
                packet.time = 1_700_000_000 + number * gap_s + side * 0.001
                packets.append(packet)
            seqs[side] += len(octets)
    wrpcap(str(path), packets)


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Path]:
    frames = ccrs(OPEN5GS)
    conversation(tmp_path / "day.pcap", frames, [granted(frame) for frame in frames])
    record(tmp_path / "day.pcap", tmp_path / "day.rec", Pseudonyms(KEY), port=PORT)
    yield tmp_path / "day.rec"


# -- packets


@pytest.mark.parametrize("network", [IP, IPv6])
@pytest.mark.parametrize("writer", [wrpcap, wrpcapng])
def test_segments_in_any_order_and_twice_are_whole_messages(tmp_path: Path, network: Any, writer: Any) -> None:
    frames = ccrs(OPEN5GS)
    packets = segments(frames, client=True, size=300, network=network)
    shuffled = [packets[0], packets[2], packets[1], packets[1], *reversed(packets[3:])]
    shuffled.insert(3, Ether() / Dot1Q(vlan=7) / IP(src="10.0.0.9", dst="10.0.0.2") / TCP(sport=1, dport=PORT) / b"xx")
    writer(str(tmp_path / "a.pcap"), shuffled)
    losses = Losses()
    assert [one.frame for one in captured_messages(tmp_path / "a.pcap", PORT, losses)] == frames
    assert (losses.gaps, losses.broken) == (0, 0)


def test_a_missing_segment_is_told_and_the_stream_goes_on(tmp_path: Path) -> None:
    frames = ccrs(OPEN5GS) * 60
    packets = segments(frames[:1], client=True, size=2000)
    at = 4_294_967_000 + len(frames[0])
    for number, frame in enumerate(frames[1:]):
        if number != 3:
            packets += segments([frame], client=True, first_seq=at % (1 << 32), size=2000)
        at += len(frame)
    wrpcap(str(tmp_path / "a.pcap"), packets)
    losses = Losses()
    assert len(list(captured_messages(tmp_path / "a.pcap", PORT, losses))) == len(frames) - 1
    assert losses.gaps == 1


@needs_teravm
def test_sctp_and_both_directions() -> None:
    messages = list(captured_messages(TERAVM, PORT, Losses()))
    assert {message.to_server for message in messages} == {True, False}


def test_a_recording_that_fails_leaves_the_file_as_it_was(recorded: Path, tmp_path: Path) -> None:
    before, bad = recorded.read_bytes(), tmp_path / "bad.pcap"
    bad.write_bytes(b"not a capture at all")
    for source in (bad, OPEN5GS):
        with pytest.raises(CaptureError):
            record(source, recorded, Pseudonyms(KEY), port=3999)
    assert recorded.read_bytes() == before and not list(tmp_path.glob("*.part"))


def test_a_file_that_is_no_capture(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"not a capture at all, but long enough for its head")
    with pytest.raises(CaptureError, match="cannot be read as a capture"):
        list(captured_messages(tmp_path / "junk", PORT, Losses()))


# -- pseudonyms


@given(st.lists(st.from_regex(r"38640[0-9]{6}", fullmatch=True), min_size=2, max_size=30, unique=True))
def test_numbers_are_permuted_by_the_key(numbers: list[str]) -> None:
    one, other = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
    found = [one.number(number.encode()) for number in numbers]
    assert len(set(found)) == len(numbers)
    assert all(re.fullmatch(rb"38640\d{6}", each) for each in found)
    assert found == [Pseudonyms(KEY).number(number.encode()) for number in numbers]
    assert found != [other.number(number.encode()) for number in numbers]


@pytest.mark.parametrize("digits", [8, 9, 15, 16])
def test_all_numbers_of_a_length_stay_apart(digits: int) -> None:
    pseudonyms = Pseudonyms(KEY)
    numbers = [b"29340%0*d" % (digits - 5, number) for number in range(900)]
    found = {pseudonyms.number(number) for number in numbers}
    assert len(found) == 900
    assert {len(number) for number in found} == {digits}


@pytest.mark.parametrize("text", [b"112", b"tel:112", b"+38680", b"sip:19@ims.example.net"])
def test_short_numbers_stay(text: bytes) -> None:
    assert Pseudonyms(KEY).text(text)[:4] == text[:4]
    assert Pseudonyms(KEY).text(text).split(b"@")[0] == text.split(b"@")[0]


def test_names_go_and_hosts_stay() -> None:
    found = Pseudonyms(KEY).text(b"sip:ana.novak@ims.example.net")
    assert re.fullmatch(rb"sip:[0-9a-f]{3}\.[0-9a-f]{5}@ims\.example\.net", found)
    assert Pseudonyms(KEY).text(b"tel:+38640123456").startswith(b"tel:+38640")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 octets"):
        Pseudonyms(b"short")


@pytest.mark.parametrize("capture", [OPEN5GS, KAMAILIO])
def test_nothing_that_names_a_person_is_left(capture: Path) -> None:
    """Every run of digits that is an identity in the capture; and the frame stays a message of the same shape."""
    for frame in ccrs(capture):
        found = Pseudonyms(KEY).request(frame)
        before, after = Message.from_bytes(frame), Message.from_bytes(found)
        assert len(found) == len(frame)
        assert [avp.code for avp in before.avps] == [avp.code for avp in after.avps]
        for identity in (b"447700900001", b"447700900002", b"001010000000001", b"3534900698733190"):
            assert identity not in found
        assert before.session_id.encode() not in found
        assert b"0010100010000101" not in found  # the cell of P-Access-Network-Info


def test_avps_that_nobody_knows_are_zeroed() -> None:
    secret = b"\x00\x0f\x42\x3f\x80\x00\x00\x14\x00\x0f\x42\x3f38640123"
    frame = ccrs(OPEN5GS)[0]
    found = Pseudonyms(KEY).request(frame + secret)
    assert found.endswith(bytes(8))
    assert found[-20:-8] == secret[:12]


def test_the_place_of_a_location_stays_and_its_cell_goes() -> None:
    tai_ecgi = bytes.fromhex("8292f304123492f3040abcdef1")
    avp = (22).to_bytes(4, "big") + b"\xc0" + (12 + len(tai_ecgi)).to_bytes(3, "big") + (10415).to_bytes(4, "big")
    frame = ccrs(OPEN5GS)[0] + avp + tai_ecgi
    found = Pseudonyms(KEY).request(frame)[-len(tai_ecgi) :]
    assert (found[0:4], found[6:9]) == (tai_ecgi[0:4], tai_ecgi[6:9])
    assert found[4:6] != tai_ecgi[4:6]
    assert found[9:] != tai_ecgi[9:]


# -- the file


def test_a_recording_has_times_answers_and_no_identity(recorded: Path) -> None:
    requests = read_recording(recorded)
    assert [request.at_s for request in requests] == pytest.approx([0.0, 0.02, 0.04], abs=1e-4)
    assert {(request.peer, request.session) for request in requests} == {(0, 0)}
    assert [request.answer.result_code for request in requests if request.answer] == [2001] * 3
    text = gzip.decompress(recorded.read_bytes())
    assert b"447700900001" not in text
    assert all(b"447700900001" not in request.frame for request in requests)


def test_the_same_capture_and_key_make_the_same_file(recorded: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.rec"
    summary = record(tmp_path / "day.pcap", again, Pseudonyms(KEY), port=PORT)
    assert again.read_bytes() == recorded.read_bytes()
    assert (summary.requests, summary.unanswered, summary.sessions, summary.peers) == (3, 0, 1, 1)


def test_repetitions_and_unanswered_requests_are_counted(tmp_path: Path) -> None:
    first, second, _ = ccrs(OPEN5GS)
    repeated = bytearray(first)
    repeated[4] |= 0x10
    wrpcap(str(tmp_path / "a.pcap"), segments([first, bytes(repeated), second], client=True))
    summary = record(tmp_path / "a.pcap", tmp_path / "a.rec", Pseudonyms(KEY), port=PORT)
    assert (summary.requests, summary.repetitions, summary.unanswered) == (2, 1, 2)
    assert [request.answer for request in read_recording(tmp_path / "a.rec")] == [None, None]


@pytest.mark.parametrize("text", ["{}\n", '{"format":"x"}\n'])
def test_a_file_of_another_format(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.rec").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(CaptureError):
        read_recording(tmp_path / "a.rec")


@pytest.mark.parametrize("content", [b"", b"plain"])
def test_a_file_that_is_no_recording(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.rec").write_bytes(content)
    with pytest.raises(CaptureError, match="recording"):
        read_recording(tmp_path / "a.rec")


# -- the replay


def target(grantor: Grantor) -> Target:
    return Target("127.0.0.1", grantor.port, SIMULATED_REALM, SERVER_REALM)


@pytest.mark.parametrize("copies", [1, 50])
async def test_the_same_answers_compare_equal(
    grantor: Grantor, requests_seen: list[Any], recorded: Path, copies: int
) -> None:
    requests = read_recording(recorded)
    played = await replay_recording(requests, target(grantor), speed=5, copies=copies)
    assert played.ok, played.differences
    assert (played.requests, played.compared, played.equal) == (3 * copies,) * 3
    assert len({request.session_id for request in requests_seen}) == copies
    subscribers = {one.subscription_id_data for request in requests_seen for one in request.subscription_id}
    assert {one.imsi for one in subscribers_of(requests, copies)} <= subscribers


async def test_times_are_kept_and_divided_by_the_speed(grantor: Grantor, recorded: Path) -> None:
    requests = read_recording(recorded)
    slow = [
        RecordedRequest(request.at_s * 20, request.peer, request.session, request.frame, request.answer)
        for request in requests
    ]
    played = await replay_recording(slow, target(grantor), speed=2.0)
    assert played.seconds >= 0.4  # the last one is due after 0.8 recorded seconds
    assert played.ok


async def test_other_answers_are_a_table_of_differences(grantor: Grantor, recorded: Path) -> None:
    before = grantor.application.policy
    grantor.application.policy = lambda request, mscc: Grant(None, 4012)
    try:
        played = await replay_recording(read_recording(recorded), target(grantor), speed=5, copies=4)
    finally:
        grantor.application.policy = before
    assert not played.ok
    rows = {(kind, what.rpartition(" ")[2]): count for (kind, what, _, _), count in played.differences.items()}
    assert rows["CCR-I", "Result-Code"] == rows["CCR-I", "granted"] == 4
    assert ("CCR-T", "Result-Code") in rows


async def test_result_codes_are_told_as_such(grantor: Grantor, recorded: Path) -> None:
    before = grantor.application.policy
    grantor.application.policy = lambda request, mscc: Grant(None, 4012)
    try:
        played = await replay_recording(read_recording(recorded), target(grantor), speed=5)
    finally:
        grantor.application.policy = before
    rows = {what: (then, now) for _, what, then, now in played.differences}
    assert ("2001", "4012") in [codes for what, codes in rows.items() if what.endswith("Result-Code")]


def test_grants_that_all_differ_are_one_row() -> None:
    """Less credit than on the recorded day makes each grant another: hundreds of rows hid the others."""
    grants = Counter({("CCR-U", "command granted", f"{1000 + n:,}", f"{n}"): 2 for n in range(10)})
    others = Counter({("CCR-I", "Rating-Group 1 granted", "5", "6"): 30, ("CCR-I", "Result-Code", "2001", "4012"): 7,
                      ("CCR-U", "command granted", "10", "none"): 1})  # fmt: skip
    assert for_people(grants + others) == [
        (("CCR-I", "Rating-Group 1 granted", "5", "6"), 30),
        (("CCR-U", "command granted", "1,000 to 1,009", "0 to 9"), 20),
        (("CCR-I", "Result-Code", "2001", "4012"), 7),
        (("CCR-U", "command granted", "10", "none"), 1),
    ]


async def test_a_lost_connection_ends_a_replay(server: tuple[Server, int], recorded: Path) -> None:
    """Else it would wait for the answer to each request of the rest of the day."""
    fake, port = server
    later = [replace(each, at_s=each.at_s + 3600 * number) for number, each in enumerate(read_recording(recorded))]
    playing = asyncio.create_task(replay_recording(later, Target("127.0.0.1", port, SIMULATED_REALM, SERVER_REALM)))
    await until(lambda: fake.requests)
    fake.writers["smf.localdomain"].close()
    played = await asyncio.wait_for(playing, PATIENCE_S)
    assert not played.ok
    assert played.warnings == [
        "smf.localdomain: the connection to the server was lost", "ended after 1 of 3 requests"
    ]  # fmt: skip


def test_ctrl_c_ends_a_replay_with_its_figures(
    grantor: Grantor, requests_seen: list[Any], recorded: Path, tmp_path: Path
) -> None:
    report = tmp_path / "replay.html"
    words = ("replay", str(recorded), "--port", str(grantor.port), "--speed", "0.01", "--report", str(report), "--json")
    code = "from simulator.cli import run; run()"
    running = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: requests_seen)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=PATIENCE_S)
    found = json.loads(out)
    assert running.returncode == 1
    assert found["interrupted"]
    assert found["requests"] < found["due"] == 3
    assert "interrupted after" in report.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("replay", "{pcap}", "--speed", "5"), "--speed belongs to a recording"),
        (("replay", "{pcap}", "--scale", "5"), "--scale belongs to a recording"),
        (("replay", "{rec}", "--records", "."), "--records belongs to a capture"),
        (("record", "{pcap}", "{pcap}"), "that is the capture itself"),
        (("subscribers", "{out}", "--recording", "{rec}", "--load", "5"), "give --load or --recording"),
        (("subscribers", "{out}", "--load", "5", "--scale", "2"), "--scale belongs to --recording"),
        (("subscribers", "{out}", "--load", "-5"), "--load"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    recorded: Path, tmp_path: Path, words: tuple[str, ...], text: str
) -> None:
    places = {"rec": recorded, "pcap": tmp_path / "day.pcap", "out": tmp_path / "people.csv"}
    done = command(*(word.format_map(places) for word in words))
    assert done.returncode == 2
    assert text in done.stderr
    assert not places["out"].exists()


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (RecordedAnswer(2001, ((1, None, 2001, "octets", 5, None),)), []),
        (RecordedAnswer(2001, ((1, None, 0, "octets", 5, None),)), []),  # the command's Result-Code applies
        (RecordedAnswer(5030, ()), ["Result-Code", "Rating-Group 1"]),
        (RecordedAnswer(2001, ((1, None, 2001, "octets", 6, None),)), ["Rating-Group 1 granted"]),
        (RecordedAnswer(2001, ((1, None, 2001, "octets", 5, 0),)), ["Rating-Group 1 Final-Unit-Action"]),
        (
            RecordedAnswer(2001, ((1, None, 2001, "octets", 5, None), (2, 7, 2001, "", None, None))),
            ["Rating-Group 2 Service-Identifier 7"],
        ),
    ],
)
def test_what_is_compared(now: RecordedAnswer, what: list[str]) -> None:
    recorded = RecordedAnswer(2001, ((1, None, 2001, "octets", 5, None),))
    assert [name for _, name, _, _ in compare("CCR-U", recorded, now)] == what


def command(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from simulator.cli import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def test_the_commands(grantor: Grantor, recorded: Path, tmp_path: Path) -> None:
    key, out, people = tmp_path / "new.key", tmp_path / "b.rec", tmp_path / "people.csv"
    done = command("record", str(tmp_path / "day.pcap"), str(out), "--key-file", str(key))
    assert done.returncode == 0, done.stderr
    assert "3 requests of 1 sessions and 1 peers" in done.stdout
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert command("subscribers", str(people), "--recording", str(out), "--scale", "3").returncode == 0
    assert len(people.read_text().splitlines()) == 1 + 3
    report = tmp_path / "report.html"
    words = ("--speed", "5", "--scale", "3", "--report", str(report), "--json")
    done = command("replay", str(out), "--port", str(grantor.port), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["equal"] == 9
    page = report.read_text("utf-8")
    assert "Replay of b.rec: all as recorded" in page
    assert "<svg" in page and not re.search(r'(?:src|href)="(?!#)', page), "one file, nothing is fetched"
