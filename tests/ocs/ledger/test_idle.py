"""Idle buckets and counters (scripts/idle.lua) are packed, charged when a request names them, and seen in views."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from ocs.ledger.layout import LAYOUT
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.products import AtLimit, BucketTerms, CounterTerms, Measure, PackageTerms, Window
from tests.conftest import RedisServer
from tests.ocs.ledger.books import MB, SMS, WHEN, charge, empty_ledger, open_account, request, service

ABROAD = CounterTerms("abroad", Window.PERIOD, Measure.BUCKET_UNITS, MB, (80,), at_limit=AtLimit.PRICE)
TARIFF = PackageTerms(
    "T",
    1_000_000,
    5_000,
    (BucketTerms("T.data", "octets", 90 * MB), BucketTerms("T.sms", "messages", 50)),
    counters=(ABROAD,),
    shared=True,
)
DATA_BUCKETS, SMS_BUCKETS = ("T.data",), ("T.sms",)


async def stored(ledger: RedisLedger, kind: str, account_id: str) -> dict[str, Any]:
    """A document as it is stored, its parts by field names."""
    keys, partition = ledger._account_keys(account_id), ledger._keys.partition_of_account(account_id)
    key = keys.pool + b"family" if kind == "pool" else keys.account + account_id.encode()
    document = await ledger._ask("test", partition, b"GET", key)
    return LAYOUT.read(kind, msgpack.unpackb(document, strict_map_key=False, unicode_errors="surrogateescape"))


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


async def opened(ledger: RedisLedger, sid: str, account_id: str, **more: Any) -> None:
    outcome = await charge(ledger, request(account_id, "I", 0, service(want=2 * MB, **more), sid=sid))
    assert (outcome.code, outcome.services[0].granted) == (2001, 2 * MB)


async def two_of_a_pool(ledger: RedisLedger) -> tuple[str, str]:
    """The first has the tariff whose units are in the pool."""
    one = await open_account(ledger)
    partition = ledger._keys.partition_of_account(one)
    other = await ledger.move_account(await open_account(ledger, 1), partition=partition, **WHEN)
    await ledger.open_pool(one, "family", now=WHEN["now"])
    for member in (one, other):
        await ledger.join_pool(member, "family", **WHEN)
    await ledger.subscribe(one, product=TARIFF, reference="t", **WHEN)
    return one, other


async def test_what_no_session_names_is_packed_and_still_seen(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        account_id = await open_account(ledger, package=TARIFF)
        account = await stored(ledger, "account", account_id)
        if account["idle"] is None:  # opened with all awake: the first operation puts them to sleep
            await ledger.set_bars(account_id, bars=[], **WHEN)
            account = await stored(ledger, "account", account_id)
        assert (account["buckets"], account["counters"]) == ([], [])
        assert account["idle_ids"] == ",T.data,T.sms,abroad,limit,"

        await opened(ledger, "pgw;1", account_id, buckets=DATA_BUCKETS)
        account = await stored(ledger, "account", account_id)
        assert (ids(account["buckets"]), ids(account["counters"])) == (["T.data"], ["limit"])
        assert (ids(account["idle"]["buckets"]), ids(account["idle"]["counters"])) == (["T.sms"], ["abroad"])
        view = await ledger.read(account_id, **WHEN)
        assert view is not None
        assert [(each.id, each.held) for each in view.buckets] == [("T.data", 2 * MB), ("T.sms", 0)]
        assert [each.id for each in view.counters] == ["abroad", "limit"]


async def test_a_request_is_paid_by_what_was_idle(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        account_id = await open_account(ledger, package=TARIFF)
        await opened(ledger, "pgw;1", account_id, buckets=DATA_BUCKETS)
        sms = service(want=3, price=SMS, buckets=SMS_BUCKETS, counters=(ABROAD,))
        paid = await charge(ledger, request(account_id, "E", 0, sms, sid="smsc;1"))
        assert (paid.code, paid.services[0].debited_units, paid.services[0].debited_micro_eur) == (2001, 3, 0)
        view = await ledger.read(account_id, **WHEN)
        assert view is not None
        assert {each.id: each.left for each in view.buckets} == {"T.data": 90 * MB, "T.sms": 47}
        assert {each.id: each.value for each in view.counters} == {"abroad": 3, "limit": 0}
        # The data session goes on with what it named before.
        update = await charge(
            ledger, request(account_id, "U", 1, service(used=MB, want=MB, buckets=DATA_BUCKETS), sid="pgw;1")
        )
        assert (update.services[0].debited_units, update.services[0].granted) == (MB, MB)


@pytest.mark.parametrize("late", [False, True])
async def test_a_member_of_a_pool_uses_what_another_member_put_to_sleep(redis_7: RedisServer, late: bool) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        one, other = await two_of_a_pool(ledger)
        await opened(ledger, "pgw;1", other, buckets=DATA_BUCKETS)
        if late:
            await ledger.release_session(other, "pgw;1", reason="lost", **WHEN)
        else:
            assert (await charge(ledger, request(other, "U", 1, service(used=0), sid="pgw;1"))).code == 2001
        await ledger.top_up(one, amount_micro_eur=1_000_000, reference="r", **WHEN)
        asleep = await stored(ledger, "pool", one)
        assert asleep["idle_ids"] == ",T.data,T.sms," and asleep["buckets"] == []
        used = await charge(ledger, request(other, "T", 2, service(used=MB, buckets=DATA_BUCKETS), sid="pgw;1"))
        assert (used.code, used.services[0].debited_units, used.services[0].debited_micro_eur) == (2001, MB, 0)
        pool = await ledger.read_pool(one, "family")
        assert pool is not None and [each.left for each in pool.buckets] == [89 * MB, 50]


async def test_idle_units_of_a_pool_end_with_their_period(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        one, other = await two_of_a_pool(ledger)
        await ledger.top_up(one, amount_micro_eur=1_000_000, reference="r", **WHEN)
        assert (await stored(ledger, "pool", one))["idle_ends"] == WHEN["now"] + TARIFF.period_s
        later = {**WHEN, "now": WHEN["now"] + TARIFF.period_s}
        asked = request(other, "I", 0, service(want=MB), sid="pgw;1", deadline=later["now"] + 60, **later)
        assert (await charge(ledger, asked)).code == 2001
        pool = await ledger.read_pool(one, "family")
        assert pool is not None and {each.starts_at for each in pool.buckets} == {later["now"]}, "the owner's next"


async def test_a_limit_that_was_lowered_is_told_at_once_and_its_counter_sleeps(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        account_id = await open_account(ledger, package=TARIFF)
        sms = service(want=3, price=SMS, buckets=(), counters=(ABROAD,))
        assert (await charge(ledger, request(account_id, "E", 0, sms, sid="smsc;1"))).code == 2001
        await ledger.set_limit(account_id, limit_micro_eur=0, counter="abroad", **WHEN)
        assert "abroad" in (await stored(ledger, "account", account_id))["idle_ids"]
        view = await ledger.read(account_id, **WHEN)
        assert view is not None and {each.id: each.told for each in view.counters}["abroad"] == 80
