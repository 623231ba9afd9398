"""The price of a use and who would pay it, with every step that leads there (`ocs rate`).

The catalogue rates the use as charging does, at each moment at which a price begins. `ocs.policy.forwarding` gives the
legs, `ocs.catalogue.price` the billable units and the cost, `payment` the payers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from ocs.catalogue.price import billable_units
from ocs.catalogue.reasons import explain_rating, price_text, steps_text
from ocs.catalogue.trace import Trace
from ocs.catalogue.versions import Catalogues
from ocs.policy import forwarding
from ocs.policy.payment import CREDIT, NOBODY, Funds, Part, Payment, pay, refusal
from ocs.values.moment import utc_text
from ocs.values.money import format_eur, net_micro_eur
from ocs.values.products import Measure
from ocs.values.quantity import quantity_text
from ocs.values.use import Direction, RatedUse, Unit, UseEvent

MAX_SECTIONS = 10_000
"""Changes of the price that one use may span."""


@dataclass(frozen=True, slots=True)
class Use:
    """What is asked for. `amount`: in the service's unit."""

    event: UseEvent
    amount: int
    late: bool = False
    """Of a forwarded call (`ocs.policy.forwarding`)."""


@dataclass(frozen=True, slots=True)
class Section:
    """Part of a use between two changes of its price. `legs` are what it is paid on, at once."""

    at: int
    amount: int
    legs: tuple[RatedUse, ...]


@dataclass(slots=True)
class Quote:
    trace: Trace = field(default_factory=Trace)
    refused: str = ""
    """Why nothing is granted; "" = something is."""
    amount: int = 0
    """What of the use can be paid, in its unit."""
    micro_eur: int = 0
    """From credit."""
    units: dict[str, int] = field(default_factory=dict)
    """Billable units by bucket."""
    fees_micro_eur: int = 0
    """Prices of packs that the use starts."""

    @property
    def granted(self) -> bool:
        return not self.refused


@dataclass(slots=True)
class _Paid:
    """A use, paid section by section from a copy of the funds."""

    payments: list[tuple[Section, RatedUse, int, int, Payment]] = field(default_factory=list)
    """(section, leg, units before, units, payment)."""

    @property
    def complete(self) -> bool:
        return all(payment.complete for *_, payment in self.payments)


def quote(use: Use, catalogues: Catalogues, funds: Funds) -> Quote:
    """Raises Unrateable when there is no rate (5031)."""
    result = Quote()
    first = next(iter(sections(use, catalogues)))
    _explain(use, catalogues, first, result.trace)
    result.refused = refusal(first.legs, funds)
    if result.refused:
        result.trace.add("refused", "4010", result.refused)
        return result
    paid = _pay(use, catalogues, funds)
    result.amount = use.amount
    if not paid.complete:
        result.amount = _largest(use, catalogues, funds, first.legs[0].unit)
        short = replace(use, amount=result.amount)
        why = _why_not(paid)
        if result.amount == 0:
            result.refused = why
            result.trace.add("refused", "4012", why)
            return result
        text = partial(quantity_text, unit=first.legs[0].unit, kilo=_kilo(catalogues))
        result.trace.add("granted", f"{text(result.amount)} of {text(use.amount)}", why, amount=result.amount)
        paid = _pay(short, catalogues, funds)
    _tell_payments(paid, result, catalogues)
    result.trace.add("sum", _sum_text(result), micro_eur=result.micro_eur, bucket_units=result.units)
    return result


def sections(use: Use, catalogues: Catalogues) -> Iterator[Section]:
    """Seconds are used one after the other from `event.at` on; everything else at once."""
    at, left = use.event.at, use.amount
    for _ in range(MAX_SECTIONS):
        legs = _legs(replace(use.event, at=at), use.late, catalogues)
        until = [moment for leg in legs for moment in (leg.switch_at, leg.ends_at) if moment > at]
        there = left
        if legs[0].unit is Unit.SECONDS and until:
            there = min(left, min(until) - at)
        yield Section(at, there, legs)
        at, left = at + there, left - there
        if left <= 0:
            return
    raise ValueError(f"the use spans more than {MAX_SECTIONS} changes of the price")


def _legs(event: UseEvent, late: bool, catalogues: Catalogues) -> tuple[RatedUse, ...]:
    if event.direction is Direction.FORWARDED:
        return forwarding.with_surcharges(forwarding.legs(event, catalogues.rate, late=late))
    return forwarding.with_surcharges((catalogues.rate(event),))


def _pay(use: Use, catalogues: Catalogues, funds: Funds) -> _Paid:
    """R counts over all prices of a rate, M for each price (docs/RATING.md)."""
    funds, used, paid_units = funds.copy(), dict[tuple[int, str], int](), dict[str, int]()
    result = _Paid()
    for section in sections(use, catalogues):
        for number, leg in enumerate(section.legs):
            rate = number, leg.label
            before = billable_units(leg.price, used.get(rate, 0))
            used[rate] = used.get(rate, 0) + section.amount
            units = billable_units(leg.price, used[rate]) - before
            payment = pay(leg, leg.price, units, funds, paid_units)
            result.payments.append((section, leg, before, units, payment))
    return result


def _largest(use: Use, catalogues: Catalogues, funds: Funds, unit: Unit) -> int:
    """Most of the use that can be paid. A message is paid whole or not at all."""
    if unit is Unit.MESSAGES:
        return 0
    low, high = 0, use.amount
    while high - low > 1:
        middle = (low + high) // 2
        if _pay(replace(use, amount=middle), catalogues, funds).complete:
            low = middle
        else:
            high = middle
    return low


def _why_not(paid: _Paid) -> str:
    for *_, payment in paid.payments:
        for move in payment.moves:
            if move.exceeds:
                return f"the counter {move.terms.id} reaches its limit"
    return "neither included units nor credit pay more"


# -- the trace


def _explain(use: Use, catalogues: Catalogues, first: Section, trace: Trace) -> None:
    for number, leg in enumerate(first.legs):
        event = replace(use.event, at=first.at)
        if number:
            trace.add("second leg", "incoming", "forwarded late: the call was routed to the phone abroad (HOT-RAT-7)")
            event = replace(event, direction=Direction.TERMINATING)
        elif event.direction is Direction.FORWARDED:
            event = replace(event, at_home=not use.late)
        explain_rating(catalogues.at(first.at), event, leg, trace)
    if first.legs[0].always:
        trace.add("always", "granted", "whatever the state, credit, bars and limits of the account")


def _kilo(catalogues: Catalogues) -> int:
    """The same in all versions."""
    return catalogues.versions[0].kilo


def _tell_payments(paid: _Paid, result: Quote, catalogues: Catalogues) -> None:
    trace, told, kilo = result.trace, paid.payments[0][0].at, _kilo(catalogues)
    for section, leg, before, units, payment in paid.payments:
        if section.at != told:
            told = section.at
            changed = {"at": utc_text(told), "rate": leg.label, "price": leg.price.id}
            amount = quantity_text(section.amount, leg.unit, kilo=kilo)
            after = f"{amount} from {utc_text(told)} on, by rate {leg.label}"
            trace.add("price changes", price_text(leg.price, leg.unit), after, **changed)
        _tell_units(section, leg, before, units, trace, kilo)
        _tell_payment(payment, leg, result, catalogues.at(section.at).vat_of(leg.label), kilo)


def _tell_payment(payment: Payment, leg: RatedUse, result: Quote, vat_percent: int, kilo: int) -> None:
    trace = result.trace
    for product in payment.started:
        price = product.price_micro_eur
        why = f"this use is its first; its price of {format_eur(price)} EUR is debited"
        trace.add("starts", product.id, why, micro_eur=price)
        result.fees_micro_eur += price
    for part in payment.parts:
        _tell_part(part, leg, trace, kilo)
        if part.payer == CREDIT:
            result.micro_eur += part.micro_eur
            net = net_micro_eur(part.micro_eur, vat_percent)
            if part.micro_eur:
                why = f"of {format_eur(part.micro_eur)} EUR; net {format_eur(net)} EUR"
                trace.add("VAT", f"{vat_percent} %", why, vat_percent=vat_percent, net_micro_eur=net)
        elif part.units and part.payer != NOBODY:
            result.units[part.payer] = result.units.get(part.payer, 0) + part.units
    for move in payment.moves:
        text = partial(_amount_text, measure=move.terms.measure, unit=leg.unit, kilo=kilo)
        limit = "no limit" if move.limit is None else f"limit {text(move.limit)}"
        why = f"{text(move.before)} + {text(move.amount)} counted in the window; {limit}"
        trace.add("counter", move.terms.id, why, before=move.before, moves=move.amount, limit=move.limit)


def _tell_units(section: Section, leg: RatedUse, before: int, units: int, trace: Trace, kilo: int) -> None:
    text = partial(quantity_text, unit=leg.unit, kilo=kilo)
    if leg.price.flat:
        why = "a price per call" if units else "the price per call is paid"
    else:
        why = f"{text(section.amount)} in {steps_text(leg.price, leg.unit, kilo)}"
        why += f"; {text(before)} are charged before" if before else ""
    charged = f"{units} call" if leg.price.flat else text(units)
    trace.add("billable", charged, why, units=units, rate=leg.label)


def _tell_part(part: Part, leg: RatedUse, trace: Trace, kilo: int) -> None:
    text = partial(quantity_text, unit=leg.unit, kilo=kilo)
    if part.payer == CREDIT and part.price is not None:
        at = f"at {price_text(part.price, leg.unit)}" if part.price.num else "free"
        counted = f"{part.units} call" if part.price.flat else text(part.units)
        after = f"{counted} {at}, rounded {part.price.rounding}; left {format_eur(part.left or 0)} EUR"
        trace.add(
            CREDIT,
            f"{format_eur(part.micro_eur)} EUR",
            after,
            units=part.units,
            micro_eur=part.micro_eur,
            price=part.price.id,
        )
        return
    left = "unlimited" if part.left is None else f"{text(part.left)} left"
    trace.add("bucket", part.payer, f"pays {text(part.units)}; {left}", units=part.units, left=part.left)


def _amount_text(amount: int, measure: Measure, unit: Unit, kilo: int) -> str:
    return f"{format_eur(amount)} EUR" if measure is Measure.MONEY else quantity_text(amount, unit, kilo=kilo)


def _sum_text(result: Quote) -> str:
    parts = [f"{units} units of {bucket}" for bucket, units in result.units.items()]
    total = result.micro_eur + result.fees_micro_eur
    return " and ".join([f"{format_eur(total)} EUR", *parts])
