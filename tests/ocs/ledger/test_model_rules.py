"""The model itself: the rules of docs/LEDGER.md."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocs.catalogue.price import compile_price
from ocs.ledger.contract.charging import Leg, NoFunds
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import SubscriptionState
from ocs.values.products import BucketTerms, CounterTerms, Measure, PackageTerms, Window
from ocs.values.use import Unit
from tests.ocs.ledger.books import EUR, MB, MONTH, NOW, SMS, WHEN, service
from tests.ocs.ledger.desk import MINI, Desk, one

# -- subscriptions, buckets, counters, legs


def test_several_subscriptions_and_the_order_of_their_buckets() -> None:
    desk = Desk(50 * EUR, MINI)
    pack = PackageTerms("PACK", EUR, 86_400, (BucketTerms("PACK.data", "octets", 10 * MB, -1),), "", False)
    assert desk.subscribe(pack, "a")
    assert desk.subscribe(pack, "b")
    assert not desk.subscribe(pack, "b")
    view = desk.model.view(desk.id, NOW, MONTH)
    assert [(each.instance, each.product) for each in view.subscriptions] == [(1, "MINI"), (3, "PACK"), (5, "PACK")]
    assert [each.instance for each in view.buckets] == [2, 4, 6]
    desk.charge("I", 0, service(want=15 * MB, buckets=("MINI.data", "PACK.data")))
    assert [each.held for each in desk.model.view(desk.id, NOW, MONTH).buckets] == [0, 10 * MB, 5 * MB]
    desk.model.sweep(desk.id, now=NOW + 86_400, month=MONTH)
    assert [each.product for each in desk.model.view(desk.id, NOW, MONTH).subscriptions] == ["MINI"]
    assert [event["state"] for event in desk.events("subscription")] == ["ended", "ended"]


def test_planned_armed_following_and_ending_subscriptions() -> None:
    desk = Desk(50 * EUR, MINI)
    zone = PackageTerms("ZONE", 5 * EUR, 1000, (BucketTerms("ZONE.data", "octets", MB),), "zone", False)
    maxi = replace(MINI, id="MAXI", price_micro_eur=9_990_000, order=1)
    desk.subscribe(zone, "z", armed=True)
    desk.subscribe(maxi, "m", starts_at=NOW + 500)
    credit = desk.account.credit
    desk.charge("I", 0, service(want=100, buckets=("OTHER.data",)))
    assert desk.account.credit == credit
    desk.charge("I", 0, service(want=100, buckets=("ZONE.data",)), sid="pgw;2")
    assert desk.account.credit == credit - 5 * EUR
    desk.model.sweep(desk.id, now=NOW + 500, month=MONTH)
    view = desk.model.view(desk.id, NOW + 500, MONTH)
    assert [(each.product, each.state) for each in view.subscriptions] == [
        ("ZONE", SubscriptionState.ACTIVE),
        ("MAXI", SubscriptionState.ACTIVE),
    ]
    desk.model.set_next(desk.id, 4, product=MINI, now=NOW + 600, month=MONTH)
    desk.model.sweep(desk.id, now=NOW + 500 + MINI.period_s, month=MONTH)
    assert desk.model.view(desk.id, NOW, MONTH).package == "MINI"
    desk.model.unsubscribe(desk.id, 4, at_once=False, now=NOW + 500 + MINI.period_s, month=MONTH)
    assert desk.model.view(desk.id, NOW, MONTH).subscriptions[0].state is SubscriptionState.ENDING
    desk.model.sweep(desk.id, now=NOW + 500 + 2 * MINI.period_s, month=MONTH)
    assert desk.model.view(desk.id, NOW, MONTH).subscriptions == ()


def test_excluded_products_and_too_little_credit() -> None:
    desk = Desk(5 * EUR)
    pack = PackageTerms("PACK", EUR, 86_400, (), "", excludes=("PACK",))
    assert desk.subscribe(pack, "a")
    before = desk.model.view(desk.id, NOW, MONTH)
    for product, code in ((pack, "excluded"), (MINI, "credit")):
        with pytest.raises(LedgerError) as refused:
            desk.subscribe(product, "b")
        assert refused.value.code == code
        assert desk.model.view(desk.id, NOW, MONTH) == before


def test_both_legs_are_paid_and_move_their_own_counters() -> None:
    desk = Desk()
    cap = CounterTerms("roaming", Window.MONTH, Measure.MONEY, 4_000_000, (80, 100))
    abroad = compile_price("abroad", unit=Unit.SECONDS, micro_eur=600_000, quantity=60)
    incoming = compile_price("in", unit=Unit.SECONDS, micro_eur=300_000, quantity=60)
    call = service(want=600, key="fw", price=abroad, counters=(cap,), more_legs=(Leg("in", incoming),))
    assert one(desk.charge("I", 0, call)).granted == 400  # the cap
    assert (desk.account.held, desk.account.counter("roaming").held) == (6_000_000, 4_000_000)
    outcome = one(desk.charge("U", 1, replace(call, used=340)))
    assert (outcome.debited_micro_eur, outcome.granted, outcome.reason) == (5_100_000, 60, "limit")
    assert desk.account.counter("limit").value == 1_700_000
    assert [(e["counter"], e["pct"]) for e in desk.events("threshold")] == [("roaming", 80)]


def test_counters_of_each_window_begin_anew() -> None:
    desk = Desk(20 * EUR, replace(MINI, counters=(CounterTerms("fair", Window.PERIOD, Measure.UNITS, 60 * MB),)))
    counters = (
        CounterTerms("fair", Window.PERIOD, Measure.UNITS),
        CounterTerms("day", Window.DAY, Measure.UNITS),
        CounterTerms("roll", Window.ROLLING, Measure.UNITS, window_s=1600),
    )
    asked = service(want=80 * MB, buckets=("MINI.data",), counters=counters)
    first = one(desk.charge("I", 0, asked, day=20_776))
    assert (first.granted, first.final, first.reason) == (60 * MB, True, "limit")
    desk.charge("U", 1, replace(asked, used=10 * MB, want=None), day=20_776)
    assert [desk.account.counter(each.id).value for each in counters] == [10 * MB] * 3
    desk.charge("U", 2, replace(asked, used=10 * MB, want=None), now=NOW + 1000, day=20_777)
    assert [desk.account.counter(each.id).value for each in counters] == [20 * MB, 10 * MB, 20 * MB]
    desk.charge("U", 3, replace(asked, want=None), now=NOW + 1700, day=20_777)
    assert [desk.account.counter(each.id).value for each in counters] == [20 * MB, 10 * MB, 10 * MB]
    desk.model.sweep(desk.id, now=NOW + MINI.period_s, month=MONTH + 1, day=20_777)
    assert [desk.account.counter(each.id).value for each in counters] == [0, 10 * MB, 0]


def test_a_pool_is_shared_and_a_wrong_pool_is_reported() -> None:
    desk = Desk(20 * EUR)
    other = desk.open("38668100001", EUR)
    desk.model.open_pool(desk.id, "family", now=NOW)
    for account in (desk.id, other):
        desk.model.join_pool(account, "family", **WHEN)
    desk.subscribe(replace(MINI, shared=True), "m")
    asked = service(want=60 * MB, buckets=("MINI.data",))
    wrong = desk.charge("I", 0, asked, account=other)
    assert (wrong.code, wrong.reason, wrong.place) == (0, "pool", "family")
    assert one(desk.charge("I", 0, asked, account=other, pool="family")).granted == 60 * MB
    own = desk.charge("I", 0, asked, pool="family")
    assert (one(own).granted, own.held_micro_eur) == (60 * MB, 20 * 6_900)
    pool = desk.model.read_pool(desk.id, "family")
    assert pool is not None
    assert [(each.account_id, each.units) for each in pool.holds] == [(desk.id, 40 * MB), (other, 60 * MB)]
    with pytest.raises(LedgerError) as refused:
        desk.model.join_pool(other, "", **WHEN)
    assert refused.value.code == "sessions"
    desk.charge("T", 1, replace(asked, used=60 * MB, want=None), account=other, pool="family")
    desk.model.join_pool(other, "", **WHEN)
    assert desk.model.read_pool(desk.id, "family").buckets[0].left == 40 * MB


def test_a_move_takes_sessions_and_answers_along() -> None:
    desk = Desk()
    desk.charge("E", 0, service(want=1, key="sms", price=SMS), sid="smsc;1")
    desk.charge("I", 0, service(want=MB))
    old, new = desk.id, desk.model.move_account(desk.id, partition=3, **WHEN)
    moved = desk.charge("U", 1, service(used=MB, want=MB))
    assert (moved.code, moved.reason, moved.place) == (0, "moved", new)
    assert desk.charge("E", 0, service(want=1, key="sms", price=SMS), sid="smsc;1").reason == "moved"
    desk.id = new
    assert desk.charge("I", 0, service(want=MB)).duplicate
    assert desk.charge("U", 1, service(used=MB, want=MB)).code == 2001
    assert desk.charge("E", 0, service(want=1, key="sms", price=SMS), sid="smsc;1").duplicate
    sums = dict.fromkeys((old, new), 0)
    for event in desk.model.events:
        sums[str(event["a"])] += int(str(event.get("credit_in", 0))) - int(str(event.get("debit", 0)))
    assert sums == {old: 0, new: desk.account.credit}


def test_a_long_session_is_recorded_every_hour() -> None:
    desk = Desk()
    far = {"deadline": NOW + 99_999}
    desk.charge("I", 0, service(want=MB), **far)
    desk.charge("U", 1, service(used=MB, want=MB), now=NOW + 1800, **far)
    desk.charge("U", 2, service(used=MB, want=MB), now=NOW + 3600, **far)
    desk.charge("T", 3, service(used=MB), now=NOW + 3700)
    assert [event["n"] for event in desk.events("use")] == [1]
    assert [(event["n"], event["closed"], event["svc"][0]["used"]) for event in desk.events("charge")] == [
        (2, False, 2 * MB),
        (3, True, MB),
    ]


def test_an_account_without_top_ups_ends() -> None:
    desk = Desk()
    desk.model.remind(desk.id, at=NOW + 5, kind="confirm", ref="SMS 200", **WHEN)
    desk.model.sweep(desk.id, now=NOW + 90 * 86_400, month=MONTH)
    desk.model.sweep(desk.id, now=NOW + 91 * 86_400, month=MONTH)
    desk.model.sweep(desk.id, now=NOW + 360 * 86_400, month=MONTH)
    assert [event["k"] for event in desk.model.events] == ["opened", "due", "state", "terminated"]
    assert desk.model.view(desk.id, NOW, MONTH).expired_micro_eur == 20 * EUR


def test_a_restricted_phase_ends_with_a_grant() -> None:
    desk = Desk(6_900)
    asked = service(want=10 * MB, restrict=NoFunds.RESTRICT_REPEATEDLY, retry_want=MB)
    assert one(desk.charge("I", 0, asked)).final
    assert one(desk.charge("U", 1, replace(asked, used=MB, want=None))).restricted
    desk.model.top_up(desk.id, amount_micro_eur=EUR, reference="r", **WHEN)
    assert one(desk.charge("U", 2, replace(asked, want=None))).granted == MB
