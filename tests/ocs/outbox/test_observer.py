"""The observer counts each event once: after a kill, a repetition, an answer that is lost, or a ledger that went back.

The outbox is a real one, filled by charging; the records are written beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from ocs.catalogue.versions import Catalogues
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox import observer as observer_module
from ocs.outbox.observer import Observer, Sightings
from ocs.outbox.pump import Pump
from ocs.outbox.writer import RecordWriter
from ocs.values.presence import DayUse
from tests.conftest import RedisServer
from tests.ocs.charging.ccr import AUSTRIA, HOME, MB
from tests.ocs.ledger.books import nodes
from tests.ocs.rules.world import CATALOGUE, Subscriber, World, world_on


@pytest.fixture
async def world(redis_7: RedisServer) -> AsyncIterator[World]:
    async with world_on(redis_7.url, partitions=1) as world:
        await world.price_lists(CATALOGUE.read_text())
        yield world


class House:
    """Pump, records and observer, which can be killed and started again."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder, self.now = world, folder, 0.0
        self.writer: RecordWriter | None = None

    async def start(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.writer = RecordWriter(self.folder, rotate_octets=1 << 20, rotate_s=3600, clock=lambda: 1.8e9)
        self.writer.open()
        assert isinstance(self.world.catalogue, Catalogues)
        observer = Observer(self.world.ledger, self.world.catalogue)
        self.pump = Pump(self.world.ledger, [self.writer], stopwatch=lambda: self.now, before_trim=observer.through)
        await self.pump.begin()

    async def settle(self) -> None:
        for _ in range(3):
            self.now += 120.0
            while await self.pump.round():
                self.now += 120.0


@pytest.fixture
async def house(world: World, tmp_path: Path) -> AsyncIterator[House]:
    house = House(world, tmp_path)
    await house.start()
    yield house
    assert house.writer is not None
    house.writer.close()


async def counted(user: Subscriber) -> tuple[int, int]:
    """Octets at home and abroad."""
    observed = await user.world.ledger.observation(user.account_id)
    if observed is None:
        return 0, 0
    uses = [day.use.get("data", (0, 0)) for day in observed.days.values()]
    return sum(home for home, _ in uses), sum(abroad for _, abroad in uses)


async def traffic(user: Subscriber, times: int) -> None:
    for _ in range(times):
        await user.use_data(MB, plmn=AUSTRIA)
        await user.use_data(2 * MB, plmn=HOME)


async def test_the_pump_deletes_nothing_that_is_not_counted(world: World, house: House) -> None:
    user = await world.subscriber(50)
    await traffic(user, 40)
    await house.settle()
    assert await world.ledger.outbox_lag(0) < 40, "it has trimmed"
    await traffic(user, 3)
    await house.settle()
    assert await counted(user) == (86 * MB, 43 * MB)


@pytest.mark.parametrize("applied", [True, False], ids=["the answer is lost", "it was not done"])
async def test_killed_while_it_counts(
    world: World, house: House, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, in and after every step: in the end each event is counted once."""
    monkeypatch.setattr(observer_module, "PAGE_EVENTS", 2)
    user = await world.subscriber(50)
    await traffic(user, 20)
    honest, calls = world.ledger.observe, 0

    async def broken(partition: int, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if calls % 3:
            return await honest(partition, **more)
        if applied:
            await honest(partition, **more)
        raise LedgerUnavailable("killed")

    monkeypatch.setattr(world.ledger, "observe", broken)
    killed = 0
    while True:
        try:
            await house.settle()
            break
        except LedgerUnavailable:
            killed += 1
            await house.start()
    assert killed >= 3
    assert await counted(user) == (40 * MB, 20 * MB)


async def test_two_at_once_count_once(world: World) -> None:
    """A node that lost its lease may still be at work."""
    user = await world.subscriber(50)
    await traffic(user, 20)
    assert isinstance(world.catalogue, Catalogues)
    observers = [Observer(world.ledger, world.catalogue) for _ in range(3)]
    last = await world.ledger.outbox_last(0)
    await asyncio.gather(*(each.through({0: last}) for each in observers))
    await observers[0].through({0: last - 5})
    assert await counted(user) == (40 * MB, 20 * MB)


def snapshot(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: client.dump(key) or b"" for key in client.scan_iter()}


def put_back(client: redis.Redis, stored: Mapping[bytes, bytes]) -> None:
    for key in client.scan_iter():
        client.delete(key)
    for key, value in stored.items():
        client.restore(key, 0, value)


@pytest.mark.parametrize("observed_before", [True, False])
async def test_the_ledger_goes_back(world: World, house: House, observed_before: bool) -> None:
    """A replica that lagged takes over: what is counted is what the ledger has."""
    user = await world.subscriber(50)
    await traffic(user, 10)
    (client,) = nodes(world.ledger)
    with client:
        if observed_before:
            await house.settle()
        stored = snapshot(client)
        await traffic(user, 30)
        await house.settle()
        assert await counted(user) == (80 * MB, 40 * MB)
        put_back(client, stored)
    await traffic(user, 20)
    await house.settle()
    await traffic(user, 20)
    await house.settle()
    assert await counted(user) == (100 * MB, 50 * MB), "10, 20 and 20"


async def test_old_days_are_dropped(world: World) -> None:
    user = await world.subscriber(50)
    day = DayUse(abroad=True, use={"data": (0, 1)})
    more: dict[str, Any] = {"window_days": 120, "kept_days": 127}
    for number in range(1, 201):
        rows = {user.account_id: {20_000 + number: day}}
        assert await world.ledger.observe(0, expected=number - 1, position=number, rows=rows, **more) == number
    observed = await world.ledger.observation(user.account_id)
    assert observed is not None and sorted(observed.days) == list(range(20_200 - 127, 20_201))


async def test_a_wrong_position_adds_nothing(world: World) -> None:
    rows = {"00-1": {20_000: DayUse(abroad=True)}}
    more: dict[str, Any] = {"rows": rows, "window_days": 120, "kept_days": 127}
    assert await world.ledger.observe(0, expected=5, position=9, **more) == 0
    assert await world.ledger.observation("00-1") is None


async def test_lines_that_do_not_say_where_somebody_was(world: World) -> None:
    assert isinstance(world.catalogue, Catalogues)
    line = {"label": "data.eu", "detail": "23201 mo internet", "used": 5}
    lines = [
        line,
        {**line, "used": 0},
        {**line, "label": "voice.eu.eu", "detail": "23201 fw +38631234567"},
        {**line, "label": "data.eu-surcharged.surcharge"},
        {**line, "label": "removed"},
        {**line, "detail": "99999 mo internet"},
        {**line, "label": "data.home", "detail": " mo internet"},
        {**line, "label": "voice.incoming", "detail": "43664123456 mt +38631234567"},
        {**line, "label": "data.world-1", "detail": "22801 mo internet"},
    ]
    body = {"k": "charge", "t": world.now, "a": "00-1", "svc": lines}
    events = [OutboxEvent(0, 1, body), OutboxEvent(0, 2, {**body, "k": "refund"})]
    (days,) = Sightings(world.catalogue).rows(events).values()
    (day,) = days.values()
    assert day.use == {"data": (5, 5), "voice": (0, 5)}
