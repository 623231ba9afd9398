"""Versions of the catalogue: which one is in force at a moment, and what they must have in common.

A version is a complete catalogue with `[catalogue] version` and `valid_from`. `Catalogues` rates a use by the version
in force when the use takes place. The start of the next version is a change of the price, like that of a window
(`RatedUse.switch_at`): a grant spans it or ends there (RFC 8506 §5.1.1).

Records, running sessions and subscriptions refer to services, rates, packages and buckets by id. So an id must mean the
same in all versions; `check_together` finds contradictions.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from ocs.catalogue.catalogue import Catalogue, load_catalogue, parse_catalogue
from ocs.catalogue.fair_use import FairUse
from ocs.catalogue.model import CounterTable, PackageTable, RateTable, ServiceTable
from ocs.catalogue.ported_numbers import NONE, PortedNumbers
from ocs.catalogue.problems import CatalogueError, Problem, key_path
from ocs.catalogue.reading import MAX_FILE_OCTETS
from ocs.values.life import LifeTerms
from ocs.values.products import CounterTerms, PackageTerms, Product
from ocs.values.use import RatedUse, Unit, Unrateable, UseEvent

MAX_VERSIONS = 32
"""Most versions at a time, past and future."""
MAX_SWITCHES_KEPT = 4_096
"""Size of the cache of rated uses with the next version's price; a network has some hundred rates."""
PAST_TERMS_S = 400 * 86_400
"""A period that began longer ago is over: the terms of its beginning are not needed."""
NEVER = 2**62
"""Unix seconds: no end."""
_T = TypeVar("_T")
SAME_IN_ALL = ("currency", "time_zone", "kilo", "home_country")
"""Keys of [catalogue] that determine months, quantities and numbers: the ledger stores only the results."""


class Catalogues:
    """All known versions. `now`: Unix seconds.

    Queries without a moment concern the version in force now.
    """

    def __init__(self, versions: Sequence[Catalogue], now: Callable[[], int]) -> None:
        self.now = now
        self.ported = NONE
        self.install(versions)

    def install(self, versions: Sequence[Catalogue]) -> None:
        """Replaces all versions; they must have passed `check_together`."""
        assert versions
        self.versions = tuple(sorted(versions, key=lambda each: each.begins_at))
        self.use_ported(self.ported)
        self._beginnings = [each.begins_at for each in self.versions]
        self._switches: dict[tuple[int, int, int], tuple[RatedUse, RatedUse, RatedUse | None]] = {}
        self._since, self._until, self._current = 0, 0, self.versions[0]

    def use_ported(self, numbers: PortedNumbers) -> None:
        """From now on these numbers are ported, in all versions."""
        self.ported = numbers
        for version in self.versions:
            version.use_ported(numbers)

    def at(self, unix_s: int) -> Catalogue:
        """The version in force at that moment; before the first one begins, the first."""
        if not self._since <= unix_s < self._until:
            place = max(bisect_right(self._beginnings, unix_s) - 1, 0)
            self._since = self._beginnings[place] if place else -NEVER
            self._until = self._beginnings[place + 1] if place + 1 < len(self.versions) else NEVER
            self._current = self.versions[place]
        return self._current

    def in_force(self) -> Catalogue:
        return self.at(self.now())

    # -- rating

    def rate(self, event: UseEvent) -> RatedUse:
        """Like `Catalogue.rate`, by the version in force at `event.at`."""
        rated = self.at(event.at).rate(event)
        until = self._until
        if until - event.at >= rated.quota.validity_s or 0 < rated.switch_at < until:
            return rated
        return self._until_next(rated, event, until)

    def _until_next(self, rated: RatedUse, event: UseEvent, until: int) -> RatedUse:
        """`rated` with the start of the next version as its switch.

        The price after it is stated only if nothing else in the grant changes; otherwise the grant must end there.
        """
        try:
            after = self.at(until).rate(replace(event, at=until))
        except Unrateable:
            after = None
        key = id(rated), id(after), until
        known = self._switches.get(key)
        if known is not None:
            return known[0]
        alike = after is not None and _is_same_but_price(rated, after)
        made = replace(rated, switch_at=until, price_after=after.price if after is not None and alike else None)
        if len(self._switches) >= MAX_SWITCHES_KEPT:
            self._switches.clear()
        self._switches[key] = made, rated, after  # holds references, so that the ids are not reused
        return made

    def canonical_party(self, party: str, serving_plmn: str | None, visited_number: str | None) -> str:
        return self.in_force().canonical_party(party, serving_plmn, visited_number)

    def country_of(self, serving_plmn: str | None, visited_number: str | None) -> str:
        return self.in_force().country_of(serving_plmn, visited_number)

    def grants_end_by(self, unix_s: int) -> int:
        """Unix time by which all grants that were given until `unix_s` have ended (validity_s)."""
        ends = [*self._beginnings[1:], NEVER]
        found = unix_s
        for number, (version, end) in enumerate(zip(self.versions, ends, strict=True)):
            if not number or version.begins_at <= unix_s:
                services = version.tables.of("service", ServiceTable).values()
                found = max(found, min(end, unix_s) + max((each.quota.validity_s for each in services), default=0))
        return found

    @property
    def longest_grant_s(self) -> int:
        """The longest validity_s of any version."""
        services = [each for version in self.versions for each in version.tables.of("service", ServiceTable).values()]
        return max((each.quota.validity_s for each in services), default=0)

    # -- the calendar: the same in all versions

    @property
    def time_zone(self) -> ZoneInfo:
        return self.versions[0].time_zone

    def month_of(self, unix_s: int) -> int:
        return self.versions[0].month_of(unix_s)

    def day_of(self, unix_s: int) -> int:
        return self.versions[0].day_of(unix_s)

    def when(self, unix_s: int) -> dict[str, int]:
        return self.versions[0].when(unix_s)

    def life_at(self, unix_s: int) -> LifeTerms:
        """Terms of an account's life that are in force then."""
        return self.at(unix_s).life

    @property
    def blocks_returned_payments(self) -> bool:
        """Whether a returned payment blocks the account for non-payment."""
        general = self.in_force().tables.general
        return general is not None and general.returned_payment_blocks

    # -- products on sale now

    @property
    def products(self) -> Mapping[str, Product]:
        return self.in_force().sold_at(self.now()).products

    @property
    def packages(self) -> Mapping[str, PackageTerms]:
        """The tariffs."""
        return self.in_force().sold_at(self.now()).packages

    @property
    def counters(self) -> Mapping[str, CounterTerms]:
        return self.in_force().counters

    @property
    def facts(self) -> frozenset[str]:
        """Facts in all versions: an account may have one before the version that uses it begins."""
        return frozenset[str]().union(*(each.facts for each in self.versions))

    @property
    def answers(self) -> Mapping[str, Mapping[str, str]]:
        """Answers to keywords that the operator words itself: key → language → text."""
        return self.in_force().answers

    @property
    def notices(self) -> tuple[str, ...]:
        """Names of the texts for subscribers, in all versions."""
        return tuple(dict.fromkeys(name for each in self.versions for name in each.notices))

    @property
    def services(self) -> tuple[str, ...]:
        """Services in all versions."""
        return tuple(dict.fromkeys(name for each in self.versions for name in each.services))

    @property
    def units(self) -> dict[str, Unit]:
        """Unit of each service."""
        return {
            id_: Unit(table.unit)
            for version in self.versions
            for id_, table in version.tables.of("service", ServiceTable).items()
        }

    @property
    def fair_use(self) -> FairUse | None:
        return self.in_force().fair_use

    @property
    def fair_use_days(self) -> int:
        """Longest window of the presence observation (HOT-ROA-4) in any version; 0 = there is none."""
        return max((each.fair_use.presence.window_days for each in self.versions if each.fair_use), default=0)

    def product_terms(self) -> dict[str, list[tuple[int, PackageTerms]]]:
        """Product → its terms by the Unix second from which they are in force (0 = always), without repetitions."""
        found: dict[str, list[tuple[int, PackageTerms]]] = {}
        for number, version in enumerate(self.versions):
            until = self.versions[number + 1].begins_at if number + 1 < len(self.versions) else NEVER
            for since in _changes_of_terms(version, version.begins_at if number else 0, until, self.now()):
                for id_, terms in version.sold_at(since).terms.items():
                    known = found.setdefault(id_, [])
                    if not known or known[-1][1] != terms:
                        known.append((since, terms))
        return found


def _changes_of_terms(version: Catalogue, since: int, until: int, now: int) -> list[int]:
    """Unix seconds at which terms of the version begin: its own beginning, and those of the fair-use volumes, except
    volumes that others have replaced for PAST_TERMS_S.
    """
    beginnings = version.fair_use.beginnings if version.fair_use is not None else ()
    past = [each for each in beginnings if each <= now - PAST_TERMS_S]
    return [since, *(each for each in beginnings if since < each < until and each not in past[:-1])]


def _is_same_but_price(one: RatedUse, other: RatedUse) -> bool:
    return _beside_the_price(one) == _beside_the_price(other)


def _beside_the_price(rated: RatedUse) -> tuple[object, ...]:
    beyond = rated.beyond and (rated.beyond.num, rated.beyond.den)
    surcharge = rated.surcharge and (rated.surcharge.price.num, rated.surcharge.price.den)
    payers = rated.buckets, rated.counters, beyond, surcharge, rated.slow
    return rated.service, rated.label, rated.unit, payers, rated.always, rated.bars


# -- files


def load_versions(path: Path | str) -> tuple[Catalogue, ...]:
    """Loads the catalogue file, or every *.toml file of a folder of versions, in the order of their start.

    CatalogueError lists every mistake in them, and every contradiction between them.
    """
    path = Path(path)
    files = version_files(path)
    if not files:
        raise CatalogueError(
            [Problem(str(path), "", "", "has no *.toml file: a folder holds versions of the catalogue")]
        )
    versions: list[tuple[str, Catalogue]] = []
    problems: list[Problem] = []
    for file in files:
        try:
            versions.append((str(file), load_catalogue(file)))
        except CatalogueError as error:
            problems += error.problems
    problems += check_together(versions)
    if problems:
        raise CatalogueError(problems)
    return tuple(sorted((catalogue for _, catalogue in versions), key=lambda each: each.begins_at))


def version_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.toml")) if path.is_dir() else [path]


def digest_of(path: Path) -> str:
    """Digest of the file, or of all files of the folder: equal for equal contents."""
    found = hashlib.sha256()
    for file in version_files(path):
        with file.open("rb") as opened:
            found.update(hashlib.sha256(opened.read(MAX_FILE_OCTETS)).digest())
    return found.hexdigest()


def content_digest(catalogue: Catalogue) -> str:
    """Digest of the file's values, without comments and `valid_from`."""
    raw = {name: dict(value) if isinstance(value, Mapping) else value for name, value in catalogue.tables.raw.items()}
    general = raw.get("catalogue")
    if isinstance(general, dict):
        general.pop("valid_from", None)
    return hashlib.sha256(json.dumps(raw, sort_keys=True, default=str).encode()).hexdigest()


def versions_digest(versions: Iterable[Catalogue]) -> str:
    """Digest of what versions say and when they begin."""
    said = sorted((each.version, each.begins_at, content_digest(each)) for each in versions)
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


# -- versions that were loaded into the ledger


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version as the ledger keeps it."""

    name: str
    text: str
    """The file."""
    begins_at: int
    """Unix seconds; it counts, whatever `valid_from` of the text says. 0 = there is none before it."""
    loaded_at: int
    loaded_by: str
    digest: str
    """`content_digest` of the text."""

    def compiled(self) -> Catalogue:
        return parse_catalogue(self.text, f"version {self.name}")


def merge(files: Sequence[Catalogue], stored: Iterable[tuple[StoredVersion, Catalogue]]) -> tuple[Catalogue, ...]:
    """Versions of the files and of the ledger together. Of one that both have the ledger's beginning counts.

    CatalogueError: they contradict each other.
    """
    found = {each.version: each for each in files}
    problems = []
    for kept, catalogue in stored:
        own = found.get(kept.name)
        if own is not None and content_digest(own) != kept.digest:
            allowed = (
                f"the ledger has a version of this name that says otherwise (loaded by {kept.loaded_by}): rename it"
            )
            problems.append(Problem("the catalogue's file", "catalogue.version", repr(kept.name), allowed))
        found[kept.name] = replace(catalogue, begins_at=kept.begins_at)
    problems += check_together([(f"version {each.version}", each) for each in found.values()])
    if problems:
        raise CatalogueError(problems)
    return tuple(sorted(found.values(), key=lambda each: each.begins_at))


# -- consistency of versions


def check_together(versions: Sequence[tuple[str, Catalogue]]) -> list[Problem]:
    """Contradictions between the versions (file, catalogue)."""
    ordered = sorted(versions, key=lambda each: each[1].begins_at)
    found = _names_and_beginnings(ordered)
    for (_, before), (file, catalogue) in pairwise(ordered):
        found += _differences(before, catalogue, file)
    if len(ordered) > MAX_VERSIONS:
        found.append(Problem(ordered[-1][0], "", "", f"is one too many: at most {MAX_VERSIONS} versions are known"))
    return found


def _names_and_beginnings(ordered: Iterable[tuple[str, Catalogue]]) -> list[Problem]:
    names: dict[str, str] = {}
    beginnings: dict[int, str] = {}
    found = []
    for file, catalogue in ordered:
        if catalogue.version in names:
            allowed = f"{names[catalogue.version]} is this version already: each has a name of its own"
            found.append(Problem(file, "catalogue.version", repr(catalogue.version), allowed))
        if catalogue.begins_at in beginnings:
            allowed = f"{beginnings[catalogue.begins_at]} begins then: each version but the first has its own beginning"
            general = catalogue.tables.general
            found.append(Problem(file, "catalogue.valid_from", repr(general.valid_from if general else ""), allowed))
        names[catalogue.version] = beginnings[catalogue.begins_at] = file
    return found


def _differences(before: Catalogue, after: Catalogue, file: str) -> list[Problem]:
    found = []
    for key, old, new in _steady(before, after):
        if old != new:
            allowed = f"must be {old!r} as in version {before.version}: records and running sessions name it"
            found.append(Problem(file, key, "" if new is None else repr(new), allowed))
    for id_, terms in before.terms.items():
        if id_ not in after.terms:
            allowed = f"is missing, version {before.version} has it: subscriptions that run name it and its buckets"
            found.append(Problem(file, key_path("package", id_), "", allowed))
            continue
        buckets = {each.id.rpartition(".")[2] for each in after.terms[id_].buckets}
        for bucket in terms.buckets:
            name = bucket.id.rpartition(".")[2]
            if name not in buckets:
                allowed = f"is missing, version {before.version} has it: subscriptions that run have such a bucket"
                found.append(Problem(file, key_path("package", id_, "bucket", name), "", allowed))
    return found


def _steady(before: Catalogue, after: Catalogue) -> Iterable[tuple[str, object, object]]:
    """(key, value before, value after) of values that an id must keep, for ids in both versions."""
    old, new = before.tables, after.tables
    for name in SAME_IN_ALL:
        yield f"catalogue.{name}", getattr(old.general, name), getattr(new.general, name)
    for id_, service, other in _both(old.of("service", ServiceTable), new.of("service", ServiceTable)):
        yield key_path("service", id_, "unit"), service.unit, other.unit
    services = {id_: table.unit for id_, table in new.of("service", ServiceTable).items()}
    for id_, rate, next_rate in _both(old.of("rate", RateTable), new.of("rate", RateTable)):
        unit = old.of("service", ServiceTable)[rate.service].unit
        if services.get(next_rate.service) != unit:  # the service's unit, which rounds the use of a session
            yield key_path("rate", id_, "service"), f"a service in {unit}", next_rate.service
    for id_, counter, next_counter in _both(old.of("counter", CounterTable), new.of("counter", CounterTable)):
        for name in ("window", "days", "measure"):  # an account's counter goes on with what it has counted
            yield key_path("counter", id_, name), getattr(counter, name), getattr(next_counter, name)
    for id_, package, next_package in _both(old.of("package", PackageTable), new.of("package", PackageTable)):
        yield key_path("package", id_, "kind"), package.kind, next_package.kind
    for id_ in before.terms.keys() & after.terms.keys():
        units = {each.id: each.unit for each in before.terms[id_].buckets}
        for bucket in after.terms[id_].buckets:
            key = key_path("package", id_, "bucket", bucket.id.rpartition(".")[2], "unit")
            yield key, units.get(bucket.id, bucket.unit), bucket.unit


def _both(old: Mapping[str, _T], new: Mapping[str, _T]) -> Iterable[tuple[str, _T, _T]]:
    return ((id_, old[id_], new[id_]) for id_ in old if id_ in new)
