"""How a person lives on a line: what is done when, over the year."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import date, timedelta
from functools import partial
from typing import Any

from simulator.paper_counters import LIMIT
from simulator.price_sheet import KINDS
from tests.ocs.charging.ccr import AUSTRIA, DATA, HOME, IMS, MB, MMS, SMS
from tests.ocs.year import places
from tests.ocs.year.care import Care
from tests.ocs.year.clock import YearClock
from tests.ocs.year.line import CAP, Line
from tests.ocs.year.people import ABROAD, DAYS, FIRST_DAY, GROUP_SIZE, PRICE, Person, moment
from tests.ocs.year.sessions import ClientSession, Part
from tests.ocs.year.sheet import BEGINS, ENDS, PORTED

GB = 1024 * MB
NIGHTS = ("2027-03-27", "2027-06-30", "2027-10-30", "2027-12-31", "2028-01-31", "2028-02-28", "2028-02-29")
"""Whose end is the change of the clocks, of the price list, or of the month."""
PACK = KINDS.index("pack")
Act = Callable[[], Coroutine[Any, Any, object]]


class Life:
    """Plans a person's year on a line, and lives it."""

    def __init__(self, line: Line, who: Person) -> None:
        self.line, self.who, self.random = line, who, line.random
        self.acts: list[tuple[int, int, Act]] = []

    def at(self, moment_: int, act: Act) -> None:
        if moment_ < ENDS - 86_400:
            self.acts.append((moment_, len(self.acts), act))

    async def live(self) -> None:
        first = 0 if self.who.top_ups == "never" else self.random.randrange(30)
        await self.line.clock.until(moment(first, self.random.randrange(28, 80)))
        await self.line.open(self._opening_credit(), self.who.tariff, unused=self.who.unused)
        if self.who.unused:
            first += self.random.choice((20, 100, 200, DAYS))
        if first < DAYS:
            self.plan(first)
        await live(self.line.clock, self.acts)

    def _opening_credit(self) -> float:
        return self.random.choice((10, 15, 20, 30)) + (20 if self.who.trips else 0)

    # -- the plan

    def plan(self, first: int) -> None:
        self._plan_top_ups(first)
        self._plan_use(first)
        self._plan_trips()
        self._plan_shopping(first)
        self._plan_care(first)
        for night in NIGHTS:
            day = (date.fromisoformat(night) - FIRST_DAY).days
            if day > first and self.random.random() < 0.15:
                self.at(moment(day, self.random.choice((94, 95))), self.through_the_night)

    def _some_days(self, first: int, per_30_days: float) -> list[int]:
        """Moments of a year, so many in thirty days."""
        count = int((DAYS - first) * per_30_days / 30 + self.random.random())
        return [moment(self.random.randrange(first, DAYS), self.random.randrange(24, 95)) for _ in range(count)]

    def _plan_top_ups(self, first: int) -> None:
        kind, price = self.who.top_ups, PRICE["FAMILY" if self.who.in_group else self.who.tariff]
        if kind in ("once", "never"):
            if kind == "once":
                self.at(moment(first + 200, 50), partial(self.line.top_up, 15))
            return
        day = first
        while (day := day + self.random.randrange(20, 31)) < DAYS:
            amount = round(price + self.random.choice((2, 5, 10)), 2)
            if kind == "short" and self.random.random() < 0.4:
                amount = 2.0
            if kind == "gaps" and self.random.random() < 0.5:
                day += 100
            promotional = self.random.random() < 0.15
            self.at(
                moment(day, self.random.randrange(28, 90)),
                partial(self.line.top_up, amount, promotional=promotional),
            )

    def _plan_use(self, first: int) -> None:
        busy = self.who.busy
        for act, rate in (
            (self.text, 1.8),
            (self.talk, 1.0),
            (self.surf, 0.8),
            (self.picture, 0.2),
            (self.listen, 0.2),
            (self.read_text, 0.1),
            (self.seldom, 0.25),
            (self.forward, 0.7 if self.who.forwards else 0),
            (self.flap, 0.5 if self.who.on_border else 0),
            (self.download, 0.5 if self.who.heavy else 0),
        ):
            for when in self._some_days(first, rate * busy):
                self.at(when, act)

    def _plan_trips(self) -> None:
        for trip in self.who.trips:
            pack = {"balkan": "BALKAN-500-MB", "usa-partner": "USA-UNLIMITED"}.get(trip.area)
            if pack and self.random.random() < 0.7:
                self.at(trip.begins - 7200, partial(self.line.top_up, 30))
                self.at(trip.begins - 3600, partial(self._buy_once, pack))
            days = (trip.ends - trip.begins) // 86_400
            if self.who.streams:
                self.at(trip.begins + 43_200, self.stream)
            for act in (self.surf, self.surf, self.talk, self.listen, self.text, self.surf, self.forward):
                self.at(trip.begins + self.random.randrange(1, days * 96) * 900, act)

    async def _buy_once(self, product: str) -> None:
        self.line.paper.pass_time(self.line.now)
        if not self.line.paper.has(product):
            await self.line.buy(product)

    def _plan_shopping(self, first: int) -> None:
        day = first + 20
        for id_ in self.who.shops:
            price = self.line.sheet.article(BEGINS, id_).price_micro_eur / 1_000_000
            self.at(moment(day, 40), partial(self.line.top_up, price + 1))
            if self.random.random() < 0.3 and id_ not in ("EXTRA-DATA-5-GB", "SIM-REPLACEMENT"):
                on = FIRST_DAY + timedelta(days=day + 12)
                self.at(moment(day, 44), partial(self.line.plan, id_, on))
            elif self.random.random() < 0.3 and self.line.sheet.article(BEGINS, id_).order == PACK:
                self.at(moment(day, 44), partial(self.line.order_by_text, id_))
            else:
                self.at(moment(day, 44), partial(self.line.buy, id_))
            if id_ != "SIM-REPLACEMENT":
                at_once = self.random.random() < 0.3
                self.at(moment(day + 75, 30), partial(self.line.cancel, id_, at_once=at_once))
            day += 85
        if self.who.changes_tariff:
            new, day = self.who.changes_tariff, first + 110
            self.at(moment(day, 41), partial(self.line.top_up, 10))
            if self.random.random() < 0.5:
                self.at(moment(day, 47), partial(self.line.change, new))
            else:
                self.at(moment(day, 47), partial(self.line.follow, new))

    def _plan_care(self, first: int) -> None:
        line, day = self.line, first + self.random.randrange(40, 200)
        if self.who.limited:
            self.at(moment(day, 33), partial(line.limit, LIMIT, 1))
            self.at(moment(day + 9, 33), partial(line.limit, LIMIT, 3))
            self.at(moment(day + 100, 33), partial(line.limit, LIMIT, None))
            self.at(moment(day + 50, 33), partial(line.limit, CAP, 5))
        if self.who.barred:
            bars = ("international", "roaming", "premium")
            self.at(moment(day + 30, 35), partial(line.bars, *bars))
            self.at(moment(day + 60, 35), line.bars)
            self.at(moment(day + 70, 37), partial(line.block, True))
            self.at(moment(day + 100, 37), partial(line.block, False))
        self._plan_desk(day)
        if self.who.moves:
            self.at(moment(day + 20, 39), line.move)

    def _plan_desk(self, day: int) -> None:
        care, number = Care(self.line), self.line.number
        for turn, acts in {
            1: ((0, care.lost), (3, care.another_sim)),
            4: ((0, care.another_number), (40, care.another_number)),
            7: ((0, care.freeze), (25, care.unfreeze)),
            10: ((0, care.another_owner), (90, care.pay_out), (130, care.pay_out)),
        }.items():
            if number % 12 == turn:
                for later, act in acts:
                    self.at(moment(day + later, 29), act)
        if self.who.top_ups == "gaps":
            for later in range(0, 240, 30):
                self.at(moment(day + later, 27), care.pay_out)
        if number % 40 == 22:
            self.at(moment(330, 29), care.port_out)
        if self.who.trips and number % 4 == 0:
            self.at(self.who.trips[0].begins, partial(self._in_parallel, partial(care.surcharge, 30)))

    async def _in_parallel(self, act: Act) -> None:
        self.line.clock.act(act())

    # -- what somebody does

    def plmn(self) -> str:
        if self.who.expat and moment(20, 0) <= self.line.now < moment(210, 0):
            return AUSTRIA
        for trip in self.who.trips:
            if trip.begins <= self.line.now < trip.ends:
                return self.random.choice(ABROAD[trip.area])
        return HOME

    def _towards(self, to: str, turn: int) -> tuple[str, str, int]:
        """Network, destination and which of its numbers. Every third subscriber knows one who changes the network."""
        plmn = self.plmn()
        if plmn == HOME and to == "national" and turn and self.line.number % 3 == 0:
            return (plmn, "on-net", 0) if self.line.now >= PORTED else (plmn, to, 2)
        return plmn, to, turn

    async def text(self) -> None:
        to = self.random.choices(("national", "zone1", "zone2", "short"), (12, 2, 1, 1))[0]
        for _ in range(self.random.choice((1, 1, 2))):
            refunded = self.random.random() < 0.04
            sms = places.sms(*self._towards(to, self.random.randrange(2)))
            await self.line.message(SMS, *sms, refunded=refunded)
            await self.line.clock.until(self.line.now + 60)

    async def read_text(self) -> None:
        await self.line.message(SMS, *places.sms_received(self.plmn()))

    async def picture(self) -> None:
        to = self.random.choices(("national", "zone1", "zone2"), (8, 1, 1))[0]
        await self.line.message(MMS, *places.mms(self.plmn(), to))

    async def _call(self, asked: places.Used, longest: int = 900) -> None:
        seconds = self.random.choice((20, 61, 125, 299, 300, longest))
        await ClientSession(self.line, IMS, [Part(*asked, seconds)]).run()

    async def talk(self) -> None:
        to = self.random.choices(("national", "zone1", "zone2"), (12, 2, 1))[0]
        await self._call(places.call(*self._towards(to, self.random.randrange(2))))

    async def listen(self) -> None:
        await self._call(places.incoming(self.plmn()))

    async def seldom(self) -> None:
        to = self.random.choice(("zone3", "premium", "premium-call", "free", "emergency", "short"))
        plmn = HOME if to in ("free", "short") else self.plmn()
        await self._call(places.call(plmn, to), 70)

    async def forward(self) -> None:
        mode = self.random.randrange(6)
        await self._call(places.forwarded(self.plmn(), self.random.choice(("national", "zone1")), mode), 130)

    async def surf(self) -> None:
        amount = self.random.choice((200_000, 3 * MB, 30 * MB, 80 * MB, 400 * MB))
        plmn = self.plmn()
        if plmn not in (HOME, AUSTRIA, places.CROATIA):
            amount = min(amount, 4 * MB)
        ends = self.random.choice(("T", "lost", "late")) if self.who.careless else "T"
        gap_s = self.random.choice((600, 900, 1200))
        session = ClientSession(self.line, DATA, [Part(*places.data(plmn), amount)], gap_s, ends)
        if self.random.random() < 0.3 and not self.who.in_group:
            self.line.clock.act(session.in_background())
            await self.line.clock.until(self.line.now + 37)
        else:
            await session.run()

    async def download(self) -> None:
        for _ in range(self.random.choice((1, 2, 3))):
            await ClientSession(self.line, DATA, [Part(*places.data(HOME), 3 * GB)], 300).run()

    async def stream(self) -> None:
        for _ in range(9):
            await ClientSession(self.line, DATA, [Part(*places.data(AUSTRIA), 3 * GB)], 600).run()

    async def flap(self) -> None:
        """A phone near the border changes the network all the time."""
        plmns = [HOME, places.CROATIA, HOME, AUSTRIA, HOME][: self.random.randrange(2, 6)]
        parts = [Part(*places.data(plmn), self.random.choice((1, 5)) * MB) for plmn in plmns]
        await ClientSession(self.line, DATA, parts, 600).run()

    async def through_the_night(self) -> None:
        """From before midnight to the morning: over the change of the clocks, of the month, of the price list."""
        plmn = self.plmn()
        await self._call(places.call(plmn, "national"), 1900)
        parts = [Part(*places.data(plmn), 30 * MB if plmn == HOME else 3 * MB)] * 3
        await ClientSession(self.line, DATA, parts, self.random.choice((1500, 3000))).run()


async def live(clock: YearClock, acts: list[tuple[int, int, Act]]) -> None:
    """One act after the other, each at its time, or when the one before is over."""
    for at, _, act in sorted(acts, key=lambda each: each[:2]):
        await clock.until(at)
        await act()


class Group:
    """Three lines that share the units of the first one's tariff (HOT-PKG-14). Nobody uses two at the same time."""

    def __init__(self, lives: list[Life]) -> None:
        self.lives = lives
        self.first = lives[0].line

    async def live(self) -> None:
        await self.first.clock.until(moment(self.first.random.randrange(30), 30))
        for each in self.lives:
            await each.line.open(40, "")
            await each.line.share(self.first)
        await self.first.change("FAMILY")
        acts = []
        day = (self.first.now - moment(0, 0)) // 86_400 + 1
        for number, each in enumerate(self.lives):
            each.plan(day)
            acts += [(at, n * GROUP_SIZE + number, act) for at, n, act in each.acts]
        acts += self._limits(day)
        await live(self.first.clock, acts)

    def _limits(self, day: int) -> list[tuple[int, int, Act]]:
        """A limit for all, later one for the last number alone, and none in the end (HOT-PKG-14)."""
        first, last = self.first, self.lives[-1].line
        planned: tuple[tuple[int, Act], ...] = (
            (30, partial(first.pool_limit, "FAMILY.sms", 2, common=True)),
            (40, partial(last.pool_limit, "FAMILY.voice", 900)),
            (50, partial(last.pool_limit, "FAMILY.data", 100 * MB)),
            (200, partial(last.pool_limit, "FAMILY.voice", None)),
            (210, partial(first.pool_limit, "FAMILY.sms", None, common=True)),
        )
        return [(moment(day + later, 31), n, act) for n, (later, act) in enumerate(planned) if day + later < DAYS - 1]
