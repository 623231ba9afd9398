"""Simulator and server with RAR: a data session waits without units, a top-up follows, the server sends a RAR, the
session continues.
"""

from __future__ import annotations

import asyncio

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Engine, Target
from simulator.plan import Plan, PlannedSession, PlannedUse
from simulator.requests import Element, Place, Reaction, Subscriber
from tests.faults.harness import MONTH, Serving, open_account
from tests.faults.pgw import when

HOME = Place("home", "29340", "38640000001")
MB = 1024 * 1024
MB_PRICE = 6_900
SPEED = 600.0
"""The session of an hour and a half takes nine seconds."""


def planned(alice: Subscriber, reaction: Reaction) -> PlannedSession:
    uses = (PlannedUse(100, "data", 40 * MB),)
    return PlannedSession(0, 0.0, "data", Element.PGW, alice, HOME, uses, 5_400.0, reaction=reaction)


@pytest.mark.parametrize("reaction", [Reaction.ASKS, Reaction.IGNORES])
async def test_a_session_at_zero_goes_on_after_a_top_up(
    one_server: Serving, ledger: RedisLedger, msisdn: str, reaction: Reaction
) -> None:
    alice = Subscriber(msisdn, "29340" + msisdn[-10:])
    account_id = await open_account(ledger, msisdn, 10 * MB_PRICE)
    loop = asyncio.get_running_loop()

    def top_up(who: str) -> None:
        assert who == msisdn
        credit = ledger.top_up(account_id, amount_micro_eur=5_000_000, reference=msisdn, **when())
        asyncio.run_coroutine_threadsafe(credit, loop).result()

    host, port = one_server.facts()["diameter"][0].rsplit(":", 1)
    target = Target(host, int(port), SIMULATED_REALM, SERVER_REALM)
    engine = Engine(Plan((alice,), (planned(alice, reaction),)), target, speed=SPEED, seed=1, top_up=top_up)
    tally = await engine.run()
    used = tally.sessions[0].services[0].used
    assert tally.unanswered == 0 and tally.topped_up == {msisdn}
    if reaction is Reaction.ASKS:
        assert tally.asked["RAR", "asked again"] >= 1 and tally.went_on == {msisdn}
        assert 15 * MB < used <= 40 * MB, "what it could use in the rest of its time"
    else:
        assert tally.asked == {("RAR", "ignored"): 1} and used == 10 * MB
    view = await ledger.read(account_id, now=when()["now"], month=MONTH)
    assert view is not None and view.sessions == ()
    assert view.spent_micro_eur == pytest.approx(used * MB_PRICE / MB, abs=7), "to the kB"
