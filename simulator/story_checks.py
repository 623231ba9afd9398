"""What must be true of the story. Money is computed again from the price list, the rest is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from simulator.prices import PriceList
from simulator.story_result import Asked, Check, StoryResult
from simulator.summary import eur
from simulator.tally import CREDIT_LIMIT_REACHED, SUCCESS

EXPECTED_NOTICES = (
    "welcome", "data-left", "data-used-up", "low-credit", "topup", "roaming-cap-80", "roaming-cap-100",
)  # fmt: skip
"""Each is made once and sent at once, at night too."""
STOPS = 2
"""Times that the network is told that there is nothing left: credit, then the limit."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the API says of the account."""

    state_sold: str
    state_used: str
    """After the first use."""
    credit: str
    """At the end, EUR."""


@dataclass(frozen=True, slots=True)
class Money:
    """The subscriber's payments in EUR, and what he bought."""

    opening: str
    top_up: str
    package: str
    pack: str
    pack_bucket: str
    place: str


def checks(result: StoryResult, facts: Facts, money: Money, prices: PriceList) -> list[Check]:
    made = Counter(told.name for told in result.told)
    sent = [told.name for told in result.told if told.name in EXPECTED_NOTICES and told.state == "sent"]
    stops, went_on = stopped(result.asked)
    credit = expected_credit(result, money, prices)
    welcome = next((told.text for told in result.told if told.name == "welcome"), "")
    per_mb = f"{eur(int(prices.rate('data', money.place).price.micro_eur))} EUR/MB"
    return [
        Check(
            (facts.state_sold, facts.state_used) == ("new", "active"),
            "the first use activates the account",
            f"{facts.state_sold}, then {facts.state_used}",
        ),
        Check(per_mb in welcome, "prices are told on arrival", per_mb),
        Check(
            all(made[name] == 1 for name in EXPECTED_NOTICES) and len(sent) == len(EXPECTED_NOTICES),
            "told of the pack, the credit, the top-up and the limit, each once",
            f"{len(sent)} of {len(EXPECTED_NOTICES)} notices",
        ),
        Check(
            (stops, went_on) == (STOPS, STOPS),
            "stopped at zero and at the limit; asked by RAR, and goes on, after top-up and raise",
            f"stopped {stops} times, went on {went_on} times",
        ),
        Check(
            micro_eur(facts.credit) == credit,
            "paid in = left + spent, priced again",
            f"{facts.credit} EUR left, {eur(credit)} expected",
        ),
    ]


def stopped(asked: Sequence[Asked]) -> tuple[int, int]:
    """How often a service had nothing left, and how often a RAR and then a grant followed."""
    stops = went_on = 0
    waits = was_asked = False
    for one in asked:
        if one.what == "RAR":
            was_asked = waits
        elif one.code == CREDIT_LIMIT_REACHED:
            stops += not waits
            waits, was_asked = True, False
        elif waits and one.code == SUCCESS and one.granted:
            went_on += was_asked
            waits = False
    return stops, went_on


def expected_credit(result: StoryResult, money: Money, prices: PriceList) -> int:
    """Micro-EUR: what he paid in, less tariff, pack, and use abroad beyond the pack. At home the tariff pays."""
    quantity = prices.packages[money.pack].buckets[money.pack_bucket]
    assert quantity is not None
    used = sum(service.used for report in result.reports if report.place == money.place for service in report.services)
    price = prices.rate("data", money.place).price
    paid_use = price.cost_micro_eur(max(price.billable(used) - quantity, 0))
    products = sum(prices.packages[name].price_micro_eur for name in (money.package, money.pack))
    return micro_eur(money.opening) + micro_eur(money.top_up) - products - paid_use


def micro_eur(amount: str) -> int:
    return int(Decimal(amount) * 1_000_000)
