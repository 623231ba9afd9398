"""Five network elements against a real server over loopback: repetitions, equal answers, equal runs, nothing
unanswered.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from diameter.message.commands.credit_control import CreditControlRequest

from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Engine, Target, is_final
from simulator.grantor import Grantor
from simulator.peer import DiameterPeer, Identity, PeerError
from simulator.plan import Plan, make_plan
from simulator.requests import Kind
from simulator.scenario import load_scenario
from simulator.tally import MAX_UNEQUAL_TEXTS, Tally

SPEED = 1800.0


def small_plan(lost_answers: float = 0.0) -> Plan:
    scenario = load_scenario("busy_hour")
    faults = replace(scenario.faults, lost_answers=lost_answers)
    return make_plan(replace(scenario, subscribers=25, faults=faults), 3, {})


async def play(grantor: Grantor, plan: Plan) -> Tally:
    target = Target("127.0.0.1", grantor.port, SIMULATED_REALM, SERVER_REALM)
    return await Engine(plan, target, speed=SPEED, seed=3).run()


async def test_a_plan_is_played_by_all_elements_and_everything_is_answered(
    grantor: Grantor, requests_seen: list[CreditControlRequest]
) -> None:
    tally = await play(grantor, small_plan())
    assert tally.unanswered == tally.repeats == 0
    assert tally.answered == tally.sent == len(requests_seen)
    assert {request.origin_host.split(b".")[0] for request in requests_seen} == {
        b"pgw",
        b"ims",
        b"msc",
        b"smsc",
        b"mmsc",
    }
    assert set(tally.results) == {2001}
    assert len(tally.sessions) == len(small_plan().sessions)
    assert sum(report.closed for report in tally.sessions) == len(tally.sessions) - tally.died


async def test_the_same_answers_give_the_same_use(grantor: Grantor) -> None:
    def use(tally: Tally) -> list[tuple[str, list[int]]]:
        found = [(one.session_id[-10:], [service.used for service in one.services]) for one in tally.sessions]
        return sorted(found)

    first, second = await play(grantor, small_plan()), await play(grantor, small_plan())
    assert use(first) == use(second)
    assert first.requests == second.requests


async def test_lost_answers_are_asked_for_again_with_the_t_flag(
    grantor: Grantor, requests_seen: list[CreditControlRequest]
) -> None:
    """RFC 6733 §3: a repetition has the T flag and the same End-to-End Identifier; the Hop-by-Hop Identifier is new."""
    tally = await play(grantor, small_plan(lost_answers=0.3))
    assert tally.repeats == tally.lost_on_purpose > 10
    assert tally.unequal_repeats == tally.unanswered == 0
    repeats = [request for request in requests_seen if request.header.is_retransmit]
    assert len(repeats) == tally.repeats
    firsts = {
        (request.session_id, request.cc_request_number): request.header
        for request in requests_seen
        if not request.header.is_retransmit
    }
    for request in repeats:
        first = firsts[request.session_id, request.cc_request_number]
        assert first.end_to_end_identifier == request.header.end_to_end_identifier
        assert first.hop_by_hop_identifier != request.header.hop_by_hop_identifier


async def _lost_once(requests: list[CreditControlRequest], codes: tuple[int, int]) -> Tally:
    """Every session loses its first answer. A request is answered with the first code, its repetition with the second;
    `requests` receives them.
    """

    def code(request: CreditControlRequest) -> int:
        requests.append(request)
        return codes[request.header.is_retransmit]

    plan = small_plan()
    sessions = tuple(replace(each, lost_answers=frozenset({0})) for each in plan.sessions)
    with Grantor(command_code=code) as server:
        return await play(server, replace(plan, sessions=sessions))


@pytest.mark.parametrize(
    ("codes", "final"),
    [
        ((4012, 2001), False),
        ((3004, 2001), False),
        ((2001, 3004), False),  # the repetition may not have been handled
        ((2001, 4012), True),
        ((2001, 2001), True),
    ],
)
async def test_only_a_final_answer_must_be_repeated(codes: tuple[int, int], final: bool) -> None:
    """A refused opening or event is evaluated anew (docs/LEDGER.md, Repetitions), and so is any request after a
    protocol error. What was granted stays granted.
    """
    requests: list[CreditControlRequest] = []
    tally = await _lost_once(requests, codes)
    repeated = sum(request.header.is_retransmit for request in requests)
    assert repeated == tally.repeats > 10
    other = 0 if codes[0] == codes[1] else repeated
    assert (tally.evaluated_anew, tally.unequal_repeats) == ((0, other) if final else (other, 0))
    assert len(tally.unequal_texts) == min(tally.unequal_repeats, MAX_UNEQUAL_TEXTS)
    assert all(text.endswith("answered 2001, then 4012") for text in tally.unequal_texts)


@pytest.mark.parametrize("kind", list(Kind))
def test_an_update_or_termination_that_is_refused_is_refused_again(kind: Kind) -> None:
    assert is_final(kind, 2001)
    assert not is_final(kind, 3002)
    assert is_final(kind, 4012) == is_final(kind, 5002) == (kind in (Kind.UPDATE, Kind.TERMINATION))


async def test_a_peer_that_the_server_does_not_know_is_told_why(grantor: Grantor) -> None:
    with pytest.raises(PeerError, match=r"3010.*\[\[peer\]\]"):
        await DiameterPeer.connect(Identity("stranger.example.org", "example.org"), "127.0.0.1", grantor.port)


async def test_no_server_is_told_plainly() -> None:
    with pytest.raises(PeerError, match="is the server running"):
        await DiameterPeer.connect(Identity("pgw.sim.example.net", "sim.example.net"), "127.0.0.1", 1)


async def test_a_server_that_hangs_up_is_told_plainly() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(PeerError, match="closed the connection"):
            await DiameterPeer.connect(Identity("pgw.sim.example.net", "sim.example.net"), "127.0.0.1", port)


async def test_a_lost_connection_is_made_again_and_the_request_repeated(grantor: Grantor) -> None:
    """Every connection is cut in the middle of the run: pending requests are repeated, none stays unanswered."""
    target = Target("127.0.0.1", grantor.port, SIMULATED_REALM, SERVER_REALM)
    engine = Engine(small_plan(), target, speed=SPEED, seed=3)
    running = asyncio.create_task(engine.run())
    await asyncio.sleep(0.7)
    for peer in engine.deployment.peers:
        peer.abort()
    tally = await running
    assert tally.reconnects >= 3
    assert tally.unanswered == 0
