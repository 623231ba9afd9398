"""Log lines about peers: refusals with the setting to change, ends of connections, addresses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ocs.diameter.connection import Connection
from ocs.diameter.log_texts import IN_ORDER, LOST, where_allowed
from ocs.diameter.refusals import WORDS, Kind
from ocs.settings.diameter import PeerConfig
from ocs.values.text import MAX_LISTED, MAX_NAME
from protocol import commands
from protocol.commands import DisconnectPeerRequest
from tests.ocs.diameter.certificates import PGW, Certificates, tls_client, tls_site
from tests.ocs.diameter.site import REALM, Client, Site
from tests.waiting import until

ADDRESSES = ("192.0.2.0/24", "198.51.100.7")
HOSTILE = "pgw\x1b[2J\n.example.org"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


async def refused(site: Site, caplog: pytest.LogCaptureFixture, name: str, **changes: object) -> str:
    client = await site.client()
    code = await client.open(name, **changes)
    assert code in (3010, 5017), code
    (line,) = [text for text in lines(caplog) if "refused" in text]
    return line


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_an_unknown_peer_is_named(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.server()
    line = await refused(site, caplog, "new.example.org")
    assert line == (
        "connection from 127.0.0.1 refused: Origin-Host 'new.example.org' of realm 'example.org': "
        "this Origin-Host is not among our peers; no [[peer]] has this origin_host: add one if it may charge"
    )


@pytest.mark.parametrize("anybody", [False, True])
async def test_the_servers_own_identity_and_another_nodes_are_no_peers(
    site: Site, caplog: pytest.LogCaptureFixture, anybody: bool
) -> None:
    """The log must not advise to add a [[peer]] for them, since it would be refused."""
    server = await site.server(hosts=("ocs2.example.net",), accept_unknown_peers=anybody)
    line = await refused(site, caplog, server.config.origin_host.upper())
    assert "this Origin-Host is our own; it is our diameter.identity" in line and "add one" not in line
    assert server.peers_table.refusal("OCS2.example.net", REALM, "no")[0].endswith(
        "diameter.hosts lists it as one of our nodes: remove it there if it is a peer"
    )


async def test_a_wrong_address_is_logged_with_the_allowed_ones(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.server(peers=(PeerConfig(PGW, REALM, ADDRESSES), PeerConfig("b.example.org")))
    line = await refused(site, caplog, PGW.upper())
    assert (
        "may not come from this address; its [[peer]] allows realm example.org, from 192.0.2.0/24, 198.51.100.7" in line
    )
    assert "refused: Origin-Host 'PGW.EXAMPLE.ORG'" in line


async def test_a_wrong_realm_is_logged_with_the_expected_one(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.server(peers=(PeerConfig(PGW, "other.example.net"),))
    line = await refused(site, caplog, PGW)
    assert "of realm 'example.org'" in line and "allows realm other.example.net, from any address" in line


async def test_missing_tls_is_logged_with_the_tls_port(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.server(peers=(PeerConfig(PGW, REALM, tls=True),))
    line = await refused(site, caplog, PGW)
    assert (
        "this peer must come with TLS" in line
        and "with TLS (which we serve on no address: see diameter.listen_tls)" in line
    )


async def test_a_certificate_of_another_name_is_logged(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(tmp_path)
    await tls_site(site, certificates)
    client = await tls_client(site, certificates.client("b.example.org"))
    assert await client.open(PGW) == 3010
    (line,) = [text for text in lines(caplog) if "refused" in text]
    assert f"Origin-Host '{PGW}'" in line and line.endswith("; its certificate is of 'b.example.org'")


async def test_control_characters_of_an_unknown_peer_are_escaped_in_the_log(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.server()
    line = await refused(site, caplog, HOSTILE + "x" * 10_000)
    assert line.isprintable() and len(line) < MAX_NAME + 300


async def test_the_answer_to_a_refused_peer_has_no_advice(site: Site) -> None:
    await site.server(peers=(PeerConfig(PGW, REALM, ADDRESSES), PeerConfig("b.example.org")))
    client: Client = await site.client()
    assert await client.open() == 3010
    assert not client.arrived


async def test_each_configured_peer_has_its_line_and_unknown_ones_share_one(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    now = [1_000.0]
    peers = (
        PeerConfig(PGW, REALM, ADDRESSES),
        PeerConfig("b.example.org", REALM, ADDRESSES),
        PeerConfig("c.example.org"),
    )
    server = await site.server(peers=peers)
    server.accept_limits._throttled_log._clock = lambda: now[0]
    for name in (PGW, "b.example.org", PGW, "x1.example.org", "x2.example.org", "x3.example.org"):
        assert await (await site.client()).open(name) == 3010
    said = [text for text in lines(caplog) if "refused" in text]
    assert [text.split("'")[1] for text in said] == [PGW, "b.example.org", "x1.example.org"]
    now[0] += 10
    assert await (await site.client()).open("x4.example.org") == 3010
    assert lines(caplog)[-1].endswith("(2 more since the last line)")


def test_the_allowed_addresses_of_a_peer_are_one_line() -> None:
    networks = tuple(f"10.0.{n}.0/24" for n in range(MAX_LISTED + 3))
    text = where_allowed(PeerConfig(PGW, REALM, networks, tls=True), (("::1", 5868),))
    assert text.endswith(f"10.0.{MAX_LISTED - 1}.0/24 and 3 more, with TLS (which we serve on [::1]:5868)")


# -- ends of connections


async def test_an_orderly_end_is_no_warning(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = await site.server()
    client = await site.opened()
    client.send(commands.encode(DisconnectPeerRequest(PGW, REALM, 0), hop_by_hop=9, end_to_end=9))
    await client.read()
    client.writer.close()
    await until(lambda: site.metrics.lost == ["dpr"])
    assert f"peer {PGW}: connection closed: the peer sent DPR" in lines(caplog)
    assert not any("lost" in text for text in lines(caplog))
    assert (await site.opened()) and server.connected_here(PGW)


async def test_a_lost_connection_is_a_warning_with_its_reason(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.server()
    client = await site.opened()
    client.writer.close()
    await until(lambda: site.metrics.lost == ["closed_by_peer"])
    (record,) = [each for each in caplog.records if "connection lost" in each.getMessage()]
    assert record.levelno == logging.WARNING and "without a DPR" in record.getMessage()


def test_every_end_and_every_refusal_has_a_text() -> None:
    """Every label for the end of a connection in the code is in one of the tables."""
    given = set[str]()
    for path in Path(Connection.__module__.replace(".", "/") + ".py").resolve().parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for before in ('.cut("', '.end("', '.half_close("', '.reason = "'):
            given |= {part.partition('"')[0] for part in text.split(before)[1:]}
    assert given - {"cer_timeout"} == IN_ORDER.keys() | LOST.keys(), "an end before the CER has its words in REFUSED"
    assert WORDS.keys() == set(Kind)


async def test_the_log_names_exactly_the_listening_addresses(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = await site.server()
    assert lines(caplog) == [f"listening for Diameter on 127.0.0.1:{server.listening[0][1]}"]
    caplog.clear()
    await tls_site(site, Certificates(tmp_path), listen=())
    assert lines(caplog) == [f"listening for Diameter on 127.0.0.1:{site.servers[-1].listening_tls[0][1]} (TLS)"]
