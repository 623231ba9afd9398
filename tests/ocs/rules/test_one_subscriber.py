"""A number and a SIM belong to one account at a time (HOT-ACC-6: they are free again when it has ended)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.conftest import RedisServer
from tests.ocs.rules.world import EUR, World

MSISDN, IMSI = 38640000000, 293400000500000
REFUSED = ("exists", "opening")


def _opening(ledger: RedisLedger, world: World, msisdn: int, imsi: int, entropy: int) -> Any:
    who = {"msisdn": str(msisdn), "imsi": str(imsi)}
    return ledger.open_account(**who, credit_micro_eur=EUR, package=None, entropy=entropy, **world.when)


@pytest.mark.parametrize("twice", ["imsi", "msisdn", "both"])
async def test_one_of_two_concurrent_openings_succeeds(world: World, redis_7: RedisServer, twice: str) -> None:
    """Two clerks open accounts in two processes. 30 attempts, so that their steps interleave in different ways."""
    settings = LedgerSettings(partitions=world.ledger.partitions, max_clock_skew_s=0)
    other = await RedisLedger.connect(redis_7.url, settings)
    try:
        for n in range(0, 60, 2):
            numbers = (MSISDN + n, MSISDN + n + (twice == "imsi"))
            sims = (IMSI + n, IMSI + n + (twice == "msisdn"))
            results = await asyncio.gather(
                _opening(world.ledger, world, numbers[0], sims[0], 1000 + n),
                _opening(other, world, numbers[1], sims[1], 1001 + n),
                return_exceptions=True,
            )
            opened = [result for result in results if isinstance(result, str)]
            refused = [result for result in results if isinstance(result, LedgerError)]
            assert (len(opened), len(refused)) == (1, 1), results
            assert refused[0].code in REFUSED
            winner = results.index(opened[0])
            view = await world.ledger.read(opened[0], **world.when)
            assert view is not None
            assert (view.msisdn, view.imsi) == (str(numbers[winner]), str(sims[winner]))
            for identity in (f"m{numbers[winner]}", f"i{sims[winner]}"):
                assert await world.ledger.find_subscriber(identity) == opened[0]
            # A number or IMSI of the refused opening alone is free.
            for identity, free in (
                (f"m{numbers[1 - winner]}", twice == "imsi"),
                (f"i{sims[1 - winner]}", twice == "msisdn"),
            ):
                if free:
                    assert await world.ledger.find_subscriber(identity) is None
        assert await world.ledger.count_accounts() == 30
    finally:
        await other.close()


class Slow(RedisLedger):
    """A process that pauses after it has claimed the IMSI, until the test lets it continue."""

    claimed: asyncio.Event
    may_go_on: asyncio.Event

    async def _script(self, script: str, *args: Any, **more: Any) -> Any:  # type: ignore[override]
        if script == "open":
            self.claimed.set()
            await self.may_go_on.wait()
        return await super()._script(script, *args, **more)


@pytest.fixture
async def slow(world: World, redis_7: RedisServer) -> AsyncIterator[Slow]:
    ledger = await Slow.connect(redis_7.url, LedgerSettings(partitions=world.ledger.partitions, max_clock_skew_s=0))
    ledger.claimed, ledger.may_go_on = asyncio.Event(), asyncio.Event()
    yield ledger
    await ledger.close()


async def test_a_paused_opening_keeps_its_claim(world: World, slow: Slow) -> None:
    """Without the claim, both would have found the SIM free."""
    first = asyncio.ensure_future(_opening(slow, world, MSISDN, IMSI, 1))
    await slow.claimed.wait()
    with pytest.raises(LedgerError) as refused:
        await _opening(world.ledger, world, MSISDN + 1, IMSI, 2)
    assert refused.value.code in REFUSED
    slow.may_go_on.set()
    account_id = await first
    assert await world.ledger.find_subscriber(f"i{IMSI}") == account_id
    assert await world.ledger.find_subscriber(f"m{MSISDN + 1}") is None
    assert await world.ledger.count_accounts() == 1


async def test_the_claim_of_a_dead_process_expires(world: World, slow: Slow) -> None:
    """If the process continues after that, its opening is refused."""
    first = asyncio.ensure_future(_opening(slow, world, MSISDN, IMSI, 1))
    await slow.claimed.wait()
    world.now += 3600
    account_id = await _opening(world.ledger, world, MSISDN + 1, IMSI, 2)
    slow.may_go_on.set()
    with pytest.raises(LedgerError):
        await first
    assert await world.ledger.find_subscriber(f"i{IMSI}") == account_id
    live = [await world.ledger.read(each, **world.when) async for each in world.ledger.account_ids()]
    assert [view.account_id for view in live if view is not None and view.state != "terminated"] == [account_id]
    again = await _opening(world.ledger, world, MSISDN, IMSI + 1, 3)
    assert await world.ledger.find_subscriber(f"m{MSISDN}") == again, "his number is free"
