"""The plan of a run: subscribers and sessions, determined by the scenario and the seed alone.

The server's answers change what happens in a session, but not which sessions there are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from simulator.acts import (
    CONFIRM_AFTER_S,
    KEYWORD_NUMBER,
    ActKind,
    PlannedAct,
    PlannedDisturbance,
    draw_acts,
)
from simulator.distributions import choose, poisson
from simulator.journeys import Itinerary, Moves, in_session, itinerary
from simulator.network import DIRECT, Network
from simulator.requests import Element, Place, Reaction, Subscriber
from simulator.scenario import Faults, Restart, Scenario, ServiceTraffic
from simulator.scenario_people import ORDINARY, Habit

LONGEST_PLAN_OF_REQUESTS = 64
"""Only requests with a lower number may lose their answer."""
MIN_SESSION_S = 5.0
HOME = "home"
"""Place of the subscribers that journeys begin with."""
BY_SWITCH = (Element.MSC, Element.SMSC)
NOWHERE: Moves = ()
OWN_NUMBERS = "national-mobile"
"""Class of the subscribers' own numbers in the catalogue."""
ENDS_WITHIN = (0.2, 1.0)
"""A session that would outlast the run ends at a random point in this part of the time left."""


@dataclass(frozen=True, slots=True)
class PlannedUse:
    """Wanted use of one service (one MSCC)."""

    rating_group: int | None
    service: str
    """The catalogue's service: "data", "portal", "voice", "sms", "mms"."""
    units: int


@dataclass(frozen=True, slots=True)
class PlannedSession:
    index: int
    start_s: float
    traffic: str
    """Name of the scenario's service."""
    element: Element
    subscriber: Subscriber
    place: Place
    uses: tuple[PlannedUse, ...]
    duration_s: float
    """0 = a message."""
    other_party: str = ""
    destination_class: str = ""
    incoming: bool = False
    two_step: bool = False
    size_octets: int = 0
    lost_answers: frozenset[int] = frozenset()
    """Numbers of requests whose first answer is lost."""
    dies: bool = False
    """It ends without CCR-T."""
    reaction: Reaction = Reaction.ASKS
    moves: Moves = ()
    """Where the subscriber goes during the session."""
    forwarding: int | None = None
    """Service-Mode of a call that the subscriber forwards; None = no such call."""
    caller: str = ""
    """Who called the subscriber that forwards."""


@dataclass(frozen=True, slots=True)
class Person:
    """A subscriber, and how they live."""

    subscriber: Subscriber
    habit: Habit
    itinerary: Itinerary
    acts: tuple[PlannedAct, ...]
    is_second: bool
    """The second SIM of the subscriber before."""


@dataclass(frozen=True, slots=True)
class Plan:
    subscribers: tuple[Subscriber, ...]
    sessions: tuple[PlannedSession, ...]
    """Ordered by start time."""
    acts: tuple[PlannedAct, ...] = ()
    """Ordered by time."""
    pools: tuple[tuple[str, str], ...] = ()
    """MSISDNs of an owner, and of the second SIM that shares the owner's units."""
    disturbances: tuple[PlannedDisturbance, ...] = ()
    network: Network = DIRECT
    restarts: tuple[Restart, ...] = ()


def make_subscribers(
    scenario: Scenario, seed: int, package_prices: Mapping[str, int]
) -> tuple[tuple[Subscriber, Place], ...]:
    """Subscribers with packages, credit and places. `package_prices` in micro-EUR: the opening credit pays for the
    package and leaves the drawn amount.
    """
    rng = random.Random(f"{seed}/subscribers")
    made = []
    for index in range(scenario.subscribers):
        package = choose(rng, scenario.packages)
        group = choose(rng, scenario.credit_groups)
        package = group.package or package
        cents = round(group.eur.draw(rng) * 100)
        micro_eur = package_prices.get(package, 0) + cents * 10_000
        subscriber = Subscriber(
            msisdn=str(scenario.first_msisdn + index),
            imsi=str(scenario.first_imsi + index),
            package=package,
            credit=f"{micro_eur // 1_000_000}.{micro_eur % 1_000_000:06d}",
            limit=group.limit_eur,
        )
        made.append((subscriber, choose(rng, scenario.places)))
    return tuple(made)


def make_plan(scenario: Scenario, seed: int, package_prices: Mapping[str, int]) -> Plan:
    """All sessions and acts, ordered by time."""
    people = make_people(scenario, seed, package_prices)
    rng = random.Random(f"{seed}/sessions")
    forwarding = random.Random(f"{seed}/forwarding")
    reachable = [person for person in people if person.habit.moves] or people
    drawn: list[PlannedSession] = []
    for person in people:
        for traffic in scenario.services:
            for start_s in _starts(rng, scenario, traffic, person.habit):
                session = _draw(rng, scenario, traffic, person, start_s)
                drawn.append(session)
                if traffic.forwarding:
                    drawn[-1:] = _forwarded(forwarding, traffic, session, reachable)
    acts = [act for person in people for act in person.acts]
    drawn += [message for act in acts if act.kind is ActKind.KEYWORD for message in _keywords(scenario, act)]
    for restart in scenario.restarts:
        drawn = _restarted(drawn, restart, random.Random(f"{seed}/restart {restart.at_s}"))
    drawn.sort(key=lambda session: (session.start_s, session.subscriber.msisdn, session.traffic))
    reactions = random.Random(f"{seed}/reactions")
    sessions = tuple(
        replace(session, index=index, reaction=_reaction(reactions, scenario.faults))
        for index, session in enumerate(drawn)
    )
    return Plan(
        tuple(person.subscriber for person in people),
        sessions,
        tuple(sorted(acts, key=lambda act: (act.at_s, act.reference))),
        tuple((owner.msisdn, second.msisdn) for owner, second in _pools(people)),
        scenario.disturbances,
        scenario.network,
        scenario.restarts,
    )


def make_people(scenario: Scenario, seed: int, package_prices: Mapping[str, int]) -> tuple[Person, ...]:
    """Subscribers with their habits and journeys."""
    habits, journeys = random.Random(f"{seed}/habits"), random.Random(f"{seed}/journeys")
    acting, pools = random.Random(f"{seed}/acts"), random.Random(f"{seed}/pools")
    people: list[Person] = []
    for subscriber, place in make_subscribers(scenario, seed, package_prices):
        habit = _habit(habits, scenario.habits, subscriber.package)
        away = scenario.named_places is not None and place.id != HOME
        moves = habit.moves and not away
        path = itinerary(
            journeys, scenario.days, place, scenario.journeys if moves else (), scenario.named_places or {}
        )
        acts = tuple(draw_acts(acting, scenario.acts if habit.moves else (), scenario.days, subscriber, path.journey))
        is_second = bool(
            scenario.pool_share and people and not people[-1].is_second and pools.random() < scenario.pool_share
        )
        people.append(Person(subscriber, habit, path, acts, is_second))
    return tuple(people)


def _pools(people: Sequence[Person]) -> Iterator[tuple[Subscriber, Subscriber]]:
    """(owner, second SIM): each second SIM shares the units of the subscriber before."""
    for before, person in pairwise(people):
        if person.is_second:
            yield before.subscriber, person.subscriber


def with_subscribers(plan: Plan, subscribers: tuple[Subscriber, ...]) -> Plan:
    """The same sessions and acts for other (provisioned) subscribers, in turn."""
    others = {old: subscribers[index % len(subscribers)] for index, old in enumerate(plan.subscribers)}
    return replace(
        plan,
        subscribers=subscribers,
        sessions=tuple(replace(session, subscriber=others[session.subscriber]) for session in plan.sessions),
        acts=tuple(replace(act, subscriber=others[act.subscriber]) for act in plan.acts),
        pools=(),
    )


def _habit(rng: random.Random, habits: Sequence[Habit], package: str) -> Habit:
    point = rng.random()
    for habit in habits:
        point -= habit.share.get(package, 0.0)
        if point < 0:
            return habit
    return ORDINARY


def _starts(rng: random.Random, scenario: Scenario, traffic: ServiceTraffic, habit: Habit) -> Iterator[float]:
    """When a subscriber with this habit uses the service."""
    if traffic.habits and habit.name not in traffic.habits:
        return
    if traffic.daily_at is not None and scenario.days is not None:
        for date in scenario.days.dates:
            at_s = scenario.days.second(date, traffic.daily_at) + rng.random() * traffic.within_s
            if 0 <= at_s < scenario.duration_s:
                yield at_s
        return
    hours = traffic.curve.integral(scenario.duration_s) / 3600
    mean = traffic.per_subscriber_hour * scenario.intensity * hours * habit.factor(traffic.name)
    for _ in range(poisson(rng, mean)):
        yield traffic.curve.time_of(rng.random(), scenario.duration_s)


def _draw(
    rng: random.Random, scenario: Scenario, traffic: ServiceTraffic, person: Person, start_s: float
) -> PlannedSession:
    element = choose(rng, traffic.elements)
    room_s = max(scenario.duration_s - start_s, MIN_SESSION_S)
    wanted_s = max(traffic.duration_s.draw(rng), 1.0) if traffic.duration_s else 0.0
    # Sessions that would outlast the run end at random times before its end, not all at once.
    duration_s = wanted_s if wanted_s <= room_s else room_s * rng.uniform(*ENDS_WITHIN)
    uses = _uses(rng, traffic, duration_s, duration_s / wanted_s if wanted_s else 1.0)
    incoming = rng.random() < traffic.incoming_share
    other, destination_class = "", ""
    if traffic.destinations:
        target = choose(rng, traffic.destinations)
        other = "".join(str(rng.randrange(10)) if char == "#" else char for char in target.pattern)
        destination_class = target.destination_class
    place, moves = _seen_by(element, person.itinerary.at(start_s)), NOWHERE
    if element is Element.PGW:
        place, moves = in_session(rng, scenario.radio, person.itinerary, start_s, start_s + duration_s)
    return PlannedSession(
        index=0,
        start_s=start_s,
        traffic=traffic.kind,
        element=element,
        subscriber=person.subscriber,
        place=place,
        uses=uses,
        duration_s=duration_s,
        other_party=other,
        destination_class="" if incoming else destination_class,
        incoming=incoming,
        two_step=rng.random() < traffic.two_step_share,
        size_octets=round(traffic.size_octets.draw(rng)) if traffic.size_octets else 0,
        lost_answers=_losses(rng, scenario.faults.lost_answers),
        dies=duration_s > 0 and rng.random() < scenario.faults.dead_sessions,
        moves=moves,
    )


def _seen_by(element: Element, place: Place) -> Place:
    """MSC and SMSC tell the number of the switch, not the network."""
    return replace(place, id=place.switch_id) if place.switch_id and element in BY_SWITCH else place


def _forwarded(
    rng: random.Random, traffic: ServiceTraffic, session: PlannedSession, people: Sequence[Person]
) -> tuple[PlannedSession, ...]:
    """HOT-RAT-7: the leg that the subscriber (B) pays, and the call that the other subscriber (C) receives."""
    receiver = rng.choice(people)
    if receiver.subscriber == session.subscriber:
        return ()
    leg = replace(
        session,
        forwarding=choose(rng, traffic.forwarding),
        caller=session.other_party,
        other_party=receiver.subscriber.msisdn,
        destination_class=OWN_NUMBERS,
        incoming=False,
    )
    received = replace(
        session,
        subscriber=receiver.subscriber,
        place=_seen_by(session.element, receiver.itinerary.at(session.start_s)),
        destination_class="",
        incoming=True,
    )
    return leg, received


def _keywords(scenario: Scenario, act: PlannedAct) -> Iterator[PlannedSession]:
    """The messages of an order by SMS: keyword and confirmation."""
    home = (scenario.named_places or {}).get(HOME) or scenario.places[0][1]
    for at_s in (act.at_s, act.at_s + CONFIRM_AFTER_S):
        yield PlannedSession(
            index=0,
            start_s=at_s,
            traffic="sms",
            element=Element.SMSC,
            subscriber=act.subscriber,
            place=home,
            uses=(PlannedUse(None, "sms", 1),),
            duration_s=0.0,
            other_party=KEYWORD_NUMBER,
            destination_class="short",
        )


def _restarted(sessions: Sequence[PlannedSession], restart: Restart, rng: random.Random) -> list[PlannedSession]:
    """A session that is open at the restart ends there without a TERMINATION; another has the rest of its use."""
    found = []
    for session in sessions:
        before_s = restart.at_s - session.start_s
        if session.element is not restart.element or not 0 < before_s < session.duration_s:
            found.append(session)
            continue
        part = before_s / session.duration_s
        earlier = tuple(move for move in session.moves if move[0] < restart.at_s)
        found.append(replace(session, duration_s=before_s, uses=_part_of(session.uses, part), dies=True, moves=earlier))
        found.append(
            replace(
                session,
                start_s=restart.at_s + rng.random() * restart.again_within_s,
                duration_s=session.duration_s - before_s,
                uses=_part_of(session.uses, 1 - part),
                place=earlier[-1][1] if earlier else session.place,
                moves=(),
            )
        )
    return found


def _part_of(uses: Sequence[PlannedUse], part: float) -> tuple[PlannedUse, ...]:
    return tuple(replace(use, units=max(round(use.units * part), 1)) for use in uses)


def _uses(rng: random.Random, traffic: ServiceTraffic, duration_s: float, part: float) -> tuple[PlannedUse, ...]:
    """The services of a session. Data: one or two rating groups; calls: seconds; messages: their number. `part` of the
    volume fits into the hour.
    """
    if traffic.rating_groups:
        first = choose(rng, traffic.rating_groups)
        chosen = [first]
        if rng.random() < traffic.second_group_share:
            second = choose(rng, traffic.rating_groups)
            if second.rating_group != first.rating_group:
                chosen.append(second)
        return tuple(
            PlannedUse(use.rating_group, use.service, max(int(use.quantity.draw(rng) * part), 1)) for use in chosen
        )
    if traffic.duration_s:
        return (PlannedUse(None, traffic.kind, max(round(duration_s), 1)),)
    amount = round(traffic.quantity.draw(rng)) if traffic.quantity else 1
    return (PlannedUse(None, traffic.kind, max(amount, 1)),)


def _reaction(rng: random.Random, faults: Faults) -> Reaction:
    asks = 1.0 - faults.ignored_requests - faults.unanswered_requests
    shares = ((asks, Reaction.ASKS), (faults.ignored_requests, Reaction.IGNORES))
    return choose(rng, (*shares, (faults.unanswered_requests, Reaction.SILENT)))


def _losses(rng: random.Random, share: float) -> frozenset[int]:
    if not share:
        return frozenset()
    return frozenset(number for number in range(LONGEST_PLAN_OF_REQUESTS) if rng.random() < share)
