"""The product catalogue: loads and checks the file once, then answers what a use costs and who may pay for it.

`Catalogue.rate` is a pure function of the event. Everything is compiled at load; rating is a few dictionary look-ups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from zoneinfo import ZoneInfo

from ocs.catalogue.compile_counters import compile_counters
from ocs.catalogue.compile_life import compile_life
from ocs.catalogue.compile_parts import (
    check_general,
    compile_destinations,
    compile_places,
    compile_prices,
    compile_services,
)
from ocs.catalogue.compile_products import compile_products
from ocs.catalogue.compile_rates import SURCHARGE, RateCompiler, labels_of
from ocs.catalogue.destination import Destination, Destinations
from ocs.catalogue.fair_use import FairUse, Sold, compile_fair_use, sold_of
from ocs.catalogue.model import AnswerTable, PackageTable, RateTable, ServiceTable
from ocs.catalogue.place import HOME, Place, Places
from ocs.catalogue.ported_numbers import PortedNumbers
from ocs.catalogue.problems import CatalogueError, Problem, Problems, key_path
from ocs.catalogue.public_holidays import compile_holidays
from ocs.catalogue.reading import Tables, parse_toml, read_tables, tables_of
from ocs.catalogue.schedule import Schedule
from ocs.catalogue.services import Service, Services
from ocs.catalogue.valid_from import begins_at
from ocs.catalogue.variants import VariantRates
from ocs.values.life import LifeTerms
from ocs.values.products import CounterTerms, PackageTerms, Product
from ocs.values.use import Direction, PriceTerms, RatedUse, Unit, Unrateable, UseEvent

__all__ = ["Catalogue", "CatalogueError", "Problem", "load_catalogue"]

_NOWHERE = Destination("")
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(slots=True, eq=False)
class Catalogue:
    """A checked catalogue. Immutable, except for bounded caches."""

    version: str
    begins_at: int
    """Unix seconds at which this version comes into force; 0 = there is none before it."""
    sold: Sold
    """Products, without fair-use volumes."""
    vat_percent: int
    currency: str
    time_zone: ZoneInfo
    services: tuple[str, ...]
    """All possible values of `RatedUse.service`."""
    labels: tuple[str, ...]
    """All possible values of `RatedUse.label`."""
    places: tuple[str, ...]
    """All possible values of `RatedUse.place`."""
    counters: Mapping[str, CounterTerms]
    """Beside the monthly limit."""
    facts: frozenset[str]
    """Words that some rate asks for; no others need be in the facts of an account."""
    fair_use: FairUse | None
    """HOT-ROA-2, -4; None = the catalogue has no [fair_use]."""
    illustrative: tuple[str, ...]
    """Keys of tables marked illustrative: example values, to be replaced before going live."""
    life: LifeTerms
    tables: Tables
    """What it was compiled from."""
    _services: Services
    _places: Places
    _destinations: Destinations
    _day: tuple[int, int, int, int] = field(default=(0, 0, 0, 0))
    """The last result of `_calendar`."""
    _prices: dict[str, PriceTerms] = field(default_factory=dict)

    @property
    def notices(self) -> tuple[str, ...]:
        """Names of the texts for subscribers."""
        return tuple(self.tables.sections["notice"])

    @property
    def answers(self) -> Mapping[str, Mapping[str, str]]:
        """Answers to keywords that the operator words itself: key → language → text."""
        return {key: {"sl": each.sl, "en": each.en} for key, each in self.tables.of("answer", AnswerTable).items()}

    def rate(self, event: UseEvent) -> RatedUse:
        """Price of this use and the buckets that may pay; Unrateable when the catalogue has no rate for it (5031)."""
        rated = self._rate(event)
        if rated.variants is not None:
            rated = rated.variants.at(rated, event.facts, event.at)
        return rated if rated.schedule is None else rated.schedule.at(rated, event.at)

    def _rate(self, event: UseEvent) -> RatedUse:
        service = self._services.find(event)
        if not service.has_parties:
            place = self._places.find(event.serving_plmn, event.visited_number)
            rated = service.by_place.get(place.id)
            if rated is None:
                raise Unrateable("serving_plmn", f"{service.id} has no rate at {place.id}")
            return rated
        if event.at_home:
            return self._rate_with_parties(service, event, self._places.home)
        try:
            place = self._places.find(event.serving_plmn, event.visited_number)
        except Unrateable:
            place = self._places.default
            if not self._is_emergency(event, place):
                raise
        return self._rate_with_parties(service, event, place)

    def _rate_with_parties(self, service: Service, event: UseEvent, place: Place) -> RatedUse:
        destination = self._destination(event, place)
        key = place.id, event.direction, destination.id, destination.country == place.country
        rated = service.by_use.get(key)
        if rated is None:
            blame = "other_party" if destination.id else "serving_plmn"
            towards = f" to {destination.id}" if destination.id else ""
            raise Unrateable(blame, f"{service.id} ({event.direction}) has no rate at {place.id}{towards}")
        return rated

    def _destination(self, event: UseEvent, place: Place) -> Destination:
        """Of incoming use, none. Unrateable if the other party is missing or belongs to no class."""
        if event.emergency:
            return Destination(self._destinations.emergency, "", "the network says that it is an emergency")
        if event.direction is Direction.TERMINATING:
            return _NOWHERE
        if not event.other_party:
            raise Unrateable("other_party", "the request names no other party")
        found = self._destinations.find(event.other_party, place.country)
        if found is None:
            raise Unrateable("other_party", "no destination of the catalogue matches the other party")
        return found

    def place_at(self, serving_plmn: str | None, visited_number: str | None) -> str:
        """Id of the place; Unrateable if none has it."""
        return self._places.find(serving_plmn, visited_number).id

    def sold_at(self, unix_s: int) -> Sold:
        """What is sold, with the terms of a period that begins at that moment: the fair-use volumes of the year
        (HOT-ROA-2).
        """
        return self.sold if self.fair_use is None else self.fair_use.with_volumes(self.sold, unix_s)

    @property
    def products(self) -> Mapping[str, Product]:
        """All that is sold, without fair-use volumes."""
        return self.sold.products

    @property
    def terms(self) -> Mapping[str, PackageTerms]:
        """Of all products, without fair-use volumes."""
        return self.sold.terms

    @property
    def packages(self) -> Mapping[str, PackageTerms]:
        """Of the tariffs, with which an account may be opened, without fair-use volumes."""
        return self.sold.packages

    def canonical_party(self, party: str, serving_plmn: str | None, visited_number: str | None) -> str:
        """The party in one canonical spelling, as dialled at that place."""
        try:
            place = self._places.find(serving_plmn, visited_number)
        except Unrateable:
            place = self._places.default
        return self._destinations.canonical_party(party, place.country)

    def country_of(self, serving_plmn: str | None, visited_number: str | None) -> str:
        """Country of a serving network, "home" at home; "" if it is not known."""
        try:
            place = self._places.find(serving_plmn, visited_number)
        except Unrateable:
            return ""
        return HOME if place.id == HOME else place.country

    def use_ported(self, numbers: PortedNumbers) -> None:
        self._destinations.use_ported(numbers)

    @property
    def networks(self) -> Mapping[str, str]:
        """Network of ported numbers, in small letters → its destination class."""
        return self._destinations.networks

    def service_units(self) -> list[tuple[str, str]]:
        """Those of `services` that have a rate."""
        return self._services.units()

    @property
    def prices(self) -> Mapping[str, PriceTerms]:
        """All prices of use, by id. Made at first use: charging does not need it."""
        if not self._prices:
            for service in self._services:
                for rated in (*service.by_use.values(), *service.by_place.values()):
                    self._prices.update((price.id, price) for price in _prices_of(rated))
        return self._prices

    def rate_of(self, label: str) -> str:
        """Id of the rate that has a label; a surcharge belongs to its rate."""
        return label if label in self.tables.ids["rate"] else label.removesuffix(SURCHARGE)

    def vat_of(self, label: str) -> int:
        """Percent of VAT in the price of a rate (HOT-RAT-8)."""
        table = self.tables.of("rate", RateTable).get(self.rate_of(label))
        return self.vat_percent if table is None or table.vat_percent is None else table.vat_percent

    @property
    def kilo(self) -> int:
        """Octets in 1 kB."""
        assert self.tables.general is not None
        return self.tables.general.kilo

    def unit_of_counter(self, counter_id: str) -> Unit | None:
        """The unit of all services whose rates move the counter; None = they have several, or there are none."""
        services = self.tables.of("service", ServiceTable)
        rates = self.tables.of("rate", RateTable).values()
        units = {Unit(services[each.service].unit) for each in rates if counter_id in each.counters}
        return units.pop() if len(units) == 1 else None

    # -- what decided (`reasons`)

    def service_of(self, event: UseEvent) -> tuple[str, str]:
        """Id of the service, and the reason."""
        service, line = self._services.matched(event)
        if line is None:
            return service.id, f"the default of {event.context}"
        names = "APN", "rating group", "service identifier"
        stated = [f"{name} {value}" for name, value in zip(names, line, strict=True) if value is not None]
        return service.id, ", ".join(stated)

    def place_of(self, event: UseEvent) -> tuple[Place, str]:
        """The place, and the reason."""
        if event.at_home:
            return self._places.home, "forwarded in the home network, wherever the subscriber is"
        if not event.serving_plmn and not event.visited_number:
            return self._places.default, "default_plmn: the request names no network"
        try:
            place = self._places.find(event.serving_plmn, event.visited_number)
        except Unrateable:
            return self._places.default, "default_plmn: the network is unknown"
        return place, place.why

    def destination_of(self, event: UseEvent) -> Destination:
        return self._destination(event, self.place_of(event)[0])

    def variants_of(self, event: UseEvent) -> tuple[str, ...]:
        """Labels of the rates with conditions for this use."""
        variants = self._rate(event).variants
        return variants.labels if isinstance(variants, VariantRates) else ()

    def _is_emergency(self, event: UseEvent, place: Place) -> bool:
        """HOT-RAT-2: an emergency call is allowed even if its place is unknown."""
        if event.emergency:
            return True
        if event.direction is Direction.TERMINATING or not event.other_party:
            return False
        found = self._destinations.find(event.other_party, place.country)
        return found is not None and found.id == self._destinations.emergency

    def month_of(self, unix_s: int) -> int:
        """Calendar month in the operator's time zone, e.g. 202611 (HOT-CC-1)."""
        return self._calendar(unix_s)[2]

    def day_of(self, unix_s: int) -> int:
        """Calendar day in the operator's time zone, as days since 1970-01-01."""
        return self._calendar(unix_s)[3]

    def when(self, unix_s: int) -> dict[str, int]:
        """Keyword arguments now, month and day of a ledger operation."""
        _, _, month, day = self._calendar(unix_s)
        return {"now": unix_s, "month": month, "day": day}

    def _calendar(self, unix_s: int) -> tuple[int, int, int, int]:
        """(start, end, month, day) of the calendar day: start and end in Unix seconds."""
        if not self._day[0] <= unix_s < self._day[1]:
            local = datetime.fromtimestamp(unix_s, self.time_zone)
            begins = datetime(local.year, local.month, local.day, tzinfo=self.time_zone)
            following = local.date() + timedelta(days=1)
            ends = datetime(following.year, following.month, following.day, tzinfo=self.time_zone)
            number = local.date().toordinal() - EPOCH_ORDINAL
            self._day = int(begins.timestamp()), int(ends.timestamp()), local.year * 100 + local.month, number
        return self._day


def _prices_of(rated: RatedUse) -> Iterator[PriceTerms]:
    """All prices that a use may have, whatever the time and the facts."""
    yield rated.price
    if rated.beyond is not None:
        yield rated.beyond
    if rated.surcharge is not None:
        yield rated.surcharge.price
    if isinstance(rated.schedule, Schedule):
        yield from rated.schedule.prices
    if isinstance(rated.variants, VariantRates):
        for variant in rated.variants.rates:
            yield from _prices_of(variant)


def load_catalogue(path: Path | str) -> Catalogue:
    """Reads, checks and compiles a catalogue file. CatalogueError lists every mistake in it."""
    problems = Problems(str(path))
    return compile_catalogue(read_tables(Path(path), problems), problems)


def parse_catalogue(text: str, name: str) -> Catalogue:
    """As `load_catalogue`, from the text of a file; `name` stands for the file in messages."""
    problems = Problems(name)
    return compile_catalogue(tables_of(parse_toml(text, name), problems), problems)


def compile_catalogue(tables: Tables, problems: Problems) -> Catalogue:
    """CatalogueError lists every mistake of the tables, with those that are in `problems`."""
    if tables.general is None:
        # Without [catalogue] no table can be checked against another.
        problems.raise_if_any()
        raise AssertionError("read_tables reports a missing [catalogue]")
    general = tables.general
    check_general(general, problems)
    places = compile_places(general, tables, problems)
    destinations = compile_destinations(general, tables, problems)
    services, by_id = compile_services(general, tables, problems)
    prices = compile_prices(general, tables, problems)
    counters = compile_counters(general, tables, problems)
    zone = None if problems.found else ZoneInfo(general.time_zone)
    products = compile_products(general, tables, counters, zone, problems)
    terms = {id_: product.terms for id_, product in products.items()}
    holidays = compile_holidays(general, problems)
    zone = None if problems.found else zone
    life = compile_life(general, problems)
    RateCompiler(
        tables,
        problems,
        services=by_id,
        prices=prices,
        packages=terms,
        version=general.version,
        counters=counters,
        zone=zone,
        holidays=holidays,
    ).compile()
    facts = _facts(tables, problems)
    terms_of_counters = {id_: each.terms for id_, each in counters.items()}
    fair_use = compile_fair_use(general, tables, products, terms_of_counters, zone, problems)
    problems.raise_if_any()
    if places is None:
        raise AssertionError("compile_places or check_general reports a default_plmn without a place")
    return Catalogue(
        version=general.version,
        begins_at=begins_at(general, problems),
        sold=sold_of(products),
        vat_percent=general.vat_percent,
        currency=general.currency,
        time_zone=ZoneInfo(general.time_zone),
        services=tuple(by_id),
        labels=labels_of(tables.of("rate", RateTable)),
        places=tuple(tables.sections["place"]),
        counters=MappingProxyType(terms_of_counters),
        facts=facts,
        fair_use=fair_use,
        illustrative=_illustrative(tables),
        life=life,
        tables=tables,
        _services=services,
        _places=places,
        _destinations=destinations,
    )


def _facts(tables: Tables, problems: Problems) -> frozenset[str]:
    """Words of the rates. A product's word that no rate asks for is a mistake."""
    rates = tables.of("rate", RateTable).values()
    words = frozenset(word for rate in rates for word in (*rate.when, *rate.unless))
    for id_, package in tables.of("package", PackageTable).items():
        if unknown := sorted(set(package.facts) - words):
            allowed = f"has words that no rate asks for; there are {', '.join(sorted(words)) or 'none'}"
            problems.add(key_path("package", id_, "facts"), allowed, unknown)
    return words


def _illustrative(tables: Tables) -> tuple[str, ...]:
    found: list[str] = []

    def look(value: object, at: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            if value.get("illustrative") is True:
                found.append(key_path(*at))
            for name, inner in value.items():
                look(inner, (*at, name))

    if tables.general is not None:
        look(tables.general.model_dump(), ("catalogue",))
    for section, entries in tables.sections.items():
        for id_, table in entries.items():
            look(table.model_dump(), (section, id_))
    return tuple(found)
