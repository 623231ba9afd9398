"""The oracle itself: the right value of each fault that was found, and the rules of docs/LEDGER.md, on the model alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ocs.ledger.contract import (
    Action,
    BucketTerms,
    ChargeOutcome,
    CounterTerms,
    LedgerError,
    Leg,
    Measure,
    PackageTerms,
    Restrict,
    SubscriptionState,
    Window,
)
from ocs.rating.price import compile_price, free_price
from ocs.rating.types import Unit
from tests.ocs.ledger.books import DATA, EUR, MB, MONTH, NOW, SMS, WHEN, request, service
from tests.ocs.ledger.model import ModelLedger

MINUTE = compile_price("dear", unit=Unit.SECONDS, micro_eur=500_000, quantity=60, first=60, next_=60)
MINI = PackageTerms("MINI", 6_990_000, 30 * 86_400, (BucketTerms("MINI.data", "octets", 100 * MB),))
FREE = free_price("emergency", Unit.SECONDS)


class Desk:
    """One account of a model, in few words."""

    def __init__(self, credit: int = 20 * EUR, package: PackageTerms | None = None, **more: Any) -> None:
        self.model = ModelLedger(**more)
        self.id = self.open("38668100000", credit, package)

    def open(self, msisdn: str, credit: int, package: PackageTerms | None = None) -> str:
        return self.model.open_account(
            msisdn=msisdn, imsi=msisdn, credit_micro_eur=credit, package=package, entropy=int(msisdn), **WHEN
        )

    def charge(self, kind: str, number: int, *services: Any, **more: Any) -> ChargeOutcome:
        more.setdefault("month", MONTH)
        return self.model.charge(request(more.pop("account", self.id), kind, number, *services, **more))

    @property
    def account(self) -> Any:
        return self.model.accounts[self.id]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.model.events if event["k"] == kind]

    def subscribe(self, product: PackageTerms, reference: str, now: int = NOW, **more: Any) -> bool:
        return self.model.subscribe(self.id, product=product, reference=reference, now=now, month=MONTH, **more)


def one(outcome: ChargeOutcome) -> Any:
    assert len(outcome.services) == 1
    return outcome.services[0]


# -- the faults that were found


def test_who_starved_gets_a_share_at_the_next_reserve() -> None:  # 1
    desk = Desk()
    assert one(desk.charge("I", 0, service(want=10_000 * MB))).final
    assert desk.account.credit - desk.account.held < SMS.num
    texting = service(want=1, key="sms", price=SMS)
    assert desk.charge("E", 0, texting, sid="smsc;1").code == 4012
    again = desk.charge("U", 1, service(used=MB, want=10_000 * MB))
    assert not one(again).final
    assert desk.account.held <= 10 * EUR
    assert desk.charge("E", 0, texting, sid="smsc;2").code == 2001


def test_who_starved_at_the_limit_gets_a_share() -> None:  # 1
    desk = Desk(150 * EUR)
    assert one(desk.charge("I", 0, service(want=100_000 * MB))).reason == "limit"
    texting = service(want=1, key="sms", price=SMS)
    refused = desk.charge("E", 0, texting, sid="smsc;1")
    assert (refused.code, refused.reason) == (4012, "limit")
    desk.charge("U", 1, service(used=MB, want=100_000 * MB), now=NOW + 30)
    assert desk.charge("E", 0, texting, sid="smsc;2", now=NOW + 30).code == 2001


def test_a_grant_holds_no_more_money_than_the_policy_allows() -> None:  # 1
    desk = Desk()
    assert one(desk.charge("I", 0, service(want=10_000 * MB, maximum_micro_eur=EUR))).granted == 151_966_720
    assert desk.account.held <= EUR
    assert (
        one(desk.charge("I", 0, service(want=MB, maximum_micro_eur=1, minimum=MB), sid="pgw.example.net;2")).granted
        == MB
    )


def test_nothing_aborts_what_is_always() -> None:  # 2
    desk = Desk()
    desk.charge("I", 0, service(want=60, key="112", price=FREE, always=True), sid="ims;1")
    desk.charge("I", 0, service(want=MB), sid="pgw;1")
    desk.model.set_state(desk.id, state="blocked", **WHEN)
    desk.model.terminate_account(desk.id, **WHEN)
    assert desk.model.notices == [("abort", "state", desk.id, ("pgw;1",))] * 2


def test_a_due_fee_ranks_before_holds() -> None:  # 3
    desk = Desk(14_190_000, MINI)  # 7.20 after the first fee
    desk.charge("I", 0, service(want=100 * MB, buckets=("MINI.data",)), deadline=NOW + 99 * 86_400)
    end = NOW + MINI.period_s
    desk.charge("U", 1, service(used=100 * MB, want=50 * MB, buckets=("MINI.data",)), now=end - 10, deadline=end + 600)
    assert desk.account.held == 345_000
    desk.model.sweep(desk.id, now=end, month=MONTH)
    view = desk.model.view(desk.id, end, MONTH)
    assert (view.credit_micro_eur, view.held_micro_eur, view.package_pending) == (210_000, 210_000, False)
    assert view.buckets[0].left == 100 * MB
    assert view.period_end == end + MINI.period_s


def test_a_fee_comes_before_the_holds_of_a_roamer_too() -> None:  # 3
    desk = Desk(14 * EUR, MINI)
    desk.charge("I", 0, service(want=10_000 * MB, price=DATA), deadline=NOW + 99 * 86_400)
    assert desk.account.held > 7_000_000
    now = NOW + MINI.period_s + 5
    outcome = desk.charge("U", 1, service(used=MB, want=10_000 * MB), now=now, deadline=now + 600)
    assert desk.events("package")[-1]["ok"] is True
    assert outcome.credit_micro_eur == 14 * EUR - 2 * MINI.price_micro_eur - 6_900


def test_every_account_pays_under_the_same_session_id() -> None:  # 5
    desk = Desk()
    other = desk.open("38668100001", EUR)
    texting = service(want=1, key="sms", price=SMS)
    for account in (desk.id, other):
        outcome = desk.charge("E", 7, texting, sid="smsc;again", account=account)
        assert (outcome.code, outcome.duplicate) == (2001, False)
    assert desk.charge("E", 7, texting, sid="smsc;again", account=other).duplicate
    assert [each.credit for each in desk.model.accounts.values()] == [19_930_000, 930_000]


def test_an_update_that_its_termination_overtook_is_paid() -> None:  # 6
    desk = Desk()
    desk.charge("I", 0, service(want=50 * MB))
    desk.charge("T", 2, service(used=10 * MB))
    late = desk.charge("U", 1, service(used=40 * MB, want=50 * MB))
    assert (late.code, late.late, one(late).granted, one(late).debited_micro_eur) == (2001, True, 0, 276_000)
    assert desk.events("charge")[-1]["svc"][0]["used"] == 40 * MB
    assert desk.charge("U", 1, service(used=40 * MB)).duplicate
    after = desk.charge("U", 3, service(used=MB, want=MB))
    assert (after.code, one(after).debited_micro_eur) == (5002, 6_900)


def test_use_after_a_refused_opening_is_paid_or_counted() -> None:  # 6
    desk = Desk(0)
    assert desk.charge("I", 0, service(want=MB)).code == 4012
    desk.model.top_up(desk.id, amount_micro_eur=100_000, reference="r", **WHEN)
    ended = desk.charge("T", 1, service(used=50 * MB))
    assert (ended.code, ended.reason, ended.late) == (2001, "refused", True)
    assert one(ended).overrun_units > 0
    line = desk.events("charge")[-1]["svc"][0]
    assert line["debit"] == 100_000
    assert line["overrun"] == one(ended).overrun_units
    assert desk.charge("T", 1, service(used=50 * MB)).duplicate


def test_what_a_period_granted_is_paid_by_it_after_its_end() -> None:  # 6
    desk = Desk(20 * EUR, MINI)
    end = NOW + MINI.period_s
    asked = service(want=10 * MB, buckets=("MINI.data",))
    desk.charge("I", 0, asked, now=end - 1000, deadline=end - 50)
    desk.model.sweep(desk.id, now=end - 50, month=MONTH)
    desk.model.sweep(desk.id, now=end, month=MONTH)
    assert [each.left for each in desk.model.view(desk.id, end, MONTH).buckets] == [10 * MB, 100 * MB]
    credit = desk.account.credit
    late = desk.charge("T", 1, replace(asked, used=8 * MB), now=end + 100)
    assert (late.late, one(late).debited_units, one(late).debited_micro_eur) == (True, 8 * MB, 0)
    assert desk.account.credit == credit
    assert [each.left for each in desk.model.view(desk.id, end, MONTH).buckets] == [100 * MB]


def test_units_granted_before_the_end_are_gone_when_their_session_is_forgotten() -> None:  # 6
    desk = Desk(20 * EUR, MINI)
    end = NOW + MINI.period_s
    desk.charge("I", 0, service(want=10 * MB, buckets=("MINI.data",)), now=end - 1000, deadline=end - 50)
    desk.model.sweep(desk.id, now=end, month=MONTH)
    desk.model.sweep(desk.id, now=end + 3600, month=MONTH)
    assert [each.instance for each in desk.account.buckets] == [3]


def test_the_rest_of_a_step_that_was_not_paid_is_not_granted() -> None:  # 7
    desk = Desk(69_000)
    first = one(desk.charge("I", 0, service(want=100 * MB)))
    assert (first.granted, first.final) == (10_485_760, True)
    second = one(desk.charge("U", 1, service(used=10_486_480, want=100 * MB)))
    assert (second.code, second.granted, second.overrun_units) == (4012, 0, 949)  # 75 octets cost nothing
    again = one(desk.charge("U", 2, service(used=100, want=100 * MB)))
    assert (again.code, again.granted) == (4012, 0)
    desk.model.top_up(desk.id, amount_micro_eur=69_000, reference="r", **WHEN)
    assert one(desk.charge("U", 3, service(want=100 * MB))).granted == 10_485_760


def test_a_paid_step_is_granted_to_its_end() -> None:  # 7
    desk = Desk(500_000)
    call = service(want=60, key="call", price=MINUTE)
    assert one(desk.charge("I", 0, call)).granted == 60
    rest = one(desk.charge("U", 1, replace(call, used=20)))
    assert (rest.granted, rest.final) == (40, True)
    beyond = one(desk.charge("U", 2, replace(call, used=41)))
    assert (beyond.code, beyond.granted, beyond.overrun_units) == (4012, 0, 60)
    assert one(desk.charge("U", 3, replace(call, used=1))).code == 4012


def test_units_held_by_a_neighbour_are_used_before_credit() -> None:  # 8
    desk = Desk(20 * EUR, MINI)
    asked = [service(want=50 * MB, key=key, buckets=("MINI.data",)) for key in "12"]
    desk.charge("I", 0, *asked)
    used = one(desk.charge("U", 1, replace(asked[0], used=100 * MB, want=None)))
    assert (used.debited_units, used.debited_micro_eur) == (100 * MB, 0)


def test_a_top_up_of_a_blocked_account_starts_no_package() -> None:  # 9
    desk = Desk(0, MINI)
    desk.model.set_state(desk.id, state="blocked", **WHEN)
    desk.model.top_up(desk.id, amount_micro_eur=10 * EUR, reference="r", **WHEN)
    assert desk.account.credit == 10 * EUR
    assert desk.model.view(desk.id, NOW, MONTH).package_pending
    desk.model.set_state(desk.id, state="active", **WHEN)
    desk.model.sweep(desk.id, **WHEN)
    assert desk.account.credit == 3_010_000


def test_a_clock_years_ahead_is_refused() -> None:  # 10
    desk = Desk(max_clock_skew_s=5, clock=lambda: NOW)
    outcome = desk.charge("I", 0, service(want=MB), now=NOW + 4 * 365 * 86_400)
    assert (outcome.code, outcome.reason) == (0, "clock")
    assert not desk.account.sessions
    assert desk.charge("I", 0, service(want=MB), now=NOW + 5).code == 2001


def test_a_service_past_its_own_deadline_returns_its_hold() -> None:  # 11
    desk = Desk()
    desk.charge("I", 0, service(want=MB, key="1"), service(want=MB, key="2"), deadline=NOW + 100)
    desk.charge("U", 1, service(used=MB, want=MB, key="1"), now=NOW + 90, deadline=NOW + 190)
    assert desk.account.held == 2 * 6_900
    desk.charge("U", 2, service(used=MB, want=MB, key="1"), now=NOW + 150, deadline=NOW + 250)
    assert desk.account.held == 6_900


def test_a_number_at_the_end_of_its_range_does_not_refuse_all_others() -> None:  # 15
    desk = Desk()
    desk.charge("I", 0, service(want=MB))
    assert desk.charge("U", 2**32 - 1, service(used=MB, want=MB)).code == 2001
    assert desk.charge("U", 1, service(used=MB, want=MB)).code == 2001
    assert desk.charge("U", 2**32 - 1, service(used=MB, want=MB)).duplicate
    assert desk.account.credit == 20 * EUR - 2 * 6_900
    assert desk.charge("U", 10**6, service(used=MB, want=MB)).code == 2001
    assert desk.charge("U", 10**6 + 1, service(used=MB, want=MB)).code == 2001  # it has gone on from there
    assert desk.charge("U", 2, service(used=MB)).code == 5012
    assert desk.charge("U", 10**6, service(used=MB)).duplicate


def test_an_update_whose_answer_is_forgotten_is_refused() -> None:  # 15
    desk = Desk()
    desk.charge("I", 0, service(want=MB))
    desk.charge("U", 1, service(used=MB, want=MB))
    desk.model._answers.clear()
    assert (desk.charge("U", 1, service(used=MB)).code, desk.account.credit) == (5012, 20 * EUR - 6_900)


def test_a_refused_opening_is_evaluated_anew() -> None:  # 15
    desk = Desk(0)
    assert desk.charge("I", 0, service(want=MB)).code == 4012
    desk.model.top_up(desk.id, amount_micro_eur=EUR, reference="r", **WHEN)
    opened = desk.charge("I", 0, service(want=MB))
    assert (opened.code, opened.duplicate, opened.late) == (2001, False, False)


def test_a_refund_that_names_no_service_gives_back_all() -> None:  # 15
    desk = Desk()
    paid = [service(want=1, key=key, price=SMS) for key in ("sms", "mms")]
    desk.charge("E", 0, *paid, sid="smsc;1")
    assert desk.account.credit == 20 * EUR - 140_000
    unnamed = service(key="-", price=SMS)
    back = desk.charge("E", 0, unnamed, sid="smsc;1", action=Action.REFUND, refund_of=("smsc;1", 0))
    assert (back.code, one(back).debited_micro_eur, desk.account.credit) == (2001, -140_000, 20 * EUR)
    assert [line["key"] for line in desk.events("refund")[0]["svc"]] == ["sms", "mms"]
    assert desk.account.counter("limit").value == 0


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


def test_planned_armed_next_and_ending() -> None:
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


def test_what_excludes_and_what_is_not_covered() -> None:
    desk = Desk(5 * EUR)
    pack = PackageTerms("PACK", EUR, 86_400, (), "", excludes=("PACK",))
    assert desk.subscribe(pack, "a")
    before = desk.model.view(desk.id, NOW, MONTH)
    for product, code in ((pack, "excluded"), (MINI, "credit")):
        with pytest.raises(LedgerError) as refused:
            desk.subscribe(product, "b")
        assert refused.value.code == code
        assert desk.model.view(desk.id, NOW, MONTH) == before


def test_two_legs_are_paid_both_and_move_their_own_counters() -> None:
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
    first = one(desk.charge("I", 0, asked, day=1))
    assert (first.granted, first.final, first.reason) == (60 * MB, True, "limit")
    desk.charge("U", 1, replace(asked, used=10 * MB, want=None), day=1)
    assert [desk.account.counter(each.id).value for each in counters] == [10 * MB] * 3
    desk.charge("U", 2, replace(asked, used=10 * MB, want=None), now=NOW + 1000, day=2)
    assert [desk.account.counter(each.id).value for each in counters] == [20 * MB, 10 * MB, 20 * MB]
    desk.charge("U", 3, replace(asked, want=None), now=NOW + 1700, day=2)
    assert [desk.account.counter(each.id).value for each in counters] == [20 * MB, 10 * MB, 10 * MB]
    desk.model.sweep(desk.id, now=NOW + MINI.period_s, month=MONTH + 1, day=2)
    assert [desk.account.counter(each.id).value for each in counters] == [0, 10 * MB, 0]


def test_a_pool_is_shared_and_its_wrong_name_is_told() -> None:
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


def test_a_life_without_top_ups_ends() -> None:
    desk = Desk()
    desk.model.remind(desk.id, at=NOW + 5, kind="confirm", ref="SMS 200", **WHEN)
    desk.model.sweep(desk.id, now=NOW + 90 * 86_400, month=MONTH)
    desk.model.sweep(desk.id, now=NOW + 91 * 86_400, month=MONTH)
    desk.model.sweep(desk.id, now=NOW + 360 * 86_400, month=MONTH)
    assert [event["k"] for event in desk.model.events] == ["opened", "due", "state", "terminated"]
    assert desk.model.view(desk.id, NOW, MONTH).expired_micro_eur == 20 * EUR


def test_a_restricted_phase_ends_with_a_grant() -> None:
    desk = Desk(6_900)
    asked = service(want=10 * MB, restrict=Restrict.AGAIN, retry_want=MB)
    assert one(desk.charge("I", 0, asked)).final
    assert one(desk.charge("U", 1, replace(asked, used=MB, want=None))).restricted
    desk.model.top_up(desk.id, amount_micro_eur=EUR, reference="r", **WHEN)
    assert one(desk.charge("U", 2, replace(asked, want=None))).granted == MB
