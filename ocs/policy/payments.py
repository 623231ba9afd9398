"""Automatic top-ups and payment orders: what is ordered, what follows on which outcome, when it is tried again
(HOT-TOP-1, HOT-TOP-4, HOT-TOP-5, HOT-GRP-4). `ocs.ledger.redis.payments` counts HOT-TOP-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ocs.ledger.contract.payments import OrderState
from ocs.ledger.contract.views import AccountView, SubscriptionState
from ocs.values.money import CREDIT_CEILING_MICRO_EUR, MICRO
from ocs.values.products import Product

DEFAULT_MARK_MICRO_EUR = 2 * MICRO
"""HOT-TOP-4: below this credit the account is topped up, unless the subscriber has chosen another mark."""
FIVE_G = "5G"
"""Id of the catalogue's 5G option (HOT-TOP-4)."""
MAX_FAILED_ORDERS = 3
"""Automatic orders that fail one after the other; then it is given up until the credit has been at the mark again, or
it is switched on again.
"""
ORDER_AGAIN_S = 86_400
"""After the first failure; after the second twice as long."""
LOOK_AGAIN_S = 3_600
"""When an account that cannot be topped up now (blocked, full, an order under way) is looked at again."""


def top_up_amount(view: AccountView, products: Mapping[str, Product]) -> int:
    """HOT-TOP-4: the price of the account's package and of its 5G option, micro-EUR; 0 = it has no package. `products`:
    those of the catalogue in force; one that it does not have any more costs what it was bought for.
    """
    if not view.package:
        return 0
    names = [view.package]
    if any(each.product == FIVE_G and each.state is not SubscriptionState.ENDING for each in view.subscriptions):
        names.append(FIVE_G)
    bought = {each.product: each.price_micro_eur for each in view.subscriptions}
    prices = (products[each].terms.price_micro_eur if each in products else bought.get(each, 0) for each in names)
    return sum(prices)


def is_mark(micro_eur: int) -> bool:
    """Whether an automatic top-up can have this mark: credit is at most 200 EUR (HOT-ACC-7)."""
    return 0 < micro_eur < CREDIT_CEILING_MICRO_EUR


# -- who pays


def payers(view: AccountView) -> tuple[str, ...]:
    """Whose mandates may pay, in order: the account's own, then that of its group (HOT-GRP-4). A member that has given
    a mandate of its own pays itself.
    """
    return (account_payer(view.account_id), *([group_payer(view.group)] if view.group else []))


def account_payer(account_id: str) -> str:
    """It stays when the account moves to another partition."""
    return f"a{account_id.partition('-')[2]}"


def group_payer(group_id: str) -> str:
    return f"g{group_id}"


# -- an order's life


class Outcome(StrEnum):
    """What a provider or a bank says of an order."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETURNED = "returned"


_S, _O = OrderState, Outcome
TRANSITIONS: Mapping[tuple[OrderState, Outcome], OrderState] = {
    (_S.ORDERED, _O.PENDING): _S.SUBMITTED,
    (_S.ORDERED, _O.SUCCEEDED): _S.SUCCEEDED,  # the notification overtook the answer
    (_S.ORDERED, _O.FAILED): _S.FAILED,
    (_S.ORDERED, _O.RETURNED): _S.RETURNED,
    (_S.SUBMITTED, _O.SUCCEEDED): _S.SUCCEEDED,
    (_S.SUBMITTED, _O.FAILED): _S.FAILED,
    (_S.SUBMITTED, _O.RETURNED): _S.RETURNED,
    (_S.SUCCEEDED, _O.RETURNED): _S.RETURNED,
    (_S.CREDITED, _O.RETURNED): _S.RETURNED,
    (_S.REFUND_DUE, _O.RETURNED): _S.RETURNED,
    (_S.FAILED, _O.SUCCEEDED): _S.SUCCEEDED,  # it was given up, and is paid after all
    (_S.FAILED, _O.RETURNED): _S.RETURNED,
}
"""What is not here changes nothing: a notification that is old, or came before."""


def after(state: OrderState, outcome: Outcome) -> OrderState | None:
    return TRANSITIONS.get((state, outcome))


FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 6 * 3_600.0
MAX_TRIES = 40
"""Tries of one order without a certain outcome (eight days); then it has failed."""
MAX_ONE_OFF_TRIES = 14
"""Of a one-off payment, which its payer may leave unfinished (a day)."""


def retry_after_s(tries: int, chance: float) -> int:
    """Back-off after so many tries: it doubles up to LONGEST_RETRY_S; `chance`, from 0 to 1, spreads it by half."""
    doubled = FIRST_RETRY_S * 2.0 ** min(max(tries, 1) - 1, 20)
    return int(min(doubled, LONGEST_RETRY_S) * (0.75 + 0.5 * chance))
