"""Writes the zones of a price sheet into a catalogue file; everything else in it stays, comments too.

`Kind.DESTINATION`: calls and messages to the zone, from home and the EU. `Kind.PLACE`: use while roaming there.

| column          | destination            | place                            |
|-----------------|------------------------|----------------------------------|
| minute          | price voice-ZONE       | price voice-ZONE-out             |
| received minute | not allowed            | price voice-ZONE-in              |
| sms, mms        | price sms-ZONE …       | price sms-ZONE …                 |
| mb              | not allowed            | price data-ZONE                  |

The zone's use is rated by that price: its own rates, or copies that are added where it shares a rate with other zones.
Values that the sheet states are no longer illustrative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import tomlkit
from tomlkit.items import Table

from ocs.catalogue.price_sheet import MB, MINUTE, MINUTE_IN, MMS, SMS, Zone
from ocs.catalogue.problems import CatalogueError, Problem, key_path

IN_ONE_LINE = 12
"""Longer lists have a line for so many entries each."""


class Kind(StrEnum):
    DESTINATION = "destination"
    PLACE = "place"


_PER = {MINUTE: "1 min", MINUTE_IN: "1 min", SMS: "1 message", MMS: "1 message", MB: "1 MB"}
_SERVICE = {MINUTE: "voice", MINUTE_IN: "voice", SMS: "sms", MMS: "mms", MB: "data"}
_OF_PLACES = (MINUTE_IN, MB)
_LISTS = ("countries", "prefixes")
_CONDITIONS = {"when", "unless", "from", "until"}
"""Keys of rates for some accounts, or between dates."""


def import_zones(text: str, zones: Sequence[Zone], kind: Kind, sheet: str) -> str:
    """The catalogue's text with the zones in it. CatalogueError: the sheet has what zones of this kind cannot have."""
    document = tomlkit.parse(text)
    problems = _impossible(document, zones, kind, sheet)
    if problems:
        raise CatalogueError(problems)
    for zone in zones:
        _write_zone(document, zone, kind)
        for column in zone.prices:
            name = _price_name(zone, column, kind)
            _write_price(document, name, zone, column)
            _write_rates(document, name, zone, column, kind)
    problems = _owned_by_others(document, zones, kind, sheet)
    if problems:
        raise CatalogueError(problems)
    return tomlkit.dumps(document)


def _impossible(document: Any, zones: Sequence[Zone], kind: Kind, sheet: str) -> list[Problem]:
    problems = []
    for zone in zones:
        if kind is Kind.PLACE and zone.prefixes:
            problems.append(Problem(sheet, f"row {zone.row}", "", "a place has countries, and no prefixes"))
        for column in zone.prices:
            if kind is Kind.DESTINATION and column in _OF_PLACES:
                problems.append(Problem(sheet, f"row {zone.row}", "", f"a {kind} has no price of {column}"))
            elif kind is Kind.PLACE and (rate := _rate_by_destination(document, zone, column)):
                allowed = f"{rate} has the price of {column} there by destination: a sheet of places cannot change it"
                problems.append(Problem(sheet, f"row {zone.row}", repr(zone.id), allowed))
    return problems


def _rate_by_destination(document: Any, zone: Zone, column: str) -> str:
    """Key of a rate that names destinations at this place, where none is for all of them; "" = there is none."""
    if column in _OF_PLACES:
        return ""
    found = ""
    for id_, rate in document.get("rate", {}).items():
        if rate.get("service") == _SERVICE[column] and zone.id in rate.get("places", ()) and not rate.get("always"):
            if "*" in rate.get("destinations", ()):
                return ""
            found = key_path("rate", id_) if rate.get("destinations") else found
    return found


def _owned_by_others(document: Any, zones: Sequence[Zone], kind: Kind, sheet: str) -> list[Problem]:
    """Countries and prefixes that another zone of the catalogue keeps."""
    of_sheet = {zone.id for zone in zones}
    owners = {
        (key, value): id_
        for id_, table in document.get(kind.value, {}).items()
        if id_ not in of_sheet
        for key in _LISTS
        for value in table.get(key, ())
    }
    problems = []
    for zone in zones:
        for key, values in zip(_LISTS, (zone.countries, zone.prefixes), strict=True):
            for value in values:
                if owner := owners.get((key, value)):
                    allowed = f"{kind} {owner} of the catalogue has it: list what stays there in a row of its own"
                    problems.append(Problem(sheet, f"row {zone.row}, column {key}", repr(value), allowed))
    return problems


def _price_name(zone: Zone, column: str, kind: Kind) -> str:
    ending = {MINUTE: "-out", MINUTE_IN: "-in"}.get(column, "") if kind is Kind.PLACE else ""
    return f"{_SERVICE[column]}-{zone.id}{ending}"


def _table(document: Any, section: str, id_: str) -> Any:
    """[section.ID], made at the end of its section if it is not there."""
    tables = document.get(section)
    if tables is None:
        tables = tomlkit.table(is_super_table=True)
        document.append(section, tables)
        tables = document[section]
    if id_ not in tables:
        made = tomlkit.table()
        last = next(reversed(list(tables.values())), None)
        tail = _take_tail(last) if isinstance(last, Table) else []
        if isinstance(last, Table):
            last.add(tomlkit.nl())
        for item in tail:
            made.value.body.append((None, item))
        tables.append(id_, made)
    return tables[id_]


def _take_tail(table: Table) -> list[Any]:
    """Blank lines and comments behind the last key, which are the heading of what follows the table."""
    tail: list[Any] = []
    body = table.value.body
    while body and body[-1][0] is None:
        tail.insert(0, body.pop()[1])
    return tail


def _write_zone(document: Any, zone: Zone, kind: Kind) -> None:
    if not zone.countries and not zone.prefixes and zone.id in document.get(kind.value, {}):
        return
    is_new = zone.id not in document.get(kind.value, {})
    table = _table(document, kind.value, zone.id)
    for key, values in zip(_LISTS, (zone.countries, zone.prefixes), strict=True):
        if values:
            _set(table, key, values)
    if is_new and kind is Kind.PLACE:
        _set(table, "bars", ["roaming"])
    elif is_new:
        _set(table, "call_bars", ["international"])
        _set(table, "message_bars", ["international-sms"])
    _no_longer_illustrative(table)


def _write_price(document: Any, name: str, zone: Zone, column: str) -> None:
    table = _table(document, "price", name)
    _set(table, "micro_eur", zone.prices[column])
    _set(table, "per", _PER[column])
    if column in (MINUTE, MINUTE_IN):
        _set(table, "first", zone.first)
        if zone.next != zone.first:
            _set(table, "next", zone.next)
        elif "next" in table:
            table.remove("next")
    elif column is MB and zone.data_step:
        _set(table, "first", zone.data_step)
    elif "first" not in table:
        _set(table, "first", _PER[column] if column is not MB else "1 kB")
    _no_longer_illustrative(table)


def _write_rates(document: Any, price: str, zone: Zone, column: str, kind: Kind) -> None:
    """The zone's use has this price in the rate for everybody, and in those for some accounts or between dates that
    had the same price. A rate that the zone shares with others is left to those; a copy of it is for the zone.
    """
    rates = document.get("rate", {})
    found = {id_: rate for id_, rate in rates.items() if _rates_zone(rate, zone, column, kind)}
    before = {str(rate["price"]) for rate in found.values() if not _CONDITIONS & rate.keys()}
    if not before:
        _add_rate(document, _new_rate(rates, price, zone, column, kind), zone, column, kind)
    for id_, rate in found.items():
        if rate["price"] not in before:
            continue
        key = "places" if kind is Kind.PLACE else "destinations"
        if rate["price"] == price or len(rate[key]) == 1:
            _set(rate, "price", price)
            continue
        copy = {**rate.unwrap(), key: [zone.id], "price": price}
        copy.pop("illustrative", None)
        rate[key].remove(zone.id)
        _add_rate(document, copy, zone, column, kind, id_ if _CONDITIONS & rate.keys() else "")


def _new_rate(rates: Any, price: str, zone: Zone, column: str, kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = {"service": _SERVICE[column]}
    found["places"] = [zone.id] if kind is Kind.PLACE else ["home", "eu"]
    if column is not MB:
        found["directions"] = ["mt"] if column is MINUTE_IN else ["mo", "fw"]
    if column not in _OF_PLACES:
        found["destinations"] = ["*"] if kind is Kind.PLACE else [zone.id]
    found["price"] = price
    if counters := _roaming_counters(rates, _SERVICE[column]) if kind is Kind.PLACE else []:
        found["counters"] = counters
    return found


def _roaming_counters(rates: Any, service: str) -> list[str]:
    """Counters of this service at every place abroad, such as the roaming cap (HOT-ROA-5): a new place has them too."""
    abroad = [
        list(rate.get("counters", ()))
        for rate in rates.values()
        if rate.get("service") == service and not {"home", "*"} & set(rate.get("places", ())) and not rate.get("always")
    ]
    return [each for each in abroad[0] if all(each in others for others in abroad)] if abroad else []


def _add_rate(document: Any, rate: Mapping[str, Any], zone: Zone, column: str, kind: Kind, like: str = "") -> None:
    """`like`: id of the rate for some accounts that it is a copy of."""
    ending = {MINUTE: ".out", MINUTE_IN: ".in"}.get(column, "") if kind is Kind.PLACE else ""
    wanted = id_ = f"{like}.{zone.id}" if like else f"{_SERVICE[column]}.{zone.id}{ending}"
    number = 1
    while id_ in document.get("rate", {}):
        number += 1
        id_ = f"{wanted}-{number}"
    table = _table(document, "rate", id_)
    for key, value in rate.items():
        _set(table, key, value)


def _rates_zone(rate: Any, zone: Zone, column: str, kind: Kind) -> bool:
    """The rate names the zone for this use: of destinations at home, of places towards anybody."""
    if rate.get("service") != _SERVICE[column] or rate.get("always"):
        return False
    if column is not MB and ("mt" in rate.get("directions", ())) is not (column is MINUTE_IN):
        return False
    if kind is Kind.PLACE:
        return zone.id in rate.get("places", ()) and (column in (MINUTE_IN, MB) or "*" in rate.get("destinations", ()))
    return zone.id in rate.get("destinations", ()) and bool({"home", "*"} & set(rate.get("places", ())))


def _set(table: Any, key: str, value: Any) -> None:
    """As it is, if it says the same: its comment and its form stay."""
    if key in table and table[key] == value:
        return
    if isinstance(value, list):
        value = _array(value)
    elif isinstance(value, int):
        value = tomlkit.parse(f"number = {value:_}")["number"]
    if key in table:
        table[key] = value
        return
    tail = _take_tail(table) if isinstance(table, Table) else []
    table.add(key, value)
    for item in tail:
        table.value.body.append((None, item))


def _array(values: Sequence[str]) -> Any:
    array = tomlkit.array()
    if len(values) <= IN_ONE_LINE:
        array.extend(values)
        return array
    for start in range(0, len(values), IN_ONE_LINE):
        array.add_line(*values[start : start + IN_ONE_LINE])
    array.add_line(indent="")
    return array


def _no_longer_illustrative(table: Any) -> None:
    if "illustrative" in table:
        table.remove("illustrative")
