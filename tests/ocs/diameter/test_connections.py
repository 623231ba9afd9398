"""Connections: TLS and certificates, connections to peers, elections, the server's own requests, hostile peers."""

from __future__ import annotations

import asyncio
import datetime
import gc
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from ocs.compose import diameter_config
from ocs.diameter import receive
from ocs.diameter.outstanding import MAX_OUTSTANDING
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.settings.loading import load_settings
from protocol import commands
from protocol.answers import error_answer
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ErrorMessage, ReAuthAnswer, ReAuthRequest
from protocol.errors import DiameterError
from protocol.frame import FrameReader
from protocol.header import parse_header
from tests.ocs.diameter.certificates import PGW, Certificates, tls_client, tls_site
from tests.ocs.diameter.site import HOST, REALM, Listener, Site, ccr, cer, code_of, on_uvloop
from tests.waiting import PATIENCE_S, until

BIG = "zzz.example.org"
"""A name that wins an election against ours."""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


# -- TLS (RFC 6733 §13)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


async def test_a_peer_with_its_own_certificate_is_accepted(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates)
    client = await tls_client(site, certificates.client())
    assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    assert await client.open() == 2001
    client.send(ccr())
    assert code_of((await client.read())[1]) == 2001


async def test_tls_1_2_only_with_forward_secrecy_and_aead(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates)
    context = certificates.client()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = await tls_client(site, context)
    assert await client.open() == 2001
    assert client.writer.get_extra_info("cipher")[0].startswith("ECDHE")
    weak = certificates.client("b.example.org")
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await tls_client(site, weak)


async def test_another_peers_certificate_is_refused(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates)
    client = await tls_client(site, certificates.client("b.example.org"))
    assert await client.open(PGW) == 3010
    assert await client.ended()
    assert site.metrics.refused == ["unknown_peer"]


async def test_a_certificate_of_another_authority_or_none_is_refused(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates)
    foreign = certificates.client(PGW, trustme.CA())
    none = ssl.create_default_context(cafile=str(certificates.folder / "ca.pem"))
    for context in (foreign, none):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            client = await tls_client(site, context)
            await client.open()
    good = await tls_client(site, certificates.client())
    assert await good.open() == 2001


async def test_plain_and_tls_by_the_peers_entry(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates, peers=(PeerConfig(PGW, tls=True), PeerConfig("b.example.org", tls=False)))
    plain = await site.client()
    assert await plain.open(PGW) == 5017
    assert await plain.ended()
    secured = await tls_client(site, certificates.client("b.example.org"))
    assert await secured.open("b.example.org") == 5017
    assert site.metrics.refused == ["no_common_security"] * 2


async def test_certificates_are_reloaded_without_a_restart(site: Site, certificates: Certificates) -> None:
    await tls_site(site, certificates)
    old = await tls_client(site, certificates.client())
    assert await old.open() == 2001
    server = site.servers[-1]
    # New authority and server certificate: peers with the old authority's certificate are refused; open
    # connections stay.
    before = certificates.client("b.example.org")
    certificates.ca = trustme.CA()
    certificates.ca.cert_pem.write_to_path(str(certificates.folder / "ca.pem"))
    certificates.server = certificates.issue(HOST)
    assert server.tls is not None
    server.tls.look()
    fresh = await tls_client(site, certificates.client("b.example.org"))
    assert await fresh.open("b.example.org") == 2001
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await tls_client(site, before)
    old.send(ccr())
    assert code_of((await old.read())[1]) == 2001
    # An invalid file changes nothing.
    (certificates.folder / "ca.pem").write_text("nonsense")
    server.reload_tls()
    fresh.send(ccr(host="b.example.org"))
    assert code_of((await fresh.read())[1]) == 2001


async def test_a_connection_ends_with_the_certificate(
    site: Site, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    await tls_site(site, certificates, answer_timeout_ms=100)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    client = await tls_client(site, certificates.client(PGW, not_after=soon))
    assert await client.open() == 2001
    site.servers[-1].unix_clock = lambda: time.time() + 3601
    header, frame = await client.read()
    request = commands.decode(commands.DisconnectPeerRequest, frame, header)
    assert request.disconnect_cause == commands.DO_NOT_WANT_TO_TALK_TO_YOU
    await asyncio.sleep(0.1)  # ten checks of the files
    assert caplog.text.count("its certificate has expired") == 1


async def test_plain_diameter_and_garbage_on_the_tls_port_affect_no_other_peer(
    site: Site, certificates: Certificates
) -> None:
    await tls_site(site, certificates, cer_timeout_s=0.5)
    good = await tls_client(site, certificates.client())
    assert await good.open() == 2001
    address = site.servers[-1].listening_tls[0]
    for noise in (cer(), b"\x00" * 100, b"GET / HTTP/1.0\r\n\r\n", b""):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(noise)
        with pytest.MonkeyPatch.context():
            try:
                while await asyncio.wait_for(reader.read(1000), PATIENCE_S):
                    pass
            except ConnectionError:
                pass
        writer.close()
    good.send(ccr())
    assert code_of((await good.read())[1]) == 2001


# -- the server's own requests


def rar(number: int = 1) -> ReAuthRequest:
    return ReAuthRequest(f"{PGW};1;{number}", HOST, REALM, REALM, PGW)


async def test_the_servers_requests_and_their_answers(site: Site) -> None:
    server = await site.server()
    found: list[Any] = []
    assert not server.ask(PGW, rar(), found.append, 5.0), "not connected"
    client = await site.opened()
    asr = AbortSessionRequest(f"{PGW};1;2", HOST, REALM, REALM, PGW)
    assert server.ask(PGW, rar(), found.append, 5.0) and server.ask(PGW.upper(), asr, found.append, 5.0)
    (first, first_frame), (second, second_frame) = [await client.read() for _ in range(2)]
    assert first.is_request and first.application_id == 4 and first.flags & 0x40
    assert commands.decode(ReAuthRequest, first_frame, first).re_auth_request_type == 0
    # Answers in another order; one with the E bit; one without a request.
    error = error_answer(second_frame, second, DiameterError(3002, "gone"), PGW, REALM)
    client.send(error)
    answer = commands.encode_answer(ReAuthAnswer(f"{PGW};1;1", 2002, PGW, REALM), first)
    client.send(answer, answer)
    await until(lambda: len(found) == 2)
    assert isinstance(found[0], ErrorMessage) and found[0].code == 3002
    assert isinstance(found[1], ReAuthAnswer) and found[1].result_code == 2002
    client.send(ccr())
    assert code_of((await client.read())[1]) == 2001


async def test_a_peer_that_does_not_answer_a_request(site: Site) -> None:
    server = await site.server(answer_timeout_ms=100)
    client = await site.opened()
    found: list[Any] = []
    assert server.ask(PGW, rar(), found.append, 0.05)
    await until(lambda: found == [None])
    for number in range(MAX_OUTSTANDING):
        assert server.ask(PGW, rar(number), found.append, 60.0)
    assert not server.ask(PGW, rar(), found.append, 60.0), "bounded"
    client.writer.close()
    await until(lambda: len(found) == 1 + MAX_OUTSTANDING)
    assert set(found) == {None}, "the connection is gone"
    assert AbortSessionAnswer().result_code == 0


# -- connections to peers


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener(PGW)
    yield listener
    listener.close()


async def calling(site: Site, listener: Listener, **changes: Any) -> Any:
    peer = PeerConfig(listener.name, connect=await listener.start())
    return await site.server(peers=(peer,), **{"reconnect_s": 0.1, **changes})


async def test_the_server_connects_to_a_peer_and_serves_it(site: Site, listener: Listener) -> None:
    server = await calling(site, listener)
    client = await listener.welcome()
    client.send(ccr())
    assert code_of((await client.read())[1]) == 2001
    assert server.peers == {PGW: "i_open"}
    # The connection breaks: the server connects again.
    client.writer.close()
    again = await listener.welcome()
    again.send(ccr(1))
    assert code_of((await again.read())[1]) == 2001
    # A second connection, made by the peer, is refused while ours is open.
    second = await site.client()
    assert await second.open() == 5012


@pytest.mark.parametrize(("code", "name"), [(3010, ""), (5010, ""), (2001, "someone.else.org")])
async def test_a_peer_that_refuses_the_cer_or_has_another_identity(
    site: Site, listener: Listener, code: int, name: str
) -> None:
    server = await calling(site, listener)
    client = await listener.welcome(code, name)
    assert await client.ended()
    await until(lambda: server.peers[PGW] == "closed" or listener.calls.qsize() > 0)
    assert await listener.welcome(), "and is called again"


async def test_a_cea_without_a_cer_is_discarded(site: Site, listener: Listener) -> None:
    """RFC 6733 §6.2.1: answers are matched by Hop-by-Hop. The CEA that matches the CER opens the connection."""
    server = await calling(site, listener)
    client = await listener.call()
    header, _ = await client.read()
    client.send(listener.cea(header._replace(hop_by_hop=header.hop_by_hop ^ 1)))
    await until(lambda: site.metrics.dropped == 1)
    assert server.peers[listener.name] == "wait_i_cea"
    client.send(listener.cea(header))
    await until(lambda: server.peers[listener.name] == "i_open")


async def test_a_dpa_without_a_dpr_is_discarded(site: Site) -> None:
    server = await site.server()
    client = await site.opened()
    stopping = asyncio.ensure_future(server.stop(5.0))
    header, _ = await client.read()
    dpa = commands.DisconnectPeerAnswer(2001, PGW, REALM)
    client.send(commands.encode_answer(dpa, header._replace(hop_by_hop=header.hop_by_hop ^ 1)))
    await until(lambda: site.metrics.dropped == 1)
    assert server.peers[PGW] == "closing"
    client.send(commands.encode_answer(dpa, header))
    assert await client.ended()
    await asyncio.wait_for(stopping, PATIENCE_S)


async def test_a_peer_that_does_not_answer_our_cer(site: Site, listener: Listener) -> None:
    await calling(site, listener, cer_timeout_s=0.2)
    silent = await listener.call()
    await silent.read()
    assert await silent.ended()
    babbling = await listener.call()
    await babbling.read()
    babbling.send(ccr())
    assert await babbling.ended()
    assert await listener.welcome()


async def test_after_a_dpr_that_says_stay_away_the_server_does_not_connect_at_once(
    site: Site, listener: Listener
) -> None:
    """RFC 6733 §5.4.3"""
    server = await calling(site, listener, reconnect_s=0.05)
    for cause, called_again in ((commands.REBOOTING, True), (commands.BUSY, False)):
        client = await listener.welcome()
        dpr = commands.DisconnectPeerRequest(PGW, REALM, cause)
        await until(lambda: server.peers[PGW] == "i_open")
        client.send(commands.encode(dpr, hop_by_hop=5, end_to_end=5))
        header, _ = await client.read()
        assert header.command_code == 282 and not header.is_request
        client.writer.close()
        await asyncio.sleep(0.3)
        assert (listener.calls.qsize() > 0) is called_again


async def test_the_election_is_won_by_the_larger_origin_host(site: Site) -> None:
    """RFC 6733 §5.6.4"""
    for name, ours_stays in (("aaa.example.org", False), (BIG, True)):
        listener = Listener(name)
        server = await calling(site, listener)
        outgoing = await listener.call()
        header, _ = await outgoing.read()
        incoming = await site.client()
        incoming.send(cer(name))
        if ours_stays:
            # The peer wins: it closes its own connection and answers our CER.
            await until(lambda server=server, name=name: server.peers[name] == "wait_returns")  # type: ignore[misc]
            outgoing.send(listener.cea(header))
            await until(lambda server=server, name=name: server.peers[name] == "i_open")  # type: ignore[misc]
            assert await incoming.ended()
            outgoing.send(ccr(host=name))
            assert code_of((await outgoing.read())[1]) == 2001
        else:
            assert code_of((await incoming.read())[1]) == 2001
            assert server.peers[name] == "r_open"
            assert await outgoing.ended()
            incoming.send(ccr(host=name))
            assert code_of((await incoming.read())[1]) == 2001
        listener.close()


async def test_the_peers_connection_is_accepted_when_ours_breaks(site: Site) -> None:
    listener = Listener(BIG)
    server = await calling(site, listener)
    outgoing = await listener.call()
    await outgoing.read()
    incoming = await site.client()
    incoming.send(cer(BIG))
    await until(lambda: server.peers[BIG] == "wait_returns")
    outgoing.writer.close()
    assert code_of((await incoming.read())[1]) == 2001
    assert server.peers[BIG] == "r_open"
    listener.close()


async def test_the_server_connects_over_tls_and_verifies_the_certificate(
    site: Site, listener: Listener, certificates: Certificates
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.issue(PGW))
    context.load_verify_locations(str(certificates.folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    address = await listener.start(ssl=context)
    peer = PeerConfig(PGW, connect=address, tls=True)
    server = await site.server(peers=(peer,), tls=certificates.config, reconnect_s=0.1)
    client = await listener.welcome()
    client.send(ccr())
    assert code_of((await client.read())[1]) == 2001
    assert server.peers == {PGW: "i_open"}


async def test_a_peer_that_requires_tls_gets_no_plain_connection(
    site: Site, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    peer = PeerConfig(PGW, connect=await listener.start(), tls=True)
    server = await site.server(peers=(peer,), reconnect_s=0.1)
    await until(lambda: "TLS is required for this peer" in caplog.text)
    await asyncio.sleep(0.3)
    assert listener.clients == [] and server.peers == {PGW: "closed"}


@pytest.mark.parametrize("tls", ["", 'tls = "forbidden"'])
async def test_a_loopback_peer_gets_a_plain_connection_although_tls_is_set_up(
    site: Site, listener: Listener, certificates: Certificates, tmp_path: Path, tls: str
) -> None:
    config = settings_of_a_call(tmp_path, certificates, await listener.start(), tls)
    server = await site.server(peers=config.peers, tls=config.tls, reconnect_s=0.1)
    await listener.welcome()
    await until(lambda: server.peers == {PGW: "i_open"})


async def test_a_peer_with_optional_tls_gets_a_tls_connection_only(
    site: Site, listener: Listener, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The peer supports plain TCP only and closes. The log has the reason, and nothing is sent in clear."""
    config = settings_of_a_call(tmp_path, certificates, await listener.start(), 'tls = "either"')
    server = await site.server(peers=config.peers, tls=config.tls, reconnect_s=0.1)
    for _ in range(2):
        called = await listener.call()
        assert (await called.reader.read(1)) == b"\x16", "a TLS handshake"
        called.writer.close()
    await until(lambda: f"peer {PGW}: cannot connect to" in caplog.text)
    assert server.peers[PGW] != "i_open"
    for record in caplog.records:
        assert not record.getMessage().rstrip().endswith(":"), "a reason, whatever the other side did"
    assert "over TLS" in caplog.text


def settings_of_a_call(folder: Path, certificates: Certificates, address: str, tls: str) -> DiameterConfig:
    """Settings of a peer to which the server connects."""
    certificate, key = certificates.server
    text = f"""
        [[peer]]
        origin_host = "{PGW}"
        realm = "{REALM}"
        connect = "{address}"
        {tls}
        [tls]
        certificate = "{certificate}"
        key = "{key}"
        ca = "{folder / "ca.pem"}"
    """
    (folder / "ocs.toml").write_text(text, encoding="utf-8")
    return diameter_config(load_settings(folder / "ocs.toml", {}))


# -- hostile connections


async def test_the_rest_of_a_message_must_come_in_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "PARTIAL_MESSAGE_S", 0.2)
    await site.server(answer_timeout_ms=100)
    slow = await site.opened()
    for octet in ccr()[:30]:
        slow.send(bytes([octet]))
        await asyncio.sleep(0.02)
        if site.metrics.lost:
            break
    assert site.metrics.lost == ["partial_message"]


async def test_connections_are_bounded(site: Site) -> None:
    server = await site.server(max_connections_per_address=3, max_connections=5)
    clients = [await site.client() for _ in range(4)]
    assert await clients[3].ended()
    assert site.metrics.refused == ["address_limit"]
    assert await clients[0].open() == 2001 and await clients[1].open("b.example.org") == 2001
    more = [await site.client() for _ in range(2)]
    await until(lambda: len(server._connections) == 5)
    assert await (await site.client()).ended()
    assert site.metrics.refused[-1] in ("address_limit", "connection_limit")
    assert len(more) == 2


@pytest.mark.parametrize("opened", [True, False])
async def test_a_closed_connection_is_freed_without_garbage_collection(site: Site, opened: bool) -> None:
    """A collection would delay all answers, so the parts of a closed connection must not form a reference cycle."""
    server = await site.server()
    client = await site.client()
    if opened:
        assert await client.open() == 2001
        client.send(ccr())
        assert code_of((await client.read())[1]) == 2001
    await until(lambda: len(server._connections) == 1)
    left = weakref.ref(next(iter(server._connections)))
    gc.collect()
    gc.disable()
    try:
        client.writer.close()
        await until(lambda: left() is None)
    finally:
        gc.enable()


SCENARIOS: list[Callable[..., Any]] = [
    test_a_peer_with_its_own_certificate_is_accepted,
    test_certificates_are_reloaded_without_a_restart,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__[5:])
def test_the_same_on_uvloop(scenario: Callable[..., Any], tmp_path: Path) -> None:
    on_uvloop(scenario, Certificates(tmp_path))


def test_the_reader_reports_incomplete_messages() -> None:
    reader = FrameReader()
    reader.feed(ccr()[:10])
    assert reader.pending_octets == 10 and parse_header(ccr()).command_code == 272
    assert DiameterConfig("a", "b").max_message_octets == 65_536
