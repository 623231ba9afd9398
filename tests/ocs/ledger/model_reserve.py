"""Step 6 of a charging request in the model ledger: how much is granted, and what holds it.

The largest grant is found by search: `_plan` says what a grant would hold, or that nothing can pay it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ocs.catalogue import price as prices
from ocs.ledger.contract.charging import ServiceCharge
from ocs.values.products import AtLimit
from ocs.values.use import PriceTerms
from tests.ocs.ledger.model_operation import Operation
from tests.ocs.ledger.model_prices import MAX_UNITS
from tests.ocs.ledger.model_settle import tell_threshold
from tests.ocs.ledger.model_state import Bucket, Hold, LegState, Service, Session, measured, rate_of

STARVED_S = 60
SMALL_CHANGE = 100_000


@dataclass(slots=True)
class LegPlan:
    units: list[tuple[str, Bucket, int]] = field(default_factory=list)
    money: int = 0
    counters: dict[str, int] = field(default_factory=dict)


Plan = list[LegPlan]


@dataclass(slots=True)
class Means:
    """Buckets and credit that can be reserved."""

    money: int
    free: dict[tuple[str, int], int | None]
    """Of buckets, by pool and instance."""
    counters: dict[str, int | None]


class Reservation:
    """Reserves for one service that holds nothing at this moment."""

    def __init__(self, op: Operation, session: Session, service: Service) -> None:
        self.op, self.session, self.service = op, session, service
        self.sides = [
            [leg.price, *([leg.price_after] if leg.price_after and service.spans else [])] for leg in service.legs
        ]
        neighbours = [s for s in session.services.values() if s is not service and s.granted]
        self.rates_of_neighbours = {
            rate_of(price.id)
            for other in neighbours
            for leg in other.legs
            for price in (leg.price, leg.price_after if other.spans else None)
            if price
        }

    def reserve(self, want: int, asked: ServiceCharge, parties: int, one_off: bool) -> tuple[int, bool, str]:
        """Returns the granted units, whether they are the last, and the reason why there are no more.

        `parties` is the number of services that share what is left.
        """
        means, met = self._means(), self.op.ledger.met
        room = self._most(want if one_off else want * parties, lambda g: self._plan(g, means) is not None)
        grant = min(want, room)
        if not one_off and parties > 1 and room < want * parties:
            small = self._most(min(asked.minimum, room), lambda g: self._cheap(g, means, SMALL_CHANGE))
            grant = min(grant, max(room // parties, small) or asked.minimum)
            met["a scarce rest is shared"] += 1
        if not one_off and asked.maximum_micro_eur:
            grant = min(
                grant, self._most(grant, lambda g: self._cheap(g, means, asked.maximum_micro_eur)) or asked.minimum
            )
        final = grant == room and room < want
        reason = self._reason(room, means, asked.slows) if (final or grant <= 0) and room < want else ""
        if grant > 0:
            plan = self._plan(grant, means)
            assert plan is not None
            met["held on a pool"] += any(pool for leg in plan for pool, _, _ in leg.units)
            met["held on several buckets"] += any(len(leg.units) > 1 for leg in plan)
            met["held on buckets and on credit"] += any(leg.units and leg.money for leg in plan)
            met["held at two sides of a switch"] += any(len(sides) > 1 for sides in self.sides)
            self._hold(plan)
            self.service.granted = grant
        elif any(rate_of(side.id) in self.session.unpaid for sides in self.sides for side in sides):
            met["nothing granted of a step that was not paid"] += want > 0
        return max(grant, 0), final and grant > 0, reason

    def others_hold_it(self, want: int) -> bool:
        """Nothing can be granted because other services hold it."""
        return self._plan(want, self._means_without_holds()) is not None

    def tell_stopping_limits(self) -> None:
        """Counters whose rest does not pay the least grant are told as reached (HOT-CC-4, HOT-ROA-5)."""
        means = self._means_without_holds()
        for leg, sides in zip(self.service.legs, self.sides, strict=True):
            needs = [self._need(terms, 1) for terms in sides]
            if any(need is None for need in needs):
                continue
            planned = self._plan_leg(leg, sides, [need or 0 for need in needs], dict(means.free), dict(means.counters))
            for terms in leg.counters:
                counter, room = self.op.account.counter(terms.id), means.counters.get(terms.id)
                if counter is None or room is None or counter.terms.at_limit is AtLimit.PRICE:
                    continue
                if planned.counters.get(terms.id, 0) > room and counter.told < 100 in counter.terms.thresholds:
                    self.op.ledger.met["a limit stops a service before it is reached"] += not counter.reaches(100)
                    tell_threshold(self.op, counter, 100)

    def _means_without_holds(self) -> Means:
        account, means = self.op.account, self._means()
        means.money = account.credit
        for bucket in account.buckets:
            means.free["", bucket.instance] = bucket.left
        for counter in account.counters:
            means.counters[counter.id] = None if counter.limit is None else max(counter.limit - counter.value, 0)
        return means

    def _means(self) -> Means:
        account = self.op.account
        return Means(
            account.credit - account.held,
            {(pool, bucket.instance): self.op.free(pool, bucket) for pool, bucket in self.op.buckets()},
            {counter.id: counter.room() for counter in account.counters},
        )

    def _reason(self, room: int, means: Means, slows: bool) -> str:
        """Counters that stop the grant: "limit", or "volume" if only a restricting counter does; else "credit"."""
        if self._plan(room + 1, self._without(means, AtLimit.RESTRICT, AtLimit.REFUSE)) is None:
            return "credit"
        slowed = slows and self._plan(room + 1, self._without(means, AtLimit.RESTRICT)) is not None
        return "volume" if slowed else "limit"

    def _without(self, means: Means, *at_limit: AtLimit) -> Means:
        """The same means, but counters of these kinds have no limit."""
        kinds = {each.id: each.terms.at_limit for each in self.op.account.counters}
        counters = {name: None if kinds[name] in at_limit else room for name, room in means.counters.items()}
        return Means(means.money, means.free, counters)

    @staticmethod
    def _most(upto: int, possible: Callable[[int], bool]) -> int:
        """The largest possible number up to `upto`, 0 if none is possible."""
        low, high = 0, min(upto, MAX_UNITS)
        if high <= 0 or possible(high):
            return max(high, 0)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if possible(middle) else (low, middle)
        return low

    def _cheap(self, grant: int, means: Means, micro_eur: int) -> bool:
        plan = self._plan(grant, means)
        return plan is not None and sum(leg.money for leg in plan) <= micro_eur

    def _counted_raw(self, terms: PriceTerms) -> int:
        """Raw units that count as used. The rest of a paid step is granted to one service only."""
        raw, rate = self.session.raw(terms), rate_of(terms.id)
        if not terms.flat and (rate in self.session.unpaid or rate in self.rates_of_neighbours):
            return prices.billable_units(terms, raw)
        return raw

    def _need(self, terms: PriceTerms, grant: int) -> int | None:
        """Billable units of a grant; None if it would grant nothing."""
        if terms.flat and rate_of(terms.id) in self.session.unpaid:
            return None
        raw = self._counted_raw(terms)
        return prices.billable_units(terms, raw + grant) - prices.billable_units(terms, raw)

    def _plan(self, grant: int, means: Means) -> Plan | None:
        """What a grant of so many units holds, at the dearer side of a price switch; None if something lacks."""
        free, counters, money = dict(means.free), dict(means.counters), means.money
        plan: Plan = []
        for leg, sides in zip(self.service.legs, self.sides, strict=True):
            needs = [self._need(terms, grant) for terms in sides]
            if any(need is None for need in needs):
                return None
            planned = self._plan_leg(leg, sides, [need or 0 for need in needs], free, counters)
            money -= planned.money
            for counter_id, amount in planned.counters.items():
                room = counters.get(counter_id)
                if room is not None:
                    counters[counter_id] = room - amount
            plan.append(planned)
        if money < 0 or any(room is not None and room < 0 for room in counters.values()):
            return None
        return plan

    def _plan_leg(
        self,
        leg: LegState,
        sides: list[PriceTerms],
        needs: list[int],
        free: dict[tuple[str, int], int | None],
        counters: dict[str, int | None],
    ) -> LegPlan:
        planned, by_buckets = LegPlan(), 0
        rooms = [counters.get(each) for each in leg.volumes()]
        volume = min((room for room in rooms if room is not None), default=None)
        for pool, bucket in self.op.usable(leg.buckets):
            there = free[pool, bucket.instance]
            take = max(*needs, 0) if there is None else min(max(*needs, 0), max(there, 0))
            if volume is not None:
                take = min(take, volume)
                volume -= take
            if take:
                planned.units.append((pool, bucket, take))
                free[pool, bucket.instance] = None if there is None else there - take
                by_buckets += take
                needs = [need - take for need in needs]
        for side, need in zip(sides, needs, strict=True):
            terms = leg.for_credit(side, volume)
            already = self.session.credit_units.get(terms.id, 0)
            cost = prices.cost_micro_eur(terms, already + max(need, 0)) - prices.cost_micro_eur(terms, already)
            planned.money = max(planned.money, cost)
        by_credit = max(*needs, 0)
        for counter in leg.counters:
            amount = measured(counter.measure, planned.money, by_credit, by_buckets + by_credit)
            if amount:
                planned.counters[counter.id] = planned.counters.get(counter.id, 0) + amount
        return planned

    def _hold(self, plan: Plan) -> None:
        account = self.op.account
        for leg, planned in zip(self.service.legs, plan, strict=True):
            for pool, bucket, units in planned.units:
                self.op.hold(pool, bucket, units)
                leg.held_units.append(Hold(pool, bucket.instance, units))
            leg.held_money = planned.money
            account.held += planned.money
            for counter_id, amount in planned.counters.items():
                counter = account.counter(counter_id)
                assert counter is not None
                counter.held += amount
            leg.held_counters = dict(planned.counters)
