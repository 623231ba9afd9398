"""Commitments of products (HOT-PKG-17, HOT-REC-4)."""

from __future__ import annotations

from collections.abc import Collection

from ocs.policy.decisions import Account, Subscription
from ocs.values.moment import DAY_S
from ocs.values.money import share_to_cent
from ocs.values.products import BenefitShare


def is_committed(subscription: Subscription, at: int) -> bool:
    """Whether its commitment still runs at that time, Unix seconds (HOT-PKG-17)."""
    return subscription.committed_until > at


def days_left(subscription: Subscription, at: int) -> int:
    """Whole days of the commitment after `at`; a day that has begun is not left any more."""
    return max(subscription.committed_until - at, 0) // DAY_S


def early_end_shares(subscription: Subscription, at: int) -> tuple[BenefitShare, ...]:
    """What an end at `at`, Unix seconds, costs of each benefit: benefit × days left / days agreed, rounded half up to
    the cent (HOT-REC-4). () = no commitment runs then.
    """
    left, agreed = days_left(subscription, at), subscription.committed_days
    if not left or not agreed:
        return ()
    shares = ((name, share_to_cent(amount, left, agreed)) for name, amount in subscription.benefits)
    return tuple(BenefitShare(name, micro_eur, left, agreed) for name, micro_eur in shares if micro_eur)


def last_shares(
    account: Account, at: int, products: Collection[str] | None = None
) -> dict[int, tuple[BenefitShare, ...]]:
    """By instance, what the end of the account at `at` costs of each commitment that runs (HOT-REC-4, HOT-PKG-17): it
    is paid as far as there is credit, for an end that the subscriber may have cannot be refused. `products`: only these
    end; None = all.
    """
    ends = {
        each.instance: early_end_shares(each, at)
        for each in account.subscriptions
        if products is None or each.product in products
    }
    return {instance: shares for instance, shares in ends.items() if shares}
