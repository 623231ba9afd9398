"""Watchdog and probe with peers that answer, are rate-limited, do not read, or are dead (RFC 3539 §3.4.1)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from ocs.charging.source import Source
from ocs.diameter import peers, receive, transport, watchdog
from ocs.diameter.dispatch import Reply
from ocs.diameter.peers import BASE_REQUESTS_PER_S
from ocs.diameter.server import DiameterServer
from ocs.settings.diameter import PeerConfig
from protocol import commands
from protocol.commands import ReAuthRequest
from protocol.credit_control import CreditControlRequest
from protocol.header import HEADER_OCTETS, build, parse_header
from protocol.peer import PeerTimers
from protocol.watchdog import WatchState
from tests.ocs.diameter.site import HOST, REALM, Client, Site, ccr, cer, code_of, connection_of
from tests.waiting import until

PGW = "pgw.example.org"
TW_S = 0.15
DWR = commands.encode(commands.DeviceWatchdogRequest(PGW, REALM), hop_by_hop=5, end_to_end=5)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


class Living:
    """A peer that answers each DWR after a delay, and stores everything else that it reads."""

    def __init__(self, client: Client, after_s: float = 0.0) -> None:
        self.client = client
        self.after_s = after_s
        self.probed = 0
        self.frames: list[bytes] = []
        self.task = asyncio.ensure_future(self._live())

    async def _live(self) -> None:
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
            while True:
                header, frame = await self.client.read()
                if header.command_code != 280 or not header.is_request:
                    self.frames.append(frame)
                    continue
                self.probed += 1
                answer = commands.encode_answer(commands.DeviceWatchdogAnswer(2001, PGW, REALM), header)
                asyncio.get_running_loop().call_later(self.after_s, self.client.send, answer)

    def of(self, code: int) -> list[bytes]:
        return [frame for frame in self.frames if parse_header(frame).command_code == code]


def connection(server: DiameterServer) -> Any:
    return connection_of(server)


def state(server: DiameterServer) -> WatchState:
    found: WatchState = connection(server).watchdog.watch.state
    return found


def rar() -> ReAuthRequest:
    return ReAuthRequest(f"{PGW};1;1", HOST, REALM, REALM, PGW)


def hold_all(request: CreditControlRequest, source: Source, reply: Reply) -> None:
    """Never replies."""


def verbose(request: CreditControlRequest, source: Source, reply: Reply) -> None:
    answer = request.answer(2001)
    answer.error_message = "x" * 20_000
    reply(answer)


async def deaf(site: Site, server: DiameterServer, requests: int = 60) -> socket.socket:
    """A peer with small buffers that sends requests at a rate and reads nothing."""
    sock = socket.socket()
    site.sockets.append(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(server.listening[0])
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, cer())
    await loop.sock_recv(sock, 4_096)
    ours = connection(server).transport.underlying.get_extra_info("socket")
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    await loop.sock_sendall(sock, b"".join(ccr(number, 2) for number in range(requests)))
    return sock


# -- the probe


@pytest.mark.alone  # a peer must answer within 0.3 s
async def test_any_message_ends_a_probe(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PROBE_S", 0.3)
    server = await site.server()
    living = Living(await site.opened(), after_s=0.03)
    for _ in range(40):
        assert await (await site.client()).open() == 5012
        await asyncio.sleep(0.02)
    assert server.peers[PGW] == "r_open" and not site.metrics.lost
    assert living.probed > 3


@pytest.mark.parametrize("why", ["rate", "in flight"])
async def test_a_peer_whose_socket_is_not_read_is_not_considered_dead(
    site: Site, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Neither by the probe nor by the watchdog, however long it takes."""
    monkeypatch.setattr(watchdog, "PROBE_S", 0.1)
    monkeypatch.setattr(receive, "READ_AHEAD_OCTETS", 1_000)
    bounds: dict[str, Any] = (
        {"peers": (PeerConfig(PGW, max_requests_per_s=20),)}
        if why == "rate"
        else {"max_in_flight_per_peer": 2, "answer_timeout_ms": 400, "handler": hold_all}
    )
    server = await site.server(watchdog_s=TW_S, **bounds)
    living = Living(await site.opened())
    burst = 60 if why == "rate" else 6
    living.client.send(*(ccr(number, 2) for number in range(burst)))
    await asyncio.sleep(0.05)
    living.client.send(DWR)
    await until(lambda: not connection(server).transport.reading or why != "rate")
    assert await (await site.client()).open() == 5012
    await until(lambda: len(living.of(272)) == burst)
    await until(lambda: len(living.of(280)) == 1)
    await asyncio.sleep(3 * TW_S)
    assert server.peers[PGW] == "r_open" and not site.metrics.lost
    living.client.send(ccr(99, 3))
    await until(lambda: len(living.of(272)) == burst + 1)


async def test_watchdogs_do_not_wait_behind_requests(site: Site) -> None:
    server = await site.server(watchdog_s=TW_S, peers=(PeerConfig(PGW, max_requests_per_s=10),))
    living = Living(await site.opened())
    living.client.send(*(ccr(number, 2) for number in range(900)), DWR)
    await until(lambda: len(living.of(280)) == 1)
    assert len(living.of(272)) < 20
    await asyncio.sleep(5 * TW_S)
    assert state(server) is WatchState.OKAY and not site.metrics.lost
    assert connection(server).receiver.backlog_octets <= receive.READ_AHEAD_OCTETS + 262_144


async def test_waiting_requests_are_bounded(site: Site) -> None:
    server = await site.server(peers=(PeerConfig(PGW, max_requests_per_s=1),))
    client = await site.opened()
    client.send(*(ccr(number, 2) for number in range(12_000)))
    await until(lambda: not connection(server).transport.reading)
    await asyncio.sleep(0.2)
    found = connection(server)
    assert receive.READ_AHEAD_OCTETS <= found.receiver.backlog_octets <= receive.READ_AHEAD_OCTETS + 262_144
    assert found.receiver.backlog_octets == sum(map(len, found.receiver._backlog))


@pytest.mark.alone
async def test_a_probe_finds_a_dead_peer_although_a_dwr_is_pending(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PROBE_S", 0.25)
    await site.server(watchdog_s=0.5)
    await site.opened()
    await asyncio.sleep(0.4)
    began = time.monotonic()
    assert await (await site.client()).open() == 5012
    await until(lambda: site.metrics.lost == ["watchdog"])
    assert time.monotonic() - began < 0.45, "by the probe; the watchdog would take twice 0.5 s from its first timer on"


@pytest.mark.alone
async def test_a_slow_reader_stays_connected_and_a_peer_that_reads_nothing_does_not(site: Site) -> None:
    server = await site.server(verbose, watchdog_s=TW_S, answer_timeout_ms=100)
    slow = await deaf(site, server)
    await until(lambda: not connection(server).transport.reading)
    for _ in range(40):  # for 2 s, without sending anything
        with contextlib.suppress(BlockingIOError):
            slow.recv(20_000)
        await asyncio.sleep(TW_S / 3)
    assert not site.metrics.lost and not connection(server).transport.reading
    await until(lambda: site.metrics.lost == ["watchdog"])


@pytest.mark.alone
async def test_a_peer_that_reads_slowly_survives_the_probe(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "PROBE_S", 0.2)
    server = await site.server(verbose, answer_timeout_ms=100)
    slow = await deaf(site, server)
    await until(lambda: not connection(server).transport.reading)
    assert await (await site.client()).open() == 5012
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            slow.recv(20_000)
        await asyncio.sleep(0.05)
    assert not site.metrics.lost and not connection(server).transport.reading
    await until(lambda: site.metrics.lost == ["watchdog"])
    # The old connection was closed because of the peer's own CER, so the new one is OKAY at once.
    assert await (await site.client()).open() == 2001
    assert connection(server).watchdog.trusted and not server.shared_peer_state.is_down(server.peers_table.get(PGW))


# -- SUSPECT and REOPEN


async def test_a_suspect_peer_gets_no_requests_until_it_sends_a_message(site: Site) -> None:
    server = await site.server(watchdog_s=TW_S)
    client = await site.opened()
    found: list[Any] = []
    assert server.ask(PGW, rar(), found.append, 60.0)
    await until(lambda: state(server) is WatchState.SUSPECT)
    assert found == [None], "failover: what it has not answered may go another way"
    assert not server.ask(PGW, rar(), found.append, 60.0)
    assert server.connected_here(PGW)
    client.send(ccr())
    await until(lambda: state(server) is WatchState.OKAY)
    assert server.ask(PGW, rar(), found.append, 60.0)


async def test_after_reopen_a_peer_is_okay_after_three_dwa(site: Site) -> None:
    server = await site.server(watchdog_s=TW_S)
    await site.opened()
    await until(lambda: site.metrics.lost == ["watchdog"])
    client = await site.client()
    client.send(cer())
    first, second = await client.read(), await client.read()
    assert (first[0].command_code, code_of(first[1])) == (257, 2001), "the CEA comes before the DWR"
    assert second[0].command_code == 280 and state(server) is WatchState.REOPEN
    answered = 0
    header = second[0]
    while True:
        assert not server.ask(PGW, rar(), lambda answer: None, 60.0)
        client.send(ccr(answered))
        assert code_of((await client.read())[1]) == 2001, "its own requests are served"
        assert state(server) is WatchState.REOPEN
        client.send(commands.encode_answer(commands.DeviceWatchdogAnswer(2001, PGW, REALM), header))
        answered += 1
        if answered == 3:
            break
        header, _ = await client.read()
        assert header.command_code == 280
    await until(lambda: state(server) is WatchState.OKAY)
    assert server.ask(PGW, rar(), lambda answer: None, 60.0)
    # After that, a normal reconnection is OKAY at once.
    client.writer.close()
    await until(lambda: server.peers[PGW] == "closed")
    await site.opened()
    assert state(server) is WatchState.OKAY


async def test_a_silent_peer_in_reopen_is_closed_again(site: Site) -> None:
    server = await site.server(watchdog_s=TW_S)
    for _ in range(2):
        await site.opened()
        lost = len(site.metrics.lost)
        await until(lambda lost=lost: len(site.metrics.lost) == lost + 1)  # type: ignore[misc]
    assert site.metrics.lost == ["watchdog"] * 2
    await site.opened()
    assert state(server) is WatchState.REOPEN


# -- rate limit


@pytest.mark.parametrize("kind", ["unknown command", "undecodable", "DWR"])
async def test_every_kind_of_request_is_rate_limited(site: Site, kind: str) -> None:
    await site.server(peers=(PeerConfig(PGW, max_requests_per_s=10),))
    frame = {
        "unknown command": build(ccr()[HEADER_OCTETS:], 0xC0, 275, 4, 9, 9),
        "undecodable": build(b"", 0xC0, 272, 4, 9, 9),
        "DWR": DWR,
    }[kind]
    rate = BASE_REQUESTS_PER_S if kind == "DWR" else 10
    living = Living(await site.opened())
    living.client.send(*[frame] * 3_000)
    await asyncio.sleep(0.5)
    assert rate <= len(living.frames) <= 2 * rate + 1


async def test_watchdogs_do_not_count_towards_the_rate(site: Site) -> None:
    await site.server(peers=(PeerConfig(PGW, max_requests_per_s=1),))
    living = Living(await site.opened())
    living.client.send(*[DWR] * 20, ccr())
    await until(lambda: len(living.frames) == 21)


# -- a peer that reads nothing


async def test_a_peer_that_reads_nothing_is_closed_after_a_dpr(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "TIMERS", PeerTimers(closing_s=0.2))
    server = await site.server(verbose)
    await deaf(site, server)
    await until(lambda: not connection(server).transport.reading)
    connection(server).stop(commands.DO_NOT_WANT_TO_TALK_TO_YOU)
    await until(lambda: server.peers[PGW] == "closed")
    assert await (await site.client()).open() == 2001


async def test_a_closed_connection_does_not_linger(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LINGER_S", 0.2)
    server = await site.server(verbose)
    talker = await deaf(site, server, 0)
    stream = b"".join(ccr(number, 2) for number in range(60)) + b"\x02\x00\x00\x14" + bytes(16)
    await asyncio.get_running_loop().sock_sendall(talker, stream)
    await until(lambda: server.peers[PGW] == "closed")
    assert site.metrics.lost == ["bad_stream"]


async def test_unread_answers_are_bounded_by_the_default(site: Site) -> None:
    """Replies after the server stopped reading fill the buffer up to its bound only."""
    held: list[tuple[CreditControlRequest, Reply]] = []
    server = await site.server(lambda request, source, reply: held.append((request, reply)))
    bound = server.config.max_write_buffer_octets
    await deaf(site, server, 400)
    await until(lambda: len(held) == 400)
    ours, most = connection(server), 0
    for request, reply in held:
        if ours.transport.underlying is None:
            break
        answer = request.answer(2001)
        answer.error_message = "x" * 20_000
        reply(answer)
        most = max(most, ours.transport.underlying.get_write_buffer_size())
        await asyncio.sleep(0)
    assert site.metrics.lost == ["write_buffer"]
    assert bound / 2 < most <= bound + 100_000


# -- throttled log lines


async def test_a_failing_handler_is_logged_once_per_interval(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        raise RuntimeError("38668100000")

    await site.server(broken)
    client = await site.opened()
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            client.send(ccr(number))
            assert code_of((await client.read())[1]) == 5012
    assert len([record for record in caplog.records if "internal error at a CCR" in record.getMessage()]) == 1


async def test_a_silent_handler_is_logged_once_per_interval(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.server(hold_all, answer_timeout_ms=100)
    client = await site.opened()
    with caplog.at_level(logging.WARNING):
        client.send(*(ccr(number) for number in range(5)))
        assert {code_of((await client.read())[1]) for _ in range(5)} == {3002}
    assert len([record for record in caplog.records if "not handled within" in record.getMessage()]) == 1


PLAIN = (
    test_watchdogs_do_not_wait_behind_requests,
    test_waiting_requests_are_bounded,
    test_a_slow_reader_stays_connected_and_a_peer_that_reads_nothing_does_not,
    test_after_reopen_a_peer_is_okay_after_three_dwa,
    test_unread_answers_are_bounded_by_the_default,
)
PATCHED = (test_a_peer_that_reads_nothing_is_closed_after_a_dpr, test_a_closed_connection_does_not_linger)


@pytest.mark.parametrize("scenario", (*PLAIN, *PATCHED), ids=lambda scenario: scenario.__name__[5:])
def test_the_same_on_uvloop(scenario: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop of the workers."""

    async def main() -> None:
        site = Site()
        try:
            await (scenario(site, monkeypatch) if scenario in PATCHED else scenario(site))
        finally:
            await site.close()

    uvloop.run(main())
