"""A node is stopped, killed or cut off in mid-session: the client continues at another node, and its use is charged
once.

RFC 8506 §5.7, §6.5; RFC 6733 §5.5.4.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from protocol.credit_control import CreditControlRequest
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.faults.client import ORIGIN_HOST, Answer, data_request
from tests.faults.harness import Books
from tests.faults.nodes import BOTH, MovingClient, Node, Pgw
from tests.faults.pgw import when
from tests.ocs.diameter.certificates import Certificates
from tests.waiting import PATIENCE_S, wait_for

MB = 1024 * 1024
PRICE_PER_MB = 6_900
CREDIT = 10_000_000
_numbers = itertools.count(1)
TX_S = 3.0
"""Seconds that the client waits for an answer (10 s in a network); longer than the ledger's timeout of these nodes."""


@dataclass(frozen=True, slots=True)
class Site:
    nodes: list[Node]
    books: Books


@pytest.fixture(scope="module", params=["plain", "tls"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two nodes on one Redis. Each test leaves both running."""
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("site")
    redis = RedisServer(SYSTEM_REDIS, folder)
    redis.start()
    certificates = Certificates(folder) if request.param == "tls" else None
    nodes: list[Node] = []
    try:
        for number in range(2):
            nodes.append(Node(folder, number, redis.port, certificates))
        yield Site(nodes, Books(redis.url))
    finally:
        for node in nodes:
            node.close()
        redis.stop(kill=True)


@dataclass(frozen=True, slots=True)
class Traffic:
    """A subscriber's session that uses at most 20 MB at a time."""

    msisdn: str

    @property
    def session(self) -> str:
        return f"pgw.example.net;1;{self.msisdn}"

    def request(self, kind: int, number: int, used_mb: int = 0) -> CreditControlRequest:
        return data_request(self.msisdn, self.session, kind, number, used=used_mb * MB, want=20 * MB)


def end_in_mid_request(node: Node, pgw: Pgw, traffic: Traffic, how: str) -> None:
    """The node ends while it handles the session's second update: `how` says how, and whether the ledger has applied
    it.
    """
    update = traffic.request(2, 2, 5)
    how, _, when = how.partition(" ")
    if how == "stop":
        node.stop()
        pgw.client().hear(10)
        assert pgw.client().left, "it has said good-bye, and hangs up when it has our DPA"
        pgw.lose()
        return
    if when == "after":
        node.to_redis.hold_answers_to(traffic.session.encode())
        pgw.send(update)
        assert node.to_redis.held.wait(PATIENCE_S)
    elif how == "kill":
        os.kill(node.serving.worker(), signal.SIGSTOP)
        pgw.send(update)
    if how == "kill":
        node.kill()
    else:
        node.cut()
        if when == "before":
            pgw.send(update)


@pytest.mark.parametrize("site", ["plain"], indirect=True)
@pytest.mark.parametrize(
    ("how", "learns"),
    [("stop", True), ("kill before", False), ("kill after", True), ("cut before", True), ("cut after", False)],
)
def test_what_was_carried_is_charged_whatever_becomes_of_a_node(site: Site, how: str, learns: bool) -> None:
    fail_over_and_back(site, how, learns=learns)


def fail_over_and_back(site: Site, how: str, *, learns: bool) -> None:
    first, second = site.nodes
    traffic = Traffic(f"386681{next(_numbers):05d}")
    account = site.books.open_account(traffic.msisdn, CREDIT)
    pgw = Pgw([lambda: first.connect(TX_S), lambda: second.connect(TX_S)], learns=learns)
    assert pgw.ask(traffic.request(1, 0)).granted_octets == 20 * MB
    assert by(pgw.ask(traffic.request(2, 1, 7))) == BOTH[0]

    end_in_mid_request(first, pgw, traffic, how)
    # Not answered in time, or told to go: to the second node, with Destination-Host of the first.
    answer = pgw.ask(traffic.request(2, 2, 5), retransmitted=how != "stop")
    assert (answer.result_code, answer.granted_octets, by(answer)) == (2001, 20 * MB, BOTH[1])
    assert site.books.view(account).spent_micro_eur == 12 * PRICE_PER_MB
    assert by(pgw.ask(traffic.request(2, 3, 3))) == BOTH[1]

    # The first node comes back, and the session too.
    if how == "stop":
        first.serving.process.wait(PATIENCE_S)
    first.back()
    pgw.lose()
    answer = pgw.ask(traffic.request(3, 4, 1))
    assert (answer.result_code, by(answer)) == (2001, BOTH[0])
    pgw.close()
    spent = 16 * PRICE_PER_MB
    view = site.books.view(account)
    assert (view.credit_micro_eur, view.spent_micro_eur, view.held_micro_eur) == (CREDIT - spent, spent, 0)
    assert view.sessions == () and site.books.audit().ok

    # Each movement is in one record, of the one node that has the records.
    def records() -> list[dict[str, Any]]:
        return [record for record in first.serving.records() if record["account"] == account]

    wait_for(lambda: len(records()) == 5)
    assert sum(r.get("credit_in_micro_eur", 0) - r.get("debit_micro_eur", 0) for r in records()) == CREDIT - spent
    assert second.serving.records() == []


@pytest.mark.alone
@pytest.mark.parametrize("site", ["plain"], indirect=True)
def test_one_node_asks_the_client_the_one_that_it_knows(site: Site) -> None:
    """The client is connected to both nodes, and both receive each notice (RFC 6733 §8.3, §8.5). If the one is slow the
    other asks, so this measures time.
    """
    traffic = Traffic(f"386681{next(_numbers):05d}")
    account = site.books.open_account(traffic.msisdn, 10 * PRICE_PER_MB)
    pgw = Pgw([lambda: site.nodes[0].connect(TX_S), lambda: site.nodes[1].connect(TX_S)])
    assert pgw.ask(traffic.request(1, 0)).granted_octets < 20 * MB, "the last units"

    def asked(change: Callable[[RedisLedger], Awaitable[object]]) -> list[list[str]]:
        """Senders of RAR and ASR on each connection since the change."""
        site.books.ask(change)
        wait_for(lambda: any(hears(client, 0.1) for client in pgw.clients))
        heard = []
        for client in pgw.clients:
            if client is not None:
                hears(client, 0.3)
                heard.append([f"{type(each).__name__} {each.origin_host}" for each in client.told])
                assert all(
                    (each.session_id, each.destination_host) == (traffic.session, ORIGIN_HOST) for each in client.told
                )
                client.told.clear()
            else:
                heard.append([])
        return heard

    def top_up(ledger: RedisLedger) -> Awaitable[object]:
        reference = f"R{traffic.msisdn} {next(_numbers)}"
        return ledger.top_up(account, amount_micro_eur=PRICE_PER_MB, reference=reference, **when())

    pgw.current = 1
    pgw.client()
    pgw.current = 0
    assert asked(top_up) == [[f"ReAuthRequest {BOTH[0]}"], []]
    # The session moves, though the first node and the connection to it are well.
    pgw.current = 1
    assert by(pgw.ask(traffic.request(2, 1, 1))) == BOTH[1]
    assert asked(top_up) == [[], [f"ReAuthRequest {BOTH[1]}"]]
    # It comes back.
    pgw.current = 0
    assert by(pgw.ask(traffic.request(2, 2, 1))) == BOTH[0]
    assert asked(top_up) == [[f"ReAuthRequest {BOTH[0]}"], []]
    # The connection to the node that had it last is lost: the other one asks.
    pgw.current = 1
    assert by(pgw.ask(traffic.request(2, 3, 1))) == BOTH[1]
    pgw.lose()
    assert asked(top_up) == [[f"ReAuthRequest {BOTH[0]}"], []]
    assert asked(lambda ledger: ledger.set_state(account, state="blocked", **when())) == [
        [f"AbortSessionRequest {BOTH[0]}"],
        [],
    ]
    pgw.close()


@pytest.mark.parametrize("site", ["tls"], indirect=True)
@pytest.mark.parametrize("how", ["stop", "kill after", "cut after"])
def test_it_is_the_same_over_tls(site: Site, how: str) -> None:
    fail_over_and_back(site, how, learns=how != "cut after")


def hears(client: MovingClient | None, seconds: float) -> bool:
    """Whether a request of its node has come, now or before."""
    if client is None:
        return False
    client.hear(seconds)
    return bool(client.told)


def by(answer: Answer) -> str:
    assert answer.message is not None
    return answer.message.origin_host
