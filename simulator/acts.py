"""What subscribers do besides using the network: top-ups, vouchers, orders; and what happens to the network.

Acts are drawn for each subscriber and day by the seed, like sessions; who plays the scenario does them over the HTTP
API. A keyword order is also an SMS to the operator's short number.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from simulator.days import Days
from simulator.distributions import choose
from simulator.requests import Subscriber

KEYWORD_NUMBER = "1918"
"""The operator's short number for orders (HOT-PKG-12)."""
CONFIRM = " DA"
CONFIRM_AFTER_S = 40.0
"""Simulated seconds from the keyword to its confirmation; the server waits five minutes."""


class ActKind(StrEnum):
    TOP_UP = "top-up"
    VOUCHER = "voucher"
    ORDER = "order"
    """In the app or a shop."""
    KEYWORD = "keyword"
    """By SMS: keyword and confirmation (HOT-PKG-12)."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a share of the subscribers does on some days."""

    kind: ActKind
    share: float
    """Of the subscribers, on each of the days."""
    what: tuple[tuple[float, str], ...]
    """Amounts in EUR, products or keywords, by share."""
    at: datetime.time
    within_s: float
    days: tuple[str, ...] = ()
    """Weekdays; () = every day."""
    packages: tuple[str, ...] = ()
    """Only subscribers of these; () = all."""
    journeys: tuple[str, ...] = ()
    """Only those on these journeys; () = all."""


@dataclass(frozen=True, slots=True)
class PlannedAct:
    at_s: float
    kind: ActKind
    subscriber: Subscriber
    what: str
    reference: str


class Disturbance(StrEnum):
    """A process of the server is killed (SIGKILL)."""

    KILL_WORKER = "kill-worker"
    KILL_HOUSEKEEPER = "kill-housekeeper"
    KILL_REDIS = "kill-redis"


@dataclass(frozen=True, slots=True)
class PlannedDisturbance:
    at_s: float
    kind: Disturbance


def draw_acts(
    rng: random.Random, acts: Sequence[Act], days: Days | None, subscriber: Subscriber, journey: str
) -> Iterator[PlannedAct]:
    """The acts of one subscriber."""
    if days is None:
        return
    for index, act in enumerate(acts):
        if (act.packages and subscriber.package not in act.packages) or (act.journeys and journey not in act.journeys):
            continue
        for date in days.on(act.days):
            if rng.random() >= act.share:
                continue
            at_s = days.second(date, act.at) + rng.random() * act.within_s
            if 0 <= at_s < days.duration_s:
                reference = f"sim-{index}-{date.isoformat()}-{subscriber.msisdn}"
                yield PlannedAct(at_s, act.kind, subscriber, choose(rng, act.what), reference)
