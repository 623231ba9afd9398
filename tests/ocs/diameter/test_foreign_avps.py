"""Other vendors' AVPs with the M bit, and service contexts: by peer, behind a relay, in base commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocs.charging.source import Source
from ocs.diameter.dispatch import Reply
from ocs.settings.diameter import PeerConfig
from ocs.values.use import Context
from protocol import commands
from protocol.avp import encode_avp, walk
from protocol.credit_control import CreditControlRequest
from protocol.header import HEADER_OCTETS, build, parse_header
from protocol.tolerance import Tolerance
from tests.ocs.diameter.site import REALM, Client, Site, ccr, cer, code_of

PGW, DRA, STRICT = "pgw.example.org", "dra.example.org", "strict.example.org"
CONTEXT_TYPE = encode_avp(256, 12645, 0x40, b"\0\0\0\1")
VODAFONE = Tolerance(vendors=frozenset({12645}))
CISCO = Tolerance(vendors=frozenset({9}))
FAILED_AVP = 279


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


def foreign(frame: bytes, avp: bytes = CONTEXT_TYPE) -> bytes:
    header = parse_header(frame)
    body = frame[HEADER_OCTETS:] + avp
    return build(body, header.flags, header.command_code, header.application_id, header.hop_by_hop, header.end_to_end)


async def code(client: Client, frame: bytes) -> int:
    client.send(frame)
    return code_of((await client.read())[1])


def peers(**rights: Any) -> tuple[PeerConfig, ...]:
    return PeerConfig(PGW, REALM, **rights), PeerConfig(STRICT, REALM)


async def test_by_default_the_avp_is_refused_with_failed_avp(site: Site) -> None:
    await site.server(peers=peers())
    client = await site.opened()
    client.send(foreign(ccr(1)))
    _, frame = await client.read()
    (failed,) = (avp for avp in walk(frame, HEADER_OCTETS, len(frame)) if avp.code == FAILED_AVP)
    assert code_of(frame) == 5001 and frame[failed.payload : failed.stop] == CONTEXT_TYPE


async def test_the_log_names_a_refused_avp_as_the_setting_does(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.server(peers=peers())
    client, other = await site.opened(), await site.client()
    assert await other.open(STRICT) == 2001
    for number in range(3):
        assert await code(client, foreign(ccr(number))) == 5001
    assert await code(other, foreign(ccr(1, host=STRICT), encode_avp(1, 99_999, 0x40, b"38668100000"))) == 5001
    said = [record.getMessage() for record in caplog.records if "5001" in record.getMessage()]
    assert said == [
        f"peer {PGW}: request refused (5001): AVP 12645:256 (Context-Type) carries the M flag and is not supported; "
        "tolerate_avps can let it pass",
        f"peer {STRICT}: request refused (5001): AVP 99999:1 carries the M flag and is not supported; "
        "tolerate_avps can let it pass",
    ]


async def test_a_peers_ignored_avps_are_not_anothers(site: Site) -> None:
    await site.server(peers=peers(tolerated=VODAFONE))
    tolerant, strict = await site.client(), await site.client()
    assert (await tolerant.open(PGW), await strict.open(STRICT)) == (2001, 2001)
    for number in range(1, 5):
        assert await code(tolerant, foreign(ccr(number))) == 2001
        assert await code(strict, foreign(ccr(number, host=STRICT))) == 5001
    assert await code(tolerant, foreign(ccr(9), encode_avp(1, 9, 0x40, b""))) == 5001


async def test_ignored_avps_in_general_and_by_peer(site: Site) -> None:
    await site.server(peers=peers(tolerated=CISCO), tolerated=VODAFONE, accept_unknown_peers=True)
    own, other, unknown = await site.client(), await site.client(), await site.client()
    assert (await own.open(PGW), await other.open(STRICT), await unknown.open("lab.example.org")) == (2001,) * 3
    cisco = encode_avp(1, 9, 0x40, b"")
    for client, host, expected in ((own, PGW, 2001), (other, STRICT, 5001), (unknown, "lab.example.org", 5001)):
        assert await code(client, foreign(ccr(1, host=host))) == 2001
        assert await code(client, foreign(ccr(2, host=host), cisco)) == expected


@pytest.mark.parametrize(("name", "expected"), [(PGW, 2001), (STRICT, 5001), ("stranger.example.org", 5001)])
async def test_capabilities(site: Site, name: str, expected: int) -> None:
    """A CER is decoded with the settings of its Origin-Host."""
    await site.server(peers=peers(tolerated=VODAFONE))
    client = await site.client()
    client.send(foreign(cer(name)))
    assert code_of((await client.read())[1]) == expected


@pytest.mark.parametrize(("name", "expected"), [(PGW, 2001), (STRICT, 5001)])
async def test_watchdog_and_disconnection(site: Site, name: str, expected: int) -> None:
    await site.server(peers=peers(tolerated=VODAFONE))
    client = await site.client()
    assert await client.open(name) == 2001
    for message in (commands.DeviceWatchdogRequest(name, REALM), commands.DisconnectPeerRequest(name, REALM, 0)):
        assert await code(client, foreign(commands.encode(message, hop_by_hop=3, end_to_end=3))) == expected


@pytest.mark.parametrize("frame", [b"", b"\0\0\1\x08\x40\0\0\x05", b"\0\0\1\x08\x40\0\0\x0a\xff\xff\0\0"])
async def test_a_cer_without_a_readable_origin_host_has_the_general_settings(site: Site, frame: bytes) -> None:
    await site.server(peers=peers(tolerated=VODAFONE))
    client = await site.client()
    client.send(build(frame + CONTEXT_TYPE, 0x80, 257, 0, 1, 1))
    assert code_of((await client.read())[1]) >= 3000


async def test_behind_a_relay(site: Site) -> None:
    """The client's own list, else the relay's."""
    relay = PeerConfig(DRA, relay=True, tolerated=CISCO)
    await site.server(peers=(relay, *peers(tolerated=VODAFONE)))
    client = await site.client()
    assert await client.open(DRA) == 2001
    cisco = encode_avp(1, 9, 0x40, b"")
    for host, by_vodafone, by_cisco in ((PGW.upper(), 2001, 5001), (STRICT, 5001, 2001), ("other.example", 5001, 2001)):
        for number in range(3):
            assert await code(client, foreign(ccr(number, host=host))) == by_vodafone
            assert await code(client, foreign(ccr(number, host=host), cisco)) == by_cisco
    origin_last = ccr(5)
    body, header = origin_last[HEADER_OCTETS:], parse_header(origin_last)
    (origin,) = (body[avp.start : (avp.stop + 3) & ~3] for avp in walk(body, 0, len(body)) if avp.code == 264)
    moved = build(body.replace(origin, b"") + origin, header.flags, 272, 4, 5, 5)
    assert await code(client, foreign(moved)) == 2001, "wherever the Origin-Host stands"


# -- contexts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("32251@3gpp.org", 2001),
        ("gprs@cmcc.com", 2001),
        ("Moscow@huawei.com", 5003),
        ("32274@3gpp.org", 5003),
        ("32251@x.32274@3gpp.org", 5003),
        ("32251@example.org", 5003),
        ("32251", 5003),
        ("x@32251@3gpp.org", 5003),
    ],
)
async def test_the_right_to_a_context_is_checked_for_the_mapped_context(site: Site, text: str, expected: int) -> None:
    seen: list[Context | None] = []

    def note(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        seen.append(source.service_contexts[request.service_context_id])
        reply(request.answer(2001))

    listed = {"gprs@cmcc.com": Context.DATA, "*@huawei.com": Context.SMS}
    await site.server(note, peers=peers(contexts=("data",), service_contexts=listed))
    client = await site.opened()
    assert await code(client, ccr(1, service_context_id=text)) == expected
    assert seen == [Context.DATA] * (expected == 2001)
    assert site.metrics.requests_refused == ["context"] * (expected == 5003)


async def test_a_clients_contexts_behind_a_relay(site: Site) -> None:
    """Client and relay both need the right to the mapped context."""
    own = {"c@d": Context.DATA, "a@b": Context.SMS}
    relay = PeerConfig(DRA, relay=True, contexts=("data", "ims"), service_contexts={"a@b": Context.DATA})
    await site.server(peers=(relay, PeerConfig(PGW, REALM, service_contexts=own), PeerConfig(STRICT, REALM)))
    client = await site.client()
    assert await client.open(DRA) == 2001
    for host, text, expected in (
        (PGW, "c@d", 2001),
        (PGW, "a@b", 5003),
        (STRICT, "a@b", 2001),
        (STRICT, "c@d", 5003),
    ):
        assert await code(client, ccr(1, host=host, service_context_id=text)) == expected
