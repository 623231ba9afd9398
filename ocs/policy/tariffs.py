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
    running = tariff is not None and tariff.state in RUNNING
    if tariff is not None and running and tariff.product == product.id:
        return Refused("same", product.id)
    at_end = running and product.change is Change.PERIOD_END
    if refused := restart_refuses(account, product, tariff.ends_at if tariff is not None and at_end else now):
        return refused
    if tariff is None or not at_end:
        return Buy()
    # What ends with the period is not followed by another: the next one begins by itself.
    if tariff.state == "ending":
        return second_plan(account) or Plan(tariff.ends_at)
    return Follow(tariff.instance, tariff.ends_at)


def restart_refuses(account: Account, product: Product, at: int) -> Refused | None:
    """HOT-PKG-17: what forbids a period of this tariff that begins at `at`, Unix seconds."""
    return commitment_refuses(tariff_of(account), product, at) or planned_refuses(account, product, at)


def plan(account: Account, product: Product, at: int) -> Plan | Refused:
    """HOT-PKG-11: a change of the tariff at `at`, Unix seconds. There is one plan at a time: each would be paid."""
    tariff = tariff_of(account)
    if tariff is not None and tariff.state == "active" and tariff.product == product.id:
        return Refused("same", product.id)
    return commitment_refuses(tariff, product, at) or second_plan(account) or Plan(at)


def commitment_refuses(tariff: Subscription | None, product: Product, at: int) -> Refused | None:
    """HOT-PKG-17: while a commitment runs a change to a cheaper tariff is refused, also while the tariff waits for its
    fee. So is one to a tariff with a commitment of its own: the benefits of the first would be forgotten. `at`: when it
    would take effect, Unix seconds.
    """
    if tariff is None or tariff.product == product.id or not is_committed(tariff, at):
        return None
    if product.terms.price_micro_eur < tariff.price_micro_eur or product.terms.commitment_days:
        return Refused("commitment", tariff.product, tariff.committed_until)
    return None


def planned_refuses(account: Account, product: Product, at: int) -> Refused | None:
    """HOT-PKG-17: nobody takes a commitment, or takes it over, while a change to a cheaper tariff is planned."""
    tariff = tariff_of(account)
    if not product.terms.commitment_days and (tariff is None or not is_committed(tariff, at)):
        return None
    planned = (each for each in _planned(account) if each.price_micro_eur < product.terms.price_micro_eur)
    return next((Refused("planned", each.product) for each in planned), None)


def second_plan(account: Account) -> Refused | None:
    return next((Refused("planned", each.product) for each in _planned(account)), None)


def _planned(account: Account) -> list[Subscription]:
    """Planned changes of the tariff."""
    return [each for each in account.subscriptions if each.group == PACKAGE_GROUP and each.state == "planned"]
