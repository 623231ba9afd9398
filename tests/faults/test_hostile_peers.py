"""Five hundred connections, a hundred of them hostile: slow, silent, babbling, flooding, deaf. The honest ones hardly notice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from protocol.credit_control import SubscriptionId, encode_ccr
from tests.conftest import RedisServer
from tests.faults.harness import PARTITIONS, ROOT, Serving, open_account
from tests.interop.test_freediameter import ccr
from tests.ocs.gateway_site import Client, cer, code_of

HONEST, HOSTILE = 400, 100
ACCOUNTS = 20
MEASURED_S = 6.0
PAUSE_S = 2.0
"""An honest peer asks so often: 200 requests a second in all, a fraction of what the server can do."""
ROUNDS = 3
NOISE_MS = 10.0
"""Four busy processes share two cores here: a p99 below this is no sign of anything."""
REALM = "a1.example.net"
CONFIG = """
[diameter]
identity = "ocs.hot.example.net"
realm = "hot.example.net"
listen = ["127.0.0.1:0"]
cer_timeout_s = 2
max_connections_per_address = 1000
{peers}
[api]
listen = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[ledger]
partitions = 4
[server]
workers = 1
data_dir = "data"
"""


def entries() -> str:
    """Everybody has an entry; nobody may send more than a peer of this size has to."""
    names = [f"pgw{n}" for n in range(HONEST)] + [f"{way}{n}" for way in ("flood", "deaf") for n in range(HOSTILE)]
    return "".join(
        f'[[peer]]\norigin_host = "{name}.{REALM}"\nrealm = "{REALM}"\nmax_requests_per_s = 10\n' for name in names
    )


@pytest.fixture
def crowded(tmp_path: Path, own_redis: RedisServer) -> Serving:  # type: ignore[misc]
    server = Serving(tmp_path / "ocs", own_redis.url, CONFIG.replace("{peers}", entries()))
    yield server  # type: ignore[misc]
    server.end()


class Honest:
    """A P-GW with one session that updates now and then."""

    def __init__(self, number: int) -> None:
        self.name = f"pgw{number}.{REALM}"
        self.msisdn = str(38668300000 + number % ACCOUNTS)
        self.number = 0
        self.times: list[float] = []

    async def open(self, address: tuple[str, int]) -> None:
        while True:
            self.client = Client(*await asyncio.open_connection(*address))
            self.client.send(cer(self.name, origin_realm=REALM))
            with contextlib.suppress(EOFError, ConnectionError):
                assert code_of((await self.client.read())[1]) == 2001
                break
            await asyncio.sleep(0.05)  # too many at once
        await self.ask(1)

    async def ask(self, kind: int = 2) -> None:
        request = ccr(kind, self.number)
        request.session_id, request.origin_host = f"{self.name};1;1", self.name
        request.multiple_services_credit_control[0].requested_service_unit.cc_total_octets = 1024  # type: ignore[union-attr]
        request.subscription_id = [SubscriptionId(0, self.msisdn)]
        began = time.perf_counter()
        self.client.send(encode_ccr(request, hop_by_hop=self.number + 1, end_to_end=self.number + 1))
        code = code_of((await self.client.read())[1])
        self.times.append(time.perf_counter() - began)
        assert code == 2001, code
        self.number += 1

    async def live(self, until: float, start: float) -> None:
        await asyncio.sleep(start)
        while time.perf_counter() < until:
            await self.ask()
            await asyncio.sleep(PAUSE_S)


class Bad(Client):
    """One that misbehaves under a name of its own."""

    number = 0


async def misbehave(number: int, address: tuple[str, int], until: float) -> None:
    """Again and again, until the time is over."""
    kind = number % len(WAYS)
    while time.perf_counter() < until:
        with contextlib.suppress(EOFError, ConnectionError, TimeoutError, AssertionError, OSError):
            reader, writer = await asyncio.open_connection(*address)
            bad = Bad(reader, writer)
            bad.number = number
            try:
                await asyncio.wait_for(WAYS[kind](bad, until), max(until - time.perf_counter(), 0.01))
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.2)


async def silent(client: Bad, until: float) -> None:
    await client.reader.read(1)


async def dripping(client: Bad, until: float) -> None:
    for octet in cer(f"drip{client.number}.{REALM}"):
        client.send(bytes([octet]))
        await asyncio.sleep(0.3)


async def babbling(client: Bad, until: float) -> None:
    client.send(random.Random(1).randbytes(5_000))
    await client.reader.read(1)


async def flooding(client: Bad, until: float) -> None:
    """Requests of a peer that is open, as fast as they are answered, and then some."""
    name = f"flood{client.number}.{REALM}"
    client.send(cer(name, origin_realm=REALM))
    await client.read()
    request = ccr(2, 1)
    request.session_id, request.origin_host = f"{name};1;1", name
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=1)
    while time.perf_counter() < until:  # on Python 3.11 a cancellation can be lost in `wait_for`
        client.send(*[frame] * 5)
        for _ in range(5):
            await client.read()
        await asyncio.sleep(0.1)


async def deaf(client: Bad, until: float) -> None:
    """Asks and never reads."""
    name = f"deaf{client.number}.{REALM}"
    client.send(cer(name, origin_realm=REALM))
    await client.read()
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    request = ccr(2, 1)
    request.session_id, request.origin_host = f"{name};1;1", name
    for _ in range(20):
        client.send(encode_ccr(request, hop_by_hop=1, end_to_end=1))
        await asyncio.sleep(0.3)


WAYS = [silent, dripping, babbling, flooding, deaf]


@pytest.fixture
async def ledger(own_redis: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = await RedisLedger.connect(own_redis.url, LedgerSettings(partitions=PARTITIONS))
    yield ledger
    await ledger.close()


async def test_the_honest_peers_hardly_notice(crowded: Serving, ledger: RedisLedger) -> None:
    host, _, port = crowded.facts()["diameter"][0].rpartition(":")
    address = host, int(port)
    for number in range(ACCOUNTS):
        await open_account(ledger, str(38668300000 + number), 100_000_000)
    peers = [Honest(number) for number in range(HONEST)]
    for first in range(0, HONEST, 20):
        await asyncio.gather(*(peer.open(address) for peer in peers[first : first + 20]))
    alone, crowd = [], []
    for _ in range(ROUNDS):
        alone.append(await measured(peers, address, False))
        crowd.append(await measured(peers, address, True))
    print(f"p99 of the honest ones: alone {alone}, with {HOSTILE} hostile ones {crowd} (ms)")
    assert statistics.median(crowd) <= max(2 * statistics.median(alone), NOISE_MS), "at most twice"
    assert crowded.health() == 200
    for peer in peers:
        peer.client.writer.close()


async def measured(peers: list[Honest], address: tuple[str, int], hostile: bool) -> float:
    """p99 in ms of the honest peers' requests over MEASURED_S."""
    until = time.perf_counter() + MEASURED_S
    bad = await hostile_process(address) if hostile else None
    for peer in peers:
        peer.times.clear()
    await asyncio.gather(*(peer.live(until, PAUSE_S * n / HONEST) for n, peer in enumerate(peers)))
    if bad is not None:
        assert await bad.wait() == 0
    times = sorted(seconds for peer in peers for seconds in peer.times)
    return round(times[int(len(times) * 0.99)] * 1e3, 1)


async def hostile_process(address: tuple[str, int]) -> asyncio.subprocess.Process:
    """In a process of their own, so that what they cost themselves is not taken for what they cost others."""
    command = (sys.executable, "-m", "tests.faults.test_hostile_peers", address[0], str(address[1]))
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT)


async def be_hostile(address: tuple[str, int]) -> None:
    until = time.perf_counter() + MEASURED_S
    await asyncio.gather(*(misbehave(n, address, until) for n in range(HOSTILE)))


if __name__ == "__main__":
    asyncio.run(be_hostile((sys.argv[1], int(sys.argv[2]))))
