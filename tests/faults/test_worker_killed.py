"""A worker dies between the ledger and the answer: the request is repeated and charged once (invariant 4)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.processes import is_alive
from protocol.commands import ReAuthRequest
from tests.conftest import RedisServer
from tests.faults.client import Client, data_request
from tests.faults.harness import Books, Serving, open_account
from tests.faults.pgw import Pgw, when
from tests.faults.proxy import Proxy
from tests.waiting import PATIENCE_S, wait_for

MSISDN = "38668100001"
SESSION = "pgw.example.net;1;killed"
MB = 1024 * 1024
PRICE_PER_MB = 6_900
CREDIT = 10_000_000


@pytest.fixture
def proxy(own_redis: RedisServer) -> Iterator[Proxy]:
    proxy = Proxy(own_redis.port)
    yield proxy
    proxy.close()


@pytest.fixture
def behind_proxy(tmp_path: Path, proxy: Proxy) -> Iterator[Serving]:
    server = Serving(tmp_path / "ocs", proxy.url)
    yield server
    server.end()


def kill_worker(server: Serving, client: Client) -> int:
    """Kills the worker and waits until the client's connection has ended; returns the process id."""
    killed = server.worker()
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(OSError):
        client.receive(0)
    client.close()
    return killed


def test_a_request_is_charged_once_if_its_worker_is_killed_before_the_answer(
    own_redis: RedisServer, proxy: Proxy, behind_proxy: Serving
) -> None:
    books = Books(own_redis.url)
    account_id = books.open_account(MSISDN, CREDIT)
    client = behind_proxy.connect()
    assert client.ask(data_request(MSISDN, SESSION, 1, 0, want=20 * MB)).granted_octets == 20 * MB

    # The script runs in Redis; its answer is held back; the worker that waits for it is killed.
    update = data_request(MSISDN, SESSION, 2, 1, used=7 * MB, want=30 * MB)
    proxy.hold_answers_to(SESSION.encode())
    client.send(update)
    assert proxy.held.wait(PATIENCE_S)
    killed = kill_worker(behind_proxy, client)
    proxy.let_pass()
    after_kill = books.view(account_id)
    assert after_kill.credit_micro_eur == CREDIT - 7 * PRICE_PER_MB, "it was charged"
    wait_for(lambda: not is_alive(killed) and behind_proxy.worker() not in (0, killed))

    # The peer comes back and repeats what was not answered, with the T flag.
    client = behind_proxy.connect()
    answer = client.ask(update, retransmitted=True)
    assert (answer.result_code, answer.granted_octets) == (2001, 30 * MB)
    assert books.view(account_id) == after_kill, "the repetition changed nothing"
    again = client.ask(update, retransmitted=True)
    assert again.message == answer.message, "each repetition gets the same answer"

    # The session goes on to its end.
    assert client.ask(data_request(MSISDN, SESSION, 2, 2, used=3 * MB, want=MB)).granted_octets == MB
    assert client.ask(data_request(MSISDN, SESSION, 3, 3, used=MB)).result_code == 2001
    client.close()
    view = books.view(account_id)
    spent = 11 * PRICE_PER_MB
    assert (view.credit_micro_eur, view.spent_micro_eur, view.held_micro_eur) == (CREDIT - spent, spent, 0)
    assert view.sessions == ()
    assert books.audit().ok

    wait_for(lambda: len(behind_proxy.records()) == 4)
    _, *own = behind_proxy.records()
    assert [(r["kind"], r["request_type"], r["request_number"], r["debit_micro_eur"]) for r in own] == [
        ("use", "U", 1, 7 * PRICE_PER_MB),
        ("use", "U", 2, 3 * PRICE_PER_MB),
        ("charge", "T", 3, PRICE_PER_MB),
    ]
    assert own[-1]["services_debit_micro_eur"] == spent
    movements = [r.get("credit_in_micro_eur", 0) - r.get("debit_micro_eur", 0) for r in behind_proxy.records()]
    assert sum(movements) == view.credit_micro_eur


def test_a_request_that_never_reached_redis_is_charged_by_its_repetition(
    own_redis: RedisServer, serving: Serving
) -> None:
    """The worker dies before its script runs."""
    books = Books(own_redis.url)
    account_id = books.open_account(MSISDN, CREDIT)
    client = serving.connect()
    assert client.ask(data_request(MSISDN, SESSION, 1, 0, want=20 * MB)).result_code == 2001
    killed = serving.worker()
    os.kill(killed, signal.SIGSTOP)
    update = data_request(MSISDN, SESSION, 2, 1, used=7 * MB, want=30 * MB)
    client.send(update)
    os.kill(killed, signal.SIGKILL)
    client.close()
    assert books.view(account_id).credit_micro_eur == CREDIT
    wait_for(lambda: not is_alive(killed))
    client = serving.connect()
    answer = client.ask(update, retransmitted=True)
    assert (answer.result_code, answer.granted_octets) == (2001, 30 * MB)
    client.close()
    assert books.view(account_id).credit_micro_eur == CREDIT - 7 * PRICE_PER_MB
    assert books.audit().ok


async def test_a_client_is_asked_over_its_new_connection_when_its_worker_was_killed(
    serving: Serving, ledger: RedisLedger
) -> None:
    account_id = await open_account(ledger, MSISDN, 5_000)
    with await Pgw.connect(serving) as pgw:
        sid = await pgw.open(MSISDN)
        killed = serving.worker()
        os.kill(killed, signal.SIGKILL)
        await asyncio.to_thread(wait_for, lambda: serving.worker() not in (0, killed) and serving.health() == 200)
    with await Pgw.connect(serving) as again:
        await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference="r", **when())
        await again.agree(ReAuthRequest, sid, 2002)
        (mscc,) = (await again.charge(sid, 2, 1, MSISDN, want=MB)).multiple_services_credit_control
    assert mscc.result_code == 2001 and mscc.final_unit_indication is None


@pytest.mark.long
def test_the_journal_explains_the_balance_whatever_the_worker_did(own_redis: RedisServer, tmp_path: Path) -> None:
    """Several sessions; the worker is killed at any point, and each request is repeated until it is answered."""
    server = Serving(tmp_path / "ocs", own_redis.url)
    books = Books(own_redis.url)
    account_id = books.open_account(MSISDN, CREDIT)
    try:
        client = server.connect()
        for session in range(3):
            name = f"{SESSION};{session}"
            for number in range(4):
                kind = 1 if number == 0 else 2
                request = data_request(MSISDN, name, kind, number, used=number * MB, want=5 * MB)
                if number == 2:
                    client.send(request)
                    os.kill(server.worker(), signal.SIGKILL)
                    client.close()
                    client = server.connect()
                assert client.ask(request, retransmitted=number == 2).granted_octets == 5 * MB
            assert client.ask(data_request(MSISDN, name, 3, 4)).result_code == 2001
        client.close()
    finally:
        server.end()
    view = books.view(account_id)
    assert view.credit_micro_eur == CREDIT - 3 * 6 * PRICE_PER_MB
    assert books.audit().ok
    records = server.records()
    assert sum(r.get("credit_in_micro_eur", 0) - r.get("debit_micro_eur", 0) for r in records) == view.credit_micro_eur
