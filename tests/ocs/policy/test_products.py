"""The rules of a sale, by tables: dates, shares of benefits, who refuses what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.ledger.contract.views import SubscriptionState, SubscriptionView
from ocs.policy import packs, tariffs
from ocs.policy.commitments import early_end_shares
from ocs.policy.decisions import Buy, End, Follow, Refused
from ocs.values.products import Change
from tests.catalogue import fixed_catalogue
from tests.rules import rule

OFFER = fixed_catalogue().products
DAY_S = 86_400
NOW = 1_000 * DAY_S


@dataclass
class Account:
    subscriptions: list[SubscriptionView] = field(default_factory=list)


def held(product_id: str, state: str = "active", **more: Any) -> SubscriptionView:
    terms = OFFER[product_id].terms
    ends = NOW + 10 * DAY_S if state in ("active", "ending") else 0
    rest = (product_id, SubscriptionState(state), NOW, ends, "", terms.price_micro_eur, terms.group)
    return SubscriptionView(1, *rest, **more)


@rule("HOT-PKG-11")
@pytest.mark.parametrize(
    ("day", "following"),
    [
        ((2026, 1, 15), (2026, 2, 15)),
        ((2026, 1, 31), (2026, 2, 28)),
        ((2028, 1, 31), (2028, 2, 29)),
        ((2026, 3, 31), (2026, 4, 30)),
        ((2026, 12, 31), (2027, 1, 31)),
    ],
)
def test_one_month_ahead(day: tuple[int, int, int], following: tuple[int, int, int]) -> None:
    assert packs.month_after(date(*day)) == date(*following)


@rule("HOT-REC-4")
@pytest.mark.parametrize(
    ("benefit", "days", "seconds_left", "share"),
    [
        (60_000_000, 720, 520 * DAY_S, 43_330_000),  # 43.3333
        (48_000_000, 720, 520 * DAY_S, 34_670_000),  # 34.6667
        (60_000_000, 720, 520 * DAY_S + DAY_S - 1, 43_330_000),  # a day that has begun is not left
        (10_000, 2, DAY_S, 10_000),  # half a cent is a cent
        (10_000, 3, DAY_S, 0),  # 0.33 cents are nothing
        (60_000_000, 720, 720 * DAY_S, 60_000_000),
        (60_000_000, 720, DAY_S - 1, 0),
        (60_000_000, 720, -5, 0),
    ],
)
def test_the_share_of_a_benefit(benefit: int, days: int, seconds_left: int, share: int) -> None:
    until = NOW + seconds_left
    found = early_end_shares(
        held("TV", committed_until=until, committed_days=days, benefits=(("equipment", benefit),)), NOW
    )
    assert sum(each.micro_eur for each in found) == share
    assert {(each.days_agreed, each.days_left) for each in found} <= {(days, seconds_left // DAY_S)}


@rule("HOT-REC-4")
@given(st.integers(1, 10**12), st.integers(1, 3_660), st.data())
def test_a_share_never_exceeds_the_benefit_and_falls_day_by_day(benefit: int, days: int, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, days))

    def share(at: int) -> int:
        committed = {"committed_until": NOW + days * DAY_S, "committed_days": days, "benefits": (("fee", benefit),)}
        subscription: SubscriptionView = held("TV", **committed)
        return sum([each.micro_eur for each in early_end_shares(subscription, at)])

    at = NOW + (days - left) * DAY_S
    assert 0 <= share(at + DAY_S) <= share(at) <= benefit + 5_000  # half a cent, by rounding


@rule("HOT-PKG-9")
@pytest.mark.parametrize(
    ("has", "wanted", "code"),
    [
        ([], "SMS-200", ""),
        ([held("MINI")], "SMS-200", ""),
        ([held("MAXI")], "SMS-200", "barred"),
        ([held("MAXI", "unpaid")], "SMS-200", "barred"),
        ([held("SMS-200")], "SMS-1000", "excluded"),
        ([held("SMS-1000", "ending")], "SMS-200", "excluded"),
        ([held("SMS-1000", "planned")], "SMS-200", "excluded"),
        ([held("SMS-200")], "SMS-200-MESEC", ""),
        ([held("SMS-200-MESEC")], "SMS-200-MESEC", ""),
        ([held("USA-UNLIMITED", "armed")], "USA-UNLIMITED", "excluded"),
        ([], "5G", "requires"),
        ([held("MINI")], "5G", ""),
        ([held("MINI", "unpaid")], "EXTRA-DATA-5-GB", "tariff"),
        ([held("MINI", "ending")], "EXTRA-DATA-5-GB", ""),
        ([], "MINI", "kind"),
    ],
)
def test_who_may_buy(has: list[SubscriptionView], wanted: str, code: str) -> None:
    decision = packs.buy(Account(has), OFFER[wanted], OFFER, NOW)
    assert (decision.code if isinstance(decision, Refused) else "") == code


@rule("HOT-PKG-8")
@pytest.mark.parametrize(
    ("since", "until", "sold"), [(0, 0, 1), (NOW, 0, 1), (NOW + 1, 0, 0), (0, NOW, 0), (0, NOW + 1, 1)]
)
def test_what_is_not_on_sale_is_not_bought_planned_or_changed_to(since: int, until: int, sold: int) -> None:
    pack, tariff = (replace(OFFER[each], sold_from=since, sold_until=until) for each in ("SMS-200", "MAXI"))
    tomorrow = {"now": NOW, "today": date(2026, 11, 10), "on": date(2026, 11, 11), "at": NOW + DAY_S}
    found = [
        packs.buy(Account(), pack, OFFER, NOW),
        packs.plan(Account(), pack, OFFER, **tomorrow),
        packs.plan(Account(), tariff, OFFER, **tomorrow),
        tariffs.change(Account(), tariff, NOW),
    ]
    assert [each == Refused("sold", "SMS-200" if n < 2 else "MAXI") for n, each in enumerate(found)] == [not sold] * 4


@rule("HOT-PKG-6", "HOT-PKG-17")
def test_changes_of_the_tariff() -> None:
    mini, maxi = OFFER["MINI"], OFFER["MAXI"]
    assert tariffs.change(Account(), mini, NOW) == Buy()
    assert tariffs.change(Account([held("MINI", "unpaid")]), mini, NOW) == Buy()
    committed = held("MAXI", committed_until=NOW + 20 * DAY_S, committed_days=60, benefits=(("fee", 1),))
    assert tariffs.change(Account([committed]), mini, NOW) == Refused("commitment", "MAXI", NOW + 20 * DAY_S)
    assert tariffs.change(Account([committed]), OFFER["EXTRA"], NOW) == Buy()
    over = held("MAXI", committed_until=NOW, committed_days=60, benefits=(("fee", 1),))
    assert tariffs.change(Account([over]), mini, NOW) == Buy()
    assert tariffs.change(Account([held("MAXI")]), maxi, NOW) == Refused("same", "MAXI")


@rule("HOT-PKG-7")
def test_a_cancellation() -> None:
    ends = NOW + 10 * DAY_S
    assert packs.cancel(Account([held("SMS-200")]), "SMS-200", now=NOW) == End(1, ends, False, ())
    assert packs.cancel(Account([held("SMS-200", "planned")]), "SMS-200", now=NOW) == End(1, NOW, True, ())
    assert packs.cancel(Account([held("MINI")]), "SMS-200", now=NOW) == Refused("subscription", "SMS-200")


def test_a_tariff_that_changes_at_the_end_of_the_period_follows() -> None:

    later = replace(OFFER["MINI"], change=Change.PERIOD_END)
    assert tariffs.change(Account([held("MAXI")]), later, NOW) == Follow(1, NOW + 10 * DAY_S)
