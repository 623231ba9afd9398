"""A number and a SIM are of one account at a time (HOT-ACC-6: they are free again when it has ended)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ocs.ledger.contract import LedgerError
from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.conftest import RedisServer
from tests.ocs.rules.world import EUR, World

MSISDN, IMSI = 38640000000, 293400000500000


def _opening(ledger: RedisLedger, world: World, msisdn: int, imsi: int, entropy: int) -> Any:
    who = {"msisdn": str(msisdn), "imsi": str(imsi)}
    return ledger.open_account(**who, credit_micro_eur=EUR, package=None, entropy=entropy, **world.when)


@pytest.mark.parametrize("twice", ["imsi", "msisdn", "both"])
async def test_of_two_openings_at_once_one_succeeds(world: World, redis_7: RedisServer, twice: str) -> None:
    """By two members of staff, each with a process of their own; whichever way the openings run into each other."""
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
            assert refused[0].code == "exists"
            winner = results.index(opened[0])
            view = await world.ledger.read(opened[0], **world.when)
            assert view is not None
            assert (view.msisdn, view.imsi) == (str(numbers[winner]), str(sims[winner]))
            for identity in (f"m{numbers[winner]}", f"i{sims[winner]}"):
                assert await world.ledger.find_subscriber(identity) == opened[0]
            # What only the refused one named is nobody's, and can be given to somebody.
            for identity, free in (
                (f"m{numbers[1 - winner]}", twice == "imsi"),
                (f"i{sims[1 - winner]}", twice == "msisdn"),
            ):
                if free:
                    assert await world.ledger.find_subscriber(identity) is None
        assert await world.ledger.count_accounts() == 30
    finally:
        await other.close()
