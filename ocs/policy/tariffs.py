"""Tariffs: buying one, and changing to another (HOT-PKG-1, -6, -17)."""

from __future__ import annotations

from ocs.policy.commitments import is_committed
from ocs.policy.decisions import RUNNING, Account, Buy, Follow, Plan, Refused, Subscription
from ocs.values.products import PACKAGE_GROUP, Change, Product, ProductKind


def tariff_of(account: Account) -> Subscription | None:
    """The tariff that runs, else the one that waits for its fee."""
    found = [each for each in account.subscriptions if each.group == PACKAGE_GROUP]
    running = [each for each in found if each.state in RUNNING]
    return next(iter([*running, *(each for each in found if each.state == "unpaid")]), None)


def change(account: Account, product: Product, now: int) -> Buy | Follow | Plan | Refused:
    """HOT-PKG-6: a change to another tariff is free. It takes effect at once or at the end of the period, as that one
    says. A tariff that waits for its fee, or none at all, is changed at once. HOT-PKG-17: see `commitment_refuses`.
    Nobody changes to a tariff that is not on sale.
    """
    if product.kind is not ProductKind.TARIFF:
        return Refused("kind", product.id)
    if not product.is_sold(now):
        return Refused("sold", product.id)
    tariff = tariff_of(account)
    if tariff is None or tariff.state == "unpaid":
        return Buy()
    if tariff.product == product.id:
        return Refused("same", product.id)
    at_end = product.change is Change.PERIOD_END
    if refused := commitment_refuses(tariff, product, tariff.ends_at if at_end else now):
        return refused
    if not at_end:
        return Buy()
    # What ends with the period is not followed by another: the next one begins by itself.
    return Plan(tariff.ends_at) if tariff.state == "ending" else Follow(tariff.instance, tariff.ends_at)


def commitment_refuses(tariff: Subscription, product: Product, at: int) -> Refused | None:
    """HOT-PKG-17: while a commitment runs a change to a cheaper tariff is refused. So is one to a tariff with a
    commitment of its own: the benefits of the first would be forgotten. `at`: when it would take effect, Unix seconds.
    """
    if not is_committed(tariff, at):
        return None
    if product.terms.price_micro_eur < tariff.price_micro_eur or product.terms.commitment_days:
        return Refused("commitment", tariff.product, tariff.committed_until)
    return None
