"""The fair-use volume of open data bundles (HOT-ROA-2) and the limits of the presence observation (HOT-ROA-4).

A tariff's volume depends on the wholesale cap of the year in which its period begins, so the tariff's terms change when
a cap does: `FairUse.volumes_at` has those of a moment, `FairUse.beginnings` the moments.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from zoneinfo import ZoneInfo

from ocs.catalogue.fair_use_model import FairUseTable
from ocs.catalogue.model import General, RateTable
from ocs.catalogue.problems import Problems, key_path
from ocs.catalogue.reading import Tables
from ocs.values.moment import parse_date
from ocs.values.money import parse_eur
from ocs.values.presence import PresenceLimits
from ocs.values.products import PACKAGE_GROUP, AtLimit, CounterTerms, Measure, PackageTerms, Product, Window
from ocs.values.use import Unit

VOLUME_FACTOR = 2
"""Regulation (EU) 2016/2286, Article 4(2): twice the volume that the net price buys at the wholesale cap."""


@dataclass(frozen=True, slots=True)
class Sold:
    """What is sold, by id."""

    products: Mapping[str, Product]
    terms: Mapping[str, PackageTerms]
    """Of all products."""
    packages: Mapping[str, PackageTerms]
    """Of the tariffs, with which an account may be opened."""


def sold_of(products: Mapping[str, Product]) -> Sold:
    terms = {id_: product.terms for id_, product in products.items()}
    packages = {id_: each for id_, each in terms.items() if each.group == PACKAGE_GROUP}
    return Sold(MappingProxyType(dict(products)), MappingProxyType(terms), MappingProxyType(packages))


@dataclass(frozen=True, slots=True)
class FairUse:
    """`caps`: (Unix seconds from which it is in force, net micro-EUR per GB), ascending."""

    counter: CounterTerms
    caps: tuple[tuple[int, int], ...]
    surcharge: str
    """Word of the facts of an account that pays a surcharge."""
    presence: PresenceLimits
    volumes: tuple[Mapping[str, int], ...] = ()
    """Of each cap: tariff → its volume in octets. A tariff that no volume limits is missing."""
    _made: dict[tuple[int, int], tuple[Sold, Sold]] = field(default_factory=dict, compare=False, repr=False)
    """Results of `with_volumes`, one for each cap."""

    @property
    def beginnings(self) -> tuple[int, ...]:
        """When the volumes change, in Unix seconds."""
        return tuple(since for since, _ in self.caps)

    def cap_at(self, unix_s: int) -> int | None:
        """Net micro-EUR per GB; None = before the first cap."""
        place = bisect_right(self.beginnings, unix_s) - 1
        return self.caps[place][1] if place >= 0 else None

    def volumes_at(self, unix_s: int) -> Mapping[str, int]:
        place = bisect_right(self.beginnings, unix_s) - 1
        return self.volumes[place] if place >= 0 else {}

    def with_volumes(self, sold: Sold, unix_s: int) -> Sold:
        """The terms of a period that begins at that moment: each tariff limits the counter by its volume, unless the
        catalogue states another limit.
        """
        key = id(sold), bisect_right(self.beginnings, unix_s)
        known = self._made.get(key)
        if known is None:
            volumes = self.volumes_at(unix_s)
            products = {
                id_: replace(product, terms=self._with_volume(product.terms, volumes.get(id_)))
                for id_, product in sold.products.items()
            }
            known = self._made[key] = sold, sold_of(products)  # `sold` is held, so that its id is not reused
        return known[1]

    def _with_volume(self, terms: PackageTerms, volume: int | None) -> PackageTerms:
        if volume is None or any(each.id == self.counter.id for each in terms.counters):
            return terms
        return replace(terms, counters=(*terms.counters, replace(self.counter, limit=volume)))


def is_open_bundle(net_micro_eur: int, included_octets: int | None, cap_micro_eur: int, gb_octets: int) -> bool:
    """Whether a tariff is an open data bundle: its data is unlimited (None), or its net price per GB is below the
    wholesale cap (HOT-ROA-2).
    """
    if included_octets is None:
        return True
    return included_octets > 0 and net_micro_eur * gb_octets < cap_micro_eur * included_octets


def volume_octets(net_micro_eur: int, cap_micro_eur: int, gb_octets: int) -> int:
    """Octets that the subscriber of an open data bundle may use in the EU: 2 × net price / cap, rounded up
    (HOT-ROA-2). `cap_micro_eur`: per GB, net.
    """
    return -(-VOLUME_FACTOR * net_micro_eur * gb_octets // cap_micro_eur)


def fair_use_volume(net_micro_eur: int, included_octets: int | None, cap_micro_eur: int, gb_octets: int) -> int | None:
    """The volume of a tariff in octets. None = nothing to limit: it is no open data bundle, or includes no more."""
    if not is_open_bundle(net_micro_eur, included_octets, cap_micro_eur, gb_octets):
        return None
    volume = volume_octets(net_micro_eur, cap_micro_eur, gb_octets)
    return volume if included_octets is None or included_octets > volume else None


# -- compiling


def compile_fair_use(
    general: General,
    tables: Tables,
    products: Mapping[str, Product],
    counters: Mapping[str, CounterTerms],
    zone: ZoneInfo | None,
    problems: Problems,
) -> FairUse | None:
    """The table [fair_use]; None = the catalogue has none, or it has mistakes. `zone`: None = it has other mistakes."""
    table = tables.fair_use
    if table is None:
        return None
    counter = _counter(table, counters, problems)
    caps = _caps(table, zone, problems)
    _check_surcharge(table, tables, problems)
    if counter is None or not caps or zone is None:
        return None
    limits = PresenceLimits(table.window_days, table.share_percent, table.notice_days, table.silent_days)
    counted = [rate for rate in tables.of("rate", RateTable).values() if counter.id in rate.counters]
    names = {name for rate in counted for name in rate.buckets}
    gb = general.kilo**3
    tariffs = [product for product in products.values() if product.terms.group == PACKAGE_GROUP]
    sold = [(each.id, each.net_micro_eur, _included(each.terms, names)) for each in tariffs]
    volumes = tuple(_volumes(sold, cap, gb) for _, cap in caps)
    return FairUse(counter, caps, table.surcharge, limits, volumes)


def _volumes(sold: Iterable[tuple[str, int, int | None]], cap: int, gb: int) -> dict[str, int]:
    found = {id_: fair_use_volume(net, included, cap, gb) for id_, net, included in sold}
    return {id_: volume for id_, volume in found.items() if volume is not None}


def _included(terms: PackageTerms, names: set[str]) -> int | None:
    """Octets of the buckets of these names; None = unlimited."""
    total = 0
    for bucket in terms.buckets:
        if bucket.unit == Unit.OCTETS and bucket.id.rpartition(".")[2] in names:
            if bucket.quantity is None:
                return None
            total += bucket.quantity
    return total


def _counter(table: FairUseTable, counters: Mapping[str, CounterTerms], problems: Problems) -> CounterTerms | None:
    found = counters.get(table.counter)
    if found is None or not _is_volume(found):
        known = ", ".join(sorted(id_ for id_, each in counters.items() if _is_volume(each))) or "none"
        allowed = 'must be a counter with window = "period", measure = "bucket-units" and at_limit = "price"'
        problems.add(key_path("fair_use", "counter"), f"{allowed}; there are {known}", table.counter)
        return None
    return found


def _is_volume(counter: CounterTerms) -> bool:
    kind = counter.window, counter.measure, counter.at_limit
    return kind == (Window.PERIOD, Measure.BUCKET_UNITS, AtLimit.PRICE) and counter.limit is None


def _caps(table: FairUseTable, zone: ZoneInfo | None, problems: Problems) -> tuple[tuple[int, int], ...]:
    found = []
    for index, cap in enumerate(table.caps):
        price = parse_eur(cap.eur_per_gb)
        if price <= 0:
            problems.add(key_path("fair_use", "caps", index, "eur_per_gb"), "must be more than 0", cap.eur_per_gb)
            continue
        try:
            day = parse_date(cap.since)
        except ValueError:
            problems.add(key_path("fair_use", "caps", index, "from"), "must be a date such as 2026-12-25", cap.since)
            continue
        found.append((int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()), price))
    if any(one[0] >= other[0] for one, other in pairwise(found)):
        problems.add(key_path("fair_use", "caps"), "must be in the order of their dates")
    return tuple(found)


def _check_surcharge(table: FairUseTable, tables: Tables, problems: Problems) -> None:
    words = sorted({word for rate in tables.of("rate", RateTable).values() for word in rate.when})
    if table.surcharge not in words:
        allowed = f"must be a word that some rate asks for (when); there are {', '.join(words) or 'none'}"
        problems.add(key_path("fair_use", "surcharge"), allowed, table.surcharge)
