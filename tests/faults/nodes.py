"""Two nodes on one Redis, each an `ocs serve` of its own, and a client that fails over from one to the other (RFC 8506
§5.7).
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from protocol import commands
from protocol.commands import (
    AbortSessionAnswer,
    AbortSessionRequest,
    DeviceWatchdogAnswer,
    DisconnectPeerAnswer,
    ReAuthAnswer,
    ReAuthRequest,
)
from protocol.credit_control import CreditControlRequest
from protocol.header import Header, parse_header
from tests.faults.client import ORIGIN_HOST, REALM, Answer, Client
from tests.faults.harness import ANY_PORTS, COMMAND, ONE_WORKER, Serving, environment
from tests.faults.proxy import Proxy
from tests.ocs.diameter.certificates import Certificates
from tests.waiting import PATIENCE_S

CONFIG = """
[diameter]
identity = "{identity}"
realm = "example.net"
listen = ["127.0.0.1:0"]
{listen_tls}
hosts = [{hosts}]
watchdog_s = 6
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
addresses = ["127.0.0.0/8"]
tls = "{tls}"
profile = "moving"
[profile.moving]
session_failover = {failover}
"""
CONFIG += ANY_PORTS + "timeout_ms = 1000" + ONE_WORKER + "housekeeper = {housekeeper}\n"
TLS = """
[tls]
certificate = "{certificate}"
key = "{key}"
ca = "{ca}"
"""
BOTH = ("ocs1.example.net", "ocs2.example.net")
SUCCESS, UNABLE_TO_DELIVER, TOO_BUSY = 2001, 3002, 3004


def settings(
    identity: str,
    *,
    hosts: tuple[str, ...] = BOTH,
    failover: bool = True,
    housekeeper: bool = True,
    certificates: Certificates | None = None,
) -> str:
    text = CONFIG.format(
        identity=identity,
        hosts=", ".join(f'"{host}"' for host in hosts),
        failover=str(failover).lower(),
        housekeeper=str(housekeeper).lower(),
        listen_tls="" if certificates is None else 'listen_tls = ["127.0.0.1:0"]',
        tls="forbidden" if certificates is None else "required",
    )
    if certificates is not None:
        certificate, key = certificates.issue(identity)
        text += TLS.format(certificate=certificate, key=key, ca=certificates.folder / "ca.pem")
    return text


def refusal(folder: Path, redis_url: str, config: str) -> str:
    """The log of a server that refuses to start."""
    folder.mkdir(exist_ok=True)
    (folder / "ocs.toml").write_text(config, encoding="utf-8")
    found = subprocess.run(
        [*COMMAND, "serve", "--config", "ocs.toml"],
        cwd=folder,
        env=environment(redis_url),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert found.returncode == 1, found.stderr
    return found.stderr


def kill_whole(serving: Serving) -> None:
    """Kills all of its processes at once."""
    supervisor = serving.process.pid
    listed = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii")
    for pid in (supervisor, *map(int, listed.split())):
        os.kill(pid, signal.SIGKILL)
    serving.process.wait(PATIENCE_S)


class Node:
    """One server, with the network to it and from it to Redis, which can be cut. The first has the housekeeper."""

    def __init__(self, folder: Path, number: int, redis_port: int, certificates: Certificates | None) -> None:
        self.identity = BOTH[number]
        self.certificates = certificates
        self.to_redis = Proxy(redis_port)
        self._folder = folder / f"node{number + 1}"
        self._config = settings(self.identity, housekeeper=number == 0, certificates=certificates)
        self._clients: list[MovingClient] = []
        self.serving = self._start()
        self.to_node = Proxy(self._port())

    def _start(self) -> Serving:
        return Serving(self._folder, self.to_redis.url, self._config)

    def _port(self) -> int:
        where = "diameter" if self.certificates is None else "diameter_tls"
        return int(self.serving.facts()[where][0].rsplit(":", 1)[1])

    def connect(self, timeout_s: float) -> MovingClient:
        """Closed by `close` at the latest."""
        tls = None if self.certificates is None else (self.certificates.client(ORIGIN_HOST), self.identity)
        self._clients.append(MovingClient(("127.0.0.1", self.to_node.port), timeout_s, tls))
        return self._clients[-1]

    def stop(self) -> None:
        """Stops in order, with DPR."""
        self.serving.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        kill_whole(self.serving)

    def cut(self) -> None:
        self.to_node.cut()
        self.to_redis.cut()

    def back(self) -> None:
        """Starts again if it has ended; the network works."""
        self.to_redis.let_pass()
        self.to_redis.heal()
        if self.serving.process.poll() is not None or self.serving.health() != 200:
            self.serving.end()
            self.serving = self._start()
        self.to_node.heal()
        self.to_node.upstream_port = self._port()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.to_redis.let_pass()
        self.to_redis.heal()
        self.serving.end()
        self.to_node.close()
        self.to_redis.close()


class LeftError(ConnectionError):
    """The node has sent a DPR."""


class MovingClient(Client):
    """A connection that answers a node's requests, and ends with the node's DPR."""

    def __init__(
        self, address: tuple[str, int], timeout_s: float = PATIENCE_S, tls: tuple[ssl.SSLContext, str] | None = None
    ) -> None:
        self.told: list[ReAuthRequest | AbortSessionRequest] = []
        self.left = False
        super().__init__(address, timeout_s, tls)

    def receive(self, number: int) -> Answer:
        while True:
            while not self.frames:
                self.frames.append(self._frame())
            header = parse_header(self.frames[0])
            if not header.is_request:
                return super().receive(number)
            self.react(header, self.frames.pop(0))
            if self.left:
                raise LeftError

    def hear(self, seconds: float) -> None:
        """Requests of the node in that time."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            while not self.left:
                frame = self._frame()
                self.react(parse_header(frame), frame)
        except TimeoutError:
            pass
        finally:
            self.socket.settimeout(before)

    def react(self, header: Header, frame: bytes) -> None:
        answer: DeviceWatchdogAnswer | DisconnectPeerAnswer | ReAuthAnswer | AbortSessionAnswer
        code = header.command_code
        if code == commands.DEVICE_WATCHDOG:
            answer = DeviceWatchdogAnswer(SUCCESS, ORIGIN_HOST, REALM)
        elif code == commands.DISCONNECT_PEER:
            self.left = True
            answer = DisconnectPeerAnswer(SUCCESS, ORIGIN_HOST, REALM)
        elif code == commands.RE_AUTH:
            self.told.append(commands.decode(ReAuthRequest, frame, header))
            answer = ReAuthAnswer(self.told[-1].session_id, SUCCESS, ORIGIN_HOST, REALM)
        else:
            assert code == commands.ABORT_SESSION
            self.told.append(commands.decode(AbortSessionRequest, frame, header))
            answer = AbortSessionAnswer(self.told[-1].session_id, SUCCESS, ORIGIN_HOST, REALM)
        self.socket.sendall(commands.encode_answer(answer, header))


@dataclass(slots=True)
class _Session:
    server: str = ""
    """Destination-Host of its requests."""
    may_move: bool = False


class SessionLostError(Exception):
    """The client has lost the session: its unreported use is not charged."""


class Pgw:
    """A P-GW with two servers in its realm. As Open5GS and others do it names the server that has answered in
    Destination-Host; a request that is not answered goes to the other server, with the T flag, if CC-Session-Failover
    has allowed that.

    `learns`: it names the server that answered last, else for ever the first.
    """

    def __init__(self, ways: list[Callable[[], MovingClient]], *, learns: bool = True) -> None:
        self._ways = ways
        self._learns = learns
        self.clients: list[MovingClient | None] = [None for _ in ways]
        self.current = 0
        self.sessions: dict[str, _Session] = {}

    def client(self) -> MovingClient:
        client = self.clients[self.current]
        if client is None:
            client = self.clients[self.current] = self._ways[self.current]()
        return client

    def named(self, request: CreditControlRequest) -> CreditControlRequest:
        session = self.sessions.setdefault(request.session_id, _Session())
        request.destination_host = session.server or None
        return request

    def send(self, request: CreditControlRequest) -> int:
        """Sends a request, to be received by `receive` or lost."""
        return self.client().send(self.named(request))

    def ask(self, request: CreditControlRequest, *, retransmitted: bool = False) -> Answer:
        session = self.sessions.setdefault(request.session_id, _Session())
        self.named(request)
        for _ in self._ways:
            try:
                answer = self.client().ask(request, retransmitted=retransmitted)
            except OSError:
                self.lose()
                retransmitted = True
            else:
                if answer.result_code in (UNABLE_TO_DELIVER, TOO_BUSY):
                    self.current = (self.current + 1) % len(self._ways)
                    continue
                assert answer.message is not None
                session.may_move = session.may_move or answer.message.cc_session_failover == 1
                if self._learns or not session.server:
                    session.server = answer.message.origin_host
                return answer
            if session.server and not session.may_move:
                raise SessionLostError
        raise SessionLostError

    def lose(self) -> None:
        """Gives up the current connection."""
        client = self.clients[self.current]
        if client is not None:
            client.close()
        self.clients[self.current] = None
        self.current = (self.current + 1) % len(self._ways)

    def close(self) -> None:
        for client in self.clients:
            if client is not None:
                client.close()
