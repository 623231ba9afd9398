"""The ledger's operations on each kind of Redis: Redis 7, Redis 6.2, a cluster of three masters. Contract:
ocs/ledger/contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocs.catalogue.price import compile_price
from ocs.ledger.audit import audit
from ocs.ledger.contract.charging import ChargeOutcome
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.limits import ANSWERS_KEPT_PER_SESSION, MAX_SERVICES_PER_SESSION, MAX_SESSIONS_PER_ACCOUNT
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.actor import ACTOR
from ocs.values.exact import MAX_INTEGER
from ocs.values.products import DEFAULT_LIMIT_MICRO_EUR
from ocs.values.requests import Action
from ocs.values.use import Unit
from tests.ocs.ledger.books import (
    DATA,
    EUR,
    IMSI,
    MB,
    MONTH,
    MSISDN,
    NOW,
    PACKAGE,
    SMS,
    VOICE,
    WHEN,
    charge,
    empty_ledger,
    journal,
    keys_of,
    open_account,
    outbox_read,
    request,
    service,
)
from tests.rules import rule
from tests.waiting import PATIENCE_S

UNKNOWN = "01-00000000000000ff"
PACKAGES = [PACKAGE]


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_url) as ledger:
        yield ledger


async def view(ledger: RedisLedger, account_id: str, now: int = NOW, month: int = MONTH) -> AccountView:
    found = await ledger.read(account_id, now=now, month=month)
    assert found is not None
    return found


async def refused(code: str, work: Any) -> None:
    with pytest.raises(LedgerError) as error:
        await work
    assert error.value.code == code


def top_up(ledger: RedisLedger, account_id: str, amount: int, reference: str, **more: Any) -> Any:
    rest = {**WHEN, **more}
    return ledger.top_up(account_id, amount_micro_eur=amount, reference=reference, **rest)


async def spend(ledger: RedisLedger, account_id: str) -> None:
    """Spends more than 5 EUR."""
    paid = await charge(ledger, request(account_id, "E", 0, service(want=100, price=SMS), sid="spent"))
    assert paid.code == 2001


# -- opening


async def test_open_account(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=10 * EUR, package=PACKAGE)
    found = await view(ledger, account_id)
    assert (found.state, found.msisdn, found.imsi) == ("active", MSISDN, IMSI)
    assert (found.credit_micro_eur, found.paid_in_micro_eur, found.spent_micro_eur) == (7 * EUR, 10 * EUR, 3 * EUR)
    assert (found.package, found.package_pending, found.period_end) == ("SMALL", False, NOW + 5_000)
    assert found.limit_micro_eur == DEFAULT_LIMIT_MICRO_EUR and found.spent_month_micro_eur == 0
    assert [(b.id, b.left, b.held) for b in found.buckets] == [("SMALL.data", 20 * MB, 0)]
    assert await ledger.find_subscriber("m" + MSISDN) == account_id
    assert await ledger.find_subscriber("i" + IMSI) == account_id
    assert await ledger.find_subscriber("m38699") is None
    assert MSISDN not in account_id and IMSI not in account_id
    assert [event["k"] for event in await journal(ledger)] == ["opened", "package"]
    assert await ledger.count_accounts() == 1


async def test_a_refused_opening_changes_nothing(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    assert await open_account(ledger) == account_id, "the same opening again is no second account"
    await refused("exists", open_account(ledger, entropy=99))
    # The MSISDN is taken; the IMSI of the refused opening stays free.
    fresh = {"imsi": "293409999999999", "credit_micro_eur": 0, "package": None, "entropy": 7, **WHEN}
    await refused("exists", ledger.open_account(msisdn=MSISDN, **fresh))
    assert await ledger.find_subscriber("i293409999999999") is None
    # The IMSI is taken.
    await refused("exists", ledger.open_account(msisdn="38668199999", **{**fresh, "imsi": IMSI}))
    assert await ledger.find_subscriber("m38668199999") is None
    assert await ledger.find_subscriber("i" + IMSI) == account_id
    # HOT-ACC-7 bounds the opening credit too; amounts must be exact in Redis.
    await refused("ceiling", open_account(ledger, 1, credit=200 * EUR + 1))
    await refused("range", open_account(ledger, 1, credit=-1))
    await refused("range", open_account(ledger, 1, credit=MAX_INTEGER + 1))
    assert await ledger.find_subscriber("i" + str(int(IMSI) + 1)) is None
    assert await ledger.count_accounts() == 1
    await open_account(ledger, 1, credit=200 * EUR)


async def test_an_imsi_claimed_by_an_unfinished_opening_is_free(ledger: RedisLedger) -> None:
    """After a crash between claim and opening, the next opening takes over the IMSI."""
    await ledger._claim("i" + IMSI, UNKNOWN, NOW - 61)
    assert await ledger.find_subscriber("i" + IMSI) == UNKNOWN
    account_id = await open_account(ledger)
    assert await ledger.find_subscriber("i" + IMSI) == account_id


# -- money in


async def test_top_up_once_per_reference(ledger: RedisLedger) -> None:
    account_id, other = await open_account(ledger), await open_account(ledger, 1)
    assert await top_up(ledger, account_id, 5 * EUR, "voucher-1") is True
    assert await top_up(ledger, account_id, 5 * EUR, "voucher-1") is False
    assert (await view(ledger, account_id)).credit_micro_eur == 25 * EUR
    await refused("reference", top_up(ledger, account_id, 6 * EUR, "voucher-1"))
    await refused("reference", top_up(ledger, other, 5 * EUR, "voucher-1"))
    assert (await view(ledger, other)).credit_micro_eur == 20 * EUR
    assert [e["ref"] for e in await journal(ledger) if e["k"] == "topup"] == ["voucher-1"]


async def test_a_reference_is_that_of_one_kind_of_credit(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ledger.set_separate(account_id, is_open=True, **WHEN)
    kinds = {"a": {}, "b": {"promotional": True}, "c": {"separate": True}}
    for reference, terms in kinds.items():
        assert await top_up(ledger, account_id, EUR, reference, **terms) is True
        assert await top_up(ledger, account_id, EUR, reference, **terms) is False
        for other in kinds.values():
            if other != terms:
                await refused("reference", top_up(ledger, account_id, EUR, reference, **other))
    uid = account_id.partition("-")[2]
    found = [await ledger.top_up_of(reference, month=MONTH) for reference in kinds]
    assert found == [(uid, EUR), ("", 0), ("", 0)]


async def test_a_refused_top_up_leaves_its_reference_free(ledger: RedisLedger) -> None:
    account_id, other = await open_account(ledger), await open_account(ledger, 1)
    await refused("ceiling", top_up(ledger, account_id, 500 * EUR, "y1"))
    assert await top_up(ledger, account_id, 5 * EUR, "y1") is True
    await refused("reference", top_up(ledger, account_id, 500 * EUR, "y1"))
    await refused("unknown", top_up(ledger, UNKNOWN, EUR, "y2"))
    await refused("ceiling", top_up(ledger, account_id, 500 * EUR, "y2"))
    assert await top_up(ledger, other, EUR, "y2") is True
    await ledger.terminate_account(other, **WHEN)
    await refused("state", top_up(ledger, other, EUR, "y3"))
    assert await top_up(ledger, account_id, EUR, "y3") is True
    assert await top_up(ledger, other, EUR, "y2") is False, "what was applied stays so"
    await refused("reference", top_up(ledger, account_id, EUR, "y2"))
    assert (await view(ledger, account_id)).credit_micro_eur == 26 * EUR


class Held:
    """A ledger whose next top-up waits between claiming its reference and changing the account."""

    def __init__(self, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits, self.may_go_on = asyncio.Event(), asyncio.Event()
        script = ledger._script

        async def held(name: str, *arguments: Any, **more: Any) -> bytes:
            if name == "top_up" and not self.waits.is_set():
                self.waits.set()
                await self.may_go_on.wait()
            return await script(name, *arguments, **more)

        monkeypatch.setattr(ledger, "_script", held)


@pytest.mark.parametrize("first", ["applied", "refused"])
async def test_a_reference_is_free_only_after_all_concurrent_top_ups_were_refused(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The first refusal does not free the reference, since another top-up may still be applied."""
    account_id, other = await open_account(ledger, credit=200 * EUR), await open_account(ledger, 1)
    held = Held(ledger, monkeypatch)
    slow = asyncio.create_task(top_up(ledger, account_id, 5 * EUR, "y"))
    await held.waits.wait()
    await refused("ceiling", top_up(ledger, account_id, 5 * EUR, "y"))
    await refused("reference", top_up(ledger, other, 5 * EUR, "y"))
    if first == "applied":
        await spend(ledger, account_id)
    held.may_go_on.set()
    if first == "applied":
        assert await slow is True
        await refused("reference", top_up(ledger, other, 5 * EUR, "y"))
        await refused("reference", top_up(ledger, account_id, 6 * EUR, "y"))
        assert await top_up(ledger, account_id, 5 * EUR, "y") is False
    else:
        await refused("ceiling", slow)
        assert await top_up(ledger, other, 5 * EUR, "y") is True
    credited = [event["credit_in"] for event in await journal(ledger) if event["k"] == "topup"]
    assert credited == [5 * EUR]


async def test_concurrent_top_ups_with_one_reference_credit_once(ledger: RedisLedger) -> None:
    full, other = await open_account(ledger, credit=200 * EUR), await open_account(ledger, 1)
    for n in range(30):
        calls = [top_up(ledger, account_id, EUR, f"r{n}") for account_id in (full, full, other, full, other)]
        await asyncio.gather(*calls, return_exceptions=True)
        with contextlib.suppress(LedgerError):
            await top_up(ledger, other, EUR, f"r{n}")
    applied = [event["ref"] for event in await journal(ledger) if event["k"] == "topup"]
    assert sorted(applied) == sorted(f"r{n}" for n in range(30))


async def test_the_reference_stays_if_the_result_is_unknown(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id, other = await open_account(ledger, credit=200 * EUR), await open_account(ledger, 1)

    async def gone(*arguments: Any, **more: Any) -> bytes:
        raise LedgerUnavailable("cut")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_script", gone)
        with pytest.raises(LedgerUnavailable):
            await top_up(ledger, account_id, 5 * EUR, "y")
    await refused("ceiling", top_up(ledger, account_id, 5 * EUR, "y"))
    await refused("reference", top_up(ledger, other, 5 * EUR, "y"))
    await spend(ledger, account_id)
    assert await top_up(ledger, account_id, 5 * EUR, "y") is True


async def test_a_slow_try_of_the_month_before_credits_nothing_again(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is before the month's end; meanwhile a repetition was applied after it."""
    account_id = await open_account(ledger, 1)
    held = Held(ledger, monkeypatch)
    slow = asyncio.create_task(top_up(ledger, account_id, 5 * EUR, "y"))
    await held.waits.wait()
    after = {"now": WHEN["now"], "month": WHEN["month"] + 1}
    assert await ledger.top_up(account_id, amount_micro_eur=5 * EUR, reference="y", **after) is True
    held.may_go_on.set()
    assert await slow is False
    assert (await view(ledger, account_id)).credit_micro_eur == 25 * EUR


async def test_top_up_to_the_ceiling_and_not_beyond(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await refused("ceiling", top_up(ledger, account_id, 180 * EUR + 1, "a"))
    assert await top_up(ledger, account_id, 180 * EUR, "b") is True
    await refused("ceiling", top_up(ledger, account_id, 1, "c"))
    assert (await view(ledger, account_id)).credit_micro_eur == 200 * EUR
    for amount in (0, -1, MAX_INTEGER + 1):
        await refused("range", top_up(ledger, account_id, amount, "d"))
    await refused("unknown", top_up(ledger, UNKNOWN, 1, "e"))
    await refused("unknown", top_up(ledger, "no account", 1, "f"))
    await refused("unknown", top_up(ledger, "99-0000000000000001", 1, "g"))


async def test_top_up_makes_an_inactive_account_active(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    later = NOW + 91 * 86_400
    assert (await view(ledger, account_id, now=later)).state == "inactive"
    await top_up(ledger, account_id, EUR, "again", now=later)
    assert (await view(ledger, account_id, now=later)).state == "active"
    assert (await view(ledger, account_id)).active_until == later + 90 * 86_400


# -- packages


async def test_activate_package(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=4 * EUR)
    rest = {"package": PACKAGE, **WHEN}
    assert await ledger.activate_package(account_id, reference="one", **rest) is True
    assert await ledger.activate_package(account_id, reference="one", **rest) is False
    await refused("credit", ledger.activate_package(account_id, reference="two", **rest))
    found = await view(ledger, account_id)
    assert (found.credit_micro_eur, found.package, found.spent_month_micro_eur) == (EUR, "SMALL", 0)
    await refused("unknown", ledger.activate_package(UNKNOWN, reference="one", **rest))
    await ledger.set_state(account_id, state="blocked", **WHEN)
    await refused("state", ledger.activate_package(account_id, reference="three", **rest))


async def test_units_granted_by_the_old_package_are_paid_by_it(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, package=PACKAGE)
    await charge(ledger, request(account_id, "I", 0, service(want=5 * MB, buckets=("SMALL.data",))))
    assert (await view(ledger, account_id)).buckets[0].held == 5 * MB
    await ledger.activate_package(account_id, package=PACKAGE, reference="anew", **WHEN)
    found = await view(ledger, account_id)
    old, new = (bucket for bucket in found.buckets if bucket.id == "SMALL.data")
    assert (old.left, old.held, old.expires_at) == (5 * MB, 5 * MB, NOW)
    assert (new.left, new.held) == (20 * MB, 0)
    assert (await audit(ledger, **WHEN)).ok
    # Use beyond the old grant is paid by the new units; unused old units do not carry over (HOT-PKG-2).
    await charge(ledger, request(account_id, "T", 1, service(used=6 * MB, buckets=("SMALL.data",))))
    left = [bucket.left for bucket in (await view(ledger, account_id)).buckets if bucket.id == "SMALL.data"]
    assert left == [19 * MB]
    assert (await audit(ledger, **WHEN)).ok


async def test_sweep_renews_or_ends_a_package(ledger: RedisLedger) -> None:
    rich, poor = await open_account(ledger, package=PACKAGE), await open_account(ledger, 1, 4 * EUR, package=PACKAGE)
    end = NOW + 5_000

    async def due(now: int) -> set[str]:
        found: set[str] = set()
        for partition in range(ledger.partitions):
            found.update(await ledger.due(partition, now=now, count=10))
        return found

    assert await due(end - 1) == set()
    assert await due(end) == {rich, poor}
    for account_id in (rich, poor):
        await ledger.sweep(account_id, now=end, month=MONTH)
    found = await view(ledger, rich, now=end)
    assert (found.credit_micro_eur, found.period_end) == (14 * EUR, end + 5_000)
    found = await view(ledger, poor, now=end)
    assert (found.credit_micro_eur, found.package_pending, found.buckets) == (EUR, True, ())
    assert await due(end + 4_999) == set()
    # A top-up that covers the price renews it (HOT-PKG-2).
    await top_up(ledger, poor, EUR, "too little", now=end)
    assert (await view(ledger, poor)).package_pending
    await top_up(ledger, poor, EUR, "enough", now=end)
    found = await view(ledger, poor)
    assert (found.credit_micro_eur, found.package_pending, found.buckets[0].left) == (0, False, 20 * MB)
    await ledger.sweep(UNKNOWN, **WHEN)  # an unknown account is no error


async def test_a_charge_after_the_period_renews_first(ledger: RedisLedger) -> None:
    """The sweeper is late, yet no use falls between two periods."""
    account_id = await open_account(ledger, package=PACKAGE)
    late = NOW + 5_001
    outcome = await charge(
        ledger, request(account_id, "I", 0, service(want=MB, buckets=("SMALL.data",)), now=late, deadline=late + 9)
    )
    assert (outcome.code, outcome.credit_micro_eur) == (2001, 14 * EUR)
    assert (await view(ledger, account_id)).period_end == NOW + 10_000


# -- changes


async def test_changes_and_their_events(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ledger.set_limit(account_id, limit_micro_eur=50 * EUR, **WHEN)
    assert (await view(ledger, account_id)).limit_micro_eur == 50 * EUR
    await ledger.set_limit(account_id, limit_micro_eur=None, **WHEN)
    assert (await view(ledger, account_id)).limit_micro_eur is None
    await ledger.set_bars(account_id, bars=["roaming", "data", "data"], **WHEN)
    assert (await view(ledger, account_id)).bars == ("data", "roaming")
    await ledger.set_state(account_id, state="blocked", **WHEN)
    assert (await view(ledger, account_id)).state == "blocked"
    assert [event["k"] for event in await journal(ledger)] == ["opened", "limit", "limit", "bars", "state"]
    await refused("range", ledger.set_limit(account_id, limit_micro_eur=-1, **WHEN))
    await refused("range", ledger.set_state(account_id, state="terminated", **WHEN))
    await refused("unknown", ledger.set_bars(UNKNOWN, bars=[], **WHEN))
    assert await ledger.read(UNKNOWN, **WHEN) is None


async def test_events_say_who_acted(ledger: RedisLedger) -> None:
    """What somebody causes has his name; what time or the network causes has none."""
    account_id = await open_account(ledger)
    token = ACTOR.set("key:7f")
    try:
        await ledger.set_bars(account_id, bars=["data"], **WHEN)
        await ledger.set_customer(account_id, name="language", value="sl", **WHEN)
    finally:
        ACTOR.reset(token)
    await ledger.set_customer(account_id, name="language", value="en", **WHEN)
    await ledger.join_group(account_id, group_id="g1", role="member", **WHEN)
    view = await ledger.read(account_id, **WHEN)
    assert view is not None and (view.language, view.group, view.role) == ("en", "g1", "member")
    found = await journal(ledger)
    assert [(each["k"], each.get("by")) for each in found if each["k"] in ("bars", "customer")] == [
        ("bars", "key:7f"),
        ("customer", "key:7f"),
        ("customer", None),
    ]


async def test_bars_and_states_refuse_and_some_use_is_always_granted(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ledger.set_bars(account_id, bars=["data"], **WHEN)
    both = (service(want=MB, bars=("data", "roaming")), service(want=60, key="2", price=VOICE))
    outcome = await charge(ledger, request(account_id, "I", 0, *both))
    assert outcome.code == 2001
    assert [(s.code, s.reason, s.granted) for s in outcome.services] == [(4010, "bar", 0), (2001, "", 60)]
    await ledger.set_state(account_id, state="blocked", **WHEN)
    outcome = await charge(ledger, request(account_id, "U", 1, *both))
    assert (outcome.code, outcome.reason) == (4010, "state")
    free = service(want=60, key="3", price=VOICE, always=True, bars=("data",))
    assert (await charge(ledger, request(account_id, "I", 0, free, sid="emergency"))).services[0].granted == 60


# -- charging


async def test_a_session_from_start_to_end(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    opened = await charge(ledger, request(account_id, "I", 0, service(want=10 * MB)))
    assert (opened.code, opened.duplicate, opened.held_micro_eur) == (2001, False, 69_000)
    updated = await charge(ledger, request(account_id, "U", 1, service(used=4 * MB, want=10 * MB)))
    assert (updated.services[0].debited_micro_eur, updated.credit_micro_eur) == (27_600, 20 * EUR - 27_600)
    open_session = (await view(ledger, account_id)).sessions[0]
    assert (open_session.session_id, open_session.started_at) == ("pgw.example.net;1", NOW)
    assert open_session.reservations[0].held_micro_eur == 69_000
    ended = await charge(ledger, request(account_id, "T", 2, service(used=MB)))
    assert (ended.code, ended.held_micro_eur, ended.credit_micro_eur) == (2001, 0, 20 * EUR - 34_500)
    assert (await view(ledger, account_id)).sessions == ()
    opened_event, moved, record = await journal(ledger)
    assert opened_event["k"] == "opened"
    # Each movement of money is a small event; the end is the charging record of the whole session.
    assert moved == {
        "k": "use",
        "t": NOW,
        "a": account_id,
        "sid": "pgw.example.net;1",
        "typ": "U",
        "n": 1,
        "debit": 27_600,
        "credit": 20 * EUR - 27_600,
    }
    assert (record["k"], record["typ"], record["n"], record["debit"], record["closed"]) == (
        "charge",
        "T",
        2,
        6_900,
        True,
    )
    assert record["svc"] == [
        {
            "key": "1",
            "label": DATA.id,
            "price": DATA.id,
            "used": 5 * MB,
            "debit": 34_500,
            "units": [],
            "overrun": 0,
            "detail": "29340 mo internet",
            "dropped": 0,
        }
    ]


@pytest.mark.parametrize("ended", ["just now", "long ago", "given up", "by a restart"])
async def test_a_reused_session_id_is_a_new_session(ledger: RedisLedger, ended: str) -> None:
    """A client was restarted with its counter. No request of the second session gets a remembered answer (RFC 6733
    §8.8).
    """
    account_id = await open_account(ledger)
    when = {"now": NOW, "deadline": NOW + 600}

    async def session() -> list[ChargeOutcome]:
        asked = [
            request(account_id, "I", 0, service(want=10 * MB), **when),
            request(account_id, "U", 1, service(used=4 * MB, want=10 * MB), **when),
            request(account_id, "T", 2, service(used=MB), **when),
        ]
        return [await charge(ledger, each) for each in (asked if ended in ("just now", "long ago") else asked[:2])]

    first = await session()
    if ended == "long ago":
        when = {"now": NOW + 400, "deadline": NOW + 1_000}
    elif ended == "given up":
        assert await ledger.release_session(account_id, "pgw.example.net;1", reason="lost", **WHEN)
    second = await session()
    assert [each.reused for each in (*first, *second)] == [False] * len(first) + [True] + [False] * (len(second) - 1)
    for one, other in zip(first, second, strict=True):
        assert not other.duplicate
        assert [each.debited_micro_eur for each in other.services] == [each.debited_micro_eur for each in one.services]
    # A repetition has the T bit.
    opening = request(account_id, "I", 0, service(want=10 * MB), retransmitted=True, **when)
    assert (await charge(ledger, opening)).duplicate


async def test_a_repetition_gets_the_same_outcome_and_changes_nothing(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    asked = [
        request(account_id, "I", 0, service(want=10 * MB)),
        request(account_id, "U", 1, service(used=4 * MB, want=10 * MB)),
        request(account_id, "T", 2, service(used=MB)),
        request(account_id, "E", 0, service(want=2, price=SMS), sid="event"),
    ]
    outcomes = [await charge(ledger, each) for each in asked]
    before, events = await view(ledger, account_id), await journal(ledger)
    for each, outcome in zip(asked, outcomes, strict=True):
        again = dataclasses.replace(each, now=NOW + 5, deadline=NOW + 9_999, retransmitted=True)
        repeated = await charge(ledger, again)
        assert repeated == dataclasses.replace(outcome, duplicate=True)
    assert await view(ledger, account_id) == before
    assert await journal(ledger) == events


async def test_refusals_at_command_level(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)

    async def code(kind: str, number: int, **more: Any) -> tuple[int, str]:
        outcome = await charge(ledger, request(account_id, kind, number, service(want=MB), **more))
        return outcome.code, outcome.reason

    assert await code("U", 1) == (5002, "session")
    assert await code("T", 1) == (5002, "session")
    assert await code("I", 0) == (2001, "")
    assert await code("I", 1) == (5012, "open")
    outcome = await charge(ledger, request(UNKNOWN, "I", 0, service(want=MB)))
    assert (outcome.code, outcome.reason) == (5030, "unknown")
    assert await code("U", 1, identity="m" + MSISDN) == (2001, "")
    assert await code("U", 2, identity="i" + IMSI) == (2001, "")
    assert await code("U", 3, identity="m38699") == (0, "identity")


async def test_a_number_far_below_the_highest_is_refused(ledger: RedisLedger) -> None:
    """The outcome of so old a request is forgotten, so it is unknown whether it was applied."""
    account_id = await open_account(ledger)
    await charge(ledger, request(account_id, "I", 0, service(want=MB)))
    highest = ANSWERS_KEPT_PER_SESSION + 10
    await charge(ledger, request(account_id, "U", highest, service(used=1024, want=MB)))
    late = await charge(ledger, request(account_id, "U", 10, service(used=1024, want=MB)))
    assert (late.code, late.reason) == (5012, "late")
    taken = await charge(ledger, request(account_id, "U", 11, service(used=1024, want=MB)))
    assert (taken.code, taken.duplicate) == (2001, False)


async def test_the_number_of_answers_kept_per_session_is_bounded(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await charge(ledger, request(account_id, "I", 0, service(want=MB)))
    for number in range(1, ANSWERS_KEPT_PER_SESSION + 20):
        await charge(ledger, request(account_id, "U", number, service(used=1, want=MB)))
    partition, key = ledger._answers_key(account_id, "pgw.example.net;1", "pgw.example.net")
    kept = await ledger._ask("test", partition, b"HLEN", key)
    assert kept == ANSWERS_KEPT_PER_SESSION + 2  # and the opening's answer and End-to-End-Id


async def test_sessions_and_services_are_bounded(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    for n in range(MAX_SESSIONS_PER_ACCOUNT):
        assert (await charge(ledger, request(account_id, "I", 0, service(want=1024), sid=f"s;{n}"))).code == 2001
    more = await charge(ledger, request(account_id, "I", 0, service(want=1024), sid="one more"))
    assert (more.code, more.reason) == (5006, "sessions")
    many = [service(want=1024, key=str(n)) for n in range(MAX_SERVICES_PER_SESSION + 1)]
    outcome = await charge(ledger, request(account_id, "U", 1, *many, sid="s;0"))
    codes = [s.code for s in outcome.services]
    # The session has service "1" since its opening, so there is room for all but the last.
    assert codes == [2001] * MAX_SERVICES_PER_SESSION + [5006]
    assert outcome.services[-1].granted == 0
    # Events do not count as sessions.
    sms = await charge(ledger, request(account_id, "E", 0, service(want=1, price=SMS), sid="sms"))
    assert sms.code == 2001


async def test_the_last_units_are_final_and_the_next_request_is_refused(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=34_500)  # 5 MB
    first = (await charge(ledger, request(account_id, "I", 0, service(want=10 * MB)))).services[0]
    assert (first.granted, first.final, first.reason) == (5 * MB, True, "credit")
    second = await charge(ledger, request(account_id, "U", 1, service(used=5 * MB, want=10 * MB)))
    assert (second.code, second.services[0].code, second.services[0].granted) == (2001, 4012, 0)
    assert second.credit_micro_eur == 0
    refused_opening = await charge(ledger, request(account_id, "I", 0, service(want=MB), sid="another"))
    assert (refused_opening.code, refused_opening.reason) == (4012, "credit")
    # A client may terminate a refused session.
    ended = await charge(ledger, request(account_id, "T", 1, sid="another"))
    assert ended.code == 2001
    # Use beyond the grant that nothing can pay is recorded; credit never becomes negative.
    over = await charge(ledger, request(account_id, "T", 2, service(used=MB)))
    # (75 octets cost less than half a micro-EUR: they are free.)
    assert (over.credit_micro_eur, over.services[0].overrun_units) == (0, MB - 75)


async def test_scarce_credit_is_split_between_sessions(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=69_000)  # 10 MB
    first = await charge(ledger, request(account_id, "I", 0, service(want=4 * MB, minimum=MB), sid="a"))
    assert first.services[0].granted == 4 * MB
    second = await charge(ledger, request(account_id, "I", 0, service(want=4 * MB, minimum=MB), sid="b"))
    assert (second.services[0].granted, second.services[0].final) == (3 * MB, False)  # half of the 6 MB left
    third = await charge(ledger, request(account_id, "I", 0, service(want=4 * MB, minimum=MB), sid="c"))
    assert third.services[0].granted == MB  # a third of 3 MB
    assert third.held_micro_eur == 8 * 6_900


async def test_the_limit_of_the_month_is_kept_with_reservations(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ledger.set_limit(account_id, limit_micro_eur=69_000, **WHEN)
    first = await charge(ledger, request(account_id, "I", 0, service(want=50 * MB)))
    assert (first.services[0].granted, first.services[0].final, first.services[0].reason) == (10 * MB, True, "limit")
    await charge(ledger, request(account_id, "T", 1, service(used=10 * MB)))
    refused_now = await charge(ledger, request(account_id, "I", 0, service(want=MB), sid="b"))
    assert (refused_now.code, refused_now.reason) == (4012, "limit")
    # A new month begins.
    next_month = await charge(ledger, request(account_id, "I", 0, service(want=MB), sid="c", month=MONTH + 1))
    assert next_month.services[0].granted == MB
    told = [(e["counter"], e["pct"], e["value"], e["limit"]) for e in await journal(ledger) if e["k"] == "threshold"]
    assert told == [("limit", 80, 69_000, 69_000), ("limit", 100, 69_000, 69_000)]


async def test_an_event_is_paid_in_full_or_refused(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=140_000)
    three = await charge(ledger, request(account_id, "E", 0, service(want=3, price=SMS), sid="three"))
    assert (three.code, three.credit_micro_eur, three.services[0].granted) == (4012, 140_000, 0)
    two = await charge(ledger, request(account_id, "E", 0, service(want=2, price=SMS), sid="two"))
    assert (two.code, two.credit_micro_eur, two.services[0].granted) == (2001, 0, 2)
    assert (await view(ledger, account_id)).sessions == ()


async def test_find_session_without_a_cache(ledger: RedisLedger) -> None:
    """Any worker finds a session by its answers, whether it is open or remembered."""
    account_id = await open_account(ledger)
    assert await ledger.find_session("pgw.example.net;1", "pgw.example.net") is None
    await charge(ledger, request(account_id, "I", 0, service(want=MB)))
    assert await ledger.find_session("pgw.example.net;1", "pgw.example.net") == account_id
    await charge(ledger, request(account_id, "T", 1))
    assert await ledger.find_session("pgw.example.net;1", "pgw.example.net") == account_id


async def test_sweep_closes_sessions_past_their_deadline(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    partition = int(account_id[:2])
    await charge(ledger, request(account_id, "I", 0, service(want=10 * MB), deadline=NOW + 60))
    await charge(ledger, request(account_id, "I", 0, service(want=10 * MB), sid="longer", deadline=NOW + 600))
    assert await ledger.due(partition, now=NOW + 59, count=10) == []
    assert await ledger.due(partition, now=NOW + 60, count=10) == [account_id]
    await ledger.sweep(account_id, now=NOW + 60, month=MONTH)
    found = await view(ledger, account_id)
    assert [(s.session_id, s.released) for s in found.sessions] == [("longer", False), ("pgw.example.net;1", True)]
    assert found.held_micro_eur == 69_000
    expired = [e for e in await journal(ledger) if e["k"] == "expired"]
    assert [(e["sid"], e["returned"], e["reason"]) for e in expired] == [("pgw.example.net;1", 69_000, "deadline")]
    assert await ledger.due(partition, now=NOW + 60, count=10) == []
    assert await ledger.due(partition, now=NOW + 600, count=10) == [account_id]


# -- the journal


async def test_the_journal_has_no_gaps_and_is_trimmed_by_sequence(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    partition = int(account_id[:2])
    for n in range(9):
        await charge(ledger, request(account_id, "E", 0, service(want=1, price=SMS), sid=f"sms;{n}"))
    assert await ledger.outbox_lag(partition) == await ledger.outbox_last(partition) == 10
    first = await outbox_read(ledger, partition, after=0, count=4)
    assert [e.sequence for e in first] == [1, 2, 3, 4]
    assert first[0].event_id == f"p{partition:02d}-1"
    await ledger.outbox_trim_many({partition: 4})
    assert await ledger.outbox_lag(partition) == 6
    rest = await outbox_read(ledger, partition, after=0, count=100)
    assert [e.sequence for e in rest] == [5, 6, 7, 8, 9, 10]
    assert [e.sequence for e in await outbox_read(ledger, partition, after=8, count=100)] == [9, 10]
    await ledger.outbox_trim_many({partition: 10})
    assert await ledger.outbox_lag(partition) == 0
    # Numbers continue after everything was trimmed.
    await ledger.set_bars(account_id, bars=["data"], **WHEN)
    assert [e.sequence for e in await outbox_read(ledger, partition, after=10, count=10)] == [11]
    other = (partition + 1) % ledger.partitions
    assert (await ledger.outbox_last(other), await ledger.outbox_lag(other)) == (0, 0)


@rule("HOT-PKG-2")
async def test_a_due_fee_ranks_before_the_holds_of_a_session(ledger: RedisLedger) -> None:
    """HOT-PKG-2: the fee is paid, holds beyond the credit are taken, and late use is paid as far as the credit goes."""
    account_id = await open_account(ledger, credit=6 * EUR + 50_000, package=PACKAGE)  # 3.05 left: one more period
    price = compile_price("dear", unit=Unit.OCTETS, micro_eur=1_000_000, quantity=MB)
    await charge(ledger, request(account_id, "I", 0, service(want=MB, price=price)))
    held = await ledger.read(account_id, **WHEN)
    assert held is not None and held.held_micro_eur == 1_000_000
    later = {"now": NOW + 5_000, "month": MONTH}
    await ledger.sweep(account_id, **later)
    renewed = await ledger.read(account_id, **later)
    assert renewed is not None and not renewed.package_pending and renewed.period_end == NOW + 10_000
    assert (renewed.credit_micro_eur, renewed.held_micro_eur) == (50_000, 50_000)
    ended = await charge(ledger, request(account_id, "T", 1, service(used=MB // 10, price=price), **later))
    assert ended.credit_micro_eur == 0 and ended.services[0].overrun_units > 0
    assert (await audit(ledger, **later)).ok


async def test_money_never_has_a_time_to_live(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, package=PACKAGE)
    await top_up(ledger, account_id, EUR, "voucher")
    await charge(ledger, request(account_id, "I", 0, service(want=MB)))
    await charge(ledger, request(account_id, "E", 0, service(want=1, price=SMS), sid="sms"))
    keys = keys_of(ledger)
    lasting = {key for key, ttl in keys.items() if ttl == -1}
    passing = keys.keys() - lasting
    assert {key.split(b":")[1] for key in lasting} == {
        *(b"a", b"subscribers", b"ledger", b"outbox", b"sequence", b"due"),
    }
    own = account_id.encode()
    ttls = {key.split(b":", 1)[1]: keys[key] for key in passing}
    months = {name for name in ttls if name.startswith(b"r:")}
    session, event = b"q:" + own + b" pgw.example.net;1", b"e:" + own + b" pgw.example.net sms"
    assert ttls.keys() - months == {b"h:pgw.example.net;1", b"t:voucher", session, event} and months == {b"r:202611"}
    # At least as long as promised (deadline and remember_sessions_s; remember_events_s), at most 1.5 times as long.
    assert 7200 + 600 <= ttls[session] <= ttls[b"h:pgw.example.net;1"] <= 1.5 * (7200 + 600)
    assert 86_400 <= ttls[event] <= 1.5 * 86_400
    assert all(ttls[name] > 396 * 86_400 for name in months)


async def test_a_much_later_update_prolongs_the_remembered_answers(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await charge(ledger, request(account_id, "I", 0, service(want=MB)))
    for number, later in ((1, 60), (2, 5_000), (3, 12_000)):
        now = NOW + later
        asked = request(account_id, "U", number, service(used=1024, want=MB), now=now, deadline=now + 7200)
        await charge(ledger, asked)
        (ttl,) = [ttl for key, ttl in keys_of(ledger).items() if b":q:" in key]
        # Redis uses its own clock, so a key that was set at an earlier `now` expires that much sooner.
        assert ttl >= 7200 + 600


async def test_audit_and_listing_see_every_account(ledger: RedisLedger) -> None:
    opened = {await open_account(ledger, n) for n in range(30)}
    assert {account_id async for account_id in ledger.account_ids()} == opened
    report = await audit(ledger, **WHEN)
    assert (report.ok, report.accounts, report.paid_in_micro_eur) == (True, 30, 600 * EUR)


# -- order


async def test_requests_of_an_account_stay_in_order(ledger: RedisLedger) -> None:
    """Pipelined over several connections, requests of one account are applied in the order of sending."""
    account_ids = [await open_account(ledger, n) for n in range(8)]
    answered: dict[str, list[int]] = {each: [] for each in account_ids}
    done = asyncio.Event()

    def take(account_id: str, number: int, outcome: Any) -> None:
        assert outcome.code == 2001
        answered[account_id].append(number)
        if sum(map(len, answered.values())) == 8 * 40:
            done.set()

    for number in range(40):
        for account_id in account_ids:
            kind = "I" if number == 0 else "U" if number < 39 else "T"
            want = None if kind == "T" else MB
            asked = request(
                account_id, kind, number, service(used=0 if kind == "I" else 1024, want=want), sid=account_id
            )
            ledger.charge(asked, lambda outcome, a=account_id, n=number: take(a, n, outcome))  # type: ignore[misc]
    await asyncio.wait_for(done.wait(), PATIENCE_S)
    assert all(numbers == list(range(40)) for numbers in answered.values())


async def test_an_account_with_many_sessions_given_up_can_be_terminated(ledger: RedisLedger) -> None:
    """The termination gives up one session too many, and so forgets one that it has not handled yet."""
    account_id = await open_account(ledger)
    for number in range(8):
        await charge(ledger, request(account_id, "I", 0, service(want=1024), sid=f"pgw.example.net;z{number}"))
        await ledger.release_session(account_id, session_id=f"pgw.example.net;z{number}", reason="lost", **WHEN)
    await charge(ledger, request(account_id, "I", 0, service(want=1024), sid="pgw.example.net;a"))
    await ledger.terminate_account(account_id, **WHEN)
    view = await ledger.read(account_id, **WHEN)
    assert view is not None and (view.state, view.sessions, view.held_micro_eur) == ("terminated", (), 0)


async def test_an_opened_session_makes_its_earlier_refusal_forgotten(ledger: RedisLedger) -> None:
    """A session is refused, then opened, given up and forgotten. Its termination belongs to an unknown session, not to
    a refused one.
    """
    account_id = await open_account(ledger, credit=0)
    assert (await charge(ledger, request(account_id, "I", 0, service(want=MB)))).code == 4012
    await ledger.top_up(account_id, amount_micro_eur=EUR, reference="r", **WHEN)
    assert (await charge(ledger, request(account_id, "I", 1, service(want=MB)))).code == 2001
    for after in (7_201, 7_201 + 3_601):
        await ledger.sweep(account_id, now=NOW + after, month=MONTH)
    ended = await charge(ledger, request(account_id, "T", 2, service(used=MB), now=NOW + 20_000))
    assert (ended.code, ended.reason) == (5002, "session")


@rule("HOT-PKG-2")
@pytest.mark.parametrize("how", ["refunded", "unblocked"])
async def test_a_package_starts_once_its_fee_can_be_paid(ledger: RedisLedger, how: str) -> None:
    """HOT-PKG-2: only too little credit, or the account's state, prevents the renewal of a package."""
    account_id = await open_account(ledger, credit=2 * PACKAGE.price_micro_eur, package=PACKAGE)
    over = {"now": NOW + PACKAGE.period_s, "month": MONTH}
    if how == "refunded":
        await charge(ledger, request(account_id, "E", 0, service(want=1, price=SMS)))
    else:
        await ledger.set_state(account_id, state="blocked", **WHEN)
    await ledger.sweep(account_id, **over)
    assert (await view(ledger, account_id)).package_pending
    if how == "refunded":
        back = request(account_id, "E", 1, service(want=None, price=SMS), action=Action.REFUND, **over)
        back.refund_of = (back.session_id, 0)
        assert (await charge(ledger, back)).code == 2001
    else:
        await ledger.set_state(account_id, state="active", **over)
    assert not (await view(ledger, account_id)).package_pending


async def test_the_owner_of_a_session_is_remembered_as_long_as_the_session(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await charge(ledger, request(account_id, "I", 0, service(want=MB)))
    await charge(ledger, request(account_id, "T", 1, service(used=1024)))
    assert await ledger.find_session("pgw.example.net;1", "pgw.example.net") == account_id
    (ttl,) = [ttl for key, ttl in keys_of(ledger).items() if b":h:" in key]
    assert 0 < ttl <= 600
