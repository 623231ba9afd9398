"""The audit finds each kind of wrong account or pool, slice by slice; an unreadable account does not stop it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from ocs.ledger.audit import Violation, audit, audit_slice, pool_violations, violations
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import (
    AccountView,
    BucketView,
    CounterView,
    PoolHoldView,
    PoolView,
    ReservationView,
    SessionView,
)
from ocs.ledger.redis.ledger import RedisLedger
from tests.conftest import RedisServer
from tests.ocs.ledger.books import EUR, MB, PACKAGE, WHEN, charge, empty_ledger, nodes, open_account, request, service

DATA = BucketView("SMALL.data", "octets", 20 * MB, 5 * MB, 2_000_000_000, instance=1, subscription=1)
OLD = BucketView("SMALL.data", "octets", MB, MB, 1_795_000_000, instance=7, subscription=1)
LIMIT = CounterView("limit", "month", 3 * EUR, 6_900, 100 * EUR, 0)
FIRST = ReservationView("1", "data", 0, (("SMALL.data", 5 * MB),), (), ((4, 30),))
SECOND = ReservationView("2", "data", 6_900, (("SMALL.data", MB),), (("limit", 6_900),))
SESSION = SessionView("pgw;1", "pgw.example.net", "data", 0, 0, (FIRST, SECOND))
SOUND = AccountView(
    account_id="00-aa", msisdn="386", imsi="293", state="active", active_until=0,
    credit_micro_eur=17 * EUR, held_micro_eur=6_900, paid_in_micro_eur=21 * EUR, spent_micro_eur=3 * EUR,
    refunded_micro_eur=0,
    expired_micro_eur=EUR, spent_month_micro_eur=0, limit_micro_eur=None, bars=(), package="SMALL",
    package_pending=False,
    period_end=0, buckets=(DATA, OLD), sessions=(SESSION,), counters=(LIMIT,), pool="family",
)  # fmt: skip
POOL = PoolView(
    "family",
    (
        BucketView("POOL.data", "octets", 100, 40, 0, instance=4),
        BucketView("POOL.data", "octets", None, 0, 0, instance=5),
    ),
    (PoolHoldView("00-aa", 4, 30), PoolHoldView("00-bb", 4, 10)),
)
OTHER = replace(
    SOUND,
    account_id="00-bb",
    held_micro_eur=0,
    buckets=(DATA,),
    counters=(replace(LIMIT, held=0),),
    sessions=(replace(SESSION, reservations=(replace(FIRST, pool_units=((4, 7), (4, 3))),)),),
)


def test_a_sound_account_and_pool() -> None:
    assert list(violations(SOUND)) == []
    assert list(pool_violations(POOL, {"00-aa": SOUND, "00-bb": OTHER})) == []


def session(*reservations: ReservationView) -> dict[str, Any]:
    return {"sessions": (replace(SESSION, reservations=reservations),)}


@pytest.mark.parametrize(
    ("change", "invariants", "words"),
    [
        ({"credit_micro_eur": 17 * EUR + 1}, {1}, "paid in 21000000 micro-EUR, explained 21000001"),
        ({"spent_micro_eur": 3 * EUR - 1}, {1}, "explained 20999999"),
        ({"refunded_micro_eur": 1}, {1}, "explained 21000001"),
        (
            {"credit_micro_eur": -5, "held_micro_eur": 0, "spent_micro_eur": 20 * EUR + 5},
            {2, 3},
            "credit is -5 micro-EUR",
        ),
        ({"credit_micro_eur": 6_000, "spent_micro_eur": 20 * EUR - 6_000}, {2}, "available is -900 micro-EUR"),
        ({"held_micro_eur": -1}, {2, 3}, "held is -1 micro-EUR"),
        ({"spent_micro_eur": -1, "credit_micro_eur": 20 * EUR + 1}, {2}, "spent is -1 micro-EUR"),
        ({"held_micro_eur": 7_000}, {3}, "7000 micro-EUR are held on credit, sessions reserve 6900"),
        (
            {"buckets": (replace(DATA, held=5 * MB + 1), OLD)},
            {3},
            "6291457 are held on bucket SMALL.data, sessions reserve 6291456",
        ),
        (
            {"buckets": (replace(DATA, left=4 * MB), OLD)},
            {2},
            "bucket SMALL.data (instance 1) has 4194304, of which 5242880",
        ),
        (
            {"buckets": (DATA, replace(OLD, held=-1))},
            {2, 3},
            "bucket SMALL.data (instance 7) has 1048576, of which -1 are held",
        ),
        ({"buckets": (DATA, replace(OLD, instance=1))}, {2}, "there is another one of this instance"),
        ({"buckets": ()}, {3}, "sessions reserve 6291456 on bucket SMALL.data, which the account does not have"),
        ({"counters": (replace(LIMIT, held=0),)}, {3}, "0 are held on counter limit, sessions reserve 6900"),
        ({"counters": (replace(LIMIT, held=-1),)}, {2, 3}, "counter limit holds -1"),
        ({"counters": ()}, {3}, "sessions reserve 6900 on counter limit, which the account does not have"),
        (session(FIRST, SECOND, replace(SECOND, held_micro_eur=0, held_units=())), {3}, "sessions reserve 13800"),
        ({"sessions": ()}, {3}, "sessions reserve 0"),
    ],
)
def test_each_violation_is_found(change: dict[str, Any], invariants: set[int], words: str) -> None:
    found = list(violations(replace(SOUND, **change)))
    assert {violation.account for violation in found} == {"00-aa"}
    assert {violation.invariant for violation in found} == invariants
    assert any(words in violation.detail for violation in found), found


@pytest.mark.parametrize(
    ("pool", "member", "words"),
    [
        (replace(POOL, holds=POOL.holds[:1]), SOUND, "40 are held on bucket POOL.data (instance 4), accounts hold 30"),
        (
            replace(POOL, buckets=POOL.buckets[1:]),
            SOUND,
            "accounts hold 40 on instance 4, which the pool does not have",
        ),
        (replace(POOL, buckets=(replace(POOL.buckets[0], left=39),)), SOUND, "has 39, of which 40 are held"),
        (
            POOL,
            replace(SOUND, sessions=()),
            "it holds {4: 30} in pool family (instance: units), its sessions reserve {}",
        ),
        (POOL, replace(SOUND, pool=""), "its sessions reserve {}"),
        (POOL, None, "its sessions reserve {}"),
        (
            POOL,
            replace(SOUND, **session(replace(FIRST, pool_units=((4, 30), (5, 1))))),
            "its sessions reserve {4: 30, 5: 1}",
        ),
    ],
)
def test_a_pool_and_its_members_disagree(pool: PoolView, member: AccountView | None, words: str) -> None:
    members = {"00-aa": member, "00-bb": OTHER} if len(pool.holds) == 2 else {"00-aa": member}
    found = list(pool_violations(pool, members))
    assert any(words in violation.detail for violation in found), found
    assert all(violation.invariant in (2, 3) for violation in found)


class Books:
    """A ledger that consists of views; an exception in place of a view is raised. `busy` moves the pool during the
    audit.
    """

    partitions = 2

    def __init__(self, *views: AccountView | LedgerError, pool: PoolView | None = POOL, busy: bool = False) -> None:
        self.views = {f"00-{'abcdefgh'[n] * 2}": view for n, view in enumerate(views)}
        self.pool, self.busy = pool, busy

    async def account_slice(self, partition: int, cursor: int, count: int) -> tuple[dict[str, bytes], int]:
        names = [*self.views, *self.views][cursor : cursor + count] if not partition else []  # each twice, as HSCAN may
        return dict.fromkeys(names, b"m386"), cursor + count if len(names) == count else 0

    async def is_lost(self, account_id: str, partition: int, entry: bytes) -> bool:
        return False

    async def read(self, account_id: str, *, now: int, month: int, day: int = 0) -> AccountView | None:
        view = self.views.get(account_id)
        if isinstance(view, LedgerError):
            raise view
        return view

    async def read_pool(self, account_id: str, pool_id: str) -> PoolView | None:
        if self.busy and self.pool is not None:
            left = self.pool.buckets[0].left
            assert left is not None
            self.pool = replace(self.pool, buckets=(replace(self.pool.buckets[0], left=left - 1),))
        return self.pool


async def test_all_slices_are_audited_once() -> None:
    report = await audit(Books(SOUND, OTHER), **WHEN)
    assert report.ok and (report.accounts, report.open_sessions) == (2, 2)
    assert report.totals["paid_in_micro_eur"] == 42 * EUR == sum(report.totals.values()) / 2


async def test_pools_are_audited_with_their_members() -> None:
    report = await audit(Books(SOUND, replace(OTHER, sessions=(), buckets=())), **WHEN)
    assert "it holds {4: 10} in pool family" in str(report.violations)
    missing = await audit(Books(SOUND, pool=None), **WHEN)
    assert Violation("00-aa", 3, "its pool family does not exist") in missing.violations
    moving = await audit(Books(SOUND, pool=replace(POOL, holds=()), busy=True), **WHEN)
    assert moving.ok, "nothing is said of a pool that moves while it is looked at"


async def test_an_unreadable_account_is_named_and_the_others_are_audited() -> None:
    error = LedgerError("unreadable", "the document is damaged")
    report = await audit(Books(replace(SOUND, pool=""), error, replace(OTHER, pool="")), **WHEN)
    assert report.accounts == 2
    assert report.violations == [Violation("00-bb", 1, "it cannot be read: the document is damaged")]


# -- on a real ledger


@pytest.fixture
async def ledger(redis_7: RedisServer) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_7.url) as ledger:
        yield ledger


async def test_a_sound_ledger(ledger: RedisLedger) -> None:
    """5 MB are reserved from the package, 60 s from credit."""
    account_id = await open_account(ledger, package=PACKAGE)
    await charge(
        ledger,
        request(account_id, "I", 0, service(want=5 * MB, buckets=("SMALL.data",)), service(want=MB, key="2")),
    )
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
        "separate_micro_eur": 0,
        "in_transit_micro_eur": 0,
    }
    found = await ledger.read(account_id, **WHEN)
    assert found is not None and found.buckets[0].held == 5 * MB


@pytest.mark.parametrize("left", [None, ""])
@pytest.mark.parametrize("ended", [False, True])
async def test_an_account_without_its_document_is_a_violation_of_the_audit(
    ledger: RedisLedger, left: str | None, ended: bool
) -> None:
    account_id = await open_account(ledger)
    await open_account(ledger, 1)
    if ended:
        await ledger.terminate_account(account_id, **WHEN)
    (client,) = nodes(ledger)
    with client:
        (key,) = client.keys(f"*:a:{account_id}")
        if left is None:
            client.delete(key)
        else:
            client.set(key, left)
    report = await audit(ledger, **WHEN)
    assert (report.ok, report.accounts) == (False, 1)
    assert report.violations == [Violation(account_id, "document", "the index names it, but it has no document")]


async def test_an_account_in_the_middle_of_its_opening_is_no_violation(ledger: RedisLedger) -> None:
    (client,) = nodes(ledger)
    with client:
        for partition, keys in enumerate(ledger._keys.by_partition):
            claim = f"?{partition:02d}-0123456789abcdef {WHEN['now']}"
            client.hset(keys.subscribers, mapping={f"i29340{partition}": claim, f"m38668{partition}": claim})
    report = await audit(ledger, **WHEN)
    assert report.ok and report.accounts == 0


@pytest.mark.parametrize("word", ["move_in", "flip", "leave"])
async def test_an_account_in_the_middle_of_a_move_is_no_violation(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """The move is interrupted before each step. The old id has its document, or a pointer to the new id. The index
    names the new id only after its document is written.
    """
    account_id = await open_account(ledger)
    partition = (int(account_id.partition("-")[0]) + 1) % ledger.partitions
    run, flip = ledger._run_script, ledger._switch_index

    async def broken_off(name: str, account: str, q: dict[str, Any], *keys: Any) -> Any:
        if word in (name, q.get("what")):
            raise ConnectionError(word)
        return await run(name, account, q, *keys)

    async def no_flip(*_: Any) -> None:
        raise ConnectionError("flip")

    monkeypatch.setattr(ledger, "_run_script", broken_off)
    monkeypatch.setattr(ledger, "_switch_index", no_flip if word == "flip" else flip)
    with pytest.raises(ConnectionError):
        await ledger.move_account(account_id, partition=partition, **WHEN)
    assert (await audit(ledger, **WHEN)).ok
    monkeypatch.undo()
    await ledger.move_account(account_id, partition=partition, **WHEN)
    report = await audit(ledger, **WHEN)
    assert report.ok and report.accounts == 1


async def test_an_account_whose_index_entry_changes_during_the_audit_is_no_violation(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slice names the old id. When it is read, the move has ended and the old document has expired."""
    account_id = await open_account(ledger)
    partition = (int(account_id.partition("-")[0]) + 1) % ledger.partitions
    read = ledger.read

    async def late_read(asked: str, **when: int) -> AccountView | None:
        if asked == account_id:
            await ledger.move_account(account_id, partition=partition, **WHEN)
            (client,) = nodes(ledger)
            with client:
                client.delete(*client.keys(f"*:a:{account_id}"))
        return await read(asked, **when)

    monkeypatch.setattr(ledger, "read", late_read)
    assert (await audit(ledger, **WHEN)).ok


async def test_more_accounts_than_one_slice(ledger: RedisLedger) -> None:
    """Enough accounts for a hash that HSCAN returns in several parts."""
    opened = {await open_account(ledger, n) for n in range(1_100)}
    seen, slices = set[str](), 0
    for partition in range(ledger.partitions):
        cursor = 0
        while True:
            _, cursor = await audit_slice(
                ledger, partition, cursor, count=20, unreadable=_never, skips=seen.__contains__, seen=seen, **WHEN
            )
            slices += 1
            if not cursor:
                break
    assert seen == opened and slices > 3 * ledger.partitions
    assert (await audit(ledger, **WHEN)).accounts == 1_100


def _never(account_id: str, error: LedgerError) -> None:
    raise AssertionError(account_id)


def test_a_promotional_part_beyond_the_credit_is_a_violation() -> None:
    for promotional, name in ((-1, "promotional"), (6, "refundable")):
        view = AccountView(
            *("00-1", "38668100000", "293400000000000", "active", 0, 5, 0, 5, 0, 0, 0, 0, None, (), "", False, 0),
            promotional_micro_eur=promotional,
        )
        assert [(each.invariant, each.detail) for each in violations(view)] == [(2, f"{name} is -1 micro-EUR")]
