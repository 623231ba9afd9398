"""Connections before the CER: limits, addresses, TLS handshakes, certificates."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from ocs.diameter.addresses import AddressRanges
from ocs.settings.diameter import DiameterConfig, PeerConfig
from protocol.frame import FrameReader
from tests.ocs.diameter.certificates import OTHER, PGW, Certificates, tls_client, tls_site
from tests.ocs.diameter.site import HOST, Client, Site, ccr, cer, code_of, on_uvloop
from tests.waiting import PATIENCE_S, until

ELSEWHERE = ("192.0.2.0/24",)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def silent(site: Site, address: tuple[str, int]) -> Client:
    """A TCP connection that sends nothing."""
    client = Client(*await asyncio.open_connection(*address))
    site.clients.append(client)
    return client


async def gone(client: Client) -> bool:
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(client.reader.read(), PATIENCE_S) is not None
    return True


# -- limits


async def test_the_oldest_silent_connection_is_closed_at_the_limit(site: Site) -> None:
    await site.server(max_pending_connections=3, max_connections_per_address=100)
    first, *others = [await site.client() for _ in range(3)]
    late = await site.client()
    assert await late.open() == 2001, "silence shuts nobody out"
    assert await first.ended()
    assert site.metrics.refused == ["pending_limit"]
    assert await others[0].open(OTHER) == 2001, "and only the oldest"


def test_one_address_cannot_take_all_places() -> None:
    config = DiameterConfig("a", "b")
    assert 4 * config.max_connections_per_address <= config.max_pending_connections


async def test_outgoing_connections_do_not_count(site: Site) -> None:
    taken: asyncio.Queue[Client] = asyncio.Queue()

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.put_nowait(Client(reader, writer))

    listener = await asyncio.start_server(called, "127.0.0.1", 0)
    connect = "{}:{}".format(*listener.sockets[0].getsockname()[:2])
    server = await site.server(
        peers=(PeerConfig(PGW, connect=connect, addresses=ELSEWHERE), PeerConfig(OTHER)),
        max_pending_connections=1,
        max_connections_per_address=1,
        max_connections=1,
    )
    waiting = await site.client()
    peer = await asyncio.wait_for(taken.get(), PATIENCE_S)
    header, _ = await peer.read()
    assert header.command_code == 257
    waiting.send(cer(OTHER))
    assert code_of((await waiting.read())[1]) == 2001
    assert server.peers[PGW] == "wait_i_cea"
    peer.writer.close()
    listener.close()


# -- addresses, before TLS


async def test_a_connection_from_no_peers_address_is_closed_at_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    peers = (PeerConfig(PGW, addresses=ELSEWHERE), PeerConfig(OTHER, addresses=("2001:db8::/32",)))
    await site.server(peers=peers)
    for _ in range(3):
        assert await gone(await site.client())
    assert site.metrics.refused == ["address"] * 3
    assert caplog.text.count("no [[peer]] may come from this address") == 1


async def test_the_tls_port_checks_the_address_before_the_handshake(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates, peers=(PeerConfig(PGW, addresses=ELSEWHERE),))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await tls_client(site, certificates.client())
    assert site.metrics.refused == ["address"]


@pytest.mark.parametrize(
    ("peers", "more"),
    [
        ((PeerConfig(PGW, addresses=ELSEWHERE), PeerConfig(OTHER)), {}),
        ((PeerConfig(PGW, addresses=ELSEWHERE),), {"accept_unknown_peers": True}),
    ],
)
async def test_any_address_is_accepted_if_a_peer_may_have_any(
    site: Site, peers: tuple[PeerConfig, ...], more: dict[str, Any]
) -> None:
    await site.server(peers=peers, **more)
    client = await site.client()
    assert await client.open(PGW) == 3010
    assert await client.ended()


def test_ranges_of_addresses() -> None:
    ranges = AddressRanges(["192.0.2.0/24", "198.51.100.7", "2001:db8::/32", "10.1.2.3/8"])
    for inside in ("192.0.2.255", "198.51.100.7", "2001:db8::1", "10.9.9.9", "::ffff:192.0.2.1", "2001:db8::1%eth0"):
        assert inside in ranges
    for outside in ("192.0.3.0", "198.51.100.8", "2001:db9::1", "::1", "", "nonsense", "::ffff:192.0.3.1"):
        assert outside not in ranges
    assert ranges and not AddressRanges([])
    assert "8.8.8.8" in AddressRanges(["0.0.0.0/0"]) and "::1" not in AddressRanges(["0.0.0.0/0"])


# -- TLS handshakes


async def test_handshakes_are_bounded_and_the_oldest_is_closed(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates, max_pending_connections=3, max_connections_per_address=100)
    server = site.servers[-1]
    hanging = [await silent(site, server.listening_tls[0]) for _ in range(10)]
    await until(lambda: site.metrics.refused == ["pending_limit"] * 7)
    assert await asyncio.gather(*(gone(client) for client in hanging[:7])) == [True] * 7
    assert len(server.accept_limits._inside) == 3
    good = await tls_client(site, certificates.client())
    assert await good.open() == 2001
    good.send(ccr())
    assert code_of((await good.read())[1]) == 2001


async def test_handshakes_of_one_address_are_bounded(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates, max_connections_per_address=2)
    server = site.servers[-1]
    hanging = [await silent(site, server.listening_tls[0]) for _ in range(3)]
    assert await gone(hanging[2])
    assert site.metrics.refused == ["address_limit"]
    assert await gone(await site.client()), "whichever port"
    for client in hanging:
        client.writer.close()
    await until(lambda: not server.accept_limits._inside)
    assert await (await tls_client(site, certificates.client())).open() == 2001


async def test_a_handshake_times_out(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates, cer_timeout_s=0.2)
    client = await silent(site, site.servers[-1].listening_tls[0])
    assert await gone(client)
    await until(lambda: site.metrics.refused == ["tls"])
    assert not site.servers[-1].accept_limits._inside


async def test_handshakes_that_fail_are_counted_and_logged(
    site: Site, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    await tls_site(site, certificates)
    foreign = certificates.client(PGW, trustme.CA())
    none = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
    for number, context in enumerate((none, foreign), 1):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            await (await tls_client(site, context)).open()
        await until(lambda number=number: site.metrics.refused == ["tls"] * number)  # type: ignore[misc]
    plain = await silent(site, site.servers[-1].listening_tls[0])
    plain.send(cer())
    assert await gone(plain)
    await until(lambda: site.metrics.refused == ["tls"] * 3)
    assert caplog.text.count("refused: TLS") == 1, "once an interval"
    assert not site.servers[-1].accept_limits._inside


@pytest.mark.alone
async def test_a_stop_does_not_wait_for_handshakes(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates)
    server = site.servers.pop()
    client = await silent(site, server.listening_tls[0])
    await until(lambda: len(server.accept_limits._inside) == 1)
    began = time.monotonic()
    await server.stop(3.0)
    assert await gone(client)
    assert time.monotonic() - began < 1.0
    assert not server.accept_limits._inside


async def test_a_cer_together_with_the_end_of_the_handshake_is_not_lost(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates)
    for _ in range(20):
        code, _ = await asyncio.to_thread(opened, site.servers[-1].listening_tls[0], certificates.client(), None)
        assert code == 2001
        await until(lambda: site.servers[-1].peers[PGW] == "closed")


# -- TLS versions, ciphers and resumption


def opened(
    address: tuple[str, int], context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[int, ssl.SSLSession | None]:
    """Connects and exchanges capabilities; returns the CEA's code and the TLS session for resumption."""
    with (
        socket.create_connection(address, timeout=PATIENCE_S) as tcp,
        context.wrap_socket(tcp, server_hostname=HOST, session=session) as tls,
    ):
        tls.sendall(cer())
        reader = FrameReader()
        while not (frames := reader.feed(data := tls.recv(65_536))):
            if not data:
                raise EOFError
        found = tls.session
        with contextlib.suppress(OSError):
            tls.unwrap()
        return code_of(frames[0]), found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_not_resumed_when_its_certificate_is_no_longer_trusted(
    site: Site, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    await tls_site(site, certificates)
    server = site.servers[-1]
    context = certificates.client()
    context.minimum_version = context.maximum_version = version
    code, session = await asyncio.to_thread(opened, server.listening_tls[0], context, None)
    assert code == 2001
    await until(lambda: server.peers[PGW] == "closed")
    certificates.renew()
    context.load_verify_locations(str(certificates.folder / "ca.pem"))
    assert server.tls is not None and server.tls.reload()
    for session_or_none in (session, None):
        with pytest.raises((OSError, EOFError)):
            await asyncio.to_thread(opened, server.listening_tls[0], context, session_or_none)
    await until(lambda: site.metrics.refused == ["tls"] * 2)


async def test_no_session_outlives_its_certificate(site: Site, certificates: Certificates) -> None:
    """TLS 1.2 resumes a session without checking its certificate again."""
    await tls_site(site, certificates)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    client = await tls_client(site, certificates.client(PGW, not_after=soon))
    site.servers[-1].unix_clock = lambda: time.time() + 3_601
    assert await client.open() == 3010
    assert await client.ended()


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"])
async def test_tls_1_2_without_forward_secrecy_or_aead_is_refused(
    site: Site, certificates: Certificates, cipher: str, caplog: pytest.LogCaptureFixture
) -> None:
    certificates.server = certificates.issue(HOST, key_type=trustme.KeyType.RSA)
    await tls_site(site, certificates)
    context = certificates.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await tls_client(site, context)
    await until(lambda: site.metrics.refused == ["tls"])
    assert "NO_SHARED_CIPHER" in caplog.text
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    assert await (await tls_client(site, context)).open() == 2001


async def test_tls_1_1_is_refused(
    site: Site, certificates: Certificates, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    await tls_site(site, certificates)
    context = certificates.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await tls_client(site, context)
    await until(lambda: site.metrics.refused == ["tls"])
    assert "UNSUPPORTED_PROTOCOL" in caplog.text


SCENARIOS: list[Callable[..., Any]] = [
    test_handshakes_are_bounded_and_the_oldest_is_closed,
    test_handshakes_of_one_address_are_bounded,
    test_a_handshake_times_out,
    test_a_stop_does_not_wait_for_handshakes,
    test_a_cer_together_with_the_end_of_the_handshake_is_not_lost,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__[5:])
def test_the_same_on_uvloop(scenario: Callable[..., Any], tmp_path: Path) -> None:
    on_uvloop(scenario, Certificates(tmp_path))
