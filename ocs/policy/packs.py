"""Products beside the tariff: packs, options, zone packs, further quantities, fees (HOT-PKG-7 to -13, -16)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from ocs.policy import tariffs
from ocs.policy.commitments import early_end_shares
from ocs.policy.decisions import RUNNING, WAITING, Account, Buy, End, Offer, Plan, Refused, Subscription
from ocs.values.products import PackageTerms, Product, ProductKind

UNPLANNED = (ProductKind.FEE, ProductKind.EXTRA)
"""Kinds that are bought at once only."""


def buy(account: Account, product: Product, offer: Offer, now: int) -> Buy | Refused:
    """Buy a product beside the tariff, as often as its exclusions let one (HOT-PKG-8). HOT-PKG-13: a product of first
    use is armed.
    """
    if product.kind is ProductKind.TARIFF:
        return Refused("kind", product.id)
    return refusal(account, product, offer, now) or Buy(armed=product.first_use)


def refusal(account: Account, product: Product, offer: Offer, now: int) -> Refused | None:
    """What is not on sale at `now`, Unix seconds, cannot be bought. HOT-PKG-9: products that exclude each other, either
    way round; also one that is cancelled and still runs. Tariffs with which the product is not sold; products of which
    it needs one. A further quantity needs a running tariff.
    """
    if not product.is_sold(now):
        return Refused("sold", product.id)
    for held in account.subscriptions:
        other = offer.get(held.product)
        backwards = other is not None and product.id in other.terms.excludes
        if held.product in product.terms.excludes or backwards:
            return Refused("excluded", held.product, held.ends_at)
    tariff = tariffs.tariff_of(account)
    if tariff is not None and tariff.product in product.barred_with:
        return Refused("barred", tariff.product)
    if product.requires and not any(held.product in product.requires for held in account.subscriptions):
        return Refused("requires", product.requires[0])
    if product.kind is ProductKind.EXTRA and (tariff is None or tariff.state not in RUNNING):
        return Refused("tariff")
    return None


def may_begin(account: Account, armed: Subscription, terms: Mapping[str, PackageTerms]) -> bool:
    """HOT-PKG-13: whether the rules let an armed product begin at its first use; see `refusal`. `terms`: of all
    products, with the armed one.
    """
    own, conditions = terms[armed.product], terms[armed.product].conditions
    tariff = tariffs.tariff_of(account)
    others = [each for each in account.subscriptions if each.instance != armed.instance]
    for each in others:
        backwards = each.product in terms and own.id in terms[each.product].excludes
        if each.state not in WAITING and (each.product in own.excludes or backwards):
            return False
    if tariff is not None and tariff.product in conditions.barred_with:
        return False
    if conditions.running_tariff and (tariff is None or tariff.state not in RUNNING):
        return False
    return not conditions.requires or any(each.product in conditions.requires for each in others)


def plan(
    account: Account, product: Product, offer: Offer, *, now: int, today: date, on: date, at: int
) -> Plan | Refused:
    """HOT-PKG-11: an activation may be planned from tomorrow up to one month ahead. `at`: beginning of the day `on`,
    Unix seconds. A planned tariff is a change of the tariff. What is on sale `now`, on the day `today`, may be planned.
    """
    if not today < on <= month_after(today):
        return Refused("date", product.id)
    if product.kind is ProductKind.TARIFF:
        if not product.is_sold(now):
            return Refused("sold", product.id)
        return tariffs.plan(account, product, at)
    if product.first_use or product.kind in UNPLANNED:
        return Refused("kind", product.id)
    return refusal(account, product, offer, now) or Plan(at)


def month_after(day: date) -> date:
    """The same day of the next month, or its last day: 31 January → 28 or 29 February."""
    following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    last = ((following + timedelta(days=32)).replace(day=1) - timedelta(days=1)).day
    return following.replace(day=min(day.day, last))


def held(account: Account, product_id: str) -> Subscription | None:
    """The subscription to a product: the one that runs and ends last, else one that waits."""
    found = [each for each in account.subscriptions if each.product == product_id]
    running = [each for each in found if each.state in RUNNING]
    return max(running, key=lambda each: (each.state == "active", each.ends_at), default=next(iter(found), None))


def cancel(account: Account, product_id: str, *, now: int, at_once: bool = False) -> End | Refused:
    """HOT-PKG-7: a cancellation takes effect at the end of the period that was paid. A product that has not begun, or
    waits for its fee, ends at once. `at_once`: with the loss of its units. HOT-REC-4: an end before that of a
    commitment costs shares of the benefits, by the days that are left when it takes effect.
    """
    found = held(account, product_id)
    if found is None:
        return Refused("subscription", product_id)
    ends_now = at_once or found.state not in RUNNING
    at = now if ends_now else found.ends_at
    return End(found.instance, at, ends_now, early_end_shares(found, at))
