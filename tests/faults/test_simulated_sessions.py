"""Simulator and server with RAR: a data session waits without units, a top-up follows, the server sends a RAR, the
session continues.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from simulator.elements import SERVER_REALM, SIMULATED_REALM, element_hosts
from simulator.engine import Engine, Target
from simulator.plan import Plan, PlannedSession, PlannedUse
from simulator.requests import Element, Place, Reaction, Subscriber
from tests.conftest import RedisServer
from tests.faults.harness import CONFIG, MONTH, Serving, open_account
from tests.faults.pgw import when

ALICE = Subscriber("38668300001", "293400000000001")
HOME = Place("home", "29340", "38640000001")
MB = 1024 * 1024
MB_PRICE = 6_900
SPEED = 600.0
"""The session of an hour and a half takes nine seconds."""
PEERS = "".join(f'[[peer]]\norigin_host = "{host}"\nrealm = "{SIMULATED_REALM}"\n' for host in element_hosts())


@pytest.fixture
def server(tmp_path: Path, own_redis: RedisServer) -> Iterator[Serving]:
    server = Serving(tmp_path / "ocs", own_redis.url, CONFIG + PEERS)
    yield server
    server.end()


def planned(reaction: Reaction) -> PlannedSession:
    uses = (PlannedUse(100, "data", 40 * MB),)
    return PlannedSession(0, 0.0, "data", Element.PGW, ALICE, HOME, uses, 5_400.0, reaction=reaction)


@pytest.mark.parametrize("reaction", [Reaction.ASKS, Reaction.IGNORES])
async def test_a_session_at_zero_goes_on_after_a_top_up(
    server: Serving, ledger: RedisLedger, reaction: Reaction
) -> None:
    account_id = await open_account(ledger, ALICE.msisdn, 10 * MB_PRICE)
    loop = asyncio.get_running_loop()

    def top_up(msisdn: str) -> None:
        assert msisdn == ALICE.msisdn
        credit = ledger.top_up(account_id, amount_micro_eur=5_000_000, reference="r", **when())
        asyncio.run_coroutine_threadsafe(credit, loop).result()

    host, port = server.facts()["diameter"][0].rsplit(":", 1)
    target = Target(host, int(port), SIMULATED_REALM, SERVER_REALM)
    engine = Engine(Plan((ALICE,), (planned(reaction),)), target, speed=SPEED, seed=1, top_up=top_up)
    tally = await engine.run()
    used = tally.sessions[0].services[0].used
    assert tally.unanswered == 0 and tally.topped_up == {ALICE.msisdn}
    if reaction is Reaction.ASKS:
        assert tally.asked["RAR", "asked again"] >= 1 and tally.went_on == {ALICE.msisdn}
        assert 15 * MB < used <= 40 * MB, "what it could use in the rest of its time"
    else:
        assert tally.asked == {("RAR", "ignored"): 1} and used == 10 * MB
    view = await ledger.read(account_id, now=when()["now"], month=MONTH)
    assert view is not None and view.sessions == ()
    assert view.spent_micro_eur == pytest.approx(used * MB_PRICE / MB, abs=7), "to the kB"
