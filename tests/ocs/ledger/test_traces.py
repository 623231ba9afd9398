"""The list of traced subscribers, and what is published of them, on each kind of Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.contract.traces import MAX_TRACED, Traced
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.rung import Rung, RungService
from tests.ocs.ledger.books import NOW, empty_ledger
from tests.waiting import PATIENCE_S

ACCOUNT = "01-00000000000000aa"
TRACED = Traced("t0", ACCOUNT, "38668100000", "293400000000000", NOW + 600, "cli:anna")
RUNG = Rung(1.5, "CCR-U", "pgw;1;1", 3, services=(RungService("10", used=7),), credit_micro_eur=5)


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_url) as ledger:
        yield ledger


async def test_traces_end_by_request_and_by_time(ledger: RedisLedger) -> None:
    later = replace(TRACED, id="t1", until=NOW + 900)
    assert await ledger.begin_trace(TRACED, now=NOW) and await ledger.begin_trace(later, now=NOW)
    assert sorted(await ledger.traced(now=NOW), key=lambda each: each.id) == [TRACED, later]
    assert await ledger.traced(now=NOW + 600) == [later]
    await ledger.end_trace("t1")
    assert await ledger.traced(now=NOW) == [TRACED]


async def test_only_so_many_are_traced_at_a_time(ledger: RedisLedger) -> None:
    for number in range(MAX_TRACED):
        assert await ledger.begin_trace(replace(TRACED, id=f"t{number}"), now=NOW)
    assert not await ledger.begin_trace(replace(TRACED, id="more"), now=NOW)
    await ledger.end_trace("t3")
    assert await ledger.begin_trace(replace(TRACED, id="more"), now=NOW)
    # Traces whose time is over make room, whoever forgot to end them.
    assert await ledger.begin_trace(replace(TRACED, id="next", until=NOW + 1_000), now=NOW + 600)
    assert [each.id for each in await ledger.traced(now=NOW + 600)] == ["next"]


async def test_what_is_published_arrives_for_its_account_only(ledger: RedisLedger) -> None:
    """Also after the account has moved to another partition; and RAR and ASR of the account."""
    subscribed = asyncio.Event()
    found: list[Rung | Notice] = []

    async def take() -> None:
        async for each in ledger.rungs(ACCOUNT, subscribed.set, lambda why: None):
            found.append(each)
            if len(found) == 3:
                return

    taking = asyncio.create_task(take())
    await asyncio.wait_for(subscribed.wait(), PATIENCE_S)
    session = NoticedSession("pgw;1;1", "pgw", "realm", "", "data")
    await ledger.announce(Notice("reauthorize", "topup", 1.0, "01-00000000000000bb", (session,)))
    notice = Notice("reauthorize", "topup", 1.0, ACCOUNT, (session,))
    await ledger.announce(notice)
    ledger.publish_rung("01-00000000000000bb", replace(RUNG, number=4))
    ledger.publish_rung(ACCOUNT, RUNG)
    ledger.publish_rung(f"02-{ACCOUNT.partition('-')[2]}", RUNG)
    await asyncio.wait_for(taking, PATIENCE_S)
    assert notice in found and found.count(RUNG) == 2
    assert await ledger.announce_traces() >= 0


def test_a_rung_survives_its_encoding() -> None:
    assert Rung.decode(RUNG.encode()) == RUNG
    for damaged in (b"", b"[]", b"{}", b'{"services": [1]}', b'{"services": [], "unheard_of": 1}'):
        with pytest.raises(ValueError):
            Rung.decode(damaged)
