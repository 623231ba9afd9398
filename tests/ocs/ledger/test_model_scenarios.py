"""Scenarios in which scripts and model once differed: both do what the rule says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ocs.ledger.contract.charging import ChargeRequest, ServiceCharge
from ocs.values.products import PackageTerms
from ocs.values.requests import RequestType
from tests.conftest import RedisServer
from tests.ocs.ledger.catalogue import EXTRA, KINDS, NUMBERS, SMALL, TINY
from tests.ocs.ledger.model_state import Account, Event, utc_day
from tests.ocs.ledger.occurred import Occurred
from tests.ocs.ledger.redis_side import redis_side
from tests.ocs.ledger.sides import Sides
from tests.ocs.ledger.walk_asking import asking
from tests.rules import rule


class Scene:
    """One account on both ledgers, which are compared after each step."""

    def __init__(self, sides: Sides, credit: int, package: PackageTerms | None = None) -> None:
        self.sides = sides
        self.id = sides.open(NUMBERS[0], "293400000000001", credit, package) or ""
        self.count = 0

    @property
    def account(self) -> Account:
        return self.sides.model.accounts[self.id]

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.sides.model.events if event["k"] == kind]

    def do(self, operation: str, *args: Any, **more: Any) -> Any:
        result = self.sides.do(operation, self.id, *args, **more)
        self.sides.compare()
        return result

    def charge(self, kind: RequestType, number: int, *services: ServiceCharge, sid: str = "pgw;1") -> int:
        """Returns the micro-EUR that it cost."""
        now, credit = self.sides.walk.now, self.account.credit
        self.count += 1
        request = ChargeRequest(
            *(self.id, "", sid, "pgw", "data", kind, number, now, self.sides.walk.month),
            services=services,
            deadline=now + 600,
            day=utc_day(now),
            facts=self.account.facts,
            country="home",
            end_to_end=self.count,
        )
        assert self.sides.charge(request)
        self.sides.compare()
        return credit - self.account.credit


@pytest.fixture
def sides(redis_7: RedisServer) -> Iterator[Sides]:
    with redis_side([redis_7]) as side:
        yield Sides(side, Occurred())


FIRST, SECOND = "abroad", "abroad'"
INITIAL, UPDATE, TERMINATION = RequestType.INITIAL, RequestType.UPDATE, RequestType.TERMINATION
BEYOND_STEP = 811
"""micro-EUR: 1,024 octets of "abroad" beyond its volume."""


@rule("HOT-PKG-5")
@pytest.mark.parametrize("late", ["", "given up", "ended"])
def test_use_beyond_a_volume_is_rounded_in_the_steps_of_its_own_rate(sides: Sides, late: str) -> None:
    """The price switches to one of another rate, which holds then; the other service has steps of its own."""
    scene, abroad, zone = Scene(sides, 20_000_000, SMALL), KINDS["abroad"].windows[0], KINDS["zone"].windows[0]
    scene.do("set_limit", limit_micro_eur=0, counter="abroad")
    switching = {"price_after": zone, "switch_at": sides.walk.now + 10}
    asked = [replace(asking(key, "abroad", abroad, 10_000), **switching) for key in (FIRST, SECOND)]
    assert scene.charge(INITIAL, 0, *asked) == 0
    sides.walk.now += 20
    used = replace(asking(FIRST, "abroad", abroad, None), used_after=20_001)
    assert scene.charge(UPDATE, 1, used) == -(-102_400 * 5_120_007 // 2**20)
    if late == "given up":
        scene.do("release_session", "pgw;1", reason="lost")
    elif late == "ended":
        assert scene.charge(TERMINATION, 9) == 0
    for number, octets, cost in ((2, 480, BEYOND_STEP), (3, 544, 0), (4, 1, 810)):
        used = replace(asking(SECOND, "abroad", abroad, None), used=octets)
        assert scene.charge(UPDATE, number, used) == cost


@rule("HOT-PKG-11")
def test_an_unpaid_product_starts_at_the_next_use_when_a_new_price_makes_it_payable(sides: Sides) -> None:
    scene = Scene(sides, 100_000, TINY)
    assert [event["ok"] for event in scene.events("package")] == [False]
    assert scene.charge(INITIAL, 0, asking("data", "data", KINDS["data"].windows[0], 1_024)) == 0
    later = replace(TINY, price_micro_eur=90_000)
    sides.set_terms({"TINY": [(0, TINY), (sides.walk.now + 100, later)]})
    sides.walk.now += 99
    assert scene.charge(UPDATE, 1, asking("data", "data", KINDS["data"].windows[0], 1_024)) == 0
    sides.walk.now += 1
    assert scene.charge(UPDATE, 2, asking("data", "data", KINDS["data"].windows[0], 1_024)) == 90_000
    assert [event["ok"] for event in scene.events("package")] == [False, True]


@rule("HOT-CC-2")
def test_a_product_that_lacked_room_in_the_monthly_limit_starts_at_the_first_use_of_a_month(sides: Sides) -> None:
    scene = Scene(sides, 5_000_000)
    scene.do("set_limit", limit_micro_eur=100_000, counter="limit", once=True)
    scene.do("subscribe", product=EXTRA, reference="e", starts_at=sides.walk.now + 10)
    sides.walk.now += 10
    scene.do("sweep")
    assert [event["ok"] for event in scene.events("package")] == [False]
    sides.walk.month += 1
    assert scene.charge(INITIAL, 0, asking("sms", "sms", KINDS["sms"].windows[0], 1)) == EXTRA.price_micro_eur
    assert [event["ok"] for event in scene.events("package")] == [False, True]


@rule("HOT-CC-2")
def test_a_product_that_lacked_room_in_the_monthly_limit_starts_when_the_sweeper_returns_holds(sides: Sides) -> None:
    scene = Scene(sides, 5_000_000)
    scene.charge(INITIAL, 0, asking("call", "call", KINDS["call"].windows[0], 60))
    held = scene.account.held
    scene.do("set_limit", limit_micro_eur=EXTRA.price_micro_eur + held - 1, counter="limit")
    scene.do("subscribe", product=EXTRA, reference="e", starts_at=sides.walk.now + 10)
    sides.walk.now += 601
    scene.do("sweep")
    assert [event["ok"] for event in scene.events("package")] == [False, True]
    assert (scene.account.held, scene.account.credit) == (0, 5_000_000 - EXTRA.price_micro_eur)
