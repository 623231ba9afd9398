"""Why the catalogue rates a use as it does: service, place, destination, version, rate, price, in words (HOT-RAT-1)."""

from __future__ import annotations

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.model import RateTable
from ocs.catalogue.trace import Trace
from ocs.values.money import format_eur
from ocs.values.quantity import quantity_text
from ocs.values.use import Direction, PriceTerms, RatedUse, Unit, UseEvent

DIRECTIONS = {
    Direction.ORIGINATING: "outgoing",
    Direction.TERMINATING: "incoming",
    Direction.FORWARDED: "forwarded",
}
UNITS = {Unit.OCTETS: "octets", Unit.SECONDS: "s", Unit.MESSAGES: "messages", Unit.MONEY: "micro-EUR"}

_QUANTITIES = {
    Unit.OCTETS: ((1024**2, "MB"), (1000**2, "MB of 1,000,000 octets")),
    Unit.SECONDS: ((60, "min"),),
    Unit.MESSAGES: ((1, "message"),),
}


def explain_rating(catalogue: Catalogue, event: UseEvent, rated: RatedUse, trace: Trace) -> None:
    """Adds the steps from the event to `rated`, which `catalogue` gave for it."""
    service, matched = catalogue.service_of(event)
    trace.add("service", service, matched, context=event.context.value, unit=rated.unit.value)
    place, why = catalogue.place_of(event)
    trace.add("place", place.id, why, country=place.country)
    if rated.destination:
        found = catalogue.destination_of(event)
        trace.add("destination", rated.destination, found.why if found else "", country=found.country if found else "")
    named = "the version in force" if catalogue.begins_at else "the first version"
    trace.add("version", catalogue.version, named)
    trace.add("rate", rated.label, _rate_reason(catalogue, event, rated), always=rated.always, bars=list(rated.bars))
    _other_rates(catalogue, event, rated, trace)
    trace.add(
        "price",
        price_text(rated.price, rated.unit),
        charged_by_text(rated.price, rated.unit, catalogue.kilo),
        price=rated.price.id,
    )


def _rate_reason(catalogue: Catalogue, event: UseEvent, rated: RatedUse) -> str:
    rate = catalogue.rate_of(rated.label)
    table = catalogue.tables.of("rate", RateTable)[rate]
    parts = [f"beside rate {rate}"] if rate != rated.label else []
    parts += [f"{rated.service}, {DIRECTIONS[event.direction]}" if table.directions else rated.service]
    parts.append(f"at {rated.place}" + ("" if rated.place in table.places else " (all places)"))
    if rated.destination:
        parts.append(f"to {rated.destination}" + ("" if rated.destination in table.destinations else " (all others)"))
    if conditions := conditions_text(table):
        parts.append(conditions)
    return ", ".join(parts)


def conditions_text(table: RateTable) -> str:
    """ "if fair-use, from 2026-07-01"; "" = it holds always."""
    words = [f"if {' and '.join(table.when)}"] if table.when else []
    words += [f"unless {' or '.join(table.unless)}"] if table.unless else []
    words += [f"from {table.since}"] if table.since else []
    words += [f"until {table.until}"] if table.until else []
    return ", ".join(words)


def _other_rates(catalogue: Catalogue, event: UseEvent, rated: RatedUse, trace: Trace) -> None:
    """Rates with conditions that could hold for this use, and do not."""
    for label in catalogue.variants_of(event):
        if label != catalogue.rate_of(rated.label):
            table = catalogue.tables.of("rate", RateTable)[label]
            trace.add("rate not taken", label, f"holds only {conditions_text(table)}")


def price_text(price: PriceTerms, unit: Unit) -> str:
    """ "0.069 EUR per min": for a usual quantity, else for the least one that costs whole micro-EUR."""
    if price.num == 0:
        return "free"
    if price.flat:
        return f"{format_eur(price.num)} EUR per call"
    if unit is Unit.MONEY and price.num == price.den:
        return "the amount that the request states"
    for units, name in _QUANTITIES.get(unit, ()):
        if units % price.den == 0:
            return f"{format_eur(price.num * (units // price.den))} EUR per {name}"
    return f"{format_eur(price.num)} EUR per {price.den} {UNITS[unit]}"


def charged_by_text(price: PriceTerms, unit: Unit, kilo: int) -> str:
    if price.flat or price.num == 0 or price.first == price.next == 1:
        return ""
    by = steps_text(price, unit, kilo).removeprefix("steps of ").replace(", then ", ", then by ")
    return f"charged by {by}; rounded {price.rounding}, once"


def steps_text(price: PriceTerms, unit: Unit, kilo: int) -> str:
    """ "steps of 60, then 60 s", "steps of 1 kB, then 1 kB"."""
    first, following = (quantity_text(each, unit, kilo=kilo) for each in (price.first, price.next))
    same_unit = first.rpartition(" ")[2] == following.rpartition(" ")[2]
    return f"steps of {first.rpartition(' ')[0] if same_unit else first}, then {following}"
