"""The audit finds each way in which an account can be wrong. Accounts are made wrong in Redis, where the product never would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import msgpack
import pytest

from ocs.ledger.audit import audit
from ocs.ledger.redis_ledger import RedisLedger
from tests.conftest import RedisServer
from tests.ocs.ledger.books import EUR, MB, PACKAGE, WHEN, charge, empty_ledger, nodes, open_account, request, service

CREDIT, HELD, PAID_IN, SPENT, BUCKETS = 4, 5, 6, 7, 19
"""Places in the account document (scripts/document.lua)."""
BUCKET_LEFT, BUCKET_HELD = 22, 23


@pytest.fixture
async def ledger(redis_7: RedisServer) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_7.url) as ledger:
        yield ledger


async def account_with_a_session(ledger: RedisLedger) -> str:
    """5 MB reserved on the package, 60 s on credit."""
    account_id = await open_account(ledger, package=PACKAGE)
    await charge(
        ledger,
        request(account_id, "I", 0, service(want=5 * MB, buckets=("SMALL.data",)), service(want=MB, key="2")),
    )
    return account_id


def spoil(ledger: RedisLedger, account_id: str, change: Callable[[list[Any]], None]) -> None:
    key = ledger._keys.by_partition[int(account_id[:2])].account + account_id.encode()
    (client,) = nodes(ledger)
    with client:
        document = msgpack.unpackb(client.get(key))
        change(document)
        client.set(key, msgpack.packb(document))


def add(place: int, amount: int) -> Callable[[list[Any]], None]:
    def change(document: list[Any]) -> None:
        document[place] += amount

    return change


def put(*pairs: tuple[int, int]) -> Callable[[list[Any]], None]:
    def change(document: list[Any]) -> None:
        for place, value in pairs:
            document[place] = value

    return change


def drop_bucket(document: list[Any]) -> None:
    document[BUCKETS] = 0
    del document[BUCKETS + 1 : BUCKETS + 6]


async def test_a_sound_ledger(ledger: RedisLedger) -> None:
    account_id = await account_with_a_session(ledger)
    await open_account(ledger, 1)
    report = await audit(ledger, **WHEN)
    assert report.ok and report.violations == []
    assert (report.accounts, report.open_sessions) == (2, 1)
    assert report.totals == {
        "paid_in_micro_eur": 40 * EUR,
        "available_micro_eur": 37 * EUR - 6_900,
        "held_micro_eur": 6_900,
        "spent_micro_eur": 3 * EUR,
        "refunded_micro_eur": 0,
        "expired_micro_eur": 0,
    }
    found = await ledger.read(account_id, **WHEN)
    assert found is not None and found.buckets[0].held == 5 * MB


@pytest.mark.parametrize(
    ("change", "invariants", "words"),
    [
        (add(CREDIT, 1), {1}, "paid in 20000000 micro-EUR, explained 20000001"),
        (add(SPENT, -1), {1}, "explained 19999999"),
        (put((CREDIT, -5), (HELD, 0), (SPENT, 20 * EUR + 5)), {2, 3}, "credit is -5 micro-EUR"),
        (put((CREDIT, 6_000), (SPENT, 20 * EUR - 6_000)), {2}, "available is -900 micro-EUR"),
        (put((HELD, -1)), {2, 3}, "held is -1 micro-EUR"),
        (put((SPENT, -1), (CREDIT, 20 * EUR + 1)), {2}, "spent is -1 micro-EUR"),
        (add(HELD, 100), {3}, "7000 micro-EUR are held on credit, sessions reserve 6900"),
        (add(BUCKET_HELD, 1), {3}, "are held on bucket SMALL.data, sessions reserve another amount"),
        (put((BUCKET_LEFT, 4 * MB)), {2}, "bucket SMALL.data has 4194304, of which 5242880 are held"),
        (put((BUCKET_HELD, -1)), {2, 3}, "of which -1 are held"),
        (drop_bucket, {3}, "sessions reserve 5242880 on bucket SMALL.data, which the account does not have"),
    ],
)
async def test_each_violation_is_found(
    ledger: RedisLedger, change: Callable[[list[Any]], None], invariants: set[int], words: str
) -> None:
    account_id = await account_with_a_session(ledger)
    await open_account(ledger, 1)
    spoil(ledger, account_id, change)
    report = await audit(ledger, **WHEN)
    assert not report.ok
    assert {violation.account for violation in report.violations} == {account_id}
    assert {violation.invariant for violation in report.violations} == invariants
    assert any(words in violation.detail for violation in report.violations), report.violations


async def test_more_accounts_than_one_batch(ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocs.ledger.audit.BATCH", 7)
    for n in range(24):
        await open_account(ledger, n)
    assert (await audit(ledger, **WHEN)).accounts == 24
