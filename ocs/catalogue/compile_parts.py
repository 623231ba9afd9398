"""Compiles places, destinations, services and prices of a catalogue file. Mistakes go into `Problems`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import phonenumbers

from ocs.catalogue.countries import MCC_COUNTRY, NO_COUNTRY
from ocs.catalogue.destination import DestinationClass, Destinations
from ocs.catalogue.model import (
    DestinationTable,
    General,
    PlaceTable,
    PriceTable,
    QuotaTable,
    ServiceTable,
)
from ocs.catalogue.place import ANY_OTHER, EU, HOME, Places
from ocs.catalogue.price import MAX_SESSION_UNITS
from ocs.catalogue.problems import Problems, key_path
from ocs.catalogue.reading import Tables
from ocs.catalogue.schedule import DAY_MINUTES, DAYS, Window, overlap
from ocs.catalogue.services import MatchKey, Service, Services
from ocs.values.moment import parse_date
from ocs.values.money import parse_eur
from ocs.values.quantity import ALLOWED, PER_CALL, parse_quantity, unit_of
from ocs.values.use import Context, QuotaPolicy, Unit

UNLIMITED = "unlimited"
TIME_MECHANISMS = ("discrete", "continuous")
"""Index = value of Time-Quota-Type (TS 32.299 §7.2.229)."""
ENVELOPE_REPORTING = ("none", "envelopes", "volume", "events", "both")
"""Index = value of Envelope-Reporting (TS 32.299 §7.2.59)."""
TRIGGER_TYPES = {"qos": 2, "location": 3, "rat": 4, "timezone": 5, "mcc": 30, "mnc": 31, "serving-node": 61}
"""Values of Trigger-Type (TS 32.299 §7.2.236)."""
_CONTEXTS_WITHOUT_PARTIES = frozenset({"data", "content"})
"""Contexts whose use has no direction and no destination."""
_MATCH_KEYS = {"rating_group", "service_identifier", "apn"}


class PriceParts(NamedTuple):
    """Arguments of `compile_price`, in the service's unit."""

    unit: Unit
    micro_eur: int
    quantity: int
    first: int
    next: int
    flat: bool
    rounding: str
    windows: tuple[tuple[Window, int], ...] = ()
    """(window, micro-EUR in that window)."""


def check_general(general: General, problems: Problems) -> None:
    """Checks that time zone, home country and default network exist."""
    try:
        ZoneInfo(general.time_zone)
    except (OSError, ValueError, KeyError):
        problems.add(
            "catalogue.time_zone", "must be a time zone of the tz database, such as Europe/Ljubljana", general.time_zone
        )
    if general.home_country not in phonenumbers.SUPPORTED_REGIONS:
        problems.add("catalogue.home_country", "must be a country code such as SI", general.home_country)
    if general.default_plmn not in general.home_plmns and general.default_plmn[:3] not in MCC_COUNTRY:
        problems.add(
            "catalogue.default_plmn", "must be one of home_plmns, or start with a known MCC", general.default_plmn
        )


def compile_places(general: General, tables: Tables, problems: Problems) -> Places | None:
    """Place by country. The places home and eu are required (HOT-ROA-1)."""
    for needed in (HOME, EU):
        if needed not in tables.ids["place"]:
            problems.add(key_path("place", needed), "is missing; the places home and eu are required")
    places = tables.of("place", PlaceTable)
    by_country, by_plmn = (
        _check_unique(
            (
                (value, id_, key_path("place", id_, name, index))
                for id_, place in places.items()
                for index, value in enumerate(getattr(place, name))
            ),
            problems,
        )
        for name in ("countries", "plmns")
    )
    for id_, place in places.items():
        if not place.countries and not place.plmns:
            problems.add(key_path("place", id_, "countries"), "is missing; a place has countries, plmns or both")
    _check_countries("place", {id_: place.countries for id_, place in places.items()}, problems)
    if HOME in places and by_country.get(general.home_country) != HOME:
        problems.add(
            "place.home.countries", f"must include the home country {general.home_country}", places[HOME].countries
        )
    country = MCC_COUNTRY.get(general.default_plmn[:3])
    if general.default_plmn not in general.home_plmns and (
        country is None or by_country.get(country, by_country.get(ANY_OTHER)) is None
    ):
        if country is not None:
            problems.add("catalogue.default_plmn", "must be a network of one of the places", general.default_plmn)
        return None
    return Places(
        by_country=by_country,
        home_country=general.home_country,
        home_plmns=frozenset(general.home_plmns),
        default_plmn=general.default_plmn,
        by_plmn=by_plmn,
    )


def compile_destinations(general: General, tables: Tables, problems: Problems) -> Destinations:
    """Destination classes. Each number, prefix, kind, country and network belongs to one; one is `emergency`."""
    classes = tables.of("destination", DestinationTable)
    for name in ("numbers", "prefixes", "kinds", "countries", "networks"):
        owners = (
            (str(value).lower() if name == "networks" else str(value), id_, key_path("destination", id_, name, index))
            for id_, class_ in classes.items()
            for index, value in enumerate(getattr(class_, name))
        )
        _check_unique(owners, problems)
    _check_countries("destination", {id_: class_.countries for id_, class_ in classes.items()}, problems)
    for name in ("emergency", "short", "alphanumeric"):
        owners = ((name, id_, key_path("destination", id_, name)) for id_, c in classes.items() if getattr(c, name))
        _check_unique(owners, problems)
    complete = len(classes) == len(tables.ids["destination"])
    if complete and not any(class_.emergency for class_ in classes.values()):
        problems.add("destination", "one destination must have emergency = true (HOT-RAT-2)")
    return Destinations(
        [
            DestinationClass(
                id=id_,
                numbers=table.numbers,
                prefixes=table.prefixes,
                kinds=table.kinds,
                countries=table.countries,
                networks=table.networks,
                emergency=table.emergency,
                short=table.short,
                alphanumeric=table.alphanumeric,
            )
            for id_, table in classes.items()
        ],
        home_country=general.home_country,
    )


def compile_services(general: General, tables: Tables, problems: Problems) -> tuple[Services, dict[str, Service]]:
    """Services by context, and by id. Each context in use has one default service; no `match` line occurs twice."""
    services, by_id = Services(), {}
    lines: list[tuple[str, str, str]] = []
    defaults: list[tuple[str, str, str]] = []
    seen: set[str] = set()
    for id_, table in tables.of("service", ServiceTable).items():
        unit = Unit(table.unit)
        without_parties = _CONTEXTS_WITHOUT_PARTIES.intersection(table.contexts)
        has_parties = not without_parties and unit is not Unit.MONEY
        if without_parties and unit is not Unit.MONEY and not _CONTEXTS_WITHOUT_PARTIES.issuperset(table.contexts):
            allowed = "data and content cannot be mixed with other contexts, unless the unit is money"
            problems.add(key_path("service", id_, "contexts"), allowed, table.contexts)
        quota = _quota(table.quota, unit, general.kilo, ("service", id_, "quota"), problems)
        by_id[id_] = Service(id=id_, unit=unit, quota=quota, bars=tuple(table.bars), has_parties=has_parties)
        matches: list[MatchKey] = [(line.apn, line.rating_group, line.service_identifier) for line in table.match]
        for index, match in enumerate(matches):
            at = key_path("service", id_, "match", index)
            if match == (None, None, None):
                problems.add(at, "must state a rating_group, a service_identifier or an apn")
            stated = ", ".join(
                f"{name} {value}" for name, value in table.match[index] if name in _MATCH_KEYS and value is not None
            )
            lines += [(f"{context}: {stated}", id_, at) for context in table.contexts]
        for name in table.contexts:
            seen.add(name)
            if table.default:
                defaults.append((name, id_, key_path("service", id_, "default")))
            services.add(Context(name), by_id[id_], default=table.default, matches=matches)
    _check_unique(lines, problems)
    _check_unique(defaults, problems)
    if len(by_id) == len(tables.ids["service"]):
        for name_ in sorted(seen - {name for name, _, _ in defaults}):
            problems.add("service", f"one service of the context {name_} must have default = true")
    return services, by_id


def _quota(table: QuotaTable, unit: Unit, kilo: int, at: tuple[str, ...], problems: Problems) -> QuotaPolicy:
    values = {}
    for name in ("default", "minimum", "maximum"):
        text = getattr(table, name)
        values[name] = quantity(text, unit, kilo, (*at, name), problems, most=MAX_SESSION_UNITS[unit])
    if all(values.values()) and not values["minimum"] <= values["default"] <= values["maximum"]:
        problems.add(
            key_path(*at, "default"), f"must be from minimum {table.minimum} to maximum {table.maximum}", table.default
        )
    return QuotaPolicy(
        default=values["default"],
        minimum=values["minimum"],
        maximum=values["maximum"],
        validity_s=table.validity_s,
        holding_s=table.holding_s,
        threshold_percent=table.threshold_percent,
        consumption_s=table.consumption_s,
        time_mechanism=TIME_MECHANISMS.index(table.time_mechanism),
        base_interval_s=table.base_interval_s,
        envelope_reporting=ENVELOPE_REPORTING.index(table.envelope_reporting),
        time_s=table.time_s,
        pool=table.pool,
        triggers=tuple(TRIGGER_TYPES[name] for name in table.triggers),
        maximum_micro_eur=parse_eur(table.maximum_eur),
    )


def compile_prices(general: General, tables: Tables, problems: Problems) -> dict[str, PriceParts]:
    """Prices in the service's unit. `compile_rates` checks that each can be computed exactly."""
    parts: dict[str, PriceParts] = {}
    for id_, table in tables.of("price", PriceTable).items():
        unit = unit_of(table.per)
        at = ("price", id_)
        rounding = table.rounding or general.rounding
        if unit is None:
            allowed = f"must be {PER_CALL}, or {', or '.join(ALLOWED.values())}"
            problems.add(key_path(*at, "per"), allowed, table.per)
        elif table.per == PER_CALL:
            if table.first or table.next:
                problems.add(key_path(*at), f"a price per {PER_CALL} has no first and no next")
            parts[id_] = PriceParts(
                unit, table.micro_eur, 1, 1, 1, True, rounding, _windows(table, (*at, "window"), problems)
            )
        else:
            quantity, first, next_ = _steps(table, unit, general.kilo, at, problems)
            if quantity and first and next_:
                windows = _windows(table, (*at, "window"), problems)
                parts[id_] = PriceParts(unit, table.micro_eur, quantity, first, next_, False, rounding, windows)
    return parts


def _windows(table: PriceTable, at: tuple[str, ...], problems: Problems) -> tuple[tuple[Window, int], ...]:
    """Windows of a price. Windows that overlap are a mistake."""
    windows = [
        Window(frozenset(map(DAYS.index, line.days)), _minute(line.since), _minute(line.to)) for line in table.window
    ]
    for index, window in enumerate(windows):
        if window.since == DAY_MINUTES or window.since == window.until:
            problems.add(key_path(*at, index), "must begin before 24:00 and end at another time")
            return ()
    clash = overlap(windows)
    if clash is not None:
        problems.add(key_path(*at, clash[1]), f"overlaps with window[{clash[0]}]")
        return ()
    return tuple((window, line.micro_eur) for window, line in zip(windows, table.window, strict=True))


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _steps(table: PriceTable, unit: Unit, kilo: int, at: tuple[str, ...], problems: Problems) -> tuple[int, int, int]:
    """(per, first, next) in units. `first` defaults to `per`, `next` to `first`."""
    units = [0]
    for name in ("per", "first", "next"):
        text = getattr(table, name)
        if text is not None:
            units.append(quantity(text, unit, kilo, (*at, name), problems, most=MAX_SESSION_UNITS[unit]))
        else:
            units.append(units[-1])
    return units[1], units[2], units[3]


def quantity(
    text: str, unit: Unit, kilo: int, at: tuple[str, ...], problems: Problems, *, most: int, more: str = ""
) -> int:
    """Units of the quantity; 0 after adding a problem."""
    try:
        value = parse_quantity(text, unit, kilo=kilo)
    except ValueError as error:
        problems.add(key_path(*at), f"must be {error}{more}", text)
        return 0
    if value > most:
        problems.add(key_path(*at), f"must be at most {most} {unit}", text)
        return 0
    return value


def _check_unique(claims: Iterable[tuple[str, str, str]], problems: Problems) -> dict[str, str]:
    """From (value, table id, key): value → table id. A value in two tables is a mistake."""
    owners: dict[str, str] = {}
    for value, owner, at in claims:
        if value in owners:
            problems.add(at, f"may be stated once only; {owners[value]} has it already", value)
        else:
            owners[value] = owner
    return owners


def _check_countries(section: str, lists: Mapping[str, Iterable[str]], problems: Problems) -> None:
    known = phonenumbers.SUPPORTED_REGIONS | set(MCC_COUNTRY.values()) | {NO_COUNTRY, ANY_OTHER}
    for id_, countries in lists.items():
        for index, country in enumerate(countries):
            if country not in known:
                allowed = "is not a country code (ISO 3166-1 alpha-2, XK for Kosovo)"
                problems.add(key_path(section, id_, "countries", index), allowed, country)


def midnight(text: str | None, days_later: int, zone: ZoneInfo | None, at: tuple[str, ...], problems: Problems) -> int:
    """Unix seconds of the start of a day in the operator's time zone; 0 = not stated. `at`: path of the key."""
    if text is None or zone is None:
        return 0
    try:
        day = parse_date(text) + timedelta(days=days_later)
    except ValueError:
        problems.add(key_path(*at), "must be a date such as 2026-12-25", text)
        return 0
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())
