"""Products, subscriptions, what is left of their units, counters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ocs.accounts.balance import Balance, UnitsLeft
from ocs.accounts.products import Cancelled, Ordered
from ocs.api.call import Call
from ocs.api.models.common import Answer, Body, Day, Eur, ReferenceField, Time
from ocs.ledger.contract.views import BucketView, CounterView, SubscriptionView
from ocs.values.moment import DAY_S
from ocs.values.money import format_eur
from ocs.values.products import LIMIT_COUNTER, BenefitShare, CounterTerms, Measure, Product

MAX_NAME = 128
ProductName = Field(min_length=1, max_length=MAX_NAME, description="Id or name of a product of the catalogue.")


class Units(Answer):
    """An included quantity of a product."""

    bucket: str
    unit: str
    quantity: int | None = Field(description="Billable units: octets, seconds, messages; null = unlimited.")


class ProductOut(Answer):
    """What is sold."""

    id: str
    name: str
    kind: str
    price: Eur
    net: Eur = Field(description="Without VAT (HOT-RAT-8).")
    period_days: int | None = Field(description="null = it has no period.")
    renews: bool
    units: list[Units]
    sold_from: Time | None
    sold_until: Time | None
    takes_effect: str | None = Field(description='Of a tariff: a change to it happens "now" or at "period-end".')
    at_first_use: bool = Field(description="It begins, and is paid, at its first use (HOT-PKG-13).")
    counts_to_limit: bool
    excludes: list[str]
    barred_with: list[str]
    requires: list[str]
    commitment_days: int | None
    keyword: str | None


class Subscription(Answer):
    """A product of an account."""

    instance: int = Field(description="Number of the subscription, unique within the account.")
    product: str
    state: str
    starts_at: Time | None
    ends_at: Time | None = Field(description="End of the period; null = it has not begun.")
    next_product: str | None = Field(description="Product of the next period; null = the same.")
    price: Eur
    group: str | None
    committed_until: Time | None = Field(description="End of its commitment (HOT-PKG-17).")
    reference: str | None = Field(description="Of its purchase.")


class Bucket(Answer):
    """Units that may still be used."""

    bucket: str
    unit: str
    left: int | None = Field(description="Billable units, with what running sessions hold; null = unlimited.")
    expires_at: Time | None
    shared: bool = Field(description="Of the pool of the account (HOT-PKG-14).")


class BalanceOut(Answer):
    """What an account has left (HOT-ACC-12)."""

    credit: Eur
    available: Eur = Field(description="Without what running sessions hold.")
    separate: Eur | None = Field(description="Credit of the separate account; null = it has none (HOT-GRP-5).")
    state: str
    active_until: Time | None
    tariff: str | None
    units: list[Bucket] = Field(description="In the order in which they are used.")


class Counter(Answer):
    """A counter of an account in its present window."""

    id: str
    window: str
    value: str = Field(description="EUR of a counter of money, else whole units.")
    held: str = Field(description="What running sessions hold of it.")
    limit: str | None = Field(description="null = off.")
    told_percent: int = Field(description="Highest threshold that was told in this window; 0 = none.")


class Order(Body):
    """An order of a product."""

    product: str = ProductName
    reference: ReferenceField = None


class PlannedOrder(Order):
    """An activation on a later day."""

    on: Day = Field(description="From tomorrow up to one month ahead (HOT-PKG-11).")


class OrderDone(Answer):
    """What became of an order."""

    product: str
    reference: str
    state: Literal["active", "armed", "planned", "next", "done before"] = Field(
        description="armed: it begins at its first use; next: it follows the present one; done before: nothing changed."
    )
    begins_at: Time | None
    price: Eur


class Share(Answer):
    """What the early end of a commitment costs of one benefit (HOT-REC-4)."""

    benefit: str
    amount: Eur
    days_left: int
    days_agreed: int


class CancelDone(Answer):
    """What became of a cancellation."""

    product: str
    ends_at: Time | None
    shares: list[Share]


def product(each: Product, call: Call) -> ProductOut:
    terms = each.terms
    return ProductOut(
        id=each.id,
        name=each.name,
        kind=each.kind.value,
        price=format_eur(terms.price_micro_eur),
        net=format_eur(each.net_micro_eur),
        period_days=terms.period_s // DAY_S or None,
        renews=terms.renews,
        units=[Units(bucket=unit.id, unit=unit.unit, quantity=unit.quantity) for unit in terms.buckets],
        sold_from=call.time(each.sold_from),
        sold_until=call.time(each.sold_until),
        takes_effect=each.change.value if each.kind == "tariff" else None,
        at_first_use=each.first_use,
        counts_to_limit=bool(terms.counts),
        excludes=list(terms.excludes),
        barred_with=list(each.barred_with),
        requires=list(each.requires),
        commitment_days=terms.commitment_days or None,
        keyword=each.keyword or None,
    )


def subscription(each: SubscriptionView, call: Call) -> Subscription:
    return Subscription(
        instance=each.instance,
        product=each.product,
        state=each.state.value,
        starts_at=call.time(each.starts_at),
        ends_at=call.time(each.ends_at),
        next_product=each.next_product or None,
        price=format_eur(each.price_micro_eur),
        group=each.group or None,
        committed_until=call.time(each.committed_until),
        reference=each.reference or None,
    )


def balance(found: Balance, call: Call) -> BalanceOut:
    return BalanceOut(
        credit=format_eur(found.credit_micro_eur),
        available=format_eur(found.available_micro_eur),
        separate=None if found.separate_micro_eur is None else format_eur(found.separate_micro_eur),
        state=found.state,
        active_until=call.time(found.active_until),
        tariff=found.tariff or None,
        units=[_units(each, call) for each in found.units],
    )


def _units(each: UnitsLeft, call: Call) -> Bucket:
    return Bucket(
        bucket=each.bucket, unit=each.unit, left=each.left, expires_at=call.time(each.expires_at), shared=each.shared
    )


def pool_bucket(each: BucketView, call: Call) -> Bucket:
    return Bucket(bucket=each.id, unit=each.unit, left=each.left, expires_at=call.time(each.expires_at), shared=True)


def counter(each: CounterView, terms: CounterTerms | None) -> Counter:
    """`terms`: those of the catalogue, which say what it counts; None = it has none any more."""
    money = each.id == LIMIT_COUNTER or (terms is not None and terms.measure is Measure.MONEY)

    def text(amount: int) -> str:
        return format_eur(amount) if money else str(amount)

    return Counter(
        id=each.id,
        window=each.window,
        value=text(each.value),
        held=text(each.held),
        limit=None if each.limit is None else text(each.limit),
        told_percent=each.told,
    )


def ordered(wanted: Product, reference: str, done: Ordered, call: Call) -> OrderDone:
    call.applied(done.applied)
    call.after = done.view
    return OrderDone(
        product=wanted.id,
        reference=reference,
        state=done.state if done.applied or (call.repeated and done.state) else "done before",  # type: ignore[arg-type]
        begins_at=call.time(done.at),
        price=format_eur(wanted.terms.price_micro_eur),
    )


def cancelled(product_id: str, done: Cancelled, call: Call) -> CancelDone:
    return CancelDone(product=product_id, ends_at=call.time(done.ends_at), shares=shares(done.shares))


def shares(found: tuple[BenefitShare, ...]) -> list[Share]:
    return [
        Share(
            benefit=each.benefit,
            amount=format_eur(each.micro_eur),
            days_left=each.days_left,
            days_agreed=each.days_agreed,
        )
        for each in found
    ]
