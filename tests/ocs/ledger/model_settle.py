"""Steps 3 to 5 of a charging request in the model ledger: release, settle, count."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocs.catalogue import price as prices
from ocs.ledger.contract.charging import ServiceCharge, ServiceOutcome
from ocs.values.requests import RequestType
from ocs.values.use import PriceTerms, Unit
from tests.ocs.ledger.model_operation import Operation
from tests.ocs.ledger.model_prices import affordable_units
from tests.ocs.ledger.model_state import (
    Counter,
    Hold,
    LegState,
    Service,
    Session,
    Tally,
    legs_of,
    measured,
    rate_of,
)

SLACK_S, OCTETS_SLACK_S, MESSAGES_SLACK = 60, 5, 255


@dataclass(slots=True)
class Opened:
    """A service of a request, ready to be settled."""

    asked: ServiceCharge
    service: Service
    room: bool
    """The session has room for it."""
    behind: bool
    """A later update of the service came first."""
    own: bool
    """Its use is rated by the terms in the request, not by those of the last grant."""
    granted: int
    granted_by: list[list[Hold]]
    """Buckets that the last grant held, by leg."""


@dataclass(slots=True)
class Paid:
    """Result of paying one leg's use."""

    debit: int = 0
    promotional: int = 0
    credit_units: int = 0
    credit_price: PriceTerms | None = None
    """Price at which credit paid."""
    by: list[tuple[str, Hold]] = field(default_factory=list)
    overrun: int = 0

    @property
    def units(self) -> int:
        return sum(hold.units for _, hold in self.by)


class Settlement:
    """Settles the use that one request reports of one session."""

    def __init__(self, op: Operation, session: Session) -> None:
        self.op, self.session, self.account, self.met = op, session, op.account, op.ledger.met
        self.promotional = 0

    def settle(self, kind: RequestType, opened: Opened, result: ServiceOutcome) -> None:
        asked, service = opened.asked, opened.service
        if not asked.reported or kind is RequestType.EVENT:
            return
        used, either, after = asked.used, asked.used_either, asked.used_after
        legs = legs_of(asked) if opened.own else service.legs
        if asked.max_rate or asked.unit in (Unit.SECONDS, Unit.MESSAGES):
            excess = result.dropped = self._impossible(opened)
            if excess:
                self._tally(opened, legs[0], legs[0].price).dropped += excess
            used, excess = max(used - excess, 0), max(excess - used, 0)
            either, excess = max(either - excess, 0), max(excess - either, 0)
            after = max(after - excess, 0)
        if service.switch_at and not service.spans and asked.unit is Unit.SECONDS and not after + either:
            after = min(used, max(min(service.reported + used, self.op.now) - service.switch_at, 0))
            used -= after
        total = used + either + after
        for place, leg in enumerate(legs):
            price_after = leg.price if opened.own else leg.price_after or leg.price
            cheaper = price_after.num * leg.price.den < leg.price.num * price_after.den
            first = total if price_after.id == leg.price.id else used + (0 if cheaper else either)
            claims = opened.granted_by[place] if place < len(opened.granted_by) else []
            for price, part in ((leg.price, first), (price_after, total - first)):
                if part:
                    self._one(opened, leg, price, part, claims, result)
        service.reported = service.reported + total if asked.unit is Unit.SECONDS else self.op.now

    def _one(
        self,
        opened: Opened,
        leg: LegState,
        price: PriceTerms,
        used: int,
        claims: list[Hold],
        result: ServiceOutcome,
    ) -> None:
        paid = self.pay(leg, price, used, claims)
        self.record(opened, leg, price, used, paid)
        result.debited_micro_eur += paid.debit
        result.debited_units += paid.units
        result.overrun_units += paid.overrun

    def _tally(self, opened: Opened, leg: LegState, price: PriceTerms) -> Tally:
        detail = opened.asked.detail if opened.own else opened.service.detail
        return self.session.tallies.setdefault((opened.asked.key, price.id), Tally(leg.label, detail))

    def record(self, opened: Opened, leg: LegState, price: PriceTerms, used: int, paid: Paid) -> None:
        """Adds to the tallies. Use beyond a volume has a tally of its own."""
        tally = self._tally(opened, leg, price)
        beyond = min(used, paid.credit_units + paid.overrun) if paid.credit_price not in (None, price) else 0
        tally.used += used - beyond
        for bucket_id, hold in paid.by:
            tally.units[bucket_id] = tally.units.get(bucket_id, 0) + hold.units
        if beyond and paid.credit_price is not None:
            tally = self._tally(opened, leg, paid.credit_price)
            tally.used += beyond
        tally.debit += paid.debit
        tally.promotional += paid.promotional
        tally.overrun += paid.overrun

    def _impossible(self, opened: Opened) -> int:
        """How much of the report is impossible."""
        asked, granted = opened.asked, opened.granted
        if asked.unit is Unit.MESSAGES:
            return 0 if asked.reported <= granted + MESSAGES_SLACK else asked.reported - granted
        since = max(self.op.now - opened.service.reported, 0)
        slack = SLACK_S if asked.unit is Unit.SECONDS else OCTETS_SLACK_S
        rate = 1 if asked.unit is Unit.SECONDS else asked.max_rate
        if asked.reported <= granted + (since + slack) * rate:
            return 0
        return asked.reported - min(granted, since * rate)

    # -- who pays

    def pay(self, leg: LegState, price: PriceTerms, used: int, claims: list[Hold]) -> Paid:
        """Pays in the order of steps a to f of docs/LEDGER.md, and adds to the leg's counters."""
        session, paid = self.session, Paid()
        before = session.raw(price)
        session.raw_used[price.id] = session.raw_used.get(price.id, 0) + used
        owed = begun = prices.billable_units(price, before + used) - prices.billable_units(price, before)
        volume = self._volume(leg)
        beyond = 0 if volume is None else max(owed - volume, 0)
        owed = self._by_what_granted_it(claims, owed - beyond, paid) + beyond
        if volume is not None:
            volume -= paid.units
        neighbours = [
            other
            for _, service in sorted(session.services.items())
            if service.granted
            for other in service.legs
            if other.price.id == price.id and other.buckets == leg.buckets
        ]
        for neighbour in neighbours:
            owed = self._by_neighbour(neighbour, owed, paid)
        for pool, bucket in self.op.usable(leg.buckets):
            free = self.op.free(pool, bucket)
            take = owed if free is None else min(owed, free)
            if volume is not None:
                take = min(take, volume)
                volume -= take
            if take:
                self.op.pay(bucket, take, pool)
                paid.by.append((bucket.id, Hold(pool, bucket.instance, take)))
                owed -= take
        for_credit = paid.credit_price = leg.for_credit(price, volume)
        if owed and for_credit.id != price.id:
            self.met["use beyond a volume"] += 1
            self.met["use on both sides of a volume"] += bool(paid.by)
        owed -= self._by_credit(for_credit, owed, self.account.credit - self.account.held, paid)[0]
        for neighbour in neighbours:
            owed = self._by_neighbours_money(neighbour, for_credit, owed, paid)
        paid.overrun = owed
        if begun:
            (session.unpaid.add if owed else session.unpaid.discard)(rate_of(price.id))
        self._count(leg, paid)
        return paid

    def _volume(self, leg: LegState) -> int | None:
        """Units that buckets may still pay of a fair-use volume; None = no bound."""
        rooms = [self.account.counter_of_id(each).room() for each in leg.volumes()]
        return min((room for room in rooms if room is not None), default=None)

    def _by_what_granted_it(self, claims: list[Hold], owed: int, paid: Paid) -> int:
        """Step a: the buckets that the grant held."""
        for claim in claims:
            bucket = self.op.bucket(claim)
            if bucket is None:
                continue
            free = bucket.free()
            take = min(owed, claim.units) if free is None else min(owed, claim.units, free)
            if take:
                self.met["paid by what granted it, of a period that is over"] += bucket.ended
                self.met["paid by what granted it, of a pool"] += bool(claim.pool)
                claim.units -= take
                self.op.pay(bucket, take, claim.pool)
                paid.by.append((bucket.id, Hold(claim.pool, claim.instance, take)))
                owed -= take
        return owed

    def _by_neighbour(self, neighbour: LegState, owed: int, paid: Paid) -> int:
        """Step b: units held by another service of the session, at the same price."""
        for hold in neighbour.held_units:
            bucket = self.op.bucket(hold)
            take = min(owed, hold.units)
            if bucket is None or not take:
                continue
            self.met["paid by units that a neighbour holds"] += 1
            hold.units -= take
            self.op.hold(hold.pool, bucket, -take)
            self.op.pay(bucket, take, hold.pool)
            paid.by.append((bucket.id, Hold(hold.pool, hold.instance, take)))
            for terms in neighbour.counters:
                if terms.measure in ("units", "bucket_units"):
                    self.op.unhold_counter(neighbour, terms.id, take)
            owed -= take
        neighbour.held_units = [hold for hold in neighbour.held_units if hold.units]
        return owed

    def _by_credit(self, price: PriceTerms, owed: int, money: int, paid: Paid) -> tuple[int, int]:
        """Step d: credit. Returns the units that the money pays, and their cost."""
        session = self.session
        already = session.credit_units.get(price.id, 0)
        pays = min(owed, affordable_units(price, already, money))
        debit = prices.cost_micro_eur(price, already + pays) - prices.cost_micro_eur(price, already)
        session.credit_units[price.id] = already + pays
        session.cost += debit
        part = self.op.spend(debit, use=True)
        paid.promotional += part
        self.promotional += part
        paid.debit += debit
        paid.credit_units += pays
        return pays, debit

    def _by_neighbours_money(self, neighbour: LegState, price: PriceTerms, owed: int, paid: Paid) -> int:
        """Step e: money held by another service of the session."""
        pays, debit = self._by_credit(price, owed, neighbour.held_money, paid)
        self.met["paid by money that a neighbour holds"] += debit > 0
        self.op.take_money(neighbour, debit)
        for terms in neighbour.counters:
            if terms.measure in ("units", "credit_units"):
                self.op.unhold_counter(neighbour, terms.id, pays)
        return owed - pays

    def _count(self, leg: LegState, paid: Paid) -> None:
        for terms in leg.counters:
            amount = measured(terms.measure, paid.debit, paid.credit_units, paid.units + paid.credit_units)
            counter = self.account.counter_of(terms, self.op.month, self.op.day)
            counter.add(amount, self.op.now)


def tell_threshold(op: Operation, counter: Counter, percent: int) -> None:
    counter.told = percent
    more = {"muted": True} if op.account.is_mute(counter.id, f"{counter.id}:{percent}") else {}
    facts = {"value": counter.value, "limit": counter.limit, "window": counter.terms.window.value}
    op.journal("threshold", counter=counter.id, pct=percent, **facts, **more)


def thresholds(op: Operation) -> None:
    """Reports each threshold once per window and limit (HOT-CC-4)."""
    for counter in sorted(op.account.counters, key=lambda counter: counter.id):
        for percent in counter.terms.thresholds:
            if counter.told < percent and counter.reaches(percent):
                tell_threshold(op, counter, percent)
    for _, bucket in op.buckets():
        if bucket.quantity is None or bucket.left is None or bucket.ended:
            continue
        for percent in bucket.thresholds:
            if bucket.told < percent and (bucket.quantity - bucket.left) * 100 >= bucket.quantity * percent:
                bucket.told = percent
                mute = op.account.is_mute(bucket.id, f"{bucket.id}:{percent}")
                more = {"muted": True} if mute else {}
                facts = {"quantity": bucket.quantity, "left": bucket.left, "subscription": bucket.subscription}
                op.journal("bucket", id=bucket.id, pct=percent, **facts, **more)
