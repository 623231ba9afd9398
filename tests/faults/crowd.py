"""Five hundred Diameter peers for test_hostile_peers.py, in two processes: honest peers, which measure, and hostile
ones.

Each process reads orders from standard input, one a line, and prints results as lines of JSON. They are separate
processes so that their own CPU time is not counted as the server's.

    python -m tests.faults.crowd honest|hostile HOST:PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

from protocol import commands
from protocol.avp import encode_avp
from protocol.commands import DeviceWatchdogAnswer
from protocol.credit_control import SubscriptionId, encode_ccr
from tests.interop.test_freediameter import ccr
from tests.ocs.diameter.site import Client, cer, code_of

REALM = "a1.example.net"
HONEST, OF_EACH_KIND = 400, 20
KINDS = ("silent", "dripping", "babbling", "flooding", "deaf")
ACCOUNTS = 20
FIRST_MSISDN = 38668300000
PAUSE_S = 1.0
"""Time between two requests of an honest peer: 400 requests a second in all, a fraction of the server's capacity."""
TOGETHER = 20
"""Honest peers that connect at once; a worker accepts 64 connections before their CER."""
WANDERERS = 20
"""Honest peers that reconnect in the middle of a round, when ordered to."""
FLOOD_PER_S = 60
"""Requests per second of each flooding peer, whose entry allows ALLOWED_PER_S."""
ALLOWED_PER_S = 10
DEAF_PER_S = 20
DEAF_OCTETS = 8_000
"""Octets of a deaf peer's request and of the answer that it does not read: 160 kB a second each."""
DEAF_BUFFER_OCTETS = 4_096
TICK_S = 0.1

Address = tuple[str, int]


def source(network: int, number: int) -> Address:
    """Each peer has its own address, as far as loopback allows: connections per address are limited."""
    return f"127.{network}.{number // 250}.{1 + number % 250}", 0


def request(name: str, kind: int, number: int, msisdn: str = "", padding: int = 0) -> bytes:
    """A CCR of the peer's one session; `padding` octets are echoed in the answer (Proxy-State)."""
    made = ccr(kind, number)
    made.session_id, made.origin_host = f"{name};1;1", name
    made.multiple_services_credit_control[0].requested_service_unit.cc_total_octets = 1024
    made.subscription_id = [SubscriptionId(0, msisdn)] if msisdn else []
    if padding:
        made.proxy_info = [
            encode_avp(
                *(284, 0, 0x40),
                encode_avp(280, 0, 0x40, f"proxy.{REALM}".encode()) + encode_avp(33, 0, 0x40, bytes(padding)),
            )
        ]
    return encode_ccr(made, hop_by_hop=number + 1, end_to_end=number + 1)


async def orders() -> AsyncIterator[list[str]]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().split()


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


# -- honest


class Honest:
    """A P-GW with one session that updates now and then."""

    def __init__(self, number: int, address: Address) -> None:
        self.name = f"pgw{number}.{REALM}"
        self.address, self.source = address, source(1, number)
        self.msisdn = str(FIRST_MSISDN + number % ACCOUNTS)
        self.number = 0
        self.times: list[float] = []
        self.away = False

    async def connect(self) -> None:
        """Retries: too many may connect at once, or the old connection may not have ended."""
        while True:
            with contextlib.suppress(EOFError, ConnectionError):
                self.client = Client(*await asyncio.open_connection(*self.address, local_addr=self.source))
                self.client.send(cer(self.name, origin_realm=REALM))
                if code_of((await self.client.read())[1]) == 2001:
                    return
            self.client.writer.close()
            await asyncio.sleep(0.02)

    async def ask(self, kind: int = 2) -> None:
        frame = request(self.name, kind, self.number, self.msisdn)
        began = time.perf_counter()
        self.client.send(frame)
        header, answer = await self.client.read()
        while header.is_request:  # a DWR, when the machine was too slow for us to keep the connection busy
            self.client.send(commands.encode_answer(DeviceWatchdogAnswer(2001, self.name, REALM), header))
            header, answer = await self.client.read()
        code = code_of(answer)
        self.times.append(time.perf_counter() - began)
        assert code == 2001, code
        self.number += 1

    async def live(self, until: float, start: float) -> None:
        await asyncio.sleep(start)
        while time.perf_counter() < until - PAUSE_S:
            await asyncio.sleep(PAUSE_S)
            if not self.away:
                await self.ask()

    async def wander(self, after: float) -> float:
        """Reconnects; returns the seconds until the connection is open."""
        self.away = True
        await asyncio.sleep(max(after, PAUSE_S))  # its requests are answered
        self.client.writer.close()
        began = time.perf_counter()
        await self.connect()
        self.away = False
        return time.perf_counter() - began


async def be_honest(address: Address) -> None:
    peers = [Honest(number, address) for number in range(HONEST)]
    for first in range(0, HONEST, TOGETHER):
        some = peers[first : first + TOGETHER]
        await asyncio.gather(*(peer.connect() for peer in some))
        await asyncio.gather(*(peer.ask(1) for peer in some))
    say(open=HONEST)
    async for _, seconds, wanderers in orders():
        until = time.perf_counter() + float(seconds)
        for peer in peers:
            peer.times.clear()
        roads = [peer.wander(float(seconds) / 3) for peer in peers[: int(wanderers)]]
        live = [peer.live(until, PAUSE_S * n / HONEST) for n, peer in enumerate(peers)]
        back, _ = await asyncio.gather(asyncio.gather(*roads), asyncio.gather(*live))
        times = sorted(taken for peer in peers for taken in peer.times)
        p50, p99 = (round(times[int(len(times) * share)] * 1e3, 2) for share in (0.5, 0.99))
        say(p50_ms=p50, p99_ms=p99, asked=len(times), back_s=[round(each, 3) for each in back])


# -- hostile


class Effects:
    """Effects of the server's defence on the hostile peers."""

    def __init__(self) -> None:
        self.cut: dict[str, list[float]] = {kind: [] for kind in KINDS}
        """Seconds from connecting until the server closed the connection. A worker accepts 64 connections before their
        CER; beyond that, the oldest is closed.
        """
        self.count: Counter[str] = Counter()


Way = Callable[["Bad"], Awaitable[None]]


class Bad:
    """One hostile peer's connection."""

    def __init__(self, number: int, client: Client, effects: Effects, until: float) -> None:
        self.number, self.client, self.effects, self.until = number, client, effects, until

    async def ended(self) -> None:
        while await self.client.reader.read(65_536):
            pass

    async def open(self, kind: str) -> str:
        name = f"{kind}{self.number}.{REALM}"
        self.client.send(cer(name, origin_realm=REALM))
        if code_of((await self.client.read())[1]) != 2001:
            raise EOFError
        self.effects.count[f"{kind} open"] += 1
        return name

    async def send_at(self, per_s: float, frame: bytes) -> AsyncIterator[int]:
        """Sends at a rate by the clock; returns the number sent now."""
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < self.until:
            due = int((now - began) * per_s) - sent
            if due:
                self.client.send(*[frame] * due)
                sent += due
                yield due
            await asyncio.sleep(TICK_S)


async def silent(bad: Bad) -> None:
    await bad.ended()


async def dripping(bad: Bad) -> None:
    """A CER that takes a minute to arrive."""
    ended = asyncio.ensure_future(bad.ended())
    try:
        for octet in cer(f"drip{bad.number}.{REALM}"):
            bad.client.send(bytes([octet]))
            if (await asyncio.wait([ended], timeout=0.3))[0]:
                await ended
                return
    finally:
        ended.cancel()


async def babbling(bad: Bad) -> None:
    bad.client.send(random.Random(bad.number).randbytes(5_000))
    await bad.ended()


async def flooding(bad: Bad) -> None:
    """Six times as many requests as its entry allows; reads every answer."""
    frame = request(await bad.open("flooding"), 2, 1)

    async def count() -> None:
        while data := await bad.client.reader.read(65_536):
            bad.effects.count["flood answered"] += len(bad.client.frames.feed(data))

    counting = asyncio.ensure_future(count())
    try:
        async for sent in bad.send_at(FLOOD_PER_S, frame):
            bad.effects.count["flood sent"] += sent
            if counting.done():
                raise EOFError
    finally:
        counting.cancel()


async def deaf(bad: Bad) -> None:
    """Sends requests and reads nothing."""
    frame = request(await bad.open("deaf"), 2, 1, padding=DEAF_OCTETS)
    bad.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async for sent in bad.send_at(DEAF_PER_S, frame):
        bad.effects.count["deaf sent"] += sent


WAYS: dict[str, Way] = {
    "silent": silent,
    "dripping": dripping,
    "babbling": babbling,
    "flooding": flooding,
    "deaf": deaf,
}


async def misbehave(kind: str, number: int, address: Address, effects: Effects, until: float) -> None:
    """Repeats until the time is over."""
    while (left := until - time.perf_counter()) > 0:
        began = time.perf_counter()
        own = source(2 + KINDS.index(kind), number)
        client = (
            await deaf_client(address, own)
            if kind == "deaf"
            else Client(*await asyncio.open_connection(*address, local_addr=own))
        )
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError):
            await asyncio.wait_for(WAYS[kind](Bad(number, client, effects, until)), left)
        if time.perf_counter() < until - TICK_S:
            effects.cut[kind].append(round(time.perf_counter() - began, 3))
        client.writer.transport.abort()
        await asyncio.sleep(0.2)


async def deaf_client(address: Address, own: Address) -> Client:
    """With small buffers, so that the answers pile up at the server."""
    connected = socket.socket()
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEAF_BUFFER_OCTETS)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    connected.bind(own)
    connected.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connected, address)
    return Client(*await asyncio.open_connection(sock=connected))


async def be_hostile(address: Address) -> None:
    say(ready=True)
    async for _, seconds in orders():
        effects = Effects()
        until = time.perf_counter() + float(seconds)
        names = [(kind, number) for kind in KINDS for number in range(OF_EACH_KIND)]
        await asyncio.gather(*(misbehave(*name, address, effects, until) for name in names))
        say(cut=effects.cut, count=effects.count)


if __name__ == "__main__":
    host, _, port = sys.argv[2].rpartition(":")
    asyncio.run({"honest": be_honest, "hostile": be_hostile}[sys.argv[1]]((host, int(port))))
