"""RAR and ASR over real processes: which worker sends, over which connection, and after which change (RFC 8506 §5.5,
RFC 6733 §8.5).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ocs.catalogue.catalogue import load_catalogue
from ocs.ledger.redis.ledger import RedisLedger
from protocol.avp import encode_avp
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ReAuthAnswer, ReAuthRequest
from tests.conftest import RedisServer
from tests.faults.harness import CONFIG, ROOT, Serving, open_account, wait_for
from tests.faults.pgw import HOST, REALM, Pgw, when
from tests.rules import rule

MSISDN = "38668200001"
MB = 1024 * 1024
PRICE_PER_MB = 6_900
MAX_PEERS = 16
"""With so many connections, all are at one of two workers once in 30,000 runs."""
RELAY = f"dra.{REALM}"
PEER = """
[[peer]]
origin_host = "{name}"
realm = "example.net"
addresses = ["127.0.0.0/8"]
"""
TWO_WORKERS = (
    CONFIG.replace("workers = 1", "workers = 2")
    + "".join(PEER.format(name=f"pgw{number}.example.net") for number in range(MAX_PEERS))
    + PEER.format(name=RELAY)
    + 'kind = "relay"\nrealms = ["example.net"]\n'
)


@pytest.fixture
def two_workers(tmp_path: Path, own_redis: RedisServer) -> Iterator[Serving]:
    server = Serving(tmp_path / "ocs", own_redis.url, TWO_WORKERS)
    try:
        wait_for(lambda: "\nocs_workers_up 2.0\n" in server.metrics())  # it is healthy with the first one
        yield server
    finally:
        server.end()


@pytest.fixture
async def pgw(serving: Serving) -> AsyncIterator[Pgw]:
    pgw = await Pgw.connect(serving)
    yield pgw
    pgw.close()


def answers(serving: Serving, command: str, result: str) -> int:
    """The server's count of answers."""
    name = f'ocs_client_answers_total{{command="{command}",result="{result}"}} '
    return int(sum(float(line[len(name) :]) for line in serving.metrics().splitlines() if line.startswith(name)))


async def counted(serving: Serving, command: str, result: str, number: int) -> None:
    await asyncio.to_thread(wait_for, lambda: answers(serving, command, result) >= number, 5)
    await asyncio.sleep(1.0)  # two snapshots of a worker: more would be seen by now
    assert answers(serving, command, result) == number


async def test_of_two_workers_the_one_that_has_the_client_asks_it_once(
    two_workers: Serving, ledger: RedisLedger
) -> None:
    account_id = await open_account(ledger, MSISDN, 5_000_000)
    pgws: list[Pgw] = []
    while len(set(two_workers.holders().values())) < 2:
        assert len(pgws) < MAX_PEERS, "all connections have landed on one worker"
        pgws.append(await Pgw.connect(two_workers, f"pgw{len(pgws)}.example.net"))
    behind = await Pgw.connect(two_workers, "pgw.elsewhere.example.net", RELAY)
    pgws.append(behind)
    sids = [await pgw.open(MSISDN, MB) for pgw in pgws]
    await ledger.set_limit(account_id, limit_micro_eur=50_000_000, **when())
    for pgw, sid in zip(pgws, sids, strict=True):
        await pgw.agree(ReAuthRequest, sid, 2002)
    await counted(two_workers, "RAR", "2002", len(pgws))
    await asyncio.gather(*(pgw.nothing_more() for pgw in pgws))
    # The relay goes: a session that came through it cannot be reached, the others can.
    behind.close()
    await asyncio.sleep(0.3)
    await ledger.set_state(account_id, state="blocked", **when())
    for pgw, sid in zip(pgws[:-1], sids[:-1], strict=True):
        await pgw.agree(AbortSessionRequest, sid, 2001)
        assert (await pgw.charge(sid, 3, 1, MSISDN, used=MB)).result_code == 2001
        pgw.close()
    view = await ledger.read(account_id, **when())
    assert view is not None and [session.session_id for session in view.sessions] == [sids[-1]]
    assert view.spent_micro_eur == PRICE_PER_MB * (len(pgws) - 1)


@pytest.mark.long
async def test_a_client_that_never_answers_comes_to_the_same_end(pgw: Pgw, ledger: RedisLedger) -> None:
    """Validity-Time makes the client send an update; the RAR is repeated, and ends with its answer."""
    account_id = await open_account(ledger, MSISDN, 5_000)
    sid = await pgw.open(MSISDN)
    await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference="r", **when())
    _, first = await pgw.asked()
    answer = await pgw.charge(sid, 2, 1, MSISDN, want=MB, used=100_000)
    (mscc,) = answer.multiple_services_credit_control
    assert mscc.result_code == 2001 and mscc.final_unit_indication is None
    assert mscc.granted_service_unit is not None and mscc.granted_service_unit.cc_total_octets == MB
    pgw.client.arrived.clear()
    async with asyncio.timeout(15):
        while True:
            try:
                header, again = await pgw.asked()
                break
            except TimeoutError:
                continue
    assert again == first
    pgw.reply(header, ReAuthAnswer(sid, 2001, HOST, REALM))
    await pgw.nothing_more(1.5)


@pytest.mark.long
async def test_a_block_waits_for_no_rar_and_comes_not_after_the_end(pgw: Pgw, ledger: RedisLedger) -> None:
    """The client answers neither; its termination cancels the repetitions."""
    account_id = await open_account(ledger, MSISDN, 5_000)
    sid = await pgw.open(MSISDN)
    await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference="r", **when())
    assert isinstance((await pgw.asked())[1], ReAuthRequest)
    began = time.monotonic()
    await ledger.set_state(account_id, state="blocked", **when())
    assert isinstance((await pgw.asked())[1], AbortSessionRequest)
    assert time.monotonic() - began < 2, "a RAR is waited for 10 s"
    assert (await pgw.charge(sid, 3, 1, MSISDN, used=100_000)).result_code == 2001
    await pgw.nothing_more(12)  # an answer is waited for 10 s, and 1 s until the next try


async def test_an_asr_goes_as_its_client_wants_it(serving: Serving, pgw: Pgw, ledger: RedisLedger) -> None:
    """Some clients follow Rx, and answer 5005 with Abort-Cause in Failed-AVP."""
    account_id = await open_account(ledger, MSISDN, 5_000_000)
    sid, other = await pgw.open(MSISDN, MB), f"{HOST};1;other"
    assert (await pgw.charge(other, 1, 0, MSISDN, want=MB)).result_code == 2001
    await ledger.set_state(account_id, state="blocked", **when())
    causes = []
    for _ in range(4):
        header, request = await pgw.asked()
        assert isinstance(request, AbortSessionRequest) and request.session_id in (sid, other)
        causes.append(request.abort_cause)
        missing = {"result_code": 5005, "failed_avp": encode_avp(500, 10415, 0x40, bytes(4))}
        said = missing if request.abort_cause is None else {"result_code": 2001}
        pgw.reply(header, AbortSessionAnswer(request.session_id, origin_host=HOST, origin_realm=REALM, **said))
    assert sorted(causes, key=str) == [0, 0, None, None]
    await pgw.nothing_more(1.5)
    log = await asyncio.to_thread(Path(serving.log.name).read_text)
    assert log.count("wants Abort-Cause in an ASR") == 1


async def test_a_client_is_asked_over_its_new_connection_when_its_worker_was_killed(
    serving: Serving, pgw: Pgw, ledger: RedisLedger
) -> None:
    account_id = await open_account(ledger, MSISDN, 5_000)
    sid = await pgw.open(MSISDN)
    killed = serving.worker()
    os.kill(killed, signal.SIGKILL)
    await asyncio.to_thread(wait_for, lambda: serving.worker() not in (0, killed) and serving.health() == 200)
    again = await Pgw.connect(serving)
    await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference="r", **when())
    await again.agree(ReAuthRequest, sid, 2002)
    (mscc,) = (await again.charge(sid, 2, 1, MSISDN, want=MB)).multiple_services_credit_control
    assert mscc.result_code == 2001 and mscc.final_unit_indication is None
    again.close()


async def test_a_top_up_while_the_client_is_away_reaches_it_when_it_comes_back(
    two_workers: Serving, ledger: RedisLedger
) -> None:
    account_id = await open_account(ledger, MSISDN, 5_000)
    pgw = await Pgw.connect(two_workers)
    sid = await pgw.open(MSISDN)
    pgw.close()
    await asyncio.sleep(0.3)
    await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference="r", **when())
    await asyncio.sleep(0.3)
    again = await Pgw.connect(two_workers)
    await again.agree(ReAuthRequest, sid, 2002)
    await again.nothing_more()
    again.close()
    await counted(two_workers, "RAR", "unreachable", 0)


@rule("HOT-CC-1")
async def test_a_limit_that_is_reached_asks_the_other_sessions_for_what_they_hold(
    pgw: Pgw, ledger: RedisLedger
) -> None:
    """HOT-CC-1: what one session has overrun, another must not spend again."""
    account_id = await open_account(ledger, MSISDN, 5_000_000)
    await ledger.set_limit(account_id, limit_micro_eur=2 * PRICE_PER_MB, **when())
    one = f"{HOST};1;one"
    assert (await pgw.charge(one, 1, 0, MSISDN, want=MB)).result_code == 2001
    other = await pgw.open(MSISDN, MB)
    (mscc,) = (await pgw.charge(one, 2, 1, MSISDN, want=MB, used=2 * MB)).multiple_services_credit_control
    assert mscc.result_code == 4012
    await pgw.agree(ReAuthRequest, other, 2002)


async def test_a_new_package_is_told_to_all_sessions(pgw: Pgw, ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, MSISDN, 50_000_000)
    sid = await pgw.open(MSISDN, MB)
    package = load_catalogue(ROOT / "config" / "catalogue.toml").packages["MINI"]
    await ledger.activate_package(account_id, package=package, reference="p", **when())
    await pgw.agree(ReAuthRequest, sid, 2002)


@pytest.mark.long
async def test_what_an_engineer_types_reaches_the_client(serving: Serving, pgw: Pgw, ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, MSISDN, 5_000)

    async def ocs(*words: str) -> str:
        done = await asyncio.to_thread(serving.command, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sid = await pgw.open(MSISDN)
    out = await ocs("account", "topup", MSISDN, "--amount", "5.00", "--reference", "typed")
    assert "topped up by 5.00 EUR" in out
    await pgw.agree(ReAuthRequest, sid, 2002)
    assert "1 session told" in await ocs("session", "reauthorize", MSISDN)
    await pgw.agree(ReAuthRequest, sid, 2002)
    assert "1 session told" in await ocs("session", "abort", MSISDN, "--session", sid)
    await pgw.agree(AbortSessionRequest, sid, 5012)
    await pgw.agree(ReAuthRequest, sid, 2002)  # the ASR was refused, so a RAR follows
    done = await asyncio.to_thread(serving.command, "session", "abort", MSISDN, "--session", "another")
    assert (done.returncode, done.stdout) == (1, "") and "has no open session of this id" in done.stderr
    done = await asyncio.to_thread(serving.command, "account", "terminate", MSISDN)
    assert (done.returncode, done.stdout) == (2, "") and "say --yes" in done.stderr
    await pgw.nothing_more()
    assert "terminated" in await ocs("account", "terminate", MSISDN, "--yes")
    await pgw.agree(AbortSessionRequest, sid, 2001)
    await pgw.charge(sid, 3, 1, MSISDN, used=100_000)
    view = await ledger.read(account_id, **when())
    assert view is not None and (view.state, view.credit_micro_eur, view.held_micro_eur) == ("terminated", 0, 0)
    assert await ledger.find_subscriber("m" + MSISDN) is None
