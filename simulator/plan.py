"""The plan of a run: subscribers and sessions, determined by the scenario and the seed alone.

The server's answers change what happens in a session, but not which sessions there are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simulator.distributions import choose, poisson
from simulator.requests import Element, Place, Reaction, Subscriber
from simulator.scenario import Faults, Restart, Scenario, ServiceTraffic

LONGEST_PLAN_OF_REQUESTS = 64
"""Only requests with a lower number may lose their answer."""
MIN_SESSION_S = 5.0
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


@dataclass(frozen=True, slots=True)
class Plan:
    subscribers: tuple[Subscriber, ...]
    sessions: tuple[PlannedSession, ...]
    """Ordered by start time."""


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
    """All sessions, ordered by start time."""
    located = make_subscribers(scenario, seed, package_prices)
    rng = random.Random(f"{seed}/sessions")
    drawn = []
    for subscriber, place in located:
        for traffic in scenario.services:
            hours = traffic.curve.integral(scenario.duration_s) / 3600
            for _ in range(poisson(rng, traffic.per_subscriber_hour * hours)):
                drawn.append(_draw(rng, scenario, traffic, subscriber, place))
    for restart in scenario.restarts:
        drawn = _restarted(drawn, restart, random.Random(f"{seed}/restart {restart.at_s}"))
    drawn.sort(key=lambda session: (session.start_s, session.subscriber.msisdn, session.traffic))
    reactions = random.Random(f"{seed}/reactions")
    sessions = tuple(
        replace(session, index=index, reaction=_reaction(reactions, scenario.faults))
        for index, session in enumerate(drawn)
    )
    return Plan(tuple(subscriber for subscriber, _ in located), sessions)


def with_subscribers(plan: Plan, subscribers: tuple[Subscriber, ...]) -> Plan:
    """The same sessions for other (provisioned) subscribers, in turn."""
    others = {old: subscribers[index % len(subscribers)] for index, old in enumerate(plan.subscribers)}
    return Plan(
        subscribers, tuple(replace(session, subscriber=others[session.subscriber]) for session in plan.sessions)
    )


def _draw(
    rng: random.Random, scenario: Scenario, traffic: ServiceTraffic, subscriber: Subscriber, place: Place
) -> PlannedSession:
    start_s = traffic.curve.time_of(rng.random(), scenario.duration_s)
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
    return PlannedSession(
        index=0,
        start_s=start_s,
        traffic=traffic.name,
        element=element,
        subscriber=subscriber,
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
        found.append(replace(session, duration_s=before_s, uses=_part_of(session.uses, part), dies=True))
        found.append(
            replace(
                session,
                start_s=restart.at_s + rng.random() * restart.again_within_s,
                duration_s=session.duration_s - before_s,
                uses=_part_of(session.uses, 1 - part),
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
        return (PlannedUse(None, traffic.name, max(round(duration_s), 1)),)
    amount = round(traffic.quantity.draw(rng)) if traffic.quantity else 1
    return (PlannedUse(None, traffic.name, max(amount, 1)),)


def _reaction(rng: random.Random, faults: Faults) -> Reaction:
    asks = 1.0 - faults.ignored_requests - faults.unanswered_requests
    shares = ((asks, Reaction.ASKS), (faults.ignored_requests, Reaction.IGNORES))
    return choose(rng, (*shares, (faults.unanswered_requests, Reaction.SILENT)))


def _losses(rng: random.Random, share: float) -> frozenset[int]:
    if not share:
        return frozenset()
    return frozenset(number for number in range(LONGEST_PLAN_OF_REQUESTS) if rng.random() < share)
