"""RAR and ASR over real processes: which worker sends, over which connection, and after which change (RFC 8506 §5.5,
RFC 6733 §8.5).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from protocol.avp import encode_avp
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ReAuthAnswer, ReAuthRequest
from tests.catalogue import fixed_catalogue
from tests.faults.conftest import MAX_PEERS, RELAY
from tests.faults.harness import Serving, open_account
from tests.faults.pgw import REALM, Pgw, when
from tests.rules import rule
from tests.waiting import PATIENCE_S, wait_for

MB = 1024 * 1024
PRICE_PER_MB = 6_900


def answers(serving: Serving, command: str, result: str) -> int:
    """The server's count of answers."""
    name = f'ocs_client_answers_total{{command="{command}",result="{result}"}} '
    return int(sum(float(line[len(name) :]) for line in serving.metrics().splitlines() if line.startswith(name)))


async def counted(serving: Serving, command: str, result: str, number: int) -> None:
    await asyncio.to_thread(wait_for, lambda: answers(serving, command, result) >= number, 5)
    await asyncio.sleep(1.0)  # two snapshots of a worker: more would be seen by now
    assert answers(serving, command, result) == number


@pytest.fixture
async def pgws() -> AsyncIterator[list[Pgw]]:
    """For the connections of a test, which are closed at its end."""
    pgws: list[Pgw] = []
    yield pgws
    for pgw in pgws:
        pgw.close()


async def test_of_two_workers_the_one_that_has_the_client_asks_it_once(
    one_server: Serving, pgws: list[Pgw], ledger: RedisLedger, msisdn: str
) -> None:
    account_id = await open_account(ledger, msisdn, 5_000_000)
    before = answers(one_server, "RAR", "2002")
    while len(set(one_server.holders().values())) < 2:
        assert len(pgws) < MAX_PEERS, "all connections have landed on one worker"
        pgws.append(await Pgw.connect(one_server, f"pgw{len(pgws)}.example.net"))
    behind = await Pgw.connect(one_server, "pgw.elsewhere.example.net", RELAY)
    pgws.append(behind)
    sids = [await pgw.open(msisdn, MB) for pgw in pgws]
    await ledger.set_limit(account_id, limit_micro_eur=50_000_000, **when())
    for pgw, sid in zip(pgws, sids, strict=True):
        await pgw.agree(ReAuthRequest, sid, 2002)
    await counted(one_server, "RAR", "2002", before + len(pgws))
    await asyncio.gather(*(pgw.nothing_more() for pgw in pgws))
    # The relay goes: a session that came through it cannot be reached, the others can.
    behind.close()
    await asyncio.sleep(0.3)
    await ledger.set_state(account_id, state="blocked", **when())
    for pgw, sid in zip(pgws[:-1], sids[:-1], strict=True):
        await pgw.agree(AbortSessionRequest, sid, 2001)
        assert (await pgw.charge(sid, 3, 1, msisdn, used=MB)).result_code == 2001
        pgw.close()
    view = await ledger.read(account_id, **when())
    assert view is not None and [session.session_id for session in view.sessions] == [sids[-1]]
    assert view.spent_micro_eur == PRICE_PER_MB * (len(pgws) - 1)


@pytest.mark.long
async def test_a_client_that_never_answers_comes_to_the_same_end(pgw: Pgw, ledger: RedisLedger, msisdn: str) -> None:
    """Validity-Time makes the client send an update; the RAR is repeated, and ends with its answer."""
    account_id = await open_account(ledger, msisdn, 5_000)
    sid = await pgw.open(msisdn)
    await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference=msisdn, **when())
    _, first = await pgw.asked()
    answer = await pgw.charge(sid, 2, 1, msisdn, want=MB, used=100_000)
    (mscc,) = answer.multiple_services_credit_control
    assert mscc.result_code == 2001 and mscc.final_unit_indication is None
    assert mscc.granted_service_unit is not None and mscc.granted_service_unit.cc_total_octets == MB
    pgw.client.arrived.clear()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                header, again = await pgw.asked()
                break
            except TimeoutError:
                continue
    assert again == first
    pgw.reply(header, ReAuthAnswer(sid, 2001, pgw.host, REALM))
    await pgw.nothing_more(1.5)


@pytest.mark.long
async def test_a_block_waits_for_no_rar_and_comes_not_after_the_end(pgw: Pgw, ledger: RedisLedger, msisdn: str) -> None:
    """The client answers neither; its termination cancels the repetitions."""
    account_id = await open_account(ledger, msisdn, 5_000)
    sid = await pgw.open(msisdn)
    await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference=msisdn, **when())
    assert isinstance((await pgw.asked())[1], ReAuthRequest)
    began = time.monotonic()
    await ledger.set_state(account_id, state="blocked", **when())
    assert isinstance((await pgw.asked())[1], AbortSessionRequest)
    assert time.monotonic() - began < 9, "a RAR is waited for 10 s"
    assert (await pgw.charge(sid, 3, 1, msisdn, used=100_000)).result_code == 2001
    await pgw.nothing_more(12)  # an answer is waited for 10 s, and 1 s until the next try


async def test_an_asr_goes_as_its_client_wants_it(
    one_server: Serving, pgw: Pgw, ledger: RedisLedger, msisdn: str
) -> None:
    """Some clients follow Rx, and answer 5005 with Abort-Cause in Failed-AVP."""
    account_id = await open_account(ledger, msisdn, 5_000_000)
    sid, other = await pgw.open(msisdn, MB), f"{pgw.host};1;other"
    assert (await pgw.charge(other, 1, 0, msisdn, want=MB)).result_code == 2001
    await ledger.set_state(account_id, state="blocked", **when())
    causes = []
    for _ in range(4):
        header, request = await pgw.asked()
        assert isinstance(request, AbortSessionRequest) and request.session_id in (sid, other)
        causes.append(request.abort_cause)
        missing = {"result_code": 5005, "failed_avp": encode_avp(500, 10415, 0x40, bytes(4))}
        said = missing if request.abort_cause is None else {"result_code": 2001}
        pgw.reply(header, AbortSessionAnswer(request.session_id, origin_host=pgw.host, origin_realm=REALM, **said))
    assert sorted(causes, key=str) == [0, 0, None, None]
    await pgw.nothing_more(1.5)
    log = await asyncio.to_thread(Path(one_server.log.name).read_text)
    assert log.count("requires Abort-Cause in an ASR") == 1


async def test_a_top_up_while_the_client_is_away_reaches_it_when_it_comes_back(
    one_server: Serving, pgw: Pgw, ledger: RedisLedger, msisdn: str
) -> None:
    account_id = await open_account(ledger, msisdn, 5_000)
    sid = await pgw.open(msisdn)
    pgw.close()
    await asyncio.sleep(0.3)
    await ledger.top_up(account_id, amount_micro_eur=5_000_000, reference=msisdn, **when())
    await asyncio.sleep(0.3)
    with await Pgw.connect(one_server, pgw.host) as again:
        await again.agree(ReAuthRequest, sid, 2002)
        await again.nothing_more()
    await counted(one_server, "RAR", "unreachable", 0)


@rule("HOT-CC-1")
async def test_a_limit_that_is_reached_asks_the_other_sessions_for_what_they_hold(
    pgw: Pgw, ledger: RedisLedger, msisdn: str
) -> None:
    """HOT-CC-1: what one session has overrun, another must not spend again."""
    account_id = await open_account(ledger, msisdn, 5_000_000)
    await ledger.set_limit(account_id, limit_micro_eur=2 * PRICE_PER_MB, **when())
    one = f"{pgw.host};1;one"
    assert (await pgw.charge(one, 1, 0, msisdn, want=MB)).result_code == 2001
    other = await pgw.open(msisdn, MB)
    (mscc,) = (await pgw.charge(one, 2, 1, msisdn, want=MB, used=2 * MB)).multiple_services_credit_control
    assert mscc.result_code == 4012
    await pgw.agree(ReAuthRequest, other, 2002)


async def test_a_new_package_is_told_to_all_sessions(pgw: Pgw, ledger: RedisLedger, msisdn: str) -> None:
    account_id = await open_account(ledger, msisdn, 50_000_000)
    sid = await pgw.open(msisdn, MB)
    package = fixed_catalogue().packages["MINI"]
    await ledger.activate_package(account_id, package=package, reference=msisdn, **when())
    await pgw.agree(ReAuthRequest, sid, 2002)


@pytest.mark.long
async def test_what_an_engineer_types_reaches_the_client(
    one_server: Serving, pgw: Pgw, ledger: RedisLedger, msisdn: str
) -> None:
    account_id = await open_account(ledger, msisdn, 5_000)

    async def ocs(*words: str) -> str:
        done = await asyncio.to_thread(one_server.command, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sid = await pgw.open(msisdn)
    out = await ocs("account", "topup", msisdn, "--amount", "5.00", "--reference", msisdn)
    assert "topped up by 5.00 EUR" in out
    await pgw.agree(ReAuthRequest, sid, 2002)
    assert "1 session announced" in await ocs("session", "reauthorize", msisdn)
    await pgw.agree(ReAuthRequest, sid, 2002)
    assert "1 session announced" in await ocs("session", "abort", msisdn, "--session", sid)
    await pgw.agree(AbortSessionRequest, sid, 5012)
    await pgw.agree(ReAuthRequest, sid, 2002)  # the ASR was refused, so a RAR follows
    done = await asyncio.to_thread(one_server.command, "session", "abort", msisdn, "--session", "another")
    assert (done.returncode, done.stdout) == (1, "") and "has no open session of this id" in done.stderr
    done = await asyncio.to_thread(one_server.command, "account", "terminate", msisdn)
    assert (done.returncode, done.stdout) == (2, "") and "confirm it with --yes" in done.stderr
    await pgw.nothing_more()
    assert "terminated" in await ocs("account", "terminate", msisdn, "--yes")
    await pgw.agree(AbortSessionRequest, sid, 2001)
    await pgw.charge(sid, 3, 1, msisdn, used=100_000)
    view = await ledger.read(account_id, **when())
    assert view is not None and (view.state, view.credit_micro_eur, view.held_micro_eur) == ("terminated", 0, 0)
    assert await ledger.find_subscriber("m" + msisdn) is None
