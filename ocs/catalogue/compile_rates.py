"""Compiles the rates: one ready `RatedUse` for every (service, place, direction, destination) that has a price."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from zoneinfo import ZoneInfo

from ocs.catalogue.compile_counters import CompiledCounter
from ocs.catalogue.compile_parts import PriceParts, midnight
from ocs.catalogue.model import DestinationTable, PlaceTable, RateTable
from ocs.catalogue.price import PriceError, compile_price, free_price
from ocs.catalogue.problems import Problems, key_path
from ocs.catalogue.reading import Tables
from ocs.catalogue.schedule import Schedule
from ocs.catalogue.services import RateKey, Service
from ocs.catalogue.variants import NEVER, Variant, VariantRates
from ocs.values.products import DEFAULT_COUNTERS, AtLimit, CounterTerms, Measure, PackageTerms
from ocs.values.use import Direction, PriceTerms, RatedUse, Slow, Unit

ANY = "*"
FREE = "free"
"""Built-in price 0."""
FACE_VALUE = "face-value"
"""Built-in price of services whose unit is money: the amount that the client states is debited."""
BARS = ("roaming", "international", "international-sms", "premium", "data", "mms", "content", "forwarding")
"""HOT-CC-5, in the order of `RatedUse.bars`."""
SURCHARGE = ".surcharge"
"""Ends the label of a surcharge."""
_INTERNATIONAL_BARS = {"international", "international-sms"}


@dataclass(frozen=True, slots=True)
class _Use:
    """One combination of place, direction and destination that a rate covers."""

    place: str
    direction: Direction
    destination: str
    explicit: bool
    """The rate names the destination; False if it is covered by "*"."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The parts of a rate that are equal for all uses that it covers."""

    id: str
    rate: RateTable
    service: Service
    price: PriceTerms
    buckets: tuple[str, ...]
    schedule: Schedule | None
    counters: tuple[CounterTerms, ...]
    beyond: PriceTerms | None
    slow: Slow | None
    since: int
    until: int
    surcharge: PriceTerms | None


class RateCompiler:
    """Fills `Service.by_place` and `Service.by_use`."""

    def __init__(
        self,
        tables: Tables,
        problems: Problems,
        *,
        services: Mapping[str, Service],
        prices: Mapping[str, PriceParts],
        packages: Mapping[str, PackageTerms],
        version: str,
        counters: Mapping[str, CompiledCounter],
        zone: ZoneInfo | None,
        holidays: Container[date],
    ) -> None:
        self._rates = tables.of("rate", RateTable)
        self._places = tables.of("place", PlaceTable)
        self._destinations = tables.of("destination", DestinationTable)
        self._ids = tables.ids
        self._problems = problems
        self._services = services
        self._prices = prices
        self._version = version
        self._counters = counters
        self._zone, self._holidays = zone, holidays
        self._buckets = [(bucket.id, bucket.unit) for package in packages.values() for bucket in package.buckets]
        self._packages_complete = len(packages) == len(tables.ids["package"])
        self._emergency = {id_ for id_, table in self._destinations.items() if table.emergency}
        self._may_be_emergency = self._emergency | (tables.ids["destination"] - self._destinations.keys())
        self._owners: dict[tuple[str, str, Direction, str, str], tuple[str, bool]] = {}
        self._variants: dict[tuple[str, RateKey], dict[str, Variant]] = {}
        self._overlaps: set[tuple[str, str]] = set()

    def compile(self) -> None:
        before, compiled = len(self._problems.found), []
        for id_, rate in self._rates.items():
            references_ok = self._check_references(id_, rate)
            service = self._services.get(rate.service)
            if service is None:
                continue
            parties_ok = self._check_parties(id_, rate, service)
            buckets = self._bucket_ids(id_, rate, service)
            price = self._price(id_, rate, service)
            if references_ok and parties_ok and price is not None:
                compiled.append(self._compiled(id_, rate, service, price, buckets))
        for each in sorted(compiled, key=lambda each: each.rate.conditional):  # variants last: they replace others
            self._fill(each)
        self._attach_variants()
        if len(self._problems.found) == before and len(self._rates) == len(self._ids["rate"]):
            self._check_emergency_calls()

    def _check_references(self, id_: str, rate: RateTable) -> bool:
        """True if the file has every identifier that the rate names."""
        before = len(self._problems.found)
        self._check_reference(("rate", id_, "service"), "service", rate.service)
        for index, place in enumerate(rate.places):
            if place != ANY:
                self._check_reference(("rate", id_, "places", index), "place", place)
        for index, destination in enumerate(rate.destinations):
            if destination != ANY:
                self._check_reference(("rate", id_, "destinations", index), "destination", destination)
        if rate.price not in (FREE, FACE_VALUE):
            self._check_reference(("rate", id_, "price"), "price", rate.price, more=f", {FACE_VALUE} or {FREE}")
        for index, counter in enumerate(rate.counters):
            self._check_reference(("rate", id_, "counters", index), "counter", counter)
        for key, price in (("beyond", rate.beyond), ("surcharge", rate.surcharge)):
            if price is not None:
                self._check_reference(("rate", id_, key), "price", price)
        return len(self._problems.found) == before

    def _check_reference(self, at: tuple[str | int, ...], section: str, id_: str, more: str = "") -> None:
        if id_ not in self._ids[section]:
            allowed = ", ".join(sorted(self._ids[section])) + more
            self._problems.add(key_path(*at), f"is not a {section} of this catalogue; allowed: {allowed}", id_)

    def _check_parties(self, id_: str, rate: RateTable, service: Service) -> bool:
        """Checks `always`, and that the rate states directions and destinations exactly if the service has them."""
        before = len(self._problems.found)
        directions, destinations = ("rate", id_, "directions"), ("rate", id_, "destinations")
        if not service.has_parties:
            for at, value in ((directions, rate.directions), (destinations, rate.destinations)):
                if value:
                    self._problems.add(
                        key_path(*at),
                        "must be left out: only calls and messages have a direction and a destination",
                        value,
                    )
        elif not rate.directions:
            self._problems.add(key_path(*directions), 'is missing; mo, mt or fw, such as ["mo", "fw"]')
        elif not rate.destinations and rate.directions != ["mt"]:
            self._problems.add(key_path(*destinations), 'is missing; outgoing use needs destinations, or ["*"]')
        elif "mt" in rate.directions and not self._may_be_emergency.issuperset(rate.destinations):
            allowed = "must be left out for incoming use, unless it is the emergency destination"
            self._problems.add(key_path(*destinations), allowed, rate.destinations)
        if rate.always and rate.price != FREE:
            allowed = f'must be "{FREE}" because always = true grants without credit'
            self._problems.add(key_path("rate", id_, "price"), allowed, rate.price)
        return len(self._problems.found) == before

    def _bucket_ids(self, id_: str, rate: RateTable, service: Service) -> tuple[str, ...]:
        """HOT-PKG-3: ids of the buckets with these names in all packages, in the order of the file."""
        found: list[str] = []
        for index, name in enumerate(rate.buckets):
            matching = [(bucket, unit) for bucket, unit in self._buckets if bucket.rpartition(".")[2] == name]
            at = key_path("rate", id_, "buckets", index)
            if not matching and self._packages_complete:
                self._problems.add(at, "is not a bucket of any package", name)
            elif any(unit != service.unit for _, unit in matching):
                self._problems.add(at, f"must be a bucket in {service.unit}, the unit of service {service.id}", name)
            found += [bucket for bucket, _ in matching]
        return tuple(found)

    def _price(self, id_: str, rate: RateTable, service: Service) -> PriceTerms | None:
        if rate.price == FREE:
            return free_price(id_, service.unit, self._version)
        at = key_path("rate", id_, "price")
        if rate.price == FACE_VALUE:
            if service.unit is Unit.MONEY:
                return compile_price(id_, unit=Unit.MONEY, micro_eur=1, quantity=1, version=self._version)
            self._problems.add(at, "is only for services whose unit is money", rate.price)
            return None
        parts = self._prices.get(rate.price)
        if parts is None:
            return None
        if parts.unit is not service.unit or (parts.flat and service.unit is not Unit.SECONDS):
            self._problems.add(at, f"must be a price in {service.unit}, the unit of service {service.id}", rate.price)
            return None
        if parts.flat and rate.buckets:
            allowed = f"must be left out: the price {rate.price} is per call, a bucket counts seconds"
            self._problems.add(key_path("rate", id_, "buckets"), allowed, rate.buckets)
            return None
        return self._terms(id_, rate, parts, parts.micro_eur)

    def _schedule(self, id_: str, rate: RateTable) -> Schedule | None:
        """The schedule of a price with windows; None for a price without."""
        parts = self._prices.get(rate.price)
        if parts is None or not parts.windows or self._zone is None:
            return None
        amounts = (parts.micro_eur, *(amount for _, amount in parts.windows))
        prices = [self._terms(id_, rate, parts, amount) for amount in amounts]
        found = [price for price in prices if price is not None]
        if len(found) < len(prices):
            return None
        return Schedule([window for window, _ in parts.windows], found, self._zone, self._holidays)

    def _terms(self, id_: str, rate: RateTable, parts: PriceParts, micro_eur: int) -> PriceTerms | None:
        at = key_path("rate", id_, "price")
        try:
            return compile_price(
                id_,
                unit=parts.unit,
                micro_eur=micro_eur,
                quantity=parts.quantity,
                first=parts.first,
                next_=parts.next,
                flat=parts.flat,
                rounding=parts.rounding,
                version=self._version,
            )
        except PriceError as error:
            self._problems.add(at, f"is not usable: {error}", rate.price)
            return None

    def _compiled(
        self, id_: str, rate: RateTable, service: Service, price: PriceTerms, buckets: tuple[str, ...]
    ) -> _Compiled:
        named = [self._counters[each] for each in rate.counters if each in self._counters]
        for counter in named:
            if counter.unit not in (None, service.unit):
                allowed = f"has counter {counter.terms.id}, whose limit is in {counter.unit}, not in {service.unit}"
                self._problems.add(key_path("rate", id_, "counters"), allowed)
        if rate.since and rate.until and rate.until < rate.since:
            self._problems.add(key_path("rate", id_, "until"), f"must not be before {rate.since}", rate.until)
        priced = any(counter.terms.at_limit is AtLimit.PRICE for counter in named)
        if rate.beyond is not None and not priced:
            self._problems.add(key_path("rate", id_, "beyond"), 'needs a counter with at_limit = "price"', rate.beyond)
        return _Compiled(
            id=id_,
            rate=rate,
            service=service,
            price=price,
            buckets=buckets,
            schedule=self._schedule(id_, rate),
            counters=(*DEFAULT_COUNTERS, *(counter.terms for counter in named)) if named else DEFAULT_COUNTERS,
            beyond=self._beyond(id_, rate, service, price),
            slow=next((counter.slow for counter in named if counter.slow is not None), None),
            since=self._midnight((id_, "from"), rate.since, 0),
            until=self._midnight((id_, "until"), rate.until, 1) or NEVER,
            surcharge=self._surcharge(id_, rate, service),
        )

    def _beyond(self, id_: str, rate: RateTable, service: Service, price: PriceTerms) -> PriceTerms | None:
        """The price for credit after a volume is used up. Use is rounded in the steps of the rate's own price."""
        parts = self._prices.get(rate.beyond or "")
        if parts is None:
            return None
        if parts.unit is not service.unit or parts.flat or price.flat or parts.windows:
            allowed = f"must be a price in {service.unit}, not per call and without windows"
            self._problems.add(key_path("rate", id_, "beyond"), allowed, rate.beyond)
            return None
        return self._terms(id_, rate, parts._replace(first=price.first, next=price.next), parts.micro_eur)

    def _surcharge(self, id_: str, rate: RateTable, service: Service) -> PriceTerms | None:
        """A price that credit pays beside the rate's own one (HOT-ROA-4, HOT-ROA-7)."""
        parts = self._prices.get(rate.surcharge or "")
        if parts is None:
            return None
        if parts.unit is not service.unit or parts.flat or parts.windows or rate.always:
            allowed = f"must be a price in {service.unit}, not per call, without windows and not of a rate with always"
            self._problems.add(key_path("rate", id_, "surcharge"), allowed, rate.surcharge)
            return None
        if id_ + SURCHARGE in self._ids["rate"]:
            self._problems.add(key_path("rate", id_ + SURCHARGE), f"is the label of the surcharge of rate {id_}")
        return self._terms(id_ + SURCHARGE, rate, parts, parts.micro_eur)

    def _midnight(self, key: tuple[str, str], text: str | None, days_later: int) -> int:
        return midnight(text, days_later, self._zone, ("rate", *key), self._problems)

    def _fill(self, compiled: _Compiled) -> None:
        rate, service = compiled.rate, compiled.service
        for use in self._uses(rate, service):
            if not self._claim(compiled, use):
                continue
            for local in (False, True):
                rated = RatedUse(
                    service=service.id,
                    label=compiled.id,
                    place=use.place,
                    destination=use.destination,
                    unit=service.unit,
                    quota=service.quota,
                    price=compiled.price,
                    buckets=compiled.buckets,
                    always=rate.always,
                    bars=() if rate.always else self._bars(rate, service, use, local=local),
                    schedule=compiled.schedule,
                    counters=DEFAULT_COUNTERS if rate.always else compiled.counters,
                    beyond=compiled.beyond,
                    slow=compiled.slow,
                    itemised=rate.itemised or "",
                )
                if compiled.surcharge is not None:
                    rated = replace(rated, surcharge=_surcharge_of(rated, compiled.surcharge))
                key = use.place, use.direction, use.destination, local
                if rate.conditional:
                    self._add_variant(compiled, key, use, rated)
                    continue
                service.by_use[key] = rated
                if not service.has_parties:
                    service.by_place[use.place] = rated

    def _add_variant(self, compiled: _Compiled, key: RateKey, use: _Use, rated: RatedUse) -> None:
        """Adds a rate with conditions. It needs a rate without conditions to replace, which must not be a free rate of
        `always` (HOT-RAT-2).
        """
        rate, base = compiled.rate, compiled.service.by_use.get(key)
        if base is None or base.always:
            if use.explicit:
                what = f"{use.direction} {compiled.service.id} at {use.place} {use.destination}".rstrip()
                why = "always free" if base is not None else "without a rate that has no conditions"
                self._problems.add(key_path("rate", compiled.id), f"{what} is {why}: it cannot depend on anything")
            return
        variant = Variant(rated, frozenset(rate.when), frozenset(rate.unless), compiled.since, compiled.until)
        self._variants.setdefault((compiled.service.id, key), {})[_condition(rate)] = variant

    def _attach_variants(self) -> None:
        for (service_id, key), variants in self._variants.items():
            service = self._services[service_id]
            rated = replace(service.by_use[key], variants=VariantRates(tuple(variants.values())))
            service.by_use[key] = rated
            if not service.has_parties:
                service.by_place[key[0]] = rated

    def _uses(self, rate: RateTable, service: Service) -> Iterator[_Use]:
        places: Sequence[str] = tuple(self._places) if ANY in rate.places else rate.places
        places = [place for place in places if place in self._places]
        directions = [Direction(direction) for direction in rate.directions] or [Direction.ORIGINATING]
        named = [id_ for id_ in rate.destinations if id_ in self._destinations]
        others = [id_ for id_ in self._destinations if id_ not in named] if ANY in rate.destinations else []
        for place in dict.fromkeys(places):
            for direction in dict.fromkeys(directions):
                for destination in dict.fromkeys(named if rate.destinations else [""]):
                    yield _Use(place, direction, destination, True)
                for destination in others:
                    yield _Use(place, direction, destination, False)

    def _claim(self, compiled: _Compiled, use: _Use) -> bool:
        """True if the rate applies to the use. A named destination has priority over "*"; two rates of equal priority
        are a mistake.
        """
        id_, service = compiled.id, compiled.service
        key = (service.id, use.place, use.direction, use.destination, _condition(compiled.rate))
        owner, explicit = self._owners.get(key, ("", False))
        if owner and explicit == use.explicit:
            towards = f" to {use.destination}" if use.destination else ""
            if (id_, owner) not in self._overlaps:
                self._overlaps.add((id_, owner))
                what = f"{use.direction} {service.id} at {use.place}{towards}"
                self._problems.add(key_path("rate", id_), f"{what} has the rate {owner} already")
            return False
        if owner and explicit:
            return False
        self._owners[key] = (id_, use.explicit)
        return True

    def _bars(self, rate: RateTable, service: Service, use: _Use, *, local: bool) -> tuple[str, ...]:
        """HOT-CC-5: bars that forbid the use. A number of the visited country is not international (TS 22.088 §2)."""
        bars = {*rate.bars, *service.bars, *self._places[use.place].bars}
        if use.direction is Direction.FORWARDED:
            bars.add("forwarding")
        if use.destination:
            table = self._destinations[use.destination]
            towards = set(table.message_bars if service.unit is Unit.MESSAGES else table.call_bars)
            local = local and use.direction is not Direction.FORWARDED  # from home, a call abroad is international
            bars |= towards - _INTERNATIONAL_BARS if local else towards
        return tuple(bar for bar in BARS if bar in bars)

    def _check_emergency_calls(self) -> None:
        """HOT-RAT-2: emergency calls need a rate with `always` in every place."""
        for service in self._services.values():
            if service.unit is not Unit.SECONDS or not service.has_parties:
                continue
            for place in self._places:
                for destination in self._emergency:
                    rated = service.by_use.get((place, Direction.ORIGINATING, destination, False))
                    if rated is None or not rated.always:
                        allowed = f"outgoing {service.id} at {place} to {destination} needs a rate with always = true"
                        self._problems.add("rate", f"{allowed} (HOT-RAT-2)")


def labels_of(rates: Mapping[str, RateTable]) -> tuple[str, ...]:
    """All labels of uses and surcharges."""
    return (*rates, *(id_ + SURCHARGE for id_, rate in rates.items() if rate.surcharge is not None))


def _surcharge_of(rated: RatedUse, price: PriceTerms) -> RatedUse:
    """What credit pays beside `rated`; it moves the counters of money."""
    counters = tuple(each for each in rated.counters if each.measure is Measure.MONEY)
    label = rated.label + SURCHARGE
    return replace(
        rated, label=label, price=price, buckets=(), counters=counters, beyond=None, slow=None, schedule=None
    )


def _condition(rate: RateTable) -> str:
    """The condition of a variant as text; "" = none."""
    return f"{sorted(rate.when)} {sorted(rate.unless)} {rate.since} {rate.until}" if rate.conditional else ""
