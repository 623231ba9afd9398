"""The Diameter server over loopback sockets on uvloop. Clients send raw octets or messages of python-diameter."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
from diameter.message import Message

from ocs.charging.source import Source
from ocs.diameter.dispatch import Reply
from ocs.diameter.locks import PeerLocks
from ocs.diameter.server import DiameterServer
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.settings.profile import STANDARD, FinalUnit, Profile
from protocol import commands
from protocol.avp import encode_avp
from protocol.credit_control import (
    CreditControlRequest,
    decode_cca,
)
from protocol.errors import DiameterError
from protocol.header import HEADER_OCTETS, build
from protocol.units import VendorSpecificApplicationId
from tests.ocs.diameter.site import HOST, REALM, Site, at_once, ccr, cer, code_of, on_uvloop
from tests.protocol.echoes import echoed
from tests.waiting import PATIENCE_S, until


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


async def test_capabilities_watchdog_charge_and_disconnect(site: Site) -> None:
    server = await site.server()
    assert server.peers == {"pgw.example.org": "closed", "b.example.org": "closed"}
    client = await site.client()
    client.send(cer())
    header, frame = await client.read()
    answer = commands.decode(commands.CapabilitiesExchangeAnswer, frame, header)
    assert (answer.result_code, answer.origin_host, answer.auth_application_id) == (2001, HOST, [4])
    assert Message.from_bytes(frame).result_code == 2001
    assert server.peers["pgw.example.org"] == "r_open"
    names = ("pgw.example.org", REALM)
    client.send(commands.encode(commands.DeviceWatchdogRequest(*names), hop_by_hop=5, end_to_end=6))
    header, frame = await client.read()
    assert (header.command_code, header.flags, header.hop_by_hop, code_of(frame)) == (280, 0, 5, 2001)
    client.send(ccr(3))
    header, frame = await client.read()
    assert header == (header.length, 0x40, 272, 4, 1_003, 2_003)
    charged = decode_cca(frame, header)
    assert (charged.session_id, charged.cc_request_number) == ("pgw.example.org;1;1", 3)
    client.send(commands.encode(commands.DisconnectPeerRequest(*names), hop_by_hop=7, end_to_end=8))
    header, frame = await client.read()
    assert (header.command_code, code_of(frame)) == (282, 2001)
    assert server.peers["pgw.example.org"] == "closing"
    client.writer.close()
    await until(lambda: server.peers["pgw.example.org"] == "closed")
    assert site.metrics.lost == ["dpr"]


@pytest.mark.parametrize(
    ("changes", "code", "reason"),
    [
        ({"origin_host": "stranger.example.org"}, 3010, "unknown_peer"),
        ({"origin_host": "b.example.org", "origin_realm": "elsewhere.org"}, 3010, "unknown_peer"),
        ({"auth_application_id": [16777238]}, 5010, "no_common_application"),
        ({"auth_application_id": []}, 5010, "no_common_application"),
    ],
)
async def test_a_peer_that_is_refused(site: Site, changes: dict[str, object], code: int, reason: str) -> None:
    await site.server()
    client = await site.client()
    client.send(cer(**changes))
    header, frame = await client.read()
    assert code_of(frame) == code
    assert header.is_error == (code < 4_000)
    assert await client.ended()
    assert site.metrics.refused == [reason]


async def test_an_address_that_is_not_allowed(site: Site) -> None:
    await site.server(peers=(PeerConfig("pgw.example.org", "", ("192.0.2.0/24",)), PeerConfig("b.example.org")))
    client = await site.client()
    assert await client.open() == 3010
    assert await client.ended()


async def test_relays_vendor_specific_and_unconfigured_peers_are_accepted(site: Site) -> None:
    server = await site.server(accept_unknown_peers=True)
    assert await (await site.client()).open("relay.example.org", auth_application_id=[0xFFFFFFFF]) == 2001
    group = VendorSpecificApplicationId(10415, 4)
    vendor = {"auth_application_id": [], "vendor_specific_application_id": [group]}
    assert await (await site.client()).open("ims.example.org", **vendor) == 2001
    assert server.peers["ims.example.org"] == "r_open"


async def test_a_request_for_another_node_is_answered_with_the_servers_own_name(site: Site) -> None:
    """The client has failed over. The answer has this node's Origin-Host, which the client uses from then on (RFC 6733
    §6.2).
    """
    await site.server(hosts=(HOST, "OCS2.example.org"), accept_unknown_peers=True)
    client = await site.opened()
    for number, (host, code) in enumerate(
        (("ocs2.example.org", 2001), ("OCS2.example.org", 2001), ("ocs3.a.org", 3002))
    ):
        client.send(ccr(number, destination_host=host))
        header, frame = await client.read()
        assert code_of(frame) == code
        if code == 2001:
            assert decode_cca(frame, header).origin_host == HOST
    for name in (HOST, "ocs2.example.org"):
        assert await (await site.client()).open(name) == 3010


async def test_unconfigured_peers_have_the_configured_profile(site: Site) -> None:
    found: list[Profile] = []

    def handle(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        found.append(source.profile)
        at_once(request, source, reply)

    ours = Profile(final_unit=FinalUnit.RESTRICT)
    await site.server(handle, accept_unknown_peers=True, unknown_profile=ours, peers=(PeerConfig("b.example.org"),))
    for name, profile in (("lab.example.org", ours), ("b.example.org", STANDARD)):
        client = await site.client()
        assert await client.open(name) == 2001
        client.send(ccr(host=name))
        assert code_of((await client.read())[1]) == 2001
        assert found.pop() is profile


async def test_unconfigured_peers_are_forgotten_after_disconnection(site: Site, tmp_path: Path) -> None:
    server = await site.server(accept_unknown_peers=True, peers=(), locks=str(tmp_path))
    for number in range(20):
        client = await site.client()
        assert await client.open(f"refused{number}.example.org", auth_application_id=[16777238]) == 5010
        assert await client.ended()
    assert server.peers_table.all() == []
    other = PeerLocks(str(tmp_path))
    for number in range(3):
        assert other.hold(f"elsewhere{number}.example.org")
        client = await site.client()
        assert await client.open(f"elsewhere{number}.example.org") == 5012
        assert await client.ended()
    assert server.peers_table.all() == []
    client = await site.client()
    assert await client.open("taken.example.org") == 2001
    client.writer.close()
    await until(lambda: server.peers_table.all() == [])


async def test_names_are_compared_without_case(site: Site) -> None:
    server = await site.server()
    assert await (await site.client()).open("PGW.Example.ORG") == 2001
    assert server.peers["pgw.example.org"] == "r_open"


@pytest.mark.parametrize("first", [ccr(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x01\x00\x00\x10" + bytes(40)])
async def test_anything_before_a_cer_ends_the_connection(site: Site, first: bytes) -> None:
    await site.server()
    client = await site.client()
    client.send(first)
    assert await client.ended()
    assert site.metrics.refused in (["not_a_cer"], ["bad_stream"])


async def test_a_cer_that_never_comes(site: Site) -> None:
    await site.server(cer_timeout_s=0.1)
    client = await site.client()
    client.send(cer()[:30])
    assert await client.ended()
    assert site.metrics.refused == ["cer_timeout"]


async def test_an_invalid_cer_is_answered(site: Site) -> None:
    await site.server()
    client = await site.client()
    body = encode_avp(264, 0, 0x40, b"pgw.example.org")
    client.send(build(body, 0x80, 257, 0, 1, 1))
    header, frame = await client.read()
    assert (header.command_code, code_of(frame)) == (257, 5005)
    assert await client.ended()


async def test_pipelined_requests_in_fragments_of_any_size(site: Site) -> None:
    await site.server()
    client = await site.opened()
    stream = b"".join(ccr(number) for number in range(200))
    rng = random.Random(3)
    while stream:
        cut = rng.randrange(1, 700)
        client.send(stream[:cut])
        stream = stream[cut:]
        if rng.random() < 0.2:
            await client.writer.drain()
            await asyncio.sleep(0)
    assert sorted([(await client.read())[0].hop_by_hop for _ in range(200)]) == list(range(1_000, 1_200))


async def test_answers_may_come_in_any_order(site: Site) -> None:
    waiting: list[tuple[CreditControlRequest, Reply]] = []
    await site.server(lambda request, source, reply: waiting.append((request, reply)))
    client = await site.opened()
    client.send(ccr(0), ccr(1), ccr(2))
    await until(lambda: len(waiting) == 3)
    for request, reply in reversed(waiting):
        reply(request.answer(2001))
        reply(request.answer(5012))  # a second reply is ignored
    assert [(await client.read())[0].hop_by_hop for _ in range(3)] == [1_002, 1_001, 1_000]
    assert site.metrics.running == 0


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (build(ccr()[HEADER_OCTETS:], 0xC0, 272, 16777238, 9, 9), 3007),
        (build(ccr()[HEADER_OCTETS:], 0xC0, 275, 4, 9, 9), 3001),
        (build(ccr()[HEADER_OCTETS:], 0xC0, 258, 4, 9, 9), 3001),
        (build(ccr()[HEADER_OCTETS:], 0xE0, 272, 4, 9, 9), 3008),
        (build(ccr()[HEADER_OCTETS:-12], 0xC0, 272, 4, 9, 9), 5014),
        (build(b"", 0x80, 280, 0, 9, 9), 5005),
        (build(ccr()[HEADER_OCTETS:], 0xC0, 257, 0, 9, 9), 3008),
    ],
)
async def test_errors_do_not_end_the_connection(site: Site, frame: bytes, code: int) -> None:
    await site.server()
    client = await site.opened()
    client.send(frame, ccr(1))
    header, answer = await client.read()
    assert (header.hop_by_hop, code_of(answer)) == (9, code)
    assert code_of((await client.read())[1]) == 2001


async def test_a_handler_that_fails(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        raise RuntimeError(f"38668100000 in {request.session_id}")

    await site.server(handler)
    client = await site.opened()
    client.send(ccr())
    _, frame = await client.read()
    assert code_of(frame) == 5012
    assert "RuntimeError" in caplog.text
    assert "38668100000" not in caplog.text
    assert site.metrics.running == 0


async def test_an_answer_that_cannot_be_encoded(site: Site) -> None:
    def handler(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        answer = request.answer(2001)
        answer.validity_time = -1
        reply(answer)

    await site.server(handler)
    client = await site.opened()
    client.send(ccr())
    assert code_of((await client.read())[1]) == 5012


async def test_a_handler_that_refuses(site: Site) -> None:
    failed = encode_avp(461, 0, 0x40, b"x")
    await site.server(lambda request, source, reply: reply(DiameterError(5031, "no such service", failed_avp=failed)))
    client = await site.opened()
    client.send(ccr())
    header, frame = await client.read()
    answer = decode_cca(frame, header)
    assert (answer.result_code, answer.failed_avp, header.is_error) == (5031, failed, False)


@pytest.mark.parametrize("code", [2001, 4012, 3004, 5012])
async def test_every_answer_repeats_the_identifiers_of_its_request(site: Site, code: int) -> None:
    """RFC 6733 §6.2, §7.2; RFC 8506 §3.2: Session-Id, type and number, and every Proxy-Info in order, whatever the
    handler returns.
    """

    def handler(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        if code >= 3000 and code != 4012:
            reply(DiameterError(code, "no"))
            return
        answer = request.answer(code)
        answer.cc_request_type, answer.cc_request_number, answer.session_id, answer.proxy_info = 9, 99, "x", []
        reply(answer)

    await site.server(handler)
    client = await site.opened()
    proxies = [
        encode_avp(284, 0, 0x40, encode_avp(280, 0, 0x40, host) + encode_avp(33, 0, 0x40, b"s"))
        for host in (b"b", b"a")
    ]
    request = ccr(7, 2, proxy_info=proxies)
    client.send(request)
    header, frame = await client.read()
    found, echoes = echoed(frame)
    assert (code_of(frame), header.is_error) == (code, code == 3004)
    wanted, sent = echoed(request)
    assert echoes == sent and len(sent) == 2
    assert found == ({263: wanted[263]} if code == 3004 else wanted)


async def test_a_request_without_a_reply_is_answered_after_a_time(site: Site) -> None:
    late: list[tuple[CreditControlRequest, Reply]] = []
    await site.server(lambda request, source, reply: late.append((request, reply)), answer_timeout_ms=100)
    client = await site.opened()
    client.send(ccr())
    header, frame = await client.read()
    assert (code_of(frame), header.is_error) == (3002, True)
    late[0][1](late[0][0].answer(2001))
    client.send(commands.encode(commands.DeviceWatchdogRequest("pgw.example.org", REALM), hop_by_hop=5, end_to_end=6))
    assert (await client.read())[0].command_code == 280


async def test_requests_in_flight_are_bounded(site: Site) -> None:
    held: list[tuple[CreditControlRequest, Reply]] = []
    await site.server(lambda request, source, reply: held.append((request, reply)), max_in_flight=3)
    client = await site.opened()
    client.send(*(ccr(number) for number in range(5)))
    assert [code_of((await client.read())[1]) for _ in range(2)] == [3002, 3002]
    assert len(held) == 3
    for request, reply in held:
        reply(request.answer(2001))
    assert [code_of((await client.read())[1]) for _ in range(3)] == [2001] * 3


async def test_a_peer_above_its_bound_is_not_read_until_it_is_below(site: Site) -> None:
    held: list[tuple[CreditControlRequest, Reply]] = []
    await site.server(lambda request, source, reply: held.append((request, reply)), max_in_flight_per_peer=4)
    client = await site.opened()
    client.send(*(ccr(number) for number in range(50)))
    await until(lambda: len(held) == 4)
    await asyncio.sleep(0.05)
    assert len(held) == 4
    answered = 0
    while answered < 50:
        await until(lambda: bool(held))
        assert len(held) <= 4
        request, reply = held.pop(0)
        reply(request.answer(2001))
        answered += 1
    assert [(await client.read())[0].hop_by_hop for _ in range(50)] == list(range(1_000, 1_050))
    client.send(ccr(99))
    await until(lambda: len(held) == 1)
    held[0][1](held[0][0].answer(2001))
    assert (await client.read())[0].hop_by_hop == 1_099


async def test_a_peer_that_does_not_read_is_closed_without_effect_on_others(site: Site) -> None:
    filler = "x" * 60_000

    def handler(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        answer = request.answer(2001)
        if request.cc_request_type == 2:
            answer.error_message = filler
        reply(answer)

    await site.server(handler, max_write_buffer_octets=262_144)
    deaf = await site.opened()
    deaf.reader._limit = 1  # type: ignore[attr-defined]
    other = await site.client()
    assert await other.open("b.example.org") == 2001
    deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
    for start in range(0, 400, 50):
        deaf.send(*(ccr(start + number, 2) for number in range(50)))
        await asyncio.sleep(0.01)
        if site.metrics.lost:
            break
    await until(lambda: site.metrics.lost == ["write_buffer"])
    other.send(ccr(host="b.example.org"))
    assert code_of((await other.read())[1]) == 2001


async def test_replies_after_the_end_of_the_connection_are_dropped(site: Site) -> None:
    held: list[tuple[CreditControlRequest, Reply]] = []
    server = await site.server(lambda request, source, reply: held.append((request, reply)))
    client = await site.opened()
    client.send(ccr())
    await until(lambda: len(held) == 1)
    client.writer.transport.abort()
    await until(lambda: server.peers["pgw.example.org"] == "closed")
    held[0][1](held[0][0].answer(2001))
    assert (site.metrics.dropped, site.metrics.running) == (1, 0)


@pytest.mark.parametrize("code", [5011, 5015])
async def test_an_invalid_stream_is_answered_and_closed(site: Site, code: int) -> None:
    await site.server()
    client = await site.opened()
    bad = bytearray(ccr(1))
    if code == 5011:
        bad[0] = 2
    else:
        bad[3] |= 3
    client.send(ccr(0), bytes(bad))
    answers = [(await client.read())[1] for _ in range(2)]
    assert sorted(code_of(frame) for frame in answers) == [2001, code]
    assert await client.ended()
    client.writer.close()
    await until(lambda: site.metrics.lost == ["bad_stream"])


async def test_a_second_connection_is_refused_while_the_first_answers(site: Site) -> None:
    server = await site.server()
    first = await site.opened()
    second = await site.client()
    assert await second.open() == 5012
    assert await second.ended()
    header, _ = await first.read()
    assert (header.command_code, header.is_request) == (280, True)
    first.send(commands.encode_answer(commands.DeviceWatchdogAnswer(2001, "pgw.example.org", REALM), header))
    first.send(ccr())
    assert code_of((await first.read())[1]) == 2001
    assert server.peers["pgw.example.org"] == "r_open"


async def test_a_dead_first_connection_is_detected_by_the_probe(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocs.diameter.watchdog.PROBE_S", 0.05)
    server = await site.server()
    await site.opened()
    assert await (await site.client()).open() == 5012
    await until(lambda: server.peers["pgw.example.org"] == "closed")
    assert await (await site.client()).open() == 2001


async def test_the_watchdog_sends_dwr_and_then_closes(site: Site) -> None:
    await site.server(watchdog_s=0.1)
    client = await site.opened()
    header, frame = await client.read()
    assert (header.command_code, header.is_request) == (280, True)
    assert commands.decode(commands.DeviceWatchdogRequest, frame, header).origin_host == HOST
    client.send(commands.encode_answer(commands.DeviceWatchdogAnswer(2001, "pgw.example.org", REALM), header))
    assert (await client.read())[0].command_code == 280
    assert await client.ended()
    assert site.metrics.lost == ["watchdog"]


async def test_a_cer_on_an_open_connection_ends_it(site: Site) -> None:
    await site.server()
    client = await site.opened()
    assert await client.open() == 5012
    assert await client.ended()


async def test_unknown_answers_are_dropped(site: Site) -> None:
    """RFC 6733 §3: an answer with an unknown Hop-by-Hop is discarded, whatever its command. Each is counted."""
    await site.server()
    client = await site.opened()
    unknown = [build(b"", 0x40, code, 4, 77, 77) for code in (258, 272, 274)]
    client.send(*unknown, build(b"garbage!", 0, 282, 0, 1, 1), ccr())
    assert code_of((await client.read())[1]) == 2001
    assert site.metrics.dropped == 4


async def test_a_stop_sends_dpr_and_answers_open_requests(site: Site) -> None:
    held: list[tuple[CreditControlRequest, Reply]] = []
    server = await site.server(lambda request, source, reply: held.append((request, reply)))
    client = await site.opened()
    client.send(ccr(0, 2))
    await until(lambda: len(held) == 1)
    stopping = asyncio.ensure_future(server.stop(5.0))
    header, frame = await client.read()
    request = commands.decode(commands.DisconnectPeerRequest, frame, header)
    assert request.disconnect_cause == commands.REBOOTING
    client.send(ccr(1, 1), ccr(2, 3))
    _, frame = await client.read()
    assert code_of(frame) == 3002  # no new sessions
    await until(lambda: len(held) == 2)
    client.send(commands.encode_answer(commands.DisconnectPeerAnswer(2001, "pgw.example.org", REALM), header))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    for pending, reply in held:
        reply(pending.answer(2001))
    assert [code_of((await client.read())[1]) for _ in range(2)] == [2001, 2001]
    assert await client.ended()
    await asyncio.wait_for(stopping, PATIENCE_S)
    assert server.peers["pgw.example.org"] == "closed"


async def test_a_stop_ends_although_a_peer_does_not_answer(site: Site) -> None:
    server = await site.server()
    client = await site.opened()
    await asyncio.wait_for(server.stop(0.1), PATIENCE_S)
    assert (await client.read())[0].command_code == 282
    assert await client.ended()


async def test_an_address_in_use_is_an_error_and_closes_all_sockets(site: Site) -> None:
    server = await site.server(reuse_port=False)
    taken = server.listening[0]
    config = DiameterConfig(HOST, REALM, (("127.0.0.1", 0), taken), reuse_port=False)
    second = DiameterServer(config, at_once, site.metrics, time.monotonic, random.Random(1))
    with pytest.raises(OSError, match=r"(?i)address already in use"):
        await second.start()
    assert second.listening == []


async def test_random_octets_from_many_peers_do_not_affect_others(site: Site) -> None:
    await site.server()
    good = await site.opened()
    rng = random.Random(11)

    async def attack() -> None:
        client = await site.client()
        data = bytearray(cer("b.example.org") + ccr(1) * 3)
        for _ in range(rng.randrange(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        client.send(bytes(data))
        client.writer.write_eof()
        while await asyncio.wait_for(client.reader.read(65_536), PATIENCE_S):
            pass

    results = [attack() for _ in range(60)]
    await asyncio.gather(*results, return_exceptions=True)
    good.send(ccr())
    assert code_of((await good.read())[1]) == 2001


SCENARIOS = (
    test_capabilities_watchdog_charge_and_disconnect,
    test_pipelined_requests_in_fragments_of_any_size,
    test_a_peer_above_its_bound_is_not_read_until_it_is_below,
    test_a_peer_that_does_not_read_is_closed_without_effect_on_others,
    test_the_watchdog_sends_dwr_and_then_closes,
    test_a_stop_sends_dpr_and_answers_open_requests,
    test_random_octets_from_many_peers_do_not_affect_others,
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__[5:])
def test_the_same_on_uvloop(scenario: Callable[[Site], Coroutine[None, None, None]]) -> None:
    on_uvloop(scenario)
