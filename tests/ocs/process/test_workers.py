"""Several workers and one peer: the peer has one connection, whichever side connects, and workers share its state."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ocs.diameter import capabilities
from ocs.diameter.locks import PeerLocks
from ocs.diameter.peers import Peer
from ocs.diameter.server import DiameterServer
from ocs.diameter.shared_peer_state import AWAY_FACTOR, SharedPeerStates
from ocs.settings.diameter import PeerConfig
from protocol import commands
from protocol.peer import OPEN_STATES, PeerState
from protocol.watchdog import WatchState
from tests.ocs.diameter.site import REALM, Listener, Site, ccr, cer, code_of, connection_of
from tests.waiting import until

PGW = "pgw.example.org"
BIG = "zzz.example.org"
"""A name that wins an election against ours."""
SMALL = "aaa.example.org"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener(PGW)
    yield listener
    listener.close()


async def workers(site: Site, folder: Path, *, count: int = 2, **changes: Any) -> list[DiameterServer]:
    return [await site.server(worker=f"w{number}", locks=str(folder), **changes) for number in range(count)]


def open_at(servers: list[DiameterServer], host: str = PGW) -> list[DiameterServer]:
    names = {state.value for state in OPEN_STATES}
    return [server for server in servers if server.peers.get(host) in names]


# -- one connection a peer over all workers


async def test_two_workers_take_a_peer_once(site: Site, tmp_path: Path) -> None:
    first = await site.server(locks=str(tmp_path))
    holder = await site.opened()
    # Like another process, it has its own lock table and socket.
    other = PeerLocks(str(tmp_path))
    assert not other.hold(PGW) and other.hold("b.example.org")
    assert other.open_anywhere(PGW) and not PeerLocks(str(tmp_path)).open_anywhere("c.example.org")
    assert other.taken_elsewhere(PGW) and not other.taken_elsewhere("b.example.org"), "that one is its own"
    second = await site.client()
    assert await second.open("b.example.org") == 5012
    other.follow("b.example.org", PeerState.CLOSED)
    assert await (await site.client()).open("b.example.org") == 2001
    holder.writer.close()
    await until(lambda: first.peers[PGW] == "closed")
    assert other.hold(PGW)


async def test_a_worker_probes_its_connection_at_another_workers_request(site: Site, tmp_path: Path) -> None:
    await site.server(locks=str(tmp_path))
    holder = await site.opened()
    other = PeerLocks(str(tmp_path))
    other._socket = __import__("socket").socket(1, 2)
    assert not other.hold(PGW)
    other.ask_to_probe(PGW)
    header, _ = await holder.read()
    assert header.command_code == 280 and header.is_request
    other._socket.close()


# -- races


async def test_one_of_twelve_concurrent_connections_is_accepted(site: Site, tmp_path: Path) -> None:
    servers = await workers(site, tmp_path)
    for _ in range(5):
        clients = [await site.client(servers[number % 2]) for number in range(12)]
        codes = await asyncio.gather(*(client.open() for client in clients))
        assert sorted(codes) == [2001] + [5012] * 11
        (holder,) = open_at(servers)
        assert all(server.connected_anywhere(PGW) for server in servers)
        winner = clients[codes.index(2001)]
        winner.writer.close()
        await until(lambda holder=holder: holder.peers[PGW] == "closed")  # type: ignore[misc]
        assert not any(server.connected_anywhere(PGW) for server in servers)


@pytest.mark.parametrize("name", [SMALL, BIG])
async def test_connections_from_both_sides_end_in_one(site: Site, tmp_path: Path, name: str) -> None:
    """The election of RFC 6733 §5.6.4, between the peer's connection to one worker and another worker's connection to
    it.
    """
    rng = random.Random(5)
    listener = Listener(name)
    peer = PeerConfig(name, connect=await listener.start())
    servers = await workers(site, tmp_path, peers=(peer,), reconnect_s=0.1)
    for _ in range(8):
        outgoing = await listener.call()
        header, _ = await outgoing.read()
        incoming = await site.client(rng.choice(servers))
        incoming.send(cer(name))
        if name == BIG:  # the peer wins: it closes its own connection and accepts ours
            incoming.writer.close()
            outgoing.send(listener.cea(header))
            kept = outgoing
        else:  # it loses: it waits for our CEA, then closes our connection
            assert code_of((await incoming.read())[1]) == 2001
            outgoing.writer.close()
            kept = incoming
        kept.send(ccr(host=name))
        assert code_of((await kept.read())[1]) == 2001
        (holder,) = open_at(servers, name)
        assert all(server.connected_anywhere(name) for server in servers)
        kept.writer.close()
        await until(lambda holder=holder: not open_at([holder], name))  # type: ignore[misc]
    listener.close()


async def test_our_connection_waits_until_the_other_worker_has_closed_its_own(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that keeps both connections keeps the first."""
    monkeypatch.setattr(capabilities, "OTHER_S", 0.3)
    listener = Listener(BIG)
    peer = PeerConfig(BIG, connect=await listener.start())
    caller = await site.server(worker="w0", locks=str(tmp_path), peers=(peer,), reconnect_s=0.5)
    other = await site.server(worker="w1", locks=str(tmp_path), peers=(PeerConfig(BIG),))
    outgoing = await listener.call()
    header, _ = await outgoing.read()
    incoming = await site.client(other)
    assert await incoming.open(BIG) == 2001
    outgoing.send(listener.cea(header), ccr(host=BIG))
    await asyncio.sleep(0.1)
    assert open_at([caller, other], BIG) == [other]
    incoming.writer.close()
    assert code_of((await outgoing.read())[1]) == 2001
    assert open_at([caller, other], BIG) == [caller]
    outgoing.writer.close()
    outgoing = await listener.call()
    header, _ = await outgoing.read()
    incoming = await site.client(other)
    assert await incoming.open(BIG) == 2001
    outgoing.send(listener.cea(header))
    assert await outgoing.ended()
    assert open_at([caller, other], BIG) == [other]
    listener.close()


# -- a pending connection blocks no other worker


@pytest.fixture
def swallowing() -> Any:
    """An address that neither accepts nor refuses connections, because its queue is full."""
    sockets = [socket.socket()]
    sockets[0].bind(("127.0.0.1", 0))
    sockets[0].listen(0)
    address = sockets[0].getsockname()
    for _ in range(4):
        sockets.append(socket.socket())
        sockets[-1].setblocking(False)
        sockets[-1].connect_ex(address)
    yield "{}:{}".format(*address)
    for each in sockets:
        each.close()


@pytest.mark.parametrize("which", ["the one that calls", "another one"])
@pytest.mark.alone
async def test_an_unanswered_connect_does_not_block_the_peer_at_other_workers(
    site: Site, tmp_path: Path, swallowing: str, which: str
) -> None:
    servers = await workers(site, tmp_path, peers=(PeerConfig(PGW, connect=swallowing),))
    await until(lambda: "wait_conn_ack" in [server.peers[PGW] for server in servers])
    calling = [server.peers[PGW] for server in servers].index("wait_conn_ack")
    assert [server.peers[PGW] for server in servers].count("wait_conn_ack") == 1, "one calls at a time"
    assert not any(server.connected_anywhere(PGW) for server in servers)
    server = servers[calling if which == "the one that calls" else 1 - calling]
    client = await site.client(server)
    began = time.monotonic()
    assert await client.open() == 2001
    assert time.monotonic() - began < 1
    client.send(ccr())
    assert code_of((await client.read())[1]) == 2001
    assert open_at(servers) == [server] and all(server.connected_anywhere(PGW) for server in servers)


async def test_a_peer_that_does_not_answer_our_cer_may_connect_to_another_worker(
    site: Site, tmp_path: Path, listener: Listener
) -> None:
    servers = await workers(site, tmp_path, peers=(PeerConfig(PGW, connect=await listener.start()),))
    await listener.call()
    calling = [server.peers[PGW] for server in servers].index("wait_i_cea")
    assert not servers[1 - calling].connected_anywhere(PGW)
    assert await (await site.client(servers[1 - calling])).open() == 2001


async def test_a_closing_connection_is_not_used_for_requests(site: Site, tmp_path: Path) -> None:
    servers = await workers(site, tmp_path)
    client = await site.client(servers[0])
    assert await client.open() == 2001
    assert servers[1].connected_anywhere(PGW)
    connection = servers[0].peers_table.get(PGW).connection
    assert connection is not None
    connection.stop()
    assert not servers[0].connected_anywhere(PGW) and not servers[1].connected_anywhere(PGW)
    assert await (await site.client(servers[1])).open() == 5012, "it is still there"


# -- shared peer state


@pytest.mark.parametrize("cause", [commands.BUSY, commands.DO_NOT_WANT_TO_TALK_TO_YOU])
async def test_after_a_dpr_that_says_stay_away_no_worker_connects_soon(
    site: Site, tmp_path: Path, listener: Listener, cause: int
) -> None:
    peers = (PeerConfig(PGW, connect=await listener.start()),)
    servers = await workers(site, tmp_path, peers=peers, reconnect_s=0.05)
    client = await listener.welcome()
    await until(lambda: bool(open_at(servers)))
    client.send(commands.encode(commands.DisconnectPeerRequest(PGW, REALM, cause), hop_by_hop=5, end_to_end=5))
    assert (await client.read())[0].command_code == 282
    client.writer.close()
    await asyncio.sleep(0.05 * AWAY_FACTOR * 0.7)
    assert listener.calls.empty()
    assert await listener.welcome(), "in time it is called again"


async def test_a_peer_closed_for_silence_by_one_worker_is_in_reopen_at_another(site: Site, tmp_path: Path) -> None:
    servers = await workers(site, tmp_path, watchdog_s=0.15)
    assert await (await site.client(servers[0])).open() == 2001
    await until(lambda: site.metrics.lost == ["watchdog"])
    client = await site.client(servers[1])
    assert await client.open() == 2001
    connection = connection_of(servers[1])
    assert connection.watchdog.watch.state is WatchState.REOPEN


def test_unreadable_or_future_peer_state_is_ignored(tmp_path: Path) -> None:
    now = [1_000_000.0]
    notes = SharedPeerStates(str(tmp_path), lambda: now[0])
    peer = Peer(PGW, PGW, PeerConfig(PGW))
    notes.leave_alone(peer, 30.0)
    notes.set_down(peer, True)
    assert notes.is_away(peer, 30.0) and notes.is_down(peer)
    now[0] -= 10_000
    assert not notes.is_away(peer, 30.0), "the clock was set back"
    now[0] += 10_000 + 30 * AWAY_FACTOR
    assert not notes.is_away(peer, 30.0)
    for text in ("", "{", "[]", "{}", '{"away_until": "x", "down": 1}'):
        (tmp_path / f"{PGW}.note").write_text(text)
        assert not notes.is_away(peer, 30.0) and not notes.is_down(peer)
    unknown = Peer("lab.example.org", "unknown", PeerConfig("lab.example.org"))
    notes.set_down(unknown, True)
    assert not notes.is_down(unknown) and not list(tmp_path.glob("lab*"))


def test_asking_which_worker_has_a_peer_takes_no_lock(tmp_path: Path) -> None:
    """A worker's query must not make another worker refuse the peer's connection as a second one."""
    one, other, curious = (PeerLocks(str(tmp_path)) for _ in range(3))
    assert one.hold(PGW)
    one.follow(PGW, PeerState.CLOSED)
    asked, stop = [0], threading.Event()

    def ask() -> None:
        while not stop.is_set():
            curious.taken_elsewhere(PGW)
            curious.open_anywhere(PGW)
            asked[0] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(2_000):
            assert one.hold(PGW) and not other.hold(PGW)
            one.follow(PGW, PeerState.CLOSED)
    finally:
        stop.set()
        thread.join()
    assert asked[0] > 0 and not curious.taken_elsewhere(PGW)


@pytest.mark.alone
async def test_after_a_disconnection_all_workers_together_connect_once_per_interval(site: Site, tmp_path: Path) -> None:
    """RFC 6733 §2.1, Tc."""
    calls: list[float] = []

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(time.monotonic())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    began = time.monotonic()
    await workers(site, tmp_path, count=3, peers=(PeerConfig(PGW, connect=address),), reconnect_s=0.4)
    await asyncio.sleep(2.0)
    server.close()
    assert 2 <= len(calls) <= (time.monotonic() - began) / (0.75 * 0.4) + 1
    assert min(later - earlier for earlier, later in itertools.pairwise(calls)) > 0.25
