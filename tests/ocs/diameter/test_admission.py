"""From a decoded request to charging: routing, rights of the peer, rates, overload; tested through sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocs.charging.source import Source
from ocs.diameter.dispatch import Reply
from ocs.diameter.origin_state import MAX_HOSTS, OriginStates
from ocs.diameter.overload import Overload, TokenBucket
from ocs.diameter.refusals import WORDS, Kind
from ocs.settings.diameter import PeerConfig
from ocs.settings.profile import STANDARD, Profile
from protocol.credit_control import (
    CreditControlRequest,
    SubscriptionId,
    decode_cca,
)
from protocol.header import parse_header
from protocol.units import OcSupportedFeatures
from tests.ocs.diameter.site import HOST, REALM, Client, Site, ccr, code_of
from tests.waiting import until

PGW = "pgw.example.org"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


async def serve(site: Site, **rights: Any) -> Client:
    """Starts a server whose P-GW has these rights; returns both."""
    await site.server(peers=(PeerConfig(PGW, REALM, **rights),))
    return await site.opened()


async def code(client: Client, frame: bytes) -> int:
    client.send(frame)
    return code_of((await client.read())[1])


# -- routing (stages 10 to 12)


async def test_requests_for_other_hosts_and_realms_are_refused(site: Site) -> None:
    await site.server(peers=(PeerConfig(PGW),), realms=("other.example.org",))
    client = await site.opened()
    assert await code(client, ccr(1, destination_host=HOST.upper())) == 2001
    assert await code(client, ccr(2, destination_realm="other.example.org")) == 2001
    assert await code(client, ccr(3, destination_host="ocs9.example.org")) == 3002
    assert await code(client, ccr(4, destination_realm="nowhere.example.net")) == 3003
    assert await code(client, ccr(5, route_record=["dra.example.org", HOST])) == 3005
    assert await code(client, ccr(6)) == 2001


# -- origin consistency


async def test_a_client_may_use_its_own_origin_only(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    client = await serve(site)
    assert await code(client, ccr(1, host=PGW.upper())) == 2001, "names are compared without case"
    with caplog.at_level(logging.WARNING):
        for number in range(2, 5):
            assert await code(client, ccr(number, host="victim.example.org")) == 5003
    assert await code(client, ccr(6, origin_realm="elsewhere.example.net")) == 5003
    assert site.metrics.requests_refused == ["origin_host"] * 3 + ["origin_realm"]
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert said == [
        f"peer {PGW}: request refused (origin_host, 'victim.example.org'): {WORDS[Kind.ORIGIN_HOST]}",
        f"peer {PGW}: request refused (origin_realm, 'elsewhere.example.net'): {WORDS[Kind.ORIGIN_REALM]}",
    ], "logged once an interval, not at every request"


async def test_a_relay_may_carry_its_listed_realms(site: Site) -> None:
    client = await serve(site, relay=True, realms=("a1.example.net",))
    assert await code(client, ccr(1, host="p.a1.example.net", origin_realm="a1.example.net")) == 2001
    assert await code(client, ccr(2, host="p.b.example.net", origin_realm="b.example.net")) == 5003
    through = {"host": "p.a1.example.net", "origin_realm": "a1.example.net"}
    assert await code(client, ccr(3, route_record=["dra1.a1.example.net"], **through)) == 2001
    assert await code(client, ccr(4, route_record=["evil.example.com"], **through)) == 5003
    assert await code(client, ccr(5, host="PGW-1", origin_realm="a1.example.net", route_record=["pgw-1"])) == 2001
    assert site.metrics.requests_refused == ["origin_realm", "route"]


async def test_the_route_record_of_a_relays_own_request_names_its_realms_only(site: Site) -> None:
    client = await serve(site, relay=True, realms=("a1.example.net",))
    assert await code(client, ccr(1, route_record=[PGW])) == 2001
    assert await code(client, ccr(2, route_record=["dra.evil.net"])) == 5003
    assert site.metrics.requests_refused == ["route"]


async def test_the_route_record_of_a_clients_own_request_names_no_other_host(site: Site) -> None:
    client = await serve(site)
    assert await code(client, ccr(1, route_record=[PGW.upper()])) == 2001, "some name themselves"
    assert await code(client, ccr(2, route_record=["dra.evil.net"])) == 5003
    assert await code(client, ccr(3, route_record=[PGW, "dra.example.org"])) == 5003
    assert site.metrics.requests_refused == ["route"] * 2


async def test_a_client_with_an_entry_may_come_through_several_relays(site: Site) -> None:
    relay = "dra2.example.org"
    await site.server(peers=(PeerConfig(relay, REALM, relay=True, realms=(REALM,)), PeerConfig(PGW, REALM)))
    client = await site.client()
    assert await client.open(relay) == 2001
    assert await code(client, ccr(1, route_record=[PGW, "dra1.example.org"])) == 2001
    assert await code(client, ccr(2, route_record=[PGW, "dra.evil.net"])) == 5003


async def test_a_relay_without_a_list_carries_any_realm(site: Site) -> None:
    client = await serve(site, relay=True)
    carried = {"host": "p.b.example.net", "origin_realm": "b.example.net"}
    assert await code(client, ccr(1, **carried)) == 2001
    assert await code(client, ccr(2, route_record=["dra.anywhere.net"], **carried)) == 2001, "and by any way"


async def test_a_client_behind_a_relay_keeps_its_profile_and_has_no_more_rights(site: Site) -> None:
    sources: list[Source] = []

    def note(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        sources.append(source)
        reply(request.answer(2001))

    relay, own = "dra.example.org", Profile(cost_information=True)
    await site.server(
        note,
        peers=(
            PeerConfig(relay, relay=True, refunds=True, failover_group="all"),
            PeerConfig(PGW, REALM, profile=own, contexts=("data",)),
            PeerConfig("ims.example.org", REALM, refunds=True, failover_group="ims"),
        ),
    )
    client = await site.client()
    assert await client.open(relay) == 2001
    found = []
    for host in (PGW.upper(), "ims.example.org", "other.example.org"):
        assert await code(client, ccr(1, host=host)) == 2001
        source = sources.pop()
        found.append((source.origin_host, source.profile, source.failover_group, source.refunds))
    assert found == [(relay, own, "", False), (relay, STANDARD, "ims", True), (relay, STANDARD, "all", True)]
    assert await code(client, ccr(2, service_context_id="32260@3gpp.org")) == 5003, "the client may not"
    assert await code(client, ccr(3, 4, requested_action=1)) == 5003
    assert await code(client, ccr(4, host="ims.example.org", service_context_id="32260@3gpp.org")) == 2001
    assert await code(client, ccr(5, origin_realm="elsewhere.example.net")) == 5003
    assert site.metrics.requests_refused == ["context", "refund", "origin_realm"]


async def test_a_peers_rights_to_session_ids_subscribers_contexts_and_refunds(site: Site) -> None:
    client = await serve(
        site, strict_session_id=True, subscribers=("m386", "i29340"), contexts=("data", "sms"), refunds=False
    )

    def who(*ids: tuple[int, str]) -> dict[str, list[SubscriptionId]]:
        return {"subscription_id": [SubscriptionId(kind, digits) for kind, digits in ids]}

    assert await code(client, ccr(1, **who((0, "38668100000"), (1, "293400000000001")))) == 2001
    assert await code(client, ccr(2, session="someone.else;1;1")) == 5003
    assert await code(client, ccr(3, **who((0, "43660123456")))) == 5003
    assert await code(client, ccr(4, **who((0, "38668100000"), (1, "232010000000001")))) == 5003
    assert await code(client, ccr(5, **who((2, "sip:alice@example.org")))) == 2001, "of no kind that has a range"
    bypass = await code(client, ccr(8, **who((2, "sip:+38668100000@example.org"))))
    assert bypass == 2001
    assert await code(client, ccr(6, service_context_id="32260@3gpp.org")) == 5003
    assert await code(client, ccr(7, type=4, requested_action=1)) == 5003
    assert site.metrics.requests_refused == ["session_id", "subscriber", "subscriber", "context", "refund"]


async def test_an_imsi_does_not_bypass_the_msisdn_ranges(site: Site) -> None:
    client = await serve(site, subscribers=("m386",))
    for number, (ids, expected) in enumerate(
        [([(1, "232010000000001")], 5003), ([(0, "38668100000"), (1, "232010000000001")], 2001), ([(0, "43660")], 5003)]
    ):
        subscription = [SubscriptionId(kind, digits) for kind, digits in ids]
        assert await code(client, ccr(number, subscription_id=subscription)) == expected


async def test_refused_requests_count_towards_the_rate(site: Site) -> None:
    client = await serve(site, max_requests_per_s=40)
    began = asyncio.get_running_loop().time()
    client.send(*(ccr(number, host="victim.example.org") for number in range(60)))
    assert {code_of((await client.read())[1]) for _ in range(60)} == {5003}
    assert await code(client, ccr(100, 2)) == 2001
    assert asyncio.get_running_loop().time() - began > 0.3


async def test_a_peer_with_the_right_may_refund(site: Site) -> None:
    client = await serve(site, refunds=True)
    assert await code(client, ccr(1, type=4, requested_action=1)) == 2001


async def test_unconfigured_peers_may_use_any_origin(site: Site) -> None:
    await site.server(peers=(), accept_unknown_peers=True)
    client = await site.client()
    assert await client.open("lab.example.net") == 2001
    assert await code(client, ccr(1)) == 2001


# -- rates


async def test_a_peer_above_its_rate_is_read_more_slowly_and_loses_nothing(site: Site) -> None:
    client = await serve(site, max_requests_per_s=40)
    loop = asyncio.get_running_loop()
    began = loop.time()
    client.send(*(ccr(number, 2) for number in range(60)))
    codes = [code_of((await client.read())[1]) for _ in range(60)]
    client.send(ccr(100, 2))
    codes.append(code_of((await client.read())[1]))
    assert codes == [2001] * 61
    assert loop.time() - began > 0.3, "20 requests ahead of 40 a second"


async def test_new_sessions_above_the_rate_are_refused_and_others_not(site: Site) -> None:
    client = await serve(site, max_sessions_per_s=3)
    codes = [await code(client, ccr(number, session=f"{PGW};1;{number}")) for number in range(5)]
    assert codes[:3] == [2001] * 3 and set(codes[3:]) == {3002}
    assert await code(client, ccr(9, 1, destination_host=HOST)) == 3004
    assert [await code(client, ccr(10 + kind, kind)) for kind in (2, 3)] == [2001, 2001]
    assert set(site.metrics.requests_refused) == {"rate"}


def test_a_token_bucket() -> None:
    bucket = TokenBucket(10)
    assert sum(bucket.take(100.0) for _ in range(50)) == 10
    assert bucket.take(100.15) and not bucket.take(100.15)
    paced = TokenBucket(10)
    assert [paced.pause_s(5.0) for _ in range(10)] == [0.0] * 10
    assert paced.pause_s(5.0) == pytest.approx(0.1)
    unbounded = TokenBucket(0)
    assert all(unbounded.take(0.0) for _ in range(1000)) and unbounded.pause_s(0.0) == 0.0


# -- overload


async def test_new_sessions_are_refused_first_and_terminations_never(site: Site) -> None:
    held: list[Any] = []

    def keep(request: CreditControlRequest, source: Any, reply: Any) -> None:
        held.append((request, reply))

    await site.server(keep, peers=(PeerConfig(PGW),), max_in_flight=10)
    client = await site.opened()
    client.send(*(ccr(number, 2) for number in range(8)))
    await until(lambda: len(held) == 8)
    assert await code(client, ccr(20, 1)) == 3002
    assert await code(client, ccr(21, 4)) == 3002
    assert await code(client, ccr(22, 1, destination_host=HOST)) == 3004
    client.send(ccr(23, 2), ccr(24, 2))
    await until(lambda: len(held) == 10)
    assert await code(client, ccr(25, 2)) == 3002
    client.send(ccr(26, 3))
    await until(lambda: len(held) == 11)
    for request, reply in held:
        reply(request.answer(2001))
    assert [code_of((await client.read())[1]) for _ in range(11)] == [2001] * 11
    assert set(site.metrics.requests_refused) == {"overload"}


async def test_overload_is_checked_before_rights_and_avps(site: Site) -> None:
    """Stage 13: after the destination, before the AVPs and the rights of the peer (15 to 21)."""
    held: list[Any] = []
    await site.server(lambda request, source, reply: held.append((request, reply)), max_in_flight=4)
    client = await site.opened()
    foreign = {"host": "other.example.net"}
    broken = {"service_context_id": None}
    lost = {"destination_realm": "elsewhere.org"}
    assert [await code(client, ccr(n, **more)) for n, more in enumerate((foreign, broken, lost))] == [5003, 5005, 3003]
    client.send(*(ccr(number, 2) for number in range(4)))
    await until(lambda: len(held) == 4)
    here = {"destination_host": HOST}
    for kind in (1, 2, 4):
        for more in (foreign, broken):
            assert await code(client, ccr(9, kind, **more)) == 3002
            assert await code(client, ccr(9, kind, **more, **here)) == 3004
        assert await code(client, ccr(9, kind, **lost)) == 3003, "the destination comes before"
    assert site.metrics.requests_refused[-12:] == ["overload"] * 12
    for more, expected in ((foreign, 5003), (broken, 5005), (lost, 3003)):
        assert await code(client, ccr(9, 3, **more)) == expected, "a termination is never refused for overload"
    untyped = ccr(9, cc_request_type=None)
    assert await code(client, untyped) == 3002
    for request, reply in held:
        reply(request.answer(2001))
    assert [code_of((await client.read())[1]) for _ in held] == [2001] * 4
    assert await code(client, ccr(9, 1, **broken)) == 5005


async def test_an_overload_report_for_clients_that_support_it(site: Site) -> None:
    """RFC 7683 §5.2"""
    server = await site.server(peers=(PeerConfig(PGW),))
    client = await site.opened()
    features = OcSupportedFeatures(1)

    async def report(number: int, **more: Any) -> Any:
        client.send(ccr(number, **more))
        _, frame = await client.read()
        return decode_cca(frame, parse_header(frame))

    calm = await report(1, oc_supported_features=features)
    assert calm.oc_supported_features == OcSupportedFeatures(1) and calm.oc_olr is None
    server.dispatcher.overload.reduction_percent = 30
    told = await report(2, oc_supported_features=features)
    assert (told.oc_olr.oc_reduction_percentage, told.oc_olr.oc_report_type) == (30, 0)
    assert told.oc_olr.oc_validity_duration == 30
    deaf = await report(3)
    assert deaf.oc_olr is None and deaf.oc_supported_features is None
    refused = await report(4, host="other.example.net", oc_supported_features=features)
    assert refused.result_code == 5003 and refused.oc_olr == told.oc_olr, "a refusal says it too"


def test_the_reduction_follows_the_load_and_ends() -> None:
    now = 100.0
    overload = Overload(100, lambda: now)
    assert overload.report() is None
    overload.look(60)
    assert overload.reduction_percent == 0, "not yet"
    overload.look(80)
    first = overload.report()
    assert first is not None and first.oc_reduction_percentage == 60
    overload.look(80)
    assert overload.report() == first, "the same report has the same number"
    overload.look(100)
    now += 1
    worse = overload.report()
    assert worse is not None and worse.oc_reduction_percentage == 90
    assert worse.oc_sequence_number > first.oc_sequence_number
    overload.look(50)
    assert overload.reduction_percent == 90, "between the two marks nothing changes"
    for _ in range(9):
        overload.look(10)
    over = overload.report()
    assert over is not None and (over.oc_reduction_percentage, over.oc_validity_duration) == (0, 0)
    now += 31
    assert overload.report() is None


def test_refusals_count_as_load() -> None:
    overload = Overload(10, lambda: 0.0)
    assert not overload.refuses("I", 7) and overload.refuses("I", 8) and overload.refuses("E", 8)
    assert not overload.refuses("U", 9) and overload.refuses("U", 10)
    assert not overload.refuses("T", 1000)
    overload.look(0)
    assert overload.reduction_percent == 90


# -- Origin-State-Id


def test_a_higher_origin_state_id_is_reported_once() -> None:
    """RFC 6733 §8.6"""
    told: list[tuple[str, str, int]] = []
    states = OriginStates(lambda *restart: told.append(restart))
    for state_id in (None, 0, 5, 5, 7, 7, 3, 3, 4):
        states.seen("PGW.example.net", "pgw.example.NET", state_id)
    assert told == [("pgw.example.net", "", state_id) for state_id in (5, 7, 4)]
    states.seen("pgw.example.net", "DRA.example.net", 6)
    assert told[3:] == [("pgw.example.net", "dra.example.net", 6)], "what a relay says is its own word"
    for number in range(MAX_HOSTS + 10):
        states.seen(f"h{number}", f"h{number}", 1)
    assert len(states._known) == MAX_HOSTS


async def test_requests_have_the_origin_state_id_of_their_client(site: Site) -> None:
    told: list[tuple[str, str, int]] = []
    server = await site.server(peers=(PeerConfig(PGW), PeerConfig("dra.example.org", relay=True)))
    server.origin_states._on_change = lambda *restart: told.append(restart)
    client = await site.opened()
    await code(client, ccr(1, origin_state_id=41))
    await code(client, ccr(2, origin_state_id=42))
    relay = await site.client()
    assert await relay.open("dra.example.org") == 2001
    await code(relay, ccr(3, origin_state_id=2**32 - 1))
    assert told == [(PGW, "", 41), (PGW, "", 42), (PGW, "dra.example.org", 2**32 - 1)]


async def test_a_connections_origin_state_id_counts_for_clients_and_not_for_relays(site: Site) -> None:
    states: list[int] = []

    def note(request: CreditControlRequest, source: Source, reply: Reply) -> None:
        states.append(source.origin_state_id)
        reply(request.answer(2001))

    server = await site.server(note, peers=(PeerConfig(PGW), PeerConfig("dra.example.org", relay=True)))
    for name, expected in ((PGW, 41), ("dra.example.org", 0)):
        client = await site.client()
        assert await client.open(name, origin_state_id=41) == 2001
        assert await code(client, ccr(1)) == 2001
        assert states.pop() == expected
    assert server.origin_states._known == {(PGW, ""): 41}
