"""Rollback of the ledger: a lagging replica was promoted. Its next events reuse numbers of recorded events. Each
becomes one record, and the loss is reported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.ledger.contract.events import EPOCH_EVENTS
from ocs.outbox import pump as pump_module
from ocs.outbox.pump import TRIM_EVENTS, Pump
from ocs.outbox.writer import RecordWriter
from tests.ocs.outbox.fake import T0, FakeOutbox
from tests.ocs.outbox.test_records import ids, lines


class House:
    """A housekeeper that can be killed and restarted on the same folder."""

    def __init__(self, outbox: FakeOutbox, folder: Path, tail_events: int = 256) -> None:
        self.outbox, self.folder, self.tail_events = outbox, folder, tail_events
        self.lost: list[int] = []
        self.lost_ids: list[str] = []
        self.missing: list[int] = []
        self.now = 0.0
        self.writer: RecordWriter | None = None

    async def start(self) -> None:
        self.close()
        self.writer = RecordWriter(
            self.folder, rotate_octets=1 << 20, rotate_s=3600, clock=lambda: T0, tail_events=self.tail_events,
            missing=self.missing.append,
        )  # fmt: skip
        self.writer.open()
        self.pump = Pump(
            self.outbox,
            [self.writer],
            stopwatch=lambda: self.now,
            events_lost=self.lost.append,
            lost_ids=self.lost_ids.extend,
        )
        await self.pump.begin()

    async def settle(self) -> None:
        """Runs without hints until there is nothing left to do, as the periodic search does."""
        for _ in range(2):
            self.now += 120.0
            while await self.pump.round():
                self.now += 120.0

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(FakeOutbox(2), tmp_path / "records")
    yield house
    house.close()


def credits(folder: Path) -> list[int]:
    """The `credit` fields, which tell events of FakeOutbox.add apart."""
    return [int(str(line["credit_micro_eur"])) for line in lines(folder)]


async def five_lost_five_more(house: House) -> None:
    await house.start()
    house.outbox.add(0, 20)
    house.outbox.add(1, 3)
    replica = house.outbox.replica()
    house.outbox.add(0, 5)
    await house.settle()
    house.outbox.fail_over(replica)
    house.outbox.add(0, 5)


async def test_five_events_lost_and_the_next_five_recorded(house: House, caplog: pytest.LogCaptureFixture) -> None:
    await five_lost_five_more(house)
    await house.settle()
    first = [f"p00-{n}" for n in range(1, 26)]
    assert [each for each in ids(house.folder) if each.startswith("p00")] == first + [f"p00.1-{n}" for n in range(1, 6)]
    assert house.lost == [5] and house.lost_ids == [f"p00-{n}" for n in range(21, 26)]
    (message,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert "partition 0: the ledger was rolled back" in message and "5 recorded events are no longer in it" in message
    house.outbox.add(0, 2)
    await house.settle()
    assert ids(house.folder)[-2:] == ["p00.2-1", "p00.2-2"]
    assert len(set(credits(house.folder))) == len(credits(house.folder)) == 20 + 3 + 5 + 5 + 2
    assert house.missing == [] and house.lost == [5]


async def test_without_new_events_the_next_numbers_are_raised_at_once(house: House) -> None:
    await house.start()
    house.outbox.add(0, 20)
    replica = house.outbox.replica()
    house.outbox.add(0, 5)
    await house.settle()
    house.outbox.fail_over(replica)
    await house.settle()
    assert house.outbox.last[0] == 2 * EPOCH_EVENTS
    house.outbox.add(0, 1)
    await house.settle()
    assert ids(house.folder)[-2:] == ["p00-25", "p00.2-1"]
    assert house.lost == [5]
    await house.start()
    await house.settle()
    assert house.lost == [5] and len(ids(house.folder)) == 26, "a new start finds all in order"


async def test_a_restart_before_new_events_does_not_report_again(house: House) -> None:
    await five_lost_five_more(house)
    await house.settle()
    before = ids(house.folder)
    await house.start()
    await house.settle()
    assert (ids(house.folder), house.lost) == (before, [5])
    house.outbox.add(0, 1)
    await house.settle()
    assert ids(house.folder) == [*before, "p00.2-1"]


async def test_a_rollback_while_the_housekeeper_was_down_is_detected(house: House) -> None:
    await five_lost_five_more(house)
    await house.start()
    await house.settle()
    assert ids(house.folder)[-5:] == [f"p00.1-{n}" for n in range(1, 6)]
    assert house.lost == [5]


async def test_more_new_events_than_were_lost(house: House) -> None:
    """The counter is above the stored position again, but the position's number belongs to another event."""
    await five_lost_five_more(house)
    house.outbox.add(0, 300)
    await house.settle()
    assert ids(house.folder)[-305:] == [f"p00.1-{n}" for n in range(1, 306)]
    assert len(set(credits(house.folder))) == len(credits(house.folder))


async def test_a_replica_without_events_of_the_partition(house: House) -> None:
    await house.start()
    house.outbox.add(1, 2)
    replica = house.outbox.replica()
    house.outbox.add(0, 3)
    await house.settle()
    house.outbox.fail_over(replica)
    await house.settle()
    house.outbox.add(0, 2)
    await house.settle()
    house.outbox.fail_over(replica)  # and again before the first event of the new epoch
    house.outbox.add(0, 3)
    await house.settle()
    own = [each for each in ids(house.folder) if each.startswith("p00")]
    assert own == ["p00-1", "p00-2", "p00-3", "p00.2-1", "p00.2-2", "p00.3-1", "p00.3-2", "p00.3-3"]


async def test_a_lost_event_that_is_applied_again_has_one_record(house: House) -> None:
    """The client repeats a request whose event was lost. The new event is equal; events around it are new."""
    await house.start()
    house.outbox.add(0, 20)
    replica = house.outbox.replica()
    house.outbox.add(0, 5)
    repeated = house.outbox.events(0)[-2].body
    await house.settle()
    house.outbox.fail_over(replica)
    house.outbox.add(0, 2)
    house.outbox.journal(0, repeated)
    house.outbox.add(0, 1)
    await house.settle()
    assert ids(house.folder)[25:] == ["p00.1-1", "p00.1-2", "p00.1-3"]
    assert len(set(credits(house.folder))) == 28
    assert house.lost == [4] and len(house.lost_ids) == 4


async def test_a_second_rollback_beyond_the_first(house: House) -> None:
    await five_lost_five_more(house)
    behind = house.outbox.replica()
    await house.settle()
    house.outbox.add(0, 2)
    await house.settle()
    house.outbox.fail_over(behind)
    house.outbox.add(0, 1)
    await house.settle()
    own = [each for each in ids(house.folder) if each.startswith("p00.")]
    assert own == [*(f"p00.1-{n}" for n in range(1, 6)), "p00.2-1", "p00.2-2", "p00.3-1"]
    assert house.lost == [5, 7], "so many records are of no event of the ledger, five of them told before"
    assert len(set(credits(house.folder))) == len(credits(house.folder))


async def test_the_raised_counter_is_lost_too(house: House) -> None:
    """The replica has all recorded events but not the raised counter."""
    await five_lost_five_more(house)
    behind = house.outbox.replica()
    await house.settle()
    house.outbox.fail_over(behind)
    house.outbox.add(0, 2)
    await house.settle()
    assert ids(house.folder)[-3:] == ["p00.1-5", "p00.1-6", "p00.1-7"]
    assert len(set(credits(house.folder))) == len(credits(house.folder))


async def test_other_partitions_are_not_affected(house: House) -> None:
    await five_lost_five_more(house)
    house.outbox.add(1, 4)
    await house.settle()
    assert [each for each in ids(house.folder) if each.startswith("p01")] == [f"p01-{n}" for n in range(1, 8)]


async def test_an_outbox_longer_than_the_tail(tmp_path: Path) -> None:
    house = House(FakeOutbox(1), tmp_path, tail_events=8)
    await house.start()
    house.outbox.add(0, TRIM_EVENTS - 1)
    replica = house.outbox.replica()
    house.outbox.add(0, 5)
    await house.settle()
    house.outbox.fail_over(replica)
    house.outbox.add(0, 5)
    await house.settle()
    assert ids(tmp_path)[-6:] == [f"p00-{TRIM_EVENTS + 4}", *(f"p00.1-{n}" for n in range(1, 6))]
    house.close()


async def test_a_rollback_beyond_the_tail_loses_no_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = House(FakeOutbox(1), tmp_path, tail_events=8)
    await house.start()
    house.outbox.add(0, 10)
    replica = house.outbox.replica()
    house.outbox.add(0, 20)
    await house.settle()
    house.outbox.fail_over(replica)
    house.outbox.add(0, 3)
    await house.settle()
    assert set(credits(tmp_path)) == set(range(1, 34))
    assert "some may be recorded twice" in caplog.text
    house.close()


class CrashError(Exception):
    pass


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_each_event_is_recorded_once_over_random_crashes(data: st.DataObject) -> None:
    """Failovers, crashes at any call of Redis or of the disk, and new events in between."""
    import asyncio
    import tempfile

    async def walk(folder: Path) -> None:
        outbox = Crashing(2)
        house = House(outbox, folder)
        try:
            await steps(house, outbox)
        finally:
            house.close()

    async def steps(house: House, outbox: Crashing) -> None:
        folder = house.folder
        await house.start()
        replicas = [outbox.replica()]
        for _ in range(data.draw(st.integers(2, 8))):
            outbox.add(0, data.draw(st.integers(0, 6)))
            outbox.add(1, data.draw(st.integers(0, 2)))
            if data.draw(st.booleans()):
                replicas.append(outbox.replica())
            outbox.calls_left = data.draw(st.one_of(st.none(), st.integers(0, 12)))
            try:
                await house.settle()
            except CrashError:
                outbox.calls_left = None
                if data.draw(st.booleans()):
                    outbox.fail_over(data.draw(st.sampled_from(replicas[-2:])))
                    outbox.add(0, data.draw(st.integers(0, 4)))
                await house.start()
            outbox.calls_left = None
            if data.draw(st.booleans()):
                await house.settle()
                outbox.fail_over(data.draw(st.sampled_from(replicas[-2:])))
        await house.settle()
        seen, there = credits(folder), {int(str(e.body["credit"])) for p in range(2) for e in outbox.events(p)}
        assert len(set(seen)) == len(seen), "a record twice"
        assert there <= set(seen), "an event without a record"
        assert len(set(ids(folder))) == len(ids(folder))
        assert house.missing == []

    with tempfile.TemporaryDirectory() as name:
        # An event that no failover loses; without it the folder would seem to be another ledger's.
        asyncio.run(walk(Path(name)))


class Crashing(FakeOutbox):
    """An outbox that raises after a number of calls."""

    calls_left: int | None = None

    def __init__(self, partitions: int) -> None:
        super().__init__(partitions)
        self.add(1)

    def _count(self) -> None:
        if self.calls_left is not None:
            if not self.calls_left:
                raise CrashError
            self.calls_left -= 1

    async def outbox_entries(self, wanted, *, count):  # type: ignore[no-untyped-def]
        self._count()
        return await super().outbox_entries(wanted, count=count)

    async def outbox_raise(self, partition: int, to: int) -> None:
        self._count()
        await super().outbox_raise(partition, to)
        self._count()

    async def outbox_trim_many(self, upto):  # type: ignore[no-untyped-def]
        self._count()
        await super().outbox_trim_many(upto)
        self._count()


def test_a_page_of_events_is_smaller_than_the_tail() -> None:
    from ocs.outbox.rollback import PAGE_EVENTS
    from ocs.outbox.tail import LEAST_EVENTS

    assert PAGE_EVENTS * 2 <= LEAST_EVENTS and pump_module.MAX_EVENTS_PER_READ * 2 <= LEAST_EVENTS
