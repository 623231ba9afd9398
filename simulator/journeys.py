"""Where subscribers are: at home, on the way to work, at the border, abroad for a week.

A journey is a path through places: on working days, on named days of the run, or to and fro at a border.
"""

from __future__ import annotations

import datetime
import random
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simulator.days import Days
from simulator.distributions import Distribution, choose, poisson
from simulator.requests import Place

RAT_TYPES = {"utran": 1, "geran": 2, "eutran": 6, "nr": 51}
"""3GPP-RAT-Type (TS 29.061 §16.4.7.2)."""


@dataclass(frozen=True, slots=True)
class Leg:
    at: datetime.time
    place: str
    day: int = 0
    """Day of the run, from 1; 0 = every working day."""


@dataclass(frozen=True, slots=True)
class Flapping:
    """The phone changes between networks at a border."""

    places: tuple[str, ...]
    every_s: Distribution
    begins: datetime.time
    ends: datetime.time


@dataclass(frozen=True, slots=True)
class Journey:
    name: str
    share: float
    """Of the subscribers that are at home."""
    legs: tuple[Leg, ...] = ()
    within_s: float = 0.0
    """Each leg begins at a random time within these seconds."""
    flapping: Flapping | None = None


@dataclass(frozen=True, slots=True)
class Radio:
    """Access technologies of data sessions, by share, and how often a session changes between them."""

    rats: tuple[tuple[float, int], ...] = ()
    changes_per_hour: float = 0.0


NO_RADIO = Radio()
Moves = tuple[tuple[float, Place], ...]
"""(second of the run, where the subscriber is from then on), in order."""


@dataclass(frozen=True, slots=True)
class Itinerary:
    """Where one subscriber is over the run."""

    start: Place
    moves: Moves = ()
    journey: str = ""

    def at(self, second: float) -> Place:
        index = bisect_right(self.moves, second, key=lambda move: move[0])
        return self.moves[index - 1][1] if index else self.start

    def between(self, start_s: float, end_s: float) -> Moves:
        """The moves after `start_s` and before `end_s`."""
        first = bisect_right(self.moves, start_s, key=lambda move: move[0])
        return tuple(move for move in self.moves[first:] if move[0] < end_s)


def itinerary(
    rng: random.Random, days: Days | None, start: Place, journeys: Sequence[Journey], places: Mapping[str, Place]
) -> Itinerary:
    """Draws a subscriber's journey, or none."""
    if days is None or not journeys:
        return Itinerary(start)
    stays = max(1.0 - sum(each.share for each in journeys), 0.0)
    options: list[tuple[float, Journey | None]] = [(each.share, each) for each in journeys]
    journey = choose(rng, [*options, (stays, None)])
    if journey is None:
        return Itinerary(start)
    moves = _flaps(rng, days, journey.flapping, places) if journey.flapping else _path(rng, days, journey, places)
    return Itinerary(start, tuple(sorted(moves, key=lambda move: move[0])), journey.name)


def _path(rng: random.Random, days: Days, journey: Journey, places: Mapping[str, Place]) -> list[tuple[float, Place]]:
    moves = []
    for leg in journey.legs:
        dates = days.dates[leg.day - 1 : leg.day] if leg.day else tuple(filter(days.is_working_day, days.dates))
        for date in dates:
            moves.append((days.second(date, leg.at) + rng.random() * journey.within_s, places[leg.place]))
    return moves


def _flaps(
    rng: random.Random, days: Days, flapping: Flapping, places: Mapping[str, Place]
) -> list[tuple[float, Place]]:
    """To and fro between the places by day; the night is spent at the first one."""
    moves = []
    for date in days.dates:
        at_s, end_s = days.second(date, flapping.begins), days.second(date, flapping.ends)
        step = 0
        while (at_s := at_s + max(flapping.every_s.draw(rng), 1.0)) < end_s:
            step += 1
            moves.append((at_s, places[flapping.places[step % len(flapping.places)]]))
        moves.append((end_s, places[flapping.places[0]]))
    return moves


def in_session(
    rng: random.Random, radio: Radio, itinerary: Itinerary, start_s: float, end_s: float
) -> tuple[Place, Moves]:
    """Place and moves of a data session, with changes of the access technology."""
    place, moves = itinerary.at(start_s), itinerary.between(start_s, end_s)
    if not radio.rats:
        return place, moves
    rat = choose(rng, radio.rats)
    changes = sorted(
        rng.uniform(start_s, end_s) for _ in range(poisson(rng, radio.changes_per_hour / 3600 * (end_s - start_s)))
    )
    first, found = replace(place, rat=rat), list[tuple[float, Place]]()
    now = first
    for at_s, where in sorted([*moves, *((at_s, None) for at_s in changes)], key=lambda each: each[0]):
        rat = now.rat if where is not None else choose(rng, radio.rats)
        moved = replace(where or now, rat=rat)
        if moved != now:
            found.append((at_s, moved))
            now = moved
    return first, tuple(found)
