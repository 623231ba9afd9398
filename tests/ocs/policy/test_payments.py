"""Automatic top-ups and payment orders: amounts, payers, states, retries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.ledger.contract.payments import OPEN, OrderState, account_of, new_order_id
from ocs.ledger.contract.views import AccountView, SubscriptionState, SubscriptionView
from ocs.policy import payments as policy
from ocs.policy.payments import LONGEST_RETRY_S, MAX_TRIES, Outcome, after, retry_after_s
from tests.catalogue import fixed_catalogue
from tests.rules import rule

EUR = 1_000_000
PRODUCTS = fixed_catalogue().sold_at(1_795_000_000).products


def view(package: str = "MAXI", *products: tuple[str, SubscriptionState, int], **more: Any) -> AccountView:
    subscriptions = tuple(
        SubscriptionView(n, name, state, 0, 0, "", price, "") for n, (name, state, price) in enumerate(products)
    )
    plain = AccountView(*("17-ab", "38668100000", "293400000000000", "active"), *(0,) * 8, None, (), package, False, 0)
    return replace(plain, subscriptions=subscriptions, **more)


@rule("HOT-TOP-4")
@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (view(), 9_990_000),
        (view("MAXI", ("MAXI", SubscriptionState.ACTIVE, 1), ("5G", SubscriptionState.ACTIVE, 1)), 11_980_000),
        (view("MAXI", ("5G", SubscriptionState.UNPAID, 1)), 11_980_000),
        (view("MAXI", ("5G", SubscriptionState.ENDING, 1)), 9_990_000),  # it is not renewed
        (view("MAXI", ("SMS-200", SubscriptionState.ACTIVE, 7)), 9_990_000),
        (view("GONE", ("GONE", SubscriptionState.ACTIVE, 4_500_000)), 4_500_000),  # sold no more: as bought
        (view(""), 0),
    ],
)
def test_the_amount_is_the_price_of_the_package_and_of_the_5g_option(account: AccountView, expected: int) -> None:
    assert policy.top_up_amount(account, PRODUCTS) == expected


@rule("HOT-GRP-4")
def test_the_account_pays_itself_else_its_group() -> None:
    assert policy.payers(view()) == ("aab",)
    assert policy.payers(view(group="G1")) == ("aab", "gG1")
    moved = replace(view(), account_id="03-ab")
    assert policy.payers(moved) == ("aab",), "it stays when the account moves"


@pytest.mark.parametrize("state", OrderState)
@pytest.mark.parametrize("outcome", Outcome)
def test_money_that_was_credited_or_paid_back_never_comes_again(state: OrderState, outcome: Outcome) -> None:
    new = after(state, outcome)
    if new is OrderState.SUCCEEDED:
        assert state in (OrderState.ORDERED, OrderState.SUBMITTED, OrderState.FAILED)
    if state is OrderState.RETURNED:
        assert new is None, "it is over"
    if state is OrderState.CREDITED:
        assert new in (None, OrderState.RETURNED)
    if outcome is Outcome.FAILED:
        assert new is OrderState.FAILED or state not in (OrderState.ORDERED, OrderState.SUBMITTED)
    assert new is not state


def test_every_open_order_can_end() -> None:
    for state in OPEN - {OrderState.SUCCEEDED}:
        assert after(state, Outcome.SUCCEEDED) is OrderState.SUCCEEDED
        assert after(state, Outcome.FAILED) is OrderState.FAILED


@given(st.integers(1, MAX_TRIES), st.floats(0, 1))
def test_retries_are_later_and_later_and_spread(tries: int, chance: float) -> None:
    pause = retry_after_s(tries, chance)
    assert 20 <= pause <= LONGEST_RETRY_S * 1.25
    assert retry_after_s(tries, 1) > retry_after_s(tries, 0)
    assert retry_after_s(tries + 1, chance) >= pause


@given(st.integers(0, 16_383), st.integers(0, 2**64 - 1), st.integers(0, 2**64))
def test_an_order_id_names_its_account_and_fits_into_a_sepa_message(partition: int, uid: int, entropy: int) -> None:
    account_id = f"{partition:02d}-{uid:016x}"
    order_id = new_order_id(account_id, entropy)
    assert account_of(order_id) == account_id
    assert len(order_id) <= 35, "EndToEndId is Max35Text"


@pytest.mark.parametrize("text", ["", "x", "17-ab", "-", "17--"])
def test_other_texts_are_no_order_ids(text: str) -> None:
    with pytest.raises(ValueError, match="is no id of a payment order"):
        account_of(text)


def test_marks_are_below_what_an_account_can_have() -> None:
    assert policy.DEFAULT_MARK_MICRO_EUR == 2 * EUR
    assert [policy.is_mark(each) for each in (0, 1, 199 * EUR, 200 * EUR, -1)] == [False, True, True, False, False]
