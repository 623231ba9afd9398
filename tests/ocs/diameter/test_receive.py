"""Reading a connection: invalid streams and the last answer, long reads, unexpected answers, limits, requests after a
DPR.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from ocs.charging.source import Source
from ocs.diameter.dispatch import Reply
from ocs.settings.diameter import PeerConfig
from protocol import commands
from protocol.avp import encode_avp
from protocol.credit_control import CreditControlRequest, MultipleServicesCreditControl
from protocol.header import HEADER_OCTETS, Header, build
from tests.ocs.diameter.site import REALM, Site, ccr, cer, code_of, connection_of, on_uvloop
from tests.waiting import until


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


BROKEN_VERSION = b"\x02" + ccr(1)[1:]
BROKEN_LENGTH = ccr(1)[:3] + bytes([ccr(1)[3] | 3]) + ccr(1)[4:]
LONGER_THAN_TAKEN = b"\x01" + (70_000).to_bytes(3, "big") + ccr(1)[4:] + bytes(70_000 - len(ccr(1)))


@pytest.mark.parametrize(
    ("stream", "cut", "code"),
    [
        pytest.param(BROKEN_VERSION, 4, 5011, id="another version, the header in two pieces"),
        pytest.param(BROKEN_LENGTH, 8, 5015, id="a length that cannot be, the header in two pieces"),
        pytest.param(LONGER_THAN_TAKEN, 20, 5015, id="more than is taken"),
    ],
)
async def test_the_answer_to_an_invalid_stream_arrives(site: Site, stream: bytes, cut: int, code: int) -> None:
    """RFC 6733 §7.1.5, 5011 and 5015: an answer, then the end, even if the peer is still sending."""
    await site.server()
    client = await site.opened()
    client.send(stream[:cut])
    await client.writer.drain()
    await asyncio.sleep(0.02)
    client.send(stream[cut:])
    await client.writer.drain()  # after a reset this or a later read would raise
    await asyncio.sleep(0.05)
    header, frame = await client.read()
    assert (header.hop_by_hop, header.is_error, code_of(frame)) == (1_001, True, code)
    assert await client.ended()


async def test_a_message_that_is_too_long_is_answered_before_its_end(site: Site) -> None:
    await test_the_answer_to_an_invalid_stream_arrives(site, LONGER_THAN_TAKEN + bytes(1_000_000), 20, 5015)


async def test_an_invalid_stream_before_the_cer_is_answered(site: Site) -> None:
    """With the answer-message grammar, because the peer is still unknown (RFC 6733 §7.2)."""
    await site.server()
    client = await site.client()
    client.send(b"\x02" + cer()[1:])
    header, frame = await client.read()
    assert (header.command_code, header.is_error, code_of(frame)) == (257, True, 5011)
    assert await client.ended()
    assert site.metrics.refused == ["bad_stream"]


async def test_the_server_half_closes_the_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocs.diameter.transport.LINGER_S", 60.0)
    await site.server()
    client = await site.opened()
    client.send(BROKEN_VERSION)
    assert code_of((await client.read())[1]) == 5011
    assert await client.ended(), "at once"


async def test_a_peer_that_does_not_close_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocs.diameter.transport.LINGER_S", 0.05)
    server = await site.server()
    client = await site.opened()
    client.send(BROKEN_VERSION)
    await until(lambda: server.peers["pgw.example.org"] == "closed")
    assert site.metrics.lost == ["bad_stream"]


async def test_messages_before_an_invalid_one_are_answered_first(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocs.diameter.receive.TURN_S", 0.0)  # one message per turn of the loop
    await site.server()
    client = await site.opened()
    client.send(*(ccr(number) for number in range(20)), BROKEN_VERSION)
    codes = [code_of((await client.read())[1]) for _ in range(21)]
    assert codes == [2001] * 20 + [5011]
    assert await client.ended()


async def test_messages_before_an_invalid_one_are_answered_after_charging(site: Site) -> None:
    def later(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        asyncio.get_running_loop().call_later(0.05, reply, request.answer(2001))

    await site.server(later)
    client = await site.opened()
    client.send(*(ccr(number) for number in range(5)), BROKEN_VERSION)
    assert [code_of((await client.read())[1]) for _ in range(6)] == [2001] * 5 + [5011]
    again = await site.client()
    assert await again.open() == 2001, "at once, though the old connection has not been hung up"


async def test_invalid_streams_before_the_cer_free_their_places(site: Site) -> None:
    server = await site.server(max_pending_connections=2, max_connections=5, max_connections_per_address=50)
    for _ in range(12):
        client = await site.client()
        client.send(BROKEN_VERSION)
        await client.read()
    assert len(server.accept_limits._inside) <= 3
    assert await (await site.client()).open() == 2001


async def test_rate_limited_messages_before_an_invalid_one_are_answered(site: Site) -> None:
    await site.server(peers=(PeerConfig("pgw.example.org", max_requests_per_s=5),))
    client = await site.opened()
    client.send(*(ccr(number) for number in range(7)), BROKEN_VERSION)
    assert [code_of((await client.read())[1]) for _ in range(8)] == [2001] * 7 + [5011]


async def test_a_long_read_is_handled_in_turns(site: Site) -> None:
    """A peer that sends a thousand requests at once does not delay the others."""
    order: list[str] = []

    def handler(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        time.sleep(0.001)  # five requests per turn
        order.append(request.origin_host)
        reply(request.answer(2001))

    server = await site.server(handler)
    greedy = await site.opened()
    other = await site.client()
    assert await other.open("b.example.org") == 2001
    connection = connection_of(server)
    connection.data_received(b"".join(ccr(number) for number in range(300)))
    assert len(order) < 10, "the rest waits for the next turns"
    assert connection.receiver.queued > 290
    other.send(ccr(host="b.example.org"))
    assert code_of((await other.read())[1]) == 2001
    assert order.index("b.example.org") < 50
    assert sorted([(await greedy.read())[0].hop_by_hop for _ in range(300)]) == list(range(1_000, 1_300))
    greedy.send(ccr(999))
    assert (await greedy.read())[0].hop_by_hop == 1_999, "and the peer is read again"


def dwa(header: Header, state_id: int) -> bytes:
    answer = commands.DeviceWatchdogAnswer(2001, "pgw.example.org", REALM, origin_state_id=state_id)
    return commands.encode_answer(answer, header)


async def test_an_unexpected_dwa_gives_up_no_sessions(site: Site) -> None:
    """With a forged Origin-State-Id it would give up the peer's sessions (RFC 6733 §8.16)."""
    server = await site.server()
    client = await site.opened()
    client.send(dwa(Header(0, 0x80, 280, 0, 0xDEADBEEF, 1), 900), ccr())
    assert code_of((await client.read())[1]) == 2001
    peer = server.peers_table.get("pgw.example.org")
    assert (peer.origin_state_id, site.metrics.dropped) == (0, 1)
    assert peer.connection is not None
    peer.connection.probe()
    header, _ = await client.read()
    client.send(dwa(header, 7), dwa(header, 8), ccr(1))
    assert code_of((await client.read())[1]) == 2001
    assert (peer.origin_state_id, site.metrics.dropped) == (7, 2), "and each is answered once"


async def test_an_unexpected_dwa_does_not_clear_pending(site: Site) -> None:
    """RFC 3539 §3.4.1: it counts as any message of the peer, but not as the answer to the DWR."""
    server = await site.server(watchdog_s=0.3)
    client = await site.opened()
    header, _ = await client.read()
    assert header.command_code == 280
    connection = connection_of(server)
    assert connection.watchdog.watch.pending
    client.send(dwa(header._replace(hop_by_hop=header.hop_by_hop ^ 1), 0), ccr())
    assert code_of((await client.read())[1]) == 2001
    assert connection.watchdog.watch.pending
    client.send(dwa(header, 0), ccr(1))
    assert code_of((await client.read())[1]) == 2001
    assert not connection.watchdog.watch.pending


async def test_requests_after_the_peers_dpr_are_discarded(site: Site) -> None:
    """RFC 6733 §5.6: the state Closing has no R-Rcv-Message. Earlier requests are answered."""
    held: list[tuple[CreditControlRequest, Reply]] = []
    await site.server(lambda request, source, reply: held.append((request, reply)))
    client = await site.opened()
    dpr = commands.encode(commands.DisconnectPeerRequest("pgw.example.org", REALM), hop_by_hop=7, end_to_end=8)
    dwr = commands.encode(commands.DeviceWatchdogRequest("pgw.example.org", REALM), hop_by_hop=9, end_to_end=9)
    client.send(ccr(1), dpr, ccr(2))
    assert (await client.read())[0].command_code == 282
    client.send(dwr)
    await until(lambda: site.metrics.requests_refused == ["after_dpr"] * 2)
    assert [request.cc_request_number for request, _ in held] == [1]
    held[0][1](held[0][0].answer(2001))
    assert (await client.read())[0].hop_by_hop == 1_001


MANY = b"".join(encode_avp(70_000, 0, 0, b"") for _ in range(60))


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (build(ccr()[HEADER_OCTETS:] + MANY, 0xC0, 272, 4, 9, 9), 2001),
        (build(cer()[HEADER_OCTETS:] + MANY, 0x80, 280, 0, 9, 9), 2001),
        (build(ccr()[HEADER_OCTETS:] + MANY, 0xC0, 275, 4, 9, 9), 3001),
        (build(ccr()[HEADER_OCTETS:] + MANY, 0xC0, 272, 16777238, 9, 9), 3007),
    ],
    ids=["CCR", "DWR", "STR", "Gx"],
)
async def test_the_configured_limits_hold_for_every_request(site: Site, frame: bytes, code: int) -> None:
    await site.server(max_avps=80)
    client = await site.opened()
    client.send(frame)
    assert code_of((await client.read())[1]) == code
    await site.server(max_avps=50, peers=(PeerConfig("pgw.example.org"),))
    client = await site.opened()
    client.send(frame)
    assert code_of((await client.read())[1]) == 5009
    strange = await site.client()
    strange.send(build(cer()[HEADER_OCTETS:] + MANY, 0x80, 257, 0, 9, 9))
    assert code_of((await strange.read())[1]) == 5009


async def test_the_configured_number_of_services(site: Site) -> None:
    await site.server(max_services=2)
    client = await site.opened()
    services = [MultipleServicesCreditControl(rating_group=number) for number in range(3)]
    client.send(ccr(multiple_services_credit_control=services[:2]), ccr(multiple_services_credit_control=services))
    assert sorted([code_of((await client.read())[1]) for _ in range(2)]) == [2001, 5009]


SCENARIOS = (
    test_a_message_that_is_too_long_is_answered_before_its_end,
    test_an_invalid_stream_before_the_cer_is_answered,
    test_a_long_read_is_handled_in_turns,
    test_requests_after_the_peers_dpr_are_discarded,
    test_an_unexpected_dwa_gives_up_no_sessions,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__[5:])
def test_the_same_on_uvloop(scenario: Callable[[Site], Coroutine[None, None, None]]) -> None:
    on_uvloop(scenario)
