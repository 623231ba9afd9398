"""No order of buying, cancelling, changing, planning, topping up, use and time breaks what must always hold.

Steps are chosen by hypothesis and go through the operations on accounts and the charging service, on a real Redis.
After each step: nothing is negative, held = Σ reservations, paid in is explained (`ocs.ledger.audit`), records add up
to the credit and to the counters, no fee is paid twice, no included unit pays outside its area or period. One session
at a time, everything must be as on paper besides. PROPERTY_EXAMPLES=5000 tries so many (`make sim`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.paper_counters import LIMIT
from tests.conftest import RedisServer
from tests.ocs.charging.ccr import AUSTRIA, DATA, HOME, IMS, MB, MMS, SERBIA, SMS, USA
from tests.ocs.rules.world import World, world_on
from tests.ocs.year import places
from tests.ocs.year.care import Care
from tests.ocs.year.check import Check
from tests.ocs.year.clock import YearClock
from tests.ocs.year.line import CAP, Line
from tests.ocs.year.sessions import ClientSession, Part
from tests.ocs.year.sheet import ZONE, catalogue_texts, local, sheet
from tests.rules import rule

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "75"))
BEGINS = local("2027-12-12 10:00")
"""The price list changes with the new year."""
NETWORKS = (HOME, HOME, AUSTRIA, SERBIA, USA, places.USA_PARTNER, places.SWISS)
MINUTE, HOUR, DAY = 60, 3_600, 86_400
SHEET = sheet()
PRODUCTS = sorted(SHEET.articles[0])
TARIFFS = [id_ for id_, article in SHEET.articles[0].items() if article.is_tariff]
PACKS = [id_ for id_ in PRODUCTS if id_ not in TARIFFS]

networks = st.sampled_from(NETWORKS)
destinations = st.sampled_from(("national", "national", "zone1", "zone2", "premium-call", "emergency"))
amounts = st.sampled_from((1, 3_000, MB, 40 * MB, 900 * MB, 6_000 * MB))
steps = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from((MINUTE, 3 * HOUR, DAY, 5 * DAY, 25 * DAY, 30 * DAY, 95 * DAY))),
    st.tuples(st.just("top_up"), st.sampled_from((1, 7, 20, 45, 150)), st.booleans()),
    st.tuples(st.just("buy"), st.sampled_from(PACKS)),
    st.tuples(st.just("plan"), st.sampled_from(PACKS), st.integers(1, 28)),
    st.tuples(st.just("change"), st.sampled_from(TARIFFS)),
    st.tuples(st.just("follow"), st.sampled_from(TARIFFS)),
    st.tuples(st.just("cancel"), st.sampled_from(PRODUCTS), st.booleans()),
    st.tuples(st.just("surf"), networks, amounts, networks, amounts, st.sampled_from(("T", "T", "late"))),
    st.tuples(st.just("surf"), networks, amounts, networks, amounts, st.just("T")),
    st.tuples(st.just("call"), networks, destinations, st.sampled_from((1, 61, 400, 2_000))),
    st.tuples(st.just("forward"), networks, st.integers(0, 5), st.sampled_from((1, 61, 400))),
    st.tuples(st.just("text"), networks, st.integers(1, 60)),
    st.tuples(st.just("picture"), networks, st.integers(1, 5)),
    st.tuples(st.just("limit"), st.sampled_from((LIMIT, CAP)), st.sampled_from((0, 1, 10, 100, None))),
    st.tuples(st.just("bar"), st.sampled_from(((), ("roaming",), ("international", "premium")))),
    st.tuples(st.just("block"), st.booleans()),
    st.tuples(st.just("care"), st.sampled_from(("lost", "another_sim", "another_number", "freeze", "unfreeze"))),
    st.tuples(st.just("care"), st.sampled_from(("another_owner", "pay_out", "pay_out", "port_out"))),
    st.tuples(st.just("surcharge"), st.integers(1, 40)),
    st.tuples(st.just("order"), st.sampled_from([id_ for id_ in PACKS if id_.startswith(("SMS", "MMS", "USA"))])),
    st.tuples(st.just("move")),
    st.tuples(st.just("sweep")),
)
openings = st.tuples(st.sampled_from((0, 5, 20, 60)), st.sampled_from(("", "MINI", "MAXI", "GIGA-MINI")), st.booleans())


class Run:
    """One example: an account, and the steps on it. `overlapping`: sessions go on while other steps are done."""

    def __init__(self, world: World, number: int, check_from: list[int], *, overlapping: bool) -> None:
        def set_now(now: int) -> None:
            world.now = now

        set_now(BEGINS)
        self.clock = YearClock(BEGINS, set_now)
        self.line = Line(world, self.clock, SHEET, number, seed=0)
        self.line.on_paper = not overlapping
        self.check = Check(world.ledger, [self.line], check_from)
        self.overlapping = overlapping
        self.care = Care(self.line)

    async def go(self, opening: tuple[float, str, bool], chosen: list[tuple[Any, ...]]) -> None:
        await self.line.open(*opening[:2], unused=opening[2])
        for name, *values in [*chosen, ("wait", 5 * HOUR), ("sweep",)]:
            await getattr(self, f"_{name}")(*values)
            await self.clock.until(self.clock.now + 1)
            await self.check.day()
            assert not self.check.differences, "\n".join(self.check.differences)
        if not self.overlapping:
            self.check.year()
        assert not self.check.differences, "\n".join(self.check.differences)

    async def _wait(self, seconds: int) -> None:
        await self.clock.until(self.clock.now + seconds)

    async def _top_up(self, amount: float, promotional: bool) -> None:
        await self.line.top_up(amount, promotional=promotional)

    async def _buy(self, product: str) -> None:
        await self.line.buy(product)

    async def _plan(self, product: str, days: int) -> None:
        await self.line.plan(product, (datetime.fromtimestamp(self.clock.now, ZONE) + timedelta(days=days)).date())

    async def _change(self, product: str) -> None:
        await self.line.change(product)

    async def _follow(self, product: str) -> None:
        await self.line.follow(product)

    async def _cancel(self, product: str, at_once: bool) -> None:
        await self.line.cancel(product, at_once=at_once)

    async def _surf(self, plmn: str, amount: int, next_plmn: str, more: int, ends: str) -> None:
        parts = [Part(*places.data(plmn), amount), Part(*places.data(next_plmn), more)]
        await self._session(ClientSession(self.line, DATA, parts, 900, ends))

    async def _call(self, plmn: str, to: str, seconds: int) -> None:
        await self._session(ClientSession(self.line, IMS, [Part(*places.call(plmn, to), seconds)]))

    async def _forward(self, plmn: str, mode: int, seconds: int) -> None:
        await self._session(ClientSession(self.line, IMS, [Part(*places.forwarded(plmn, "national", mode), seconds)]))

    async def _session(self, session: ClientSession) -> None:
        if self.overlapping:
            self.clock.act(session.in_background())
        else:
            await session.run()

    async def _text(self, plmn: str, count: int) -> None:
        for _ in range(count):
            await self.line.message(SMS, *places.sms(plmn, "national"))

    async def _picture(self, plmn: str, count: int) -> None:
        for _ in range(count):
            await self.line.message(MMS, *places.mms(plmn, "national"))

    async def _limit(self, counter: str, eur: float | None) -> None:
        await self.line.limit(counter, eur)

    async def _bar(self, bars: tuple[Any, ...]) -> None:
        await self.line.bars(*bars)

    async def _block(self, blocked: bool) -> None:
        await self.line.block(blocked)

    async def _care(self, what: str) -> None:
        await getattr(self.care, what)()

    async def _surcharge(self, days: int) -> None:
        """Once at a time: another one would end with the first."""
        if not self.line.surcharged:
            self.clock.act(self.care.surcharge(days))
            await self.clock.until(self.clock.now + 1)

    async def _order(self, product: str) -> None:
        await self.line.order_by_text(product)

    async def _move(self) -> None:
        await self.line.move()

    async def _sweep(self) -> None:
        await self.line.sweep()


class Shop:
    """The world that all examples share; each has an account of its own."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self._entered = world_on(url, partitions=2, timeout_ms=20_000)
        self.world = self.runner.run(self._open())
        self.accounts = 0

    async def _open(self) -> World:
        world = await self._entered.__aenter__()
        world.now = BEGINS
        await world.price_lists(*catalogue_texts())
        return world

    def close(self) -> None:
        self.runner.run(self._entered.__aexit__(None, None, None))
        self.runner.close()

    def go(self, opening: tuple[float, str, bool], chosen: list[tuple[Any, ...]], *, overlapping: bool) -> None:
        self.accounts += 1
        self.runner.run(self._go(opening, chosen, overlapping))

    async def _go(self, opening: tuple[float, str, bool], chosen: list[tuple[Any, ...]], overlapping: bool) -> None:
        ledger = self.world.ledger
        read = [await ledger.outbox_last(partition) for partition in range(ledger.partitions)]
        run = Run(self.world, self.accounts, read, overlapping=overlapping)
        run.clock.act(run.go(opening, chosen))
        await run.clock.run_to(BEGINS + 20 * 365 * DAY)
        await run.clock.stop()


@pytest.fixture(scope="module")
def shop(redis_7: RedisServer) -> Iterator[Shop]:
    found = Shop(redis_7.url)
    yield found
    found.close()


tried = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.long
@rule("HOT-ACC-1", "HOT-PKG-2", "HOT-PKG-7", "HOT-PKG-10", "HOT-PKG-13", "HOT-ROA-6", "HOT-REC-2")
@tried
@given(opening=openings, chosen=st.lists(steps, min_size=3, max_size=30))
def test_any_order_of_steps_is_as_on_paper(
    shop: Shop, opening: tuple[float, str, bool], chosen: list[tuple[Any, ...]]
) -> None:
    shop.go(opening, chosen, overlapping=False)


@pytest.mark.long
@rule("HOT-ACC-1", "HOT-PKG-2", "HOT-PKG-10", "HOT-PKG-13", "HOT-ROA-6", "HOT-CC-1", "HOT-REC-2")
@tried
@given(opening=openings, chosen=st.lists(steps, min_size=3, max_size=30))
def test_sessions_that_overlap_break_nothing(
    shop: Shop, opening: tuple[float, str, bool], chosen: list[tuple[Any, ...]]
) -> None:
    shop.go(opening, chosen, overlapping=True)
