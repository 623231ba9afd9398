"""The three hundred subscribers of the year, and what each of them does, from a seed.

Subscribers from FIRST_IN_GROUP on are groups of three, whose first number has the tariff that all share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from random import Random

from tests.ocs.charging.ccr import AUSTRIA, SERBIA, USA
from tests.ocs.year import places
from tests.ocs.year.sheet import ZONE

FIRST_DAY = date(2027, 3, 1)
DAYS = 368
FIRST_IN_GROUP, GROUP_SIZE = 255, 3
STREAMING = (61, 62, 141, 142)
"""Who uses up the fair-use volume in the EU."""
EXPATS = (68, 151)
"""Who lives abroad for half a year."""
ABROAD = {
    "eu": (AUSTRIA, places.CROATIA),
    "balkan": (SERBIA, places.BOSNIA, places.MACEDONIA),
    "swiss": (places.SWISS,),
    "usa": (USA,),
    "usa-partner": (places.USA_PARTNER,),
}
PRICE = {"MINI": 6.99, "MAXI": 9.99, "EXTRA": 13.99, "GIGA-MINI": 6.99, "GIGA-UNLIMITED": 14.99, "FAMILY": 19.99, "": 0}


@dataclass(slots=True)
class Trip:
    begins: int
    ends: int
    area: str


@dataclass(slots=True)
class Person:
    """How somebody lives; numbers of uses are per thirty days."""

    tariff: str
    top_ups: str = "regular"
    """"regular", "short" (too little now and then), "gaps" (misses some), "once" or "never"."""
    busy: float = 1.0
    heavy: bool = False
    """Uses up what is included."""
    forwards: bool = False
    trips: list[Trip] = field(default_factory=list)
    on_border: bool = False
    shops: tuple[str, ...] = ()
    limited: bool = False
    barred: bool = False
    changes_tariff: str = ""
    careless: bool = False
    """Sessions without an end, or with a late one."""
    moves: bool = False
    streams: bool = False
    """Uses up the fair-use volume when abroad."""
    expat: bool = False
    in_group: bool = False
    unused: bool = False
    """Sold, and first used weeks later, or never."""


def moment(day: int, quarter: int) -> int:
    """A quarter of an hour of a local day; day 0 is FIRST_DAY."""
    on = FIRST_DAY + timedelta(days=day)
    begins = datetime.combine(on, time(), ZONE).timestamp()
    return int(begins) + quarter * 900


def person(number: int, random: Random) -> Person:
    """Who has this number: the first sixty have MINI, and so on."""
    kinds = (
        *[("MINI", "regular")] * 60,
        *[("MAXI", "regular")] * 40,
        *[("EXTRA", "regular")] * 20,
        *[("GIGA-MINI", "regular")] * 15,
        *[("GIGA-UNLIMITED", "regular")] * 15,
        *[("", "regular")] * 40,
        *[("MINI", "short")] * 20,
        *[("MINI", "gaps")] * 15,
        *[("", "gaps")] * 10,
        *[("MAXI", "once")] * 10,
        *[("", "never")] * 10,
    )
    if number >= len(kinds):
        return Person("", busy=0.8, in_group=True, forwards=number % 2 == 0)
    tariff, top_ups = kinds[number]
    found = Person(tariff, top_ups, busy=random.choice((0.25, 0.4, 0.6, 0.9)))
    found.heavy = tariff in ("MINI", "GIGA-MINI") and number % 6 == 0
    found.forwards, found.on_border = number % 7 == 0, number % 11 == 0
    found.limited, found.barred = number % 9 == 0, number % 13 == 0
    found.careless, found.moves = number % 8 == 0, number % 10 == 0
    if top_ups in ("regular", "gaps"):
        found.trips = _trips(random)
    if number in STREAMING:
        found.streams, found.trips = (
            True,
            [Trip(moment(40, 40), moment(55, 60), "eu"), Trip(moment(321, 40), moment(340, 60), "eu")],
        )
    if number in EXPATS:
        found.expat, found.busy, found.trips = True, 3.0, []
    found.shops = _shops(number, tariff)
    found.unused = number % 17 == 3
    if tariff and number % 5 == 0:
        found.changes_tariff = random.choice([each for each in ("MINI", "MAXI", "EXTRA") if each != tariff])
    return found


def _trips(random: Random) -> list[Trip]:
    found = []
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        begins = random.randrange(10, DAYS - 20)
        area = random.choice(("eu", "eu", "eu", "balkan", "balkan", "swiss", "usa", "usa-partner"))
        found.append(Trip(moment(begins, 40), moment(begins + random.randrange(2, 15), 60), area))
    return found


def _shops(number: int, tariff: str) -> tuple[str, ...]:
    """What somebody buys beside the tariff, one after the other."""
    shelves = (
        ("5G",),
        ("SMS-200", "SMS-200-MESEC"),
        ("SMS-200-MESEC", "SMS-200-MESEC", "SMS-1000"),
        ("EXTRA-DATA-5-GB", "EXTRA-DATA-5-GB"),
        ("TV", "TV-RECEIVER"),
        ("ITEMISED-BILL", "SIM-REPLACEMENT"),
        ("MMS-50", "MMS-50-MESEC"),
        ("SMS-1000", "SMS-200"),
    )
    chosen = shelves[number % len(shelves)]
    return chosen if tariff or number % len(shelves) not in (0, 3) else ()
