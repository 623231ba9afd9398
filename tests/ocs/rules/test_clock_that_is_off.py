"""A worker with a wrong clock changes no account, since it would end months, periods or lives too early (HOT-ACC-6,
HOT-CC-1).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from ocs.ledger.contract.errors import LedgerError
from protocol.errors import DiameterError
from tests.conftest import RedisServer
from tests.ocs.charging.ccr import DATA, SMS, at, ccr, messages, octets, sms_to
from tests.ocs.rules.world import DAY_S, World, world_on
from tests.rules import rule

FOUR_YEARS_S = 4 * 365 * DAY_S


@pytest.fixture
async def timed(redis_7: RedisServer) -> AsyncIterator[World]:
    """Uses the real clock, which Redis has too."""
    async with world_on(redis_7.url, max_clock_skew_s=5) as world:
        world.now = int(time.time())
        yield world


@pytest.mark.parametrize("off_s", [FOUR_YEARS_S, -FOUR_YEARS_S, 60, -60])
async def test_a_request_at_a_wrong_clock_is_refused_and_counted(timed: World, off_s: int) -> None:
    """RFC 6733 §7.1.3: the client asks another server (3002; 3004 if it wanted this one)."""
    user = await timed.subscriber(20, "MINI")
    session = user.data()
    await session.take("I", octets(want=0, group=10))
    before, journal, right = await user.view(), await user.journal(), timed.when
    timed.now += off_s
    requests = [
        ccr("I", 0, octets(want=0, group=10), context=DATA, sid="off", msisdn=user.msisdn, information=at()),
        ccr("U", 1, octets(want=0, used=1, group=10), sid=session.sid, msisdn=user.msisdn, information=at()),
        ccr("E", 0, messages(want=1), context=SMS, msisdn=user.msisdn, information=sms_to("+38631234567")),
    ]
    for request in requests:
        request.destination_host = None
        reply = await timed.reply(request)
        assert isinstance(reply, DiameterError)
        assert reply.result_code == 3002
        request.destination_host = "ocs.example.net"
        assert (await timed.reply(request)).result_code == 3004
    assert timed.metrics.of("blocked") == [["unknown", "clock"]] * 6
    timed.now -= off_s
    assert await timed.ledger.read(user.account_id, **right) == before
    assert await user.journal() == journal


@rule("HOT-ACC-6")
async def test_a_wrong_clock_sweeps_no_account_and_takes_no_fee(timed: World) -> None:
    """HOT-ACC-6: four years are more than 90 + 270 days."""
    user = await timed.subscriber(20, "MINI")
    before, right = await user.view(), timed.when
    timed.now += FOUR_YEARS_S
    wrong = timed.when
    for work in (
        timed.sweep(),
        user.top_up(5, "voucher"),
        timed.ledger.set_state(user.account_id, state="blocked", **wrong),
        timed.ledger.terminate_account(user.account_id, **wrong),
    ):
        with pytest.raises(LedgerError) as refused:
            await work
        assert refused.value.code == "clock"
    assert await timed.ledger.read(user.account_id, **right) == before


async def test_a_deviation_of_some_seconds_is_allowed(timed: World) -> None:
    """Clocks set by NTP never agree to the second."""
    user = await timed.subscriber(20)
    timed.now = int(time.time()) + 3
    assert (await user.message(SMS, sms_to("+38631234567")))[0] == 2001
    timed.now = int(time.time()) - 3
    assert (await user.message(SMS, sms_to("+38631234567")))[0] == 2001
