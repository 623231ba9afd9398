"""Public holidays of a country or a part of it, by the `holidays` package, and days added and removed by hand."""

from __future__ import annotations

from collections.abc import Container, Iterable
from datetime import date

from ocs.catalogue.model import General
from ocs.catalogue.problems import Problems, key_path
from ocs.values.moment import parse_date

MAX_SHOWN = 40
"""Subdivisions that a message lists."""


class Holidays(Container[date]):
    """`by_law`: the days of the package, computed year by year when they are asked for."""

    def __init__(self, by_law: Container[date], added: Iterable[date], removed: Iterable[date]) -> None:
        self._by_law = by_law
        self._added, self._removed = frozenset(added), frozenset(removed)

    def __contains__(self, day: object) -> bool:
        return day in self._added or (day in self._by_law and day not in self._removed)


def compile_holidays(general: General, problems: Problems) -> Container[date]:
    """Days whose kind is "holiday" instead of the weekday."""
    added = _dates(general.holidays, "holidays", problems)
    removed = _dates(general.no_holidays, "no_holidays", problems)
    by_law = _by_law(general, problems)
    for day in removed:
        if day in added:
            problems.add("catalogue.no_holidays", "is in holidays too", day.isoformat())
        elif day not in by_law:
            where = f" of {general.holidays_country}" if general.holidays_country else ": needs holidays_country"
            problems.add("catalogue.no_holidays", f"is no public holiday{where}", day.isoformat())
    return Holidays(by_law, added, removed)


def _dates(texts: Iterable[str], key: str, problems: Problems) -> list[date]:
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(parse_date(text))
        except ValueError:
            problems.add(key_path("catalogue", key, index), "must be a date such as 2026-12-25", text)
    return found


def _by_law(general: General, problems: Problems) -> Container[date]:
    country, subdivision = general.holidays_country, general.holidays_subdivision
    if not country:
        if subdivision:
            problems.add("catalogue.holidays_subdivision", "needs holidays_country", subdivision)
        return ()
    import holidays  # 50 ms, of which who names no country needs nothing

    supported = holidays.list_supported_countries()
    if country not in supported:
        problems.add("catalogue.holidays_country", "is not a country whose public holidays are known", country)
        return ()
    if subdivision and subdivision not in supported[country]:
        known = ", ".join(supported[country][:MAX_SHOWN]) or "none: leave it out"
        problems.add("catalogue.holidays_subdivision", f"must be a subdivision of {country}: {known}", subdivision)
        return ()
    return holidays.country_holidays(country, subdiv=subdivision or None)
