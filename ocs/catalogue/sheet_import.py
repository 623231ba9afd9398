"""Writes the zones of a price sheet into a catalogue file; everything else in it stays, comments too.

`Kind.DESTINATION`: calls and messages to the zone, from home and the EU. `Kind.PLACE`: use while roaming there.

| column          | destination            | place                            |
|-----------------|------------------------|----------------------------------|
| minute          | price voice-ZONE       | price voice-ZONE-out             |
| received minute | not allowed            | price voice-ZONE-in              |
| sms, mms        | price sms-ZONE …       | price sms-ZONE …                 |
| mb              | not allowed            | price data-ZONE                  |

The zone's use is rated by that price: its own rate, or one that is added where it shares a rate with other zones.
Values that the sheet states are no longer illustrative.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import tomlkit
from tomlkit.items import Table

from ocs.catalogue.price_sheet import MB, MINUTE, MINUTE_IN, MMS, SMS, Zone
from ocs.catalogue.problems import CatalogueError, Problem

IN_ONE_LINE = 12
"""Longer lists have a line for so many entries each."""


class Kind(StrEnum):
    DESTINATION = "destination"
    PLACE = "place"


_PER = {MINUTE: "1 min", MINUTE_IN: "1 min", SMS: "1 message", MMS: "1 message", MB: "1 MB"}
_SERVICE = {MINUTE: "voice", MINUTE_IN: "voice", SMS: "sms", MMS: "mms", MB: "data"}
_OF_PLACES = (MINUTE_IN, MB)


def import_zones(text: str, zones: Sequence[Zone], kind: Kind, sheet: str) -> str:
    """The catalogue's text with the zones in it. CatalogueError: the sheet has what zones of this kind cannot have."""
    problems = [
        Problem(sheet, f"row {zone.row}", "", f"a {kind} has no price of {column}")
        for zone in zones
        for column in zone.prices
        if kind is Kind.DESTINATION and column in _OF_PLACES
    ]
    problems += [
        Problem(sheet, f"row {zone.row}", "", "a place has countries, and no prefixes")
        for zone in zones
        if kind is Kind.PLACE and zone.prefixes
    ]
    if problems:
        raise CatalogueError(problems)
    document = tomlkit.parse(text)
    for zone in zones:
        _write_zone(document, zone, kind)
        for column in zone.prices:
            name = _price_name(zone, column, kind)
            _write_price(document, name, zone, column)
            _write_rate(document, name, zone, column, kind)
    return tomlkit.dumps(document)


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
    table = _table(document, kind.value, zone.id)
    for key, values in (("countries", zone.countries), ("prefixes", zone.prefixes)):
        if values:
            _set(table, key, values)
    if kind is Kind.PLACE and "bars" not in table:
        _set(table, "bars", ["roaming"])
    elif kind is Kind.DESTINATION and "call_bars" not in table:
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


def _write_rate(document: Any, price: str, zone: Zone, column: str, kind: Kind) -> None:
    """The rate of the zone's use has this price. One that it shares with other zones is left to those."""
    rates = document.get("rate", {})
    places = [zone.id] if kind is Kind.PLACE else ["home", "eu"]
    for rate in rates.values():
        if not _rates_zone(rate, zone, column, kind):
            continue
        names = rate["places" if kind is Kind.PLACE else "destinations"]
        if rate["price"] == price or len(names) == 1:
            _set(rate, "price", price)
            return
        names.remove(zone.id)
        places = [zone.id] if kind is Kind.PLACE else list(rate["places"])
    ending = {MINUTE: ".out", MINUTE_IN: ".in"}.get(column, "") if kind is Kind.PLACE else ""
    service = _SERVICE[column]
    table = _table(document, "rate", f"{service}.{zone.id}{ending}")
    _set(table, "service", service)
    _set(table, "places", places)
    if column is not MB:
        _set(table, "directions", ["mt"] if column is MINUTE_IN else ["mo", "fw"])
    if column not in (MINUTE_IN, MB):
        _set(table, "destinations", ["*"] if kind is Kind.PLACE else [zone.id])
    _set(table, "price", price)


def _rates_zone(rate: Any, zone: Zone, column: str, kind: Kind) -> bool:
    """The rate names the zone for this use: of destinations at home, of places towards anybody."""
    if rate.get("service") != _SERVICE[column] or rate.get("always"):
        return False
    if column is not MB and ("mt" in rate.get("directions", ())) is not (column is MINUTE_IN):
        return False
    if kind is Kind.PLACE:
        return zone.id in rate.get("places", ()) and (column in (MINUTE_IN, MB) or "*" in rate.get("destinations", ()))
    return zone.id in rate.get("destinations", ()) and "home" in rate.get("places", ())


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
