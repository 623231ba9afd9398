"""Recording live: a mirrored port's stream on standard input, a proxy between client and server, bounds of memory; and
recordings of this server's answers, which compare equal when they are played again, once and fifty times over.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap, wrpcap, wrpcapng

from simulator import packets, recorder
from simulator.demo import write_config
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.grantor import Grantor
from simulator.packets import CapturedMessage, Losses, captured_messages
from simulator.pseudonyms import Pseudonyms
from simulator.recorder import Recorder, record
from simulator.recording import RecordedRequest, read_recording
from simulator.recording_proxy import StoppableInput, record_as_proxy
from simulator.replay_recording import replay_recording
from simulator.server_process import ServerProcess, free_port, ocs
from simulator.subscribers import default_subscribers, write_subscribers
from tests.catalogue import CATALOGUE
from tests.protocol.captures import KAMAILIO, OPEN5GS, TERAVM, frames, needs_teravm
from tests.waiting import PATIENCE_S

KEY = b"a key of sixteen octets or more"
PORT = 3868
COPIES = 50


def ocs_sim(*words: str, **options: Any) -> subprocess.Popen[bytes]:
    code = "from simulator.cli import run; run()"
    return subprocess.Popen([sys.executable, "-c", code, *words], **options)


def ended(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, out
    return dict(json.loads(out))


def message(frame: bytes, time_s: float = 0.0, *, to_server: bool = True, client: str = "a") -> CapturedMessage:
    return CapturedMessage(frame, time_s, client, "server", to_server)


# -- a stream on standard input


@pytest.mark.parametrize("writer", [wrpcap, wrpcapng])
def test_a_mirrored_port_until_ctrl_c(tmp_path: Path, writer: Any) -> None:
    """tcpdump goes on writing; SIGINT ends the recording with everything that has come."""
    mirror = tmp_path / "mirror.pcap"
    writer(str(mirror), rdpcap(str(OPEN5GS)))
    out, key = tmp_path / "live.rec", tmp_path / "key"
    process = ocs_sim(
        "record", "-", str(out), "--key-file", str(key), "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(mirror.read_bytes())
    process.stdin.flush()
    _wait_until_read(process.stdin.fileno())
    process.send_signal(signal.SIGINT)
    found = ended(process)
    assert (found["requests"], found["unanswered"], found["losses"]) == (3, 0, {"gaps": 0, "broken": 0})
    assert [request.answer.result_code for request in read_recording(out) if request.answer] == [2001] * 3
    from_file = tmp_path / "file.rec"
    record(mirror, from_file, Pseudonyms(key.read_bytes().strip()), port=PORT)
    assert read_recording(from_file) == read_recording(out)


def _wait_until_read(pipe: int) -> None:
    """Until the other end has read everything."""
    deadline = time.monotonic() + PATIENCE_S
    while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_end_of_the_stream_ends_it_too(tmp_path: Path) -> None:
    process = ocs_sim(
        *("record", "-", str(tmp_path / "a.rec"), "--key-file", str(tmp_path / "key"), "--json"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    octets = OPEN5GS.read_bytes()
    out, _ = process.communicate(octets[: len(octets) - 7], timeout=PATIENCE_S)  # it was cut off within a packet
    assert process.returncode == 0 and json.loads(out)["requests"] == 3


def test_an_input_that_is_silent_is_left_when_it_is_stopped() -> None:
    reading, writing = os.pipe()
    ticks: list[int] = []
    stream = io.BufferedReader(StoppableInput(reading, lambda: len(ticks) >= 2, lambda: ticks.append(1)))
    os.write(writing, b"abc")
    assert stream.read(3) == b"abc"
    assert stream.read(1) == b"" and len(ticks) == 2
    for descriptor in (reading, writing):
        os.close(descriptor)


# -- bounds


def test_sessions_are_forgotten_at_their_end_and_the_oldest_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, last = (frame for frame in _ccrs(OPEN5GS))
    made = Recorder(Pseudonyms(KEY))
    found: list[RecordedRequest] = []
    for number, frame in enumerate((first, second, last)):
        for to_server, octets in ((True, frame), (False, _answer(frame))):
            found += made.take(message(octets, number, to_server=to_server))
    assert made.open_sessions == 0 and made.sessions == 1
    assert [(request.session, request.at_s) for request in found] == [(0, 0.0), (0, 1.0), (0, 2.0)]
    monkeypatch.setattr(recorder, "MAX_SESSIONS", 3)
    for number in range(10):
        list(made.take(message(_with_session(first, number), client=str(number))))
    assert (made.open_sessions, made.forgotten, made.sessions) == (3, 7, 11)


def test_a_repetition_is_recorded_if_its_first_copy_never_came() -> None:
    """After a failover the server sees only the copy with the T flag; and a late one of an ended session is one."""
    first, second, last = _ccrs(OPEN5GS)
    made = Recorder(Pseudonyms(KEY))
    sent = [first, _repeated(first), _repeated(second), _repeated(second), last]
    for number, frame in enumerate(sent):
        list(made.take(message(frame, number)))
    list(made.take(message(_answer(last), to_server=False)))
    list(made.take(message(_repeated(last), 9)))
    assert (made.count, made.repetitions, made.sessions) == (3, 3, 1)


def _repeated(frame: bytes) -> bytes:
    return frame[:4] + bytes([frame[4] | 0x10]) + frame[5:]


def test_what_waits_for_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_PENDING", 4)
    made = Recorder(Pseudonyms(KEY))
    early = [one for number in range(10) for one in made.take(message(_ccrs(OPEN5GS)[0], client=str(number)))]
    assert len(early) == made.unanswered == 6
    assert len(list(made.finish())) == 4 and made.unanswered == 10


def test_peers_beyond_the_limit_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_PEERS", 1)
    made = Recorder(Pseudonyms(KEY))
    for frame in (*_ccrs(OPEN5GS), *_ccrs(KAMAILIO)):
        list(made.take(message(frame)))
    summary = made.summary(Losses())
    assert (summary.requests, summary.peers, summary.left_out) == (3, 1, 1)


def test_streams_are_forgotten_when_they_end_and_the_oldest_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for two directions: each connection is closed before the next one begins, and all are read."""
    monkeypatch.setattr(packets, "MAX_STREAMS", 2)
    frame = _ccrs(OPEN5GS)[0]

    def connection(port: int, flags: str) -> list[Any]:
        ip, half = Ether() / IP(src="10.0.0.1", dst="10.0.0.2"), len(frame) // 2
        parts = [(0, "S", b""), (1, "A", frame[:half]), (1 + half, "A", frame[half:]), (1 + len(frame), flags, b"")]
        return [ip / TCP(sport=port, dport=PORT, seq=seq, flags=flag) / octets for seq, flag, octets in parts]

    wrpcap(str(tmp_path / "ends.pcap"), [each for port in range(40000, 40009) for each in connection(port, "FA")])
    assert len(list(captured_messages(tmp_path / "ends.pcap", PORT, Losses()))) == 9
    woven = list(zip(*(connection(port, "A") for port in range(40000, 40009)), strict=True))
    wrpcap(str(tmp_path / "woven.pcap"), [packet for step in woven for packet in step])
    assert len(list(captured_messages(tmp_path / "woven.pcap", PORT, Losses()))) < 9  # it has no room for all


def _ccrs(path: Path) -> list[bytes]:
    return [frame for frame in frames(path) if frame[4] & 0x80 and frame[5:8] == b"\0\1\x10"]


def _answer(frame: bytes) -> bytes:
    """The same AVPs, as an answer."""
    return frame[:4] + bytes([frame[4] & 0x7F]) + frame[5:]


def _with_session(frame: bytes, number: int) -> bytes:
    at = frame.index(b"smf.localdomain;")
    return frame[:at] + b"%015d;" % number + frame[at + 16 :]


# -- the proxy


class Running:
    """`record_as_proxy` in this process."""

    def __init__(self, server_port: int, out: Path) -> None:
        self.port, self.out = free_port(), out
        self._stopped = False
        self._task = asyncio.create_task(
            record_as_proxy(
                *(("127.0.0.1", self.port), ("127.0.0.1", server_port), out, Pseudonyms(KEY)),
                stopped=lambda: self._stopped,
                tell=lambda recorder: None,
            )
        )

    async def listening(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def stop(self) -> Any:
        self._stopped = True
        return await self._task


@contextlib.asynccontextmanager
async def proxy(server_port: int, out: Path) -> AsyncIterator[Running]:
    running = Running(server_port, out)
    await running.listening()
    try:
        yield running
    finally:
        await running.stop()


def target(port: int) -> Target:
    return Target("127.0.0.1", port, SIMULATED_REALM, SERVER_REALM)


async def test_a_proxy_passes_everything_on_and_records_it(grantor: Grantor, tmp_path: Path) -> None:
    day, live = tmp_path / "day.rec", tmp_path / "live.rec"
    record(OPEN5GS, day, Pseudonyms(KEY), port=PORT)
    requests = read_recording(day)
    async with proxy(grantor.port, live) as running:
        played = await replay_recording(requests, target(running.port), speed=5, copies=3)
    assert played.unanswered == 0 and played.requests == 9
    found = read_recording(live)
    assert len(found) == 9 and {request.session for request in found} == {0, 1, 2}
    assert all(request.answer is not None and request.answer.result_code == 2001 for request in found)
    assert len({tuple(sorted(request.frame for request in found if request.session == n)) for n in range(3)}) == 3
    again = await replay_recording(found, target(grantor.port), speed=5)
    assert again.ok and again.equal == 9, again.differences


async def test_what_is_not_diameter_is_passed_on(tmp_path: Path) -> None:
    """Octet by octet, in both directions; the recording of other connections goes on."""
    echo = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = echo.sockets[0].getsockname()[1]
    running = Running(port, tmp_path / "a.rec")
    await running.listening()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    octets = b"\xff" + os.urandom(300_000)
    writer.write(octets)
    assert await asyncio.wait_for(reader.readexactly(len(octets)), PATIENCE_S) == octets
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", running.port)
    request = _ccrs(OPEN5GS)[0]
    other_writer.write(request)
    assert await asyncio.wait_for(other_reader.readexactly(len(request)), PATIENCE_S) == request
    summary = await running.stop()
    assert (summary.requests, summary.unanswered) == (1, 1)
    assert summary.losses.broken == 2
    for each in (writer, other_writer):
        each.close()
    echo.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def test_a_client_is_hung_up_on_if_the_server_is_not_there(tmp_path: Path) -> None:
    running = Running(1, tmp_path / "a.rec")
    await running.listening()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()
    with pytest.raises(Exception, match="no credit-control request"):
        await running.stop()
    assert not (tmp_path / "a.rec").exists()


def test_the_command_as_a_proxy_until_ctrl_c(grantor: Grantor, tmp_path: Path) -> None:
    port, live = free_port(), tmp_path / "live.rec"
    tap = ocs_sim(
        *("record", str(live), "--proxy", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{grantor.port}"),
        *("--key-file", str(tmp_path / "key"), "--json"),
        stdout=subprocess.PIPE,
    )
    _wait_for_port(port)
    assert ocs_sim("replay", str(OPEN5GS), "--port", str(port), stdout=subprocess.DEVNULL).wait(PATIENCE_S) == 0
    tap.send_signal(signal.SIGINT)
    assert ended(tap)["requests"] == 3
    assert b"447700900001" not in live.read_bytes()
    played = ocs_sim("replay", str(live), "--port", str(grantor.port), "--json", stdout=subprocess.PIPE)
    assert ended(played)["equal"] == 3


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as probe:
            select.select([], [probe], [], 1)
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x.rec", "--proxy", "127.0.0.1:1"), "needed together"),
        (("a.pcap", "x.rec", "--proxy", "127.0.0.1:1", "--to", "127.0.0.1:2"), "there is no capture"),
        (("x.rec", "--proxy", "here", "--to", "127.0.0.1:2"), "no HOST:PORT"),
        (("x.rec", "--proxy", "127.0.0.1:1", "--to", "127.0.0.1:1"), "its own server"),
        (("-",), "is missing"),
        (("nowhere.pcap", "x.rec"), "there is no file nowhere.pcap"),
    ],
)
def test_a_wrong_command_is_told(words: tuple[str, ...], said: str) -> None:
    from typer.testing import CliRunner

    from simulator.cli import app

    done = CliRunner().invoke(app, ["record", *words], env={"COLUMNS": "200"})
    assert done.exit_code == 2 and said in " ".join(done.output.split())


# -- the proof: this server's answers, played again


@pytest.fixture(scope="module")
def server_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """`ocs serve` with the peers of the captures, and accounts for a replay."""
    folder = tmp_path_factory.mktemp("replayed")
    ports = free_port(), free_port(), free_port()
    config = write_config(folder, CATALOGUE, ports)
    with config.open("a", encoding="utf-8") as file:
        file.write('[[peer]]\norigin_host = "string"\nrealm = "string"\n')  # the TeraVM's name
    with ServerProcess(config, ports[2], folder / "server.log"):
        write_subscribers(folder / "people.csv", default_subscribers(COPIES))
        ocs(["account", "import", str(folder / "people.csv")], config)
        yield ports[0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("capture", "requests"),
    [(OPEN5GS, 3), (KAMAILIO, 1), pytest.param(TERAVM, 14, marks=needs_teravm)],
    ids=["open5gs", "kamailio", "teravm"],
)
async def test_the_shipped_captures_compare_equal_once_and_fifty_times(
    server_port: int, capture: Path, requests: int, tmp_path: Path
) -> None:
    """The capture's requests go through the proxy, which records this server's answers (those of the capture are a test
    server's). Then that recording is played again, once and fifty times over: the same answers.
    """
    day, live = tmp_path / "day.rec", tmp_path / "live.rec"
    record(capture, day, Pseudonyms(KEY), port=PORT)
    async with proxy(server_port, live) as running:
        first = await replay_recording(read_recording(day), target(running.port), speed=50)
    assert (first.requests, first.unanswered) == (requests, 0)
    recording = read_recording(live)
    assert len(recording) == requests
    assert any(service[4] for request in recording if request.answer for service in request.answer.services)
    for copies in (1, COPIES):
        played = await replay_recording(recording, target(server_port), speed=1, copies=copies)
        assert played.equal == played.requests == requests * copies, played.differences
        assert played.ok
