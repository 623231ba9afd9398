"""Who would pay for a use: armed packs start, buckets pay in their order, then credit, within the limits of counters.

A forecast from an account as it stands, in the order of docs/LEDGER.md (step 4). The scripts of the ledger pay; tests
compare the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ocs.catalogue.price import cost_micro_eur
from ocs.ledger.contract.views import AccountView, BucketView, PoolView, SubscriptionState
from ocs.policy import packs
from ocs.values.measures import MeasureKind
from ocs.values.money import CREDIT_CEILING_MICRO_EUR
from ocs.values.products import AtLimit, CounterTerms, Measure, PackageTerms
from ocs.values.use import PriceTerms, RatedUse


@dataclass(slots=True)
class Bucket:
    """A bucket as far as it is free. `left`: units that nothing holds; None = unlimited."""

    id: str
    left: int | None
    priority: int
    ends_at: int
    pooled: bool
    instance: int


@dataclass(slots=True)
class Counter:
    value: int
    """With what is held."""
    limit: int | None


@dataclass(slots=True)
class Funds:
    """What an account can pay with. Paying changes it."""

    money: int
    """Micro-EUR that nothing holds."""
    buckets: list[Bucket] = field(default_factory=list)
    counters: dict[str, Counter] = field(default_factory=dict)
    armed: list[PackageTerms] = field(default_factory=list)
    """Products that start at their first use (HOT-PKG-13)."""
    at_first_use: list[PackageTerms] = field(default_factory=list)
    """Products that start with the first service of a new account (HOT-ACC-2)."""
    state: str = "active"
    bars: frozenset[str] = frozenset()
    facts: str = ""
    now: int = 0

    def copy(self) -> Funds:
        return replace(
            self,
            buckets=[replace(each) for each in self.buckets],
            counters={id_: replace(each) for id_, each in self.counters.items()},
            armed=list(self.armed),
            at_first_use=list(self.at_first_use),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """What one payer pays, or could not."""

    payer: str
    """Id of a bucket, "credit" or "nobody"."""
    units: int
    micro_eur: int = 0
    left: int | None = None
    """Of the payer, afterwards: units, or micro-EUR. None = unlimited."""
    price: PriceTerms | None = None
    """Of credit."""


@dataclass(frozen=True, slots=True)
class Move:
    """A counter that the payment moves."""

    terms: CounterTerms
    before: int
    amount: int
    limit: int | None

    @property
    def exceeds(self) -> bool:
        """It would pass a limit that forbids it."""
        if self.terms.measure is Measure.BUCKET_UNITS and self.terms.at_limit is AtLimit.PRICE:
            return False
        return self.limit is not None and self.amount > 0 and self.before + self.amount > self.limit


@dataclass(slots=True)
class Payment:
    started: list[PackageTerms] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not any(part.payer == NOBODY for part in self.parts) and not any(move.exceeds for move in self.moves)


CREDIT, NOBODY = "credit", "nobody"
ACTIVE, NEW = "active", "new"
"""States in which an account may use services. A new one becomes active by its first service (HOT-ACC-2)."""


def funds_of(view: AccountView, pool: PoolView | None, terms: Mapping[str, PackageTerms], now: int) -> Funds:
    """Of an account and its pool. `terms`: of all products, for those that are armed."""
    buckets = [_bucket(each, False) for each in view.buckets if each.expires_at > now]
    if pool is not None:
        buckets += [_pooled(each, pool, view.account_id) for each in pool.buckets if each.expires_at > now]
    armed = [
        each.product
        for each in view.subscriptions
        if each.state is SubscriptionState.ARMED and each.product in terms and packs.may_begin(view, each, terms)
    ]
    unpaid = [each.product for each in view.subscriptions if each.state is SubscriptionState.UNPAID]
    return Funds(
        money=view.credit_micro_eur - view.held_micro_eur,
        buckets=buckets,
        counters={each.id: Counter(each.value + each.held, each.limit) for each in view.counters},
        armed=[terms[product] for product in armed],
        at_first_use=[terms[product] for product in unpaid if product in terms] if view.state == NEW else [],
        state=view.state,
        bars=frozenset(view.bars)
        | {each.terms.name for each in view.measures if each.begun and each.terms.kind is MeasureKind.BAR},
        facts=view.facts,
        now=now,
    )


def funds_of_products(products: Iterable[PackageTerms], now: int) -> Funds:
    """Of an imaginary account: these products have just begun, and there is as much credit as may be."""
    funds = Funds(money=CREDIT_CEILING_MICRO_EUR, now=now)
    for product in products:
        _start(product, funds, now)
    return funds


def _bucket(view: BucketView, pooled: bool) -> Bucket:
    left = None if view.left is None else max(view.left - view.held, 0)
    return Bucket(view.id, left, view.priority, view.expires_at, pooled, view.instance)


def _pooled(view: BucketView, pool: PoolView, account_id: str) -> Bucket:
    """HOT-PKG-14: as far as the account's own limit in the pool, or the common one, leaves room."""
    bucket = _bucket(view, True)
    limits = {each.account_id: each.units for each in pool.limits if each.bucket == view.id}
    limit = limits.get(account_id, limits.get(""))
    if limit is not None:
        mine = (*pool.holds, *pool.usage)
        used = sum(each.units for each in mine if (each.account_id, each.instance) == (account_id, view.instance))
        room = max(limit - used, 0)
        bucket.left = room if bucket.left is None else min(bucket.left, room)
    return bucket


def _start(product: PackageTerms, funds: Funds, now: int) -> None:
    for bucket in product.buckets:
        instance = 1 + max((each.instance for each in funds.buckets), default=0)
        ends = now + product.period_s
        funds.buckets.append(Bucket(bucket.id, bucket.quantity, bucket.priority, ends, False, instance))
    for counter in product.counters:
        funds.counters[counter.id] = Counter(0, counter.limit)


def refusal(legs: Sequence[RatedUse], funds: Funds) -> str:
    """Why the use is refused whatever it costs (4010): "" = it is not."""
    if legs[0].always:
        return ""
    if funds.state not in (ACTIVE, NEW):
        return f"the account is {funds.state}"
    barred = [bar for leg in legs for bar in leg.bars if bar in funds.bars]
    return f"the bar {barred[0]} forbids it" if barred else ""


def pay(leg: RatedUse, price: PriceTerms, units: int, funds: Funds, paid: dict[str, int]) -> Payment:
    """Pay `units` billable units of a leg. `paid`: units that credit has paid in this session, by price; it is added
    to.
    """
    payment = Payment()
    _start_armed(leg, units, funds, payment)
    room = _volume_room(leg, funds)
    left, by_buckets = units, 0
    for bucket in _in_order(leg, funds):
        take = min(left, room - by_buckets, left if bucket.left is None else bucket.left)
        if bucket.left is not None:
            bucket.left -= take
        left, by_buckets = left - take, by_buckets + take
        payment.parts.append(Part(bucket.id, take, left=bucket.left))
    for_credit = leg.beyond if room - by_buckets <= 0 and leg.beyond is not None else price
    debit, by_credit = _debit(for_credit, left, funds, paid, payment)
    if left > by_credit:
        payment.parts.append(Part(NOBODY, left - by_credit))
    _move(leg, funds, payment, money=debit, credit_units=by_credit, bucket_units=by_buckets)
    return payment


def _debit(price: PriceTerms, units: int, funds: Funds, paid: dict[str, int], payment: Payment) -> tuple[int, int]:
    """(micro-EUR, units) that credit pays: all of the units, or none."""
    before = paid.get(price.id, 0)
    debit = cost_micro_eur(price, before + units) - cost_micro_eur(price, before)
    if units == 0 or debit > funds.money:
        return 0, 0
    paid[price.id] = before + units
    funds.money -= debit
    payment.parts.append(Part(CREDIT, units, debit, funds.money, price))
    return debit, units


def _start_armed(leg: RatedUse, units: int, funds: Funds, payment: Payment) -> None:
    """HOT-PKG-13: an armed product whose buckets may pay begins now, if the credit covers its price. One of several of
    a product waits until those that run are not enough.
    """
    if leg.always:
        return
    for product in (*funds.at_first_use, *funds.armed):
        wanted = product in funds.at_first_use or any(
            bucket.id in leg.buckets and _runs_short(funds, bucket.id, units) for bucket in product.buckets
        )
        if wanted and product.price_micro_eur <= funds.money:
            (funds.at_first_use if product in funds.at_first_use else funds.armed).remove(product)
            funds.money -= product.price_micro_eur
            _start(product, funds, funds.now)
            payment.started.append(product)


def _runs_short(funds: Funds, bucket_id: str, units: int) -> bool:
    left = [bucket.left for bucket in funds.buckets if bucket.id == bucket_id]
    return None not in left and sum(each or 0 for each in left) < units


def _in_order(leg: RatedUse, funds: Funds) -> list[Bucket]:
    """HOT-PKG-10: priority, end of the period, place in the rate's list; the account's own before the pool's."""
    usable = [bucket for bucket in funds.buckets if bucket.id in leg.buckets]
    place = {id_: n for n, id_ in enumerate(leg.buckets)}
    return sorted(usable, key=lambda each: (each.priority, each.ends_at, place[each.id], each.pooled, each.instance))


def _volume_room(leg: RatedUse, funds: Funds) -> int:
    """Units that buckets may pay, by the counters that change the price at their limit (HOT-ROA-2)."""
    rooms = [
        max(counter.limit - counter.value, 0)
        for terms in leg.counters
        if terms.at_limit is AtLimit.PRICE and (counter := _counter(terms, funds)).limit is not None
    ]
    return min(rooms, default=2**62)


def _counter(terms: CounterTerms, funds: Funds) -> Counter:
    """An account without it gets it with these terms."""
    return funds.counters.setdefault(terms.id, Counter(0, terms.limit))


def _move(leg: RatedUse, funds: Funds, payment: Payment, *, money: int, credit_units: int, bucket_units: int) -> None:
    amounts = {
        Measure.MONEY: money,
        Measure.CREDIT_UNITS: credit_units,
        Measure.UNITS: credit_units + bucket_units,
        Measure.BUCKET_UNITS: bucket_units,
    }
    for terms in leg.counters:
        counter, amount = _counter(terms, funds), amounts[terms.measure]
        payment.moves.append(Move(terms, counter.value, amount, counter.limit))
        counter.value += amount
