"""Compiles the counters of a catalogue: [counter.ID], and the limits that products give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ocs.catalogue.model import CounterTable, General, IncludedCounterTable
from ocs.catalogue.problems import Problems, key_path
from ocs.catalogue.reading import Tables
from ocs.values.exact import MAX_INTEGER
from ocs.values.moment import DAY_S
from ocs.values.money import parse_eur
from ocs.values.products import LIMIT_COUNTER, AtLimit, CounterTerms, Measure, Window
from ocs.values.quantity import ALLOWED, parse_quantity, unit_of
from ocs.values.use import Slow, Unit

AMOUNT = "an amount in EUR with a point and at most 6 decimals, such as 60.00"


@dataclass(frozen=True, slots=True)
class CompiledCounter:
    terms: CounterTerms
    unit: Unit | None
    """Unit of the limit; None = the limit is money, or there is none."""
    slow: Slow | None


def compile_counters(general: General, tables: Tables, problems: Problems) -> dict[str, CompiledCounter]:
    """Counters by id."""
    return {
        id_: _counter(id_, table, general.kilo, problems) for id_, table in tables.of("counter", CounterTable).items()
    }


def _counter(id_: str, table: CounterTable, kilo: int, problems: Problems) -> CompiledCounter:
    at, measure = ("counter", id_), Measure(table.measure.replace("-", "_"))
    window, at_limit = Window(table.window), AtLimit(table.at_limit)
    if id_ == LIMIT_COUNTER:
        problems.add(key_path(*at), "is the name of the monthly spending limit, which every account has")
    if (window is Window.ROLLING) != (table.days is not None):
        problems.add(key_path(*at, "days"), "is needed by a rolling window, and by no other", table.days)
    if at_limit is AtLimit.PRICE and measure is not Measure.BUCKET_UNITS:
        problems.add(key_path(*at, "at_limit"), 'must have measure = "bucket-units"', table.at_limit)
    if table.filter_ids and at_limit is not AtLimit.RESTRICT:
        problems.add(key_path(*at, "filter_ids"), 'are for at_limit = "restrict"', table.filter_ids)
    if sorted(set(table.thresholds)) != table.thresholds:
        problems.add(key_path(*at, "thresholds"), "must rise", table.thresholds)
    limit, unit = _limit(table.limit, measure, kilo, (*at, "limit"), problems)
    terms = CounterTerms(
        id=id_,
        window=window,
        measure=measure,
        limit=limit,
        thresholds=tuple(table.thresholds),
        window_s=(table.days or 0) * DAY_S,
        at_limit=at_limit,
    )
    slow = Slow(tuple(table.filter_ids)) if at_limit is AtLimit.RESTRICT else None
    return CompiledCounter(terms, unit, slow)


def _limit(
    text: str | None, measure: Measure, kilo: int, at: tuple[str, ...], problems: Problems
) -> tuple[int | None, Unit | None]:
    if text is None:
        return None, None
    unit, value = None, 0
    try:
        if measure is Measure.MONEY:
            value = parse_eur(text)
        else:
            unit = unit_of(text)
            value = parse_quantity(text, unit or Unit.OCTETS, kilo=kilo)
    except ValueError:
        allowed = AMOUNT if measure is Measure.MONEY else ", or ".join(ALLOWED.values())
        problems.add(key_path(*at), f"must be {allowed}", text)
    if not 0 <= value <= MAX_INTEGER // 2:
        problems.add(key_path(*at), f"must be from 0 to {MAX_INTEGER // 2}", text)
    return value, unit


def counters_of_product(
    at: tuple[str, ...],
    wanted: Mapping[str, IncludedCounterTable],
    counters: Mapping[str, CompiledCounter],
    kilo: int,
    problems: Problems,
) -> tuple[CounterTerms, ...]:
    """Counters of the product's period, with the limits that the product sets."""
    found = []
    for name, table in wanted.items():
        counter = counters.get(name)
        if counter is None or counter.terms.window is not Window.PERIOD:
            periods = [id_ for id_, each in counters.items() if each.terms.window is Window.PERIOD]
            allowed = f'must be a counter with window = "period"; there are {", ".join(sorted(periods)) or "none"}'
            problems.add(key_path(*at, name), allowed)
            continue
        limit, unit = _limit(table.limit, counter.terms.measure, kilo, (*at, name, "limit"), problems)
        if counter.unit is not None and unit is not counter.unit:
            problems.add(key_path(*at, name, "limit"), f"must be in {counter.unit}, as the counter", table.limit)
        found.append(replace(counter.terms, limit=limit))
    return tuple(found)
