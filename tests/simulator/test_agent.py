"""What one agent does to messages: requests of elements, RAR and ASR of the server, and what it cannot deliver."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from diameter.message._base import Message
from diameter.message.commands import AbortSessionRequest, ReAuthRequest

from simulator.agent import Agent
from simulator.dialects import Sender, encode
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.peer import DiameterPeer, Identity
from simulator.requests import Element, Kind, Place, Request, ServicePart, Subscriber
from simulator.wire import read_head
from tests.simulator.watched_server import Server
from tests.waiting import PATIENCE_S, until

HOME = Place("home", "29340", "38640000001")


@pytest.fixture
async def agent(server: tuple[Server, int]) -> AsyncIterator[Agent]:
    made = Agent("dra1.sim.example.net", SIMULATED_REALM, ("127.0.0.1", server[1]), random.Random(1))
    await made.start()
    yield made
    await made.stop()


async def element(agent: Agent, host: str, seen: list[Any] | None = None, code: int = 2002) -> DiameterPeer:
    def asked(command: int, session_id: str) -> int:
        (seen if seen is not None else []).append((command, session_id))
        return code

    return await DiameterPeer.connect(Identity(host, SIMULATED_REALM), "127.0.0.1", agent.port, asked=asked)


async def exchanged(peer: DiameterPeer, host: str) -> tuple[bytes, bytes]:
    """A CCR-I and its answer."""
    hop_by_hop, end_to_end = peer.next_ids()
    sender = replace(Sender.of(Element.PGW, SIMULATED_REALM, SERVER_REALM), host=host)
    who = Subscriber("38668100001", "293400000000001")
    request = Request(
        Element.PGW, Kind.INITIAL, f"{host};1;2", 0, 1_790_000_000, who, HOME, (ServicePart(100, wanted=0),)
    )
    frame = encode(request, sender, hop_by_hop=hop_by_hop, end_to_end=end_to_end)
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    peer.send(frame, hop_by_hop, lambda octets, _: answer.set_result(octets))
    return frame, await asyncio.wait_for(answer, PATIENCE_S)


async def test_an_agent_adds_a_route_record_and_changes_nothing_else(server: tuple[Server, int], agent: Agent) -> None:
    """RFC 6733 §6.1.9: Route-Record has the peer that the request came from; Origin-Host and End-to-End stay."""
    peer = await element(agent, "pgw1.sim.example.net")
    sent, answer = await exchanged(peer, "pgw1.sim.example.net")
    (received,) = server[0].requests
    before, after = Message.from_bytes(sent), server[0].frames[-1]
    assert after[20 : len(sent)] == sent[20:], "what the element sent stays, octet by octet"
    assert received.route_record == [b"pgw1.sim.example.net"]
    assert received.origin_host == b"pgw1.sim.example.net"
    assert received.header.end_to_end_identifier == before.header.end_to_end_identifier
    assert received.header.hop_by_hop_identifier != before.header.hop_by_hop_identifier
    assert read_head(answer).hop_by_hop == before.header.hop_by_hop_identifier
    assert server[0].cers[0].auth_application_id == [0xFFFFFFFF], "it relays every application"
    await peer.disconnect()


@pytest.mark.parametrize("kind", [ReAuthRequest, AbortSessionRequest])
async def test_rar_and_asr_find_the_element_behind_the_agent(
    server: tuple[Server, int], agent: Agent, kind: type[Any]
) -> None:
    seen: dict[str, list[Any]] = {"pgw1": [], "pgw2": []}
    for host, found in seen.items():
        await element(agent, f"{host}.sim.example.net", found)
    for host, code in (("pgw2.sim.example.net", 2002), ("nobody.sim.example.net", 3002)):
        request = kind()
        request.session_id, request.origin_host, request.origin_realm = "x;1;2", b"ocs.example.net", b"example.net"
        request.destination_host, request.destination_realm = host.encode(), SIMULATED_REALM.encode()
        request.auth_application_id = 4
        request.header.hop_by_hop_identifier, request.header.end_to_end_identifier = 77, 78
        server[0].writers["dra1.sim.example.net"].write(request.as_bytes())
        answer = await asyncio.wait_for(server[0].answered.get(), PATIENCE_S)
        assert (answer.result_code, answer.session_id) == (code, "x;1;2")
        assert (answer.header.hop_by_hop_identifier, answer.header.end_to_end_identifier) == (77, 78)
        assert answer.header.is_error is (code == 3002)
        assert answer.origin_host.decode() == ("dra1.sim.example.net" if code == 3002 else host)
    assert (len(seen["pgw1"]), len(seen["pgw2"])) == (0, 1)


async def test_an_agent_without_a_server_answers_3002(server: tuple[Server, int], agent: Agent) -> None:
    peer = await element(agent, "pgw1.sim.example.net")
    server[0].answers = lambda request, agent: False
    waiting = asyncio.create_task(exchanged(peer, "pgw1.sim.example.net"))
    await until(lambda: server[0].requests)
    await agent.cut(server_only=True)  # one request is outstanding, one comes later
    for _, answer in (await waiting, await exchanged(peer, "pgw1.sim.example.net")):
        told: Any = Message.from_bytes(answer)
        assert (told.result_code, told.header.is_error, told.origin_host) == (3002, True, b"dra1.sim.example.net")
    server[0].answers = lambda request, agent: True
    await agent.restore()
    await until(lambda: agent.is_connected)
    told = Message.from_bytes((await exchanged(peer, "pgw1.sim.example.net"))[1])
    assert told.result_code == 2001
    await peer.disconnect()
