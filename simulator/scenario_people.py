"""The parts of a scenario that say who the subscribers are and what they do: habits, journeys, acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from simulator.acts import Act, ActKind, Disturbance, PlannedDisturbance
from simulator.days import read_time, read_weekdays
from simulator.distributions import ScenarioError, number
from simulator.journeys import RAT_TYPES, Flapping, Journey, Leg, Radio
from simulator.scenario_tables import (
    distribution_of,
    names_of,
    one_of,
    rows_of,
    share_of,
    table_of,
    text_of,
    weights_of,
)

ALL_DAYS = 0
_NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Habit:
    """How some subscribers differ from the mean."""

    name: str
    share: Mapping[str, float]
    """Package → share of its subscribers."""
    factors: Mapping[str, float] = field(default_factory=lambda: _NONE)
    """Service → how often they use it, relative to everybody."""
    others: float = 1.0
    """The factor of all other services."""
    moves: bool = True
    """They travel; false for meters and alarms."""

    def factor(self, service: str) -> float:
        return self.factors.get(service, self.others)


ORDINARY = Habit("", {})


def read_habits(table: Mapping[str, object], packages: Sequence[str], services: Sequence[str]) -> tuple[Habit, ...]:
    found = []
    for index, row in rows_of(table, "habit", "", needed=False):
        where = f"habit[{index}]"
        shares = weights_of(row, "share", where, tuple(packages))
        factors = weights_of(row, "factor", where, tuple(services)) if "factor" in row else ()
        found.append(
            Habit(
                text_of(row, "name", where),
                {key: share for share, key in shares},
                {key: factor for factor, key in factors},
                number(row, "others", where, default=1.0),
                row.get("moves", True) is not False,
            )
        )
    for package in packages:
        total = sum(habit.share.get(package, 0.0) for habit in found)
        if total > 1:
            raise ScenarioError(f"the habits have {total:g} of the subscribers of {package}; at most 1")
    return tuple(found)


def read_journeys(table: Mapping[str, object], places: tuple[str, ...]) -> tuple[Journey, ...]:
    found = tuple(_journey(row, index, places) for index, row in rows_of(table, "journey", "", needed=False))
    total = sum(journey.share for journey in found)
    if total > 1:
        raise ScenarioError(f"the journeys' shares are {total:g} in all; at most 1")
    return found


def _journey(row: Mapping[str, object], index: int, places: tuple[str, ...]) -> Journey:
    where = f"journey[{index}]"
    legs = []
    for at, leg in rows_of(row, "leg", where, needed=False):
        leg_at = f"{where}.leg[{at}]"
        legs.append(
            Leg(
                read_time(leg.get("at"), f"{leg_at}.at"),
                one_of(leg, "place", leg_at, places),
                int(number(leg, "day", leg_at, default=ALL_DAYS)),
            )
        )
    flapping = None
    if "flapping" in row:
        flaps = table_of(row, "flapping", where)
        flapping = Flapping(
            names_of(flaps, "places", f"{where}.flapping", places),
            distribution_of(flaps, "every_s", f"{where}.flapping"),
            read_time(flaps.get("from"), f"{where}.flapping.from"),
            read_time(flaps.get("until"), f"{where}.flapping.until"),
        )
        if len(flapping.places) < 2:
            raise ScenarioError(f"{where}.flapping.places must have at least two places")
    if bool(legs) == (flapping is not None):
        raise ScenarioError(f"{where} must have either [[journey.leg]] or [journey.flapping]")
    within_s = number(row, "within_s", where, default=0.0)
    return Journey(text_of(row, "name", where), share_of(row, "share", where), tuple(legs), within_s, flapping)


def read_radio(table: Mapping[str, object]) -> Radio:
    if "radio" not in table:
        return Radio()
    row = table_of(table, "radio", "")
    rats = tuple((share, RAT_TYPES[name]) for share, name in weights_of(row, "rats", "radio", tuple(RAT_TYPES)))
    return Radio(rats, number(row, "changes_per_hour", "radio", default=0.0))


def read_acts(table: Mapping[str, object], packages: tuple[str, ...], journeys: tuple[str, ...]) -> tuple[Act, ...]:
    found = []
    for index, row in rows_of(table, "act", "", needed=False):
        where = f"act[{index}]"
        found.append(
            Act(
                ActKind(one_of(row, "kind", where, tuple(ActKind))),
                share_of(row, "share", where),
                weights_of(row, "what", where),
                read_time(row.get("at", "00:00"), f"{where}.at"),
                number(row, "within_s", where, default=86_400.0),
                read_weekdays(row, where),
                names_of(row, "packages", where, packages),
                names_of(row, "journeys", where, journeys),
            )
        )
    return tuple(found)


def read_disturbances(table: Mapping[str, object]) -> tuple[PlannedDisturbance, ...]:
    found = []
    for index, row in rows_of(table, "disturbance", "", needed=False):
        where = f"disturbance[{index}]"
        kind = Disturbance(one_of(row, "kind", where, tuple(Disturbance)))
        found.append(PlannedDisturbance(number(row, "at_s", where), kind))
    return tuple(sorted(found, key=lambda each: each.at_s))
