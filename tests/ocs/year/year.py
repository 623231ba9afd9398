"""A year of three hundred subscribers, in a minute."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import NamedTemporaryFile

from ocs.accounts.fair_use import FairUseOperations
from ocs.catalogue.ported_numbers import read_ported_numbers
from ocs.catalogue.versions import Catalogues
from ocs.outbox.observer import Observer
from simulator.price_sheet import PriceSheet
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import World
from tests.ocs.year import places
from tests.ocs.year.check import Check
from tests.ocs.year.clock import YearClock
from tests.ocs.year.life import Group, Life
from tests.ocs.year.line import Line
from tests.ocs.year.people import DAYS, FIRST_IN_GROUP, GROUP_SIZE, moment, person
from tests.ocs.year.sheet import BEGINS, ENDS, PORTED, catalogue_texts, sheet

ACCOUNTS = 300
SWEEP_EVERY_S = 7_200


@dataclass(slots=True)
class Year:
    lines: list[Line]
    check: Check
    swept: int = 0

    @property
    def requests(self) -> int:
        return sum(line.requests for line in self.lines)


async def run_year(
    world: World, *, accounts: int = ACCOUNTS, seed: int = 1, days: int = DAYS, on_paper: PriceSheet | None = None
) -> Year:
    """Stops after the first day with a difference."""
    world.now = BEGINS - 1
    await world.price_lists(*catalogue_texts())
    world.source = Origin(refunds=True)

    def set_now(now: int) -> None:
        world.now = now

    clock, paper = YearClock(BEGINS - 1, set_now), on_paper or sheet()
    lines = [Line(world, clock, paper, number, seed) for number in range(accounts)]
    check = Check(world.ledger, lines)
    year = Year(lines, check)
    lives = [Life(line, person(line.number, Random(seed * 1_000 + line.number))) for line in year.lines]
    for life in lives[:FIRST_IN_GROUP]:
        clock.act(life.live())
    for first in range(FIRST_IN_GROUP, len(lives), GROUP_SIZE):
        clock.act(Group(lives[first : first + GROUP_SIZE]).live())
    clock.act(_port_a_number(world, clock))
    clock.act(_observe(world, clock, year, days))
    ends = min(ENDS, moment(days, 0))
    clock.act(_housekeeper(world, clock, year, ends))
    for day in range(1, days + 1):
        await clock.run_to(moment(day, 0) + 1)
        await check.day()
        if check.differences:
            break
    await clock.stop()
    return year


async def _port_a_number(world: World, clock: YearClock) -> None:
    """The table of ported numbers has one more (HOT-RAT-1)."""
    await clock.until(PORTED)
    with NamedTemporaryFile("w", suffix=".csv") as table:
        table.write(f"number,network\n{places.PORTED_NUMBER},hot\n")
        table.flush()
        assert isinstance(world.catalogue, Catalogues)
        world.catalogue.use_ported(read_ported_numbers(Path(table.name)))


async def _observe(world: World, clock: YearClock, year: Year, days: int) -> None:
    """Each night presence is counted and judged (HOT-ROA-4), and on paper too."""
    assert isinstance(world.catalogue, Catalogues)
    ledger = world.ledger
    observer, operations = (
        Observer(ledger, world.catalogue),
        FairUseOperations(ledger, world.catalogue, lambda: clock.now),
    )
    for day in range(1, days):
        await clock.until(moment(day, 10) + 55)
        await observer.through({each: await ledger.outbox_last(each) for each in range(ledger.partitions)})
        today = world.catalogue.day_of(clock.now)
        for due in await ledger.observations_due(range(ledger.partitions), day=today, count=1000):
            for account_id in due:
                await operations.evaluate(account_id)
        for line in year.lines:
            if not line.paper.terminated:
                line.presence.evaluate(clock.now, line.paper.day(clock.now))


async def _housekeeper(world: World, clock: YearClock, year: Year, ends: int) -> None:
    """Sweeps what is due every two hours."""
    at = BEGINS
    while at <= ends:
        await clock.until(at + 1_795)  # at another moment than the subscribers act
        await sweep(world, year)
        at += SWEEP_EVERY_S


async def sweep(world: World, year: Year) -> None:
    partitions = range(world.ledger.partitions)
    found = await world.ledger.due_many(partitions, now=world.now, count=1000)
    due = [account_id for account_ids in found for account_id in account_ids]
    line_of = {account_id: line for line in year.lines for account_id in line.account_ids[-1:]} if due else {}
    year.swept += len(due)
    await asyncio.gather(*(line_of[account_id].sweep() for account_id in due))


def states(year: Year) -> Counter[str]:
    return Counter(line.paper.state(line.now) for line in year.lines if line.account_ids)
