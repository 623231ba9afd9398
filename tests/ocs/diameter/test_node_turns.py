"""Several nodes receive a notice: one sends the RAR or ASR, preferably the node that last served the session."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from ocs.diameter.node_turns import MAX_SESSIONS_KEPT, OTHERS_WAIT_S, TOLD_S, UNDER_WAY_S, NodeTurns
from ocs.diameter.outbound import RETRY_AFTER_S, TX_S
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice, NoticedSession
from protocol.commands import AbortSessionRequest, ReAuthAnswer, ReAuthRequest
from protocol.credit_control import CreditControlRequest
from tests.ocs.charging.source import Origin
from tests.ocs.diameter.test_outbound import ACCOUNT, PGW, World

A, B = "a.ocs.net", "b.ocs.net"
SID = "pgw;1;1"


class Ledger:
    """Leases that expire, and a notice channel to all nodes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.leases: dict[str, tuple[str, float]] = {}
        self.nodes: list[Node] = []
        self.away = False

    async def hold(self, lease: str, holder: str, ttl_ms: int) -> str:
        if self.away:
            raise LedgerUnavailable
        found, _ = await self.holder(lease)
        if found in ("", holder):
            self.leases[lease] = holder, self.now + ttl_ms / 1_000
        return found or holder

    async def holder(self, lease: str) -> tuple[str, int]:
        holder, until = self.leases.get(lease, ("", 0.0))
        return (holder, int(1_000 * (until - self.now))) if until > self.now else ("", 0)

    async def release(self, lease: str, holder: str) -> None:
        if (await self.holder(lease))[0] == holder:
            del self.leases[lease]

    async def announce(self, notice: Notice) -> None:
        for node in self.nodes:
            node.world.requests.hear(notice)

    def top_up(self, kind: str = "reauthorize") -> None:
        session = NoticedSession(SID, PGW, "a1.net", "", "data")
        for node in self.nodes:
            node.world.now = self.now
            node.world.requests.hear(Notice(kind, "topup", self.now, ACCOUNT, (session,)))

    def pass_time(self, seconds: float) -> None:
        """Advances time and runs the due timers of all nodes."""
        end = self.now + seconds
        while due := [(at, node, callback) for node in self.nodes for at, callback in node.due() if at <= end]:
            at, node, callback = min(due, key=lambda each: each[0])
            self.now = max(self.now, at)
            node.fire(callback)
        self.now = end


class Node:
    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name, self.ledger = name, ledger
        self.turns = NodeTurns(name, ledger, _run)
        self.world = World(node=name, turns=self.turns)
        self.world.here.add(PGW)
        self._planned: list[tuple[float, Any]] = []
        self.world.later = self._later  # type: ignore[method-assign]
        self.world.requests._later = self._later
        ledger.nodes.append(self)

    def _later(self, seconds: float, callback: Any) -> None:
        self._planned.append((self.ledger.now + seconds, callback))

    def due(self) -> list[tuple[float, Any]]:
        return self._planned

    def fire(self, callback: Any) -> None:
        self._planned = [each for each in self._planned if each[1] is not callback]
        self.world.now = self.ledger.now
        callback()

    def serve(self, kind: int) -> None:
        """The session's client sends a request to this node."""
        request = CreditControlRequest(SID, PGW, "a1.net", "hot.net", 4, "32251@3gpp.org", kind, 1)
        seen: list[CreditControlRequest] = []
        self.turns.watch(lambda request, source, reply: seen.append(request))(request, Origin(), lambda answer: None)
        assert seen == [request]

    def ends(self) -> None:
        """Kills the node."""
        self.ledger.nodes.remove(self)

    @property
    def sent(self) -> list[Any]:
        return [request for _, request, _ in self.world.asked]


def _run(work: Awaitable[None]) -> None:
    with pytest.raises(StopIteration):  # it awaits nothing here
        work.__await__().__next__()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def nodes(ledger: Ledger) -> tuple[Node, Node]:
    return Node(A, ledger), Node(B, ledger)


@pytest.mark.parametrize("served", [(), ("a1",), ("b1",), ("a1", "b2"), ("a1", "b2", "a2"), ("b1", "a2", "b2")])
def test_the_node_that_served_the_session_last_sends_the_request(
    ledger: Ledger, nodes: tuple[Node, Node], served: tuple[str, ...]
) -> None:
    """`served`: the serving node and the kind of request. If no node served it, any of them sends, once."""
    named = dict(zip("ab", nodes, strict=True))
    for turn in served:
        named[turn[0]].serve(int(turn[1]))
    ledger.top_up()
    if served:
        last = named[served[-1][0]]
        assert [(request.origin_host, request.session_id) for request in last.sent] == [(last.name, SID)], "at once"
        last.world.reply(ReAuthAnswer(SID, 2001))
    ledger.pass_time(OTHERS_WAIT_S)
    (sender,) = (node for node in nodes if node.sent)
    if not served:
        sender.world.reply(ReAuthAnswer(SID, 2001))
    ledger.pass_time(sum(RETRY_AFTER_S) + 1)
    assert [len(node.sent) for node in nodes] in ([1, 0], [0, 1])
    other = next(node for node in nodes if node is not sender)
    assert not other.world.counted and not other.world.requests._jobs, "it is the other's to count"


def test_the_other_node_sends_if_the_first_cannot(ledger: Ledger, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    a.serve(1)
    a.world.here.clear()
    ledger.top_up()
    assert not a.sent and not b.sent
    ledger.pass_time(OTHERS_WAIT_S)
    assert not a.sent and [request.origin_host for request in b.sent] == [B]
    b.world.reply(ReAuthAnswer(SID, 2001))
    ledger.pass_time(sum(RETRY_AFTER_S) + 1)
    assert not a.world.counted, "nothing was unreachable"


def test_a_node_that_ends_while_it_waits_for_an_answer(ledger: Ledger, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    a.serve(1)
    ledger.top_up()
    assert len(a.sent) == 1
    a.ends()
    ledger.pass_time(TX_S)
    assert not b.sent, "the client may still answer"
    ledger.pass_time(sum(RETRY_AFTER_S))
    assert [request.origin_host for request in b.sent] == [B]

    c = Node("c.ocs.net", ledger)
    c.serve(1)
    b.serve(2)
    ledger.top_up("abort")
    assert [type(request) for request in b.sent] == [ReAuthRequest, AbortSessionRequest] and not c.sent


def test_without_an_answer_another_node_sends(ledger: Ledger, nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    a.serve(1)
    ledger.top_up()
    ledger.pass_time(TX_S)
    a.world.now = ledger.now
    a.world.asked[-1][2](None)
    ledger.pass_time(sum(RETRY_AFTER_S))
    assert len(b.sent) + len(a.sent) >= 2


def test_a_second_notice_while_a_node_waits_for_its_turn(ledger: Ledger, nodes: tuple[Node, Node]) -> None:
    """A block overtakes the other notice; each is sent once."""
    ledger.top_up()
    ledger.now += 0.1
    ledger.top_up("abort")
    ledger.pass_time(OTHERS_WAIT_S * 2)
    assert [type(request) for node in nodes for request in node.sent] == [AbortSessionRequest]


def test_without_redis_each_node_sends_for_the_notices_it_received(ledger: Ledger, nodes: tuple[Node, Node]) -> None:
    ledger.away = True
    ledger.top_up()
    ledger.pass_time(OTHERS_WAIT_S)
    assert [len(node.sent) for node in nodes] == [1, 1]


def test_the_turns_fit_into_the_time_of_a_notice() -> None:
    assert TX_S < UNDER_WAY_S < sum(RETRY_AFTER_S) < TOLD_S


def test_the_sessions_that_a_node_remembers_are_bounded(ledger: Ledger) -> None:
    node = Node(A, ledger)
    handle = node.turns.watch(lambda request, source, reply: None)
    for number in range(MAX_SESSIONS_KEPT + 10):
        handle(CreditControlRequest(f"s{number}", PGW, "r", "r", 4, "c", 1, 0), Origin(), lambda answer: None)
    assert len(node.turns._ours) == MAX_SESSIONS_KEPT
    for number in range(MAX_SESSIONS_KEPT + 10):
        handle(CreditControlRequest(f"s{number}", PGW, "r", "r", 4, "c", 3, 0), Origin(), lambda answer: None)
    assert not node.turns._ours
