"""Prices against exact fractions: HOT-PKG-5, HOT-RAT-8."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.catalogue.price import (
    EXACT_LIMIT,
    MAX_MONEY_MICRO_EUR,
    MAX_SESSION_UNITS,
    ROUNDINGS,
    PriceError,
    billable_units,
    compile_price,
    cost_micro_eur,
    free_price,
)
from ocs.values.use import PriceTerms, Unit
from tests.ocs.ledger.model_prices import MAX_UNITS, affordable_units
from tests.rules import rule

ROUND = {"up": ceil, "down": floor, "half_up": lambda value: floor(value + Fraction(1, 2))}


@st.composite
def prices(draw: st.DrawFn) -> PriceTerms:
    unit = draw(st.sampled_from(list(Unit)))
    quantity = draw(st.one_of(st.integers(1, 60), st.sampled_from([1, 60, 1024, 1024**2, 10**6])))
    return compile_price(
        "p",
        unit=unit,
        micro_eur=draw(st.one_of(st.integers(0, 12), st.integers(0, 400))),
        quantity=quantity if unit is not Unit.MESSAGES else min(quantity, 1024),
        first=draw(st.integers(1, 2000)),
        next_=draw(st.integers(1, 2000)),
        flat=draw(st.booleans()),
        rounding=draw(st.sampled_from(ROUNDINGS)),
    )


@rule("HOT-RAT-8")
@given(prices(), st.integers(0, 2**44))
def test_hot_rat_8_cost_is_the_exact_fraction_rounded_once(terms: PriceTerms, units: int) -> None:
    assert cost_micro_eur(terms, units) == ROUND[terms.rounding](Fraction(terms.num * units, terms.den))


@rule("HOT-RAT-8")
@given(prices(), st.integers(0, 2**30), st.integers(0, MAX_MONEY_MICRO_EUR))
def test_hot_rat_8_affordable_units_are_the_most_the_money_pays(terms: PriceTerms, already: int, money: int) -> None:
    more = affordable_units(terms, already, money)
    spent = cost_micro_eur(terms, already)
    assert more >= 0
    assert cost_micro_eur(terms, already + more) - spent <= money
    if terms.num:
        assert cost_micro_eur(terms, already + more + 1) - spent > money
    else:
        assert already + more == MAX_UNITS


@given(prices(), st.integers(0, 3000), st.integers(0, 3000))
def test_affordable_units_agree_with_a_search_for_small_amounts(terms: PriceTerms, already: int, money: int) -> None:
    more = affordable_units(terms, already, money)
    if more < 2000:
        start = cost_micro_eur(terms, already)
        assert more == max(n for n in range(2001) if cost_micro_eur(terms, already + n) - start <= money)


@rule("HOT-PKG-5")
@given(prices(), st.integers(0, 10**6))
def test_hot_pkg_5_use_is_rounded_up_to_first_then_next_steps(terms: PriceTerms, raw: int) -> None:
    billed = billable_units(terms, raw)
    if raw == 0:
        assert billed == 0
    elif terms.flat:
        assert billed == 1
    else:
        steps = ceil(Fraction(max(raw - terms.first, 0), terms.next))
        assert billed == terms.first + steps * terms.next
        assert billed >= raw


@rule("HOT-PKG-5")
@given(prices(), st.lists(st.integers(0, 5000), max_size=12))
def test_hot_pkg_5_only_the_sessions_total_matters(terms: PriceTerms, reports: list[int]) -> None:
    total = debited = 0
    for used in reports:
        before = cost_micro_eur(terms, billable_units(terms, total))
        total += used
        debited += cost_micro_eur(terms, billable_units(terms, total)) - before
    assert debited == cost_micro_eur(terms, billable_units(terms, sum(reports)))


@rule("HOT-PKG-5")
@pytest.mark.parametrize(
    ("first", "next_", "raw", "billed"),
    [
        (60, 1, 1, 60),
        (60, 1, 61, 61),
        (60, 60, 61, 120),
        (60, 60, 60, 60),
        (1, 1, 7, 7),
        (1024, 1024, 1, 1024),
        (30, 10, 31, 40),
    ],
)
def test_hot_pkg_5_intervals_of_the_price_list(first: int, next_: int, raw: int, billed: int) -> None:
    terms = compile_price("p", unit=Unit.SECONDS, micro_eur=60, quantity=60, first=first, next_=next_)
    assert billable_units(terms, raw) == billed


@rule("HOT-PKG-5")
def test_hot_pkg_5_a_price_per_call_is_paid_once() -> None:
    terms = compile_price("p", unit=Unit.SECONDS, micro_eur=1_500_000, quantity=60, flat=True)
    assert [cost_micro_eur(terms, billable_units(terms, seconds)) for seconds in (0, 1, 3600)] == [
        0,
        1_500_000,
        1_500_000,
    ]


def test_one_megabyte_by_the_kilobyte_costs_the_listed_price() -> None:
    terms = compile_price("d", unit=Unit.OCTETS, micro_eur=6_900, quantity=1024**2, first=1024, next_=1024)
    assert (terms.num, terms.den) == (1725, 262144)
    assert cost_micro_eur(terms, billable_units(terms, 1024**2)) == 6_900
    assert cost_micro_eur(terms, billable_units(terms, 1)) == 7  # 1 kB: 6.738 micro-EUR


def test_equal_terms_have_the_same_id_and_others_another() -> None:
    ids = {
        compile_price("v", unit=Unit.SECONDS, micro_eur=m, quantity=q, first=f, next_=n, flat=x, rounding=r).id
        for m in (0, 69, 70)
        for q in (1, 60)
        for f, n in ((1, 1), (60, 1), (60, 60))
        for x in (False,)
        for r in ROUNDINGS
    }
    assert len(ids) == (5 - 1 + 1) * 3 * 3  # price 0 is one fraction whatever the quantity
    again = compile_price("v", unit=Unit.SECONDS, micro_eur=140, quantity=120)
    assert again.id == compile_price("v", unit=Unit.SECONDS, micro_eur=70, quantity=60).id
    assert again.id.startswith("v@")
    assert free_price("v", Unit.SECONDS).id != again.id


@rule("HOT-RAT-8")
@pytest.mark.parametrize("unit", list(Unit))
def test_hot_rat_8_bounds_every_product_of_an_accepted_price_is_exact(unit: Unit) -> None:
    accepted = 0
    for micro_eur in (1, 7, 6_900, 999_983, 5_000_000, 199_999_991, 200_000_000):
        for quantity in (1, 60, 1024, 1000, 1024**2, 1000**2, 1024**3):
            if quantity > MAX_SESSION_UNITS[unit]:
                continue
            try:
                terms = compile_price("p", unit=unit, micro_eur=micro_eur, quantity=quantity)
            except PriceError:
                continue
            accepted += 1
            assert 2 * terms.num * terms.den < EXACT_LIMIT
            assert cost_micro_eur(terms, MAX_SESSION_UNITS[unit]) < EXACT_LIMIT
            assert 2 * MAX_MONEY_MICRO_EUR * terms.den < EXACT_LIMIT
    assert accepted > 10


@rule("HOT-RAT-8")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantity": 1024**3, "micro_eur": 6_899_999}, "below 2\\^53"),
        ({"micro_eur": 200_000_000, "quantity": 1}, "longest session"),
        ({"micro_eur": -1}, "the price must be from 0"),
        ({"micro_eur": 200_000_001}, "the price must be from 0 to 200000000"),
        ({"quantity": 0}, "the quantity must be from 1"),
        ({"first": 0}, "the first step must be from 1"),
        ({"next_": 2**45}, "the next step must be from 1"),
        ({"rounding": "even"}, "one of up, down, half_up"),
    ],
)
def test_hot_rat_8_a_price_that_cannot_be_exact_is_refused(changes: dict[str, object], says: str) -> None:
    arguments: dict[str, object] = {"unit": Unit.OCTETS, "micro_eur": 6_900, "quantity": 1024**2, **changes}
    with pytest.raises(PriceError, match=says):
        compile_price("p", **arguments)


def test_a_free_price_costs_nothing_and_affords_everything() -> None:
    terms = free_price("free", Unit.OCTETS)
    assert (terms.num, terms.den) == (0, 1)
    assert cost_micro_eur(terms, 2**44) == 0
    assert affordable_units(terms, 5, 0) == MAX_UNITS - 5
    assert affordable_units(terms, 5, -1) == 0
