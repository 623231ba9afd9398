"""The model itself: the right result for each fault that the ledger once had."""

from __future__ import annotations

from dataclasses import replace

from ocs.values.requests import Action
from tests.ocs.ledger.books import DATA, EUR, MB, MONTH, NOW, SMS, WHEN, service
from tests.ocs.ledger.desk import FREE, MINI, MINUTE, Desk, one


def test_a_service_refused_for_credit_gets_a_share_at_the_next_reservation() -> None:
    desk = Desk()
    assert one(desk.charge("I", 0, service(want=10_000 * MB))).final
    assert desk.account.credit - desk.account.held < SMS.num
    texting = service(want=1, key="sms", price=SMS)
    assert desk.charge("E", 0, texting, sid="smsc;1").code == 4012
    again = desk.charge("U", 1, service(used=MB, want=10_000 * MB))
    assert not one(again).final
    assert desk.account.held <= 10 * EUR
    assert desk.charge("E", 0, texting, sid="smsc;2").code == 2001


def test_a_service_refused_for_the_limit_gets_a_share() -> None:
    desk = Desk(150 * EUR)
    assert one(desk.charge("I", 0, service(want=100_000 * MB))).reason == "limit"
    texting = service(want=1, key="sms", price=SMS)
    refused = desk.charge("E", 0, texting, sid="smsc;1")
    assert (refused.code, refused.reason) == (4012, "limit")
    desk.charge("U", 1, service(used=MB, want=100_000 * MB), now=NOW + 30)
    assert desk.charge("E", 0, texting, sid="smsc;2", now=NOW + 30).code == 2001


def test_a_grant_holds_no_more_money_than_the_policy_allows() -> None:
    desk = Desk()
    assert one(desk.charge("I", 0, service(want=10_000 * MB, maximum_micro_eur=EUR))).granted == 151_966_720
    assert desk.account.held <= EUR
    assert (
        one(desk.charge("I", 0, service(want=MB, maximum_micro_eur=1, minimum=MB), sid="pgw.example.net;2")).granted
        == MB
    )


def test_a_service_that_is_always_allowed_is_not_aborted() -> None:
    desk = Desk()
    desk.charge("I", 0, service(want=60, key="112", price=FREE, always=True), sid="ims;1")
    desk.charge("I", 0, service(want=MB), sid="pgw;1")
    desk.model.set_state(desk.id, state="blocked", **WHEN)
    desk.model.terminate_account(desk.id, **WHEN)
    assert desk.model.notices == [("abort", "state", desk.id, ("pgw;1",))] * 2


def test_a_due_fee_ranks_before_holds() -> None:
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


def test_a_fee_comes_before_the_holds_of_a_roamer_too() -> None:
    desk = Desk(14 * EUR, MINI)
    desk.charge("I", 0, service(want=10_000 * MB, price=DATA), deadline=NOW + 99 * 86_400)
    assert desk.account.held > 7_000_000
    now = NOW + MINI.period_s + 5
    outcome = desk.charge("U", 1, service(used=MB, want=10_000 * MB), now=now, deadline=now + 600)
    assert desk.events("package")[-1]["ok"] is True
    assert outcome.credit_micro_eur == 14 * EUR - 2 * MINI.price_micro_eur - 6_900


def test_every_account_pays_under_the_same_session_id() -> None:
    desk = Desk()
    other = desk.open("38668100001", EUR)
    texting = service(want=1, key="sms", price=SMS)
    for account in (desk.id, other):
        outcome = desk.charge("E", 7, texting, sid="smsc;again", account=account)
        assert (outcome.code, outcome.duplicate) == (2001, False)
    assert desk.charge("E", 7, texting, sid="smsc;again", account=other).duplicate
    assert [each.credit for each in desk.model.accounts.values()] == [19_930_000, 930_000]


def test_an_update_that_its_termination_overtook_is_paid() -> None:
    desk = Desk()
    desk.charge("I", 0, service(want=50 * MB))
    desk.charge("T", 2, service(used=10 * MB))
    late = desk.charge("U", 1, service(used=40 * MB, want=50 * MB))
    assert (late.code, late.late, one(late).granted, one(late).debited_micro_eur) == (2001, True, 0, 276_000)
    assert desk.events("charge")[-1]["svc"][0]["used"] == 40 * MB
    assert desk.charge("U", 1, service(used=40 * MB)).duplicate
    after = desk.charge("U", 3, service(used=MB, want=MB))
    assert (after.code, one(after).debited_micro_eur) == (5002, 6_900)


def test_use_after_a_refused_opening_is_paid_or_counted() -> None:
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


def test_units_granted_in_a_period_pay_after_its_end() -> None:
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


def test_units_of_an_ended_period_go_with_their_session() -> None:
    desk = Desk(20 * EUR, MINI)
    end = NOW + MINI.period_s
    desk.charge("I", 0, service(want=10 * MB, buckets=("MINI.data",)), now=end - 1000, deadline=end - 50)
    desk.model.sweep(desk.id, now=end, month=MONTH)
    desk.model.sweep(desk.id, now=end + 3600, month=MONTH)
    assert [each.instance for each in desk.account.buckets] == [3]


def test_the_rest_of_a_step_that_was_not_paid_is_not_granted() -> None:
    desk = Desk(69_000)
    first = one(desk.charge("I", 0, service(want=100 * MB)))
    assert (first.granted, first.final) == (10_485_760, True)
    second = one(desk.charge("U", 1, service(used=10_486_480, want=100 * MB)))
    assert (second.code, second.granted, second.overrun_units) == (4012, 0, 949)  # 75 octets cost nothing
    again = one(desk.charge("U", 2, service(used=100, want=100 * MB)))
    assert (again.code, again.granted) == (4012, 0)
    desk.model.top_up(desk.id, amount_micro_eur=69_000, reference="r", **WHEN)
    assert one(desk.charge("U", 3, service(want=100 * MB))).granted == 10_485_760


def test_a_paid_step_is_granted_to_its_end() -> None:
    desk = Desk(500_000)
    call = service(want=60, key="call", price=MINUTE)
    assert one(desk.charge("I", 0, call)).granted == 60
    rest = one(desk.charge("U", 1, replace(call, used=20)))
    assert (rest.granted, rest.final) == (40, True)
    beyond = one(desk.charge("U", 2, replace(call, used=41)))
    assert (beyond.code, beyond.granted, beyond.overrun_units) == (4012, 0, 60)
    assert one(desk.charge("U", 3, replace(call, used=1))).code == 4012


def test_units_held_by_a_neighbour_are_used_before_credit() -> None:
    desk = Desk(20 * EUR, MINI)
    asked = [service(want=50 * MB, key=key, buckets=("MINI.data",)) for key in "12"]
    desk.charge("I", 0, *asked)
    used = one(desk.charge("U", 1, replace(asked[0], used=100 * MB, want=None)))
    assert (used.debited_units, used.debited_micro_eur) == (100 * MB, 0)


def test_a_top_up_of_a_blocked_account_starts_no_package() -> None:
    desk = Desk(0, MINI)
    desk.model.set_state(desk.id, state="blocked", **WHEN)
    desk.model.top_up(desk.id, amount_micro_eur=10 * EUR, reference="r", **WHEN)
    assert desk.account.credit == 10 * EUR
    assert desk.model.view(desk.id, NOW, MONTH).package_pending
    desk.model.set_state(desk.id, state="active", **WHEN)
    desk.model.sweep(desk.id, **WHEN)
    assert desk.account.credit == 3_010_000


def test_a_clock_years_ahead_is_refused() -> None:
    desk = Desk(max_clock_skew_s=5, clock=lambda: NOW)
    outcome = desk.charge("I", 0, service(want=MB), now=NOW + 4 * 365 * 86_400)
    assert (outcome.code, outcome.reason) == (0, "clock")
    assert not desk.account.sessions
    assert desk.charge("I", 0, service(want=MB), now=NOW + 5).code == 2001


def test_a_service_past_its_own_deadline_returns_its_hold() -> None:
    desk = Desk()
    desk.charge("I", 0, service(want=MB, key="1"), service(want=MB, key="2"), deadline=NOW + 100)
    desk.charge("U", 1, service(used=MB, want=MB, key="1"), now=NOW + 90, deadline=NOW + 190)
    assert desk.account.held == 2 * 6_900
    desk.charge("U", 2, service(used=MB, want=MB, key="1"), now=NOW + 150, deadline=NOW + 250)
    assert desk.account.held == 6_900


def test_a_number_at_the_end_of_its_range_does_not_refuse_all_others() -> None:
    desk = Desk()
    desk.charge("I", 0, service(want=MB))
    assert desk.charge("U", 2**32 - 1, service(used=MB, want=MB)).code == 2001
    assert desk.charge("U", 1, service(used=MB, want=MB)).code == 2001
    assert desk.charge("U", 2**32 - 1, service(used=MB, want=MB)).duplicate
    assert desk.account.credit == 20 * EUR - 2 * 6_900
    assert desk.charge("U", 10**6, service(used=MB, want=MB)).code == 2001
    assert desk.charge("U", 10**6 + 1, service(used=MB, want=MB)).code == 2001  # the numbers go on from there
    assert desk.charge("U", 2, service(used=MB)).code == 5012
    assert desk.charge("U", 10**6, service(used=MB)).duplicate


def test_an_update_whose_answer_is_forgotten_is_refused() -> None:
    desk = Desk()
    desk.charge("I", 0, service(want=MB))
    desk.charge("U", 1, service(used=MB, want=MB))
    desk.model._answers.clear()
    assert (desk.charge("U", 1, service(used=MB)).code, desk.account.credit) == (5012, 20 * EUR - 6_900)


def test_a_refused_opening_is_evaluated_anew() -> None:
    desk = Desk(0)
    assert desk.charge("I", 0, service(want=MB)).code == 4012
    desk.model.top_up(desk.id, amount_micro_eur=EUR, reference="r", **WHEN)
    opened = desk.charge("I", 0, service(want=MB))
    assert (opened.code, opened.duplicate, opened.late) == (2001, False, False)


def test_a_refund_that_names_no_service_gives_back_all() -> None:
    desk = Desk()
    paid = [service(want=1, key=key, price=SMS) for key in ("sms", "mms")]
    desk.charge("E", 0, *paid, sid="smsc;1")
    assert desk.account.credit == 20 * EUR - 140_000
    unnamed = service(key="-", price=SMS)
    back = desk.charge("E", 0, unnamed, sid="smsc;1", action=Action.REFUND, refund_of=("smsc;1", 0))
    assert (back.code, [each.key for each in back.services], desk.account.credit) == (2001, ["-"], 20 * EUR)
    assert [line["key"] for line in desk.events("refund")[0]["svc"]] == ["sms", "mms"]
    assert desk.account.counter("limit").value == 0
