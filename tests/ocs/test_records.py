"""HOT-REC-2: every event of the ledger becomes one record, once, whatever crashes between writing and forgetting."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.ledger.contract import OutboxEvent
from ocs.records import files
from ocs.records.consumer import MAX_EVENTS_PER_READ, ForeignOutboxError, Pump
from ocs.records.files import RecordsError
from ocs.records.format import record
from ocs.records.writer import RecordWriter

T0 = 1_795_000_000
OPENED: list[RecordWriter] = []


class FakeOutbox:
    """The outbox of a small ledger, and how often it was made to forget."""

    def __init__(self, partitions: int = 4) -> None:
        self.partitions = partitions
        self.events: list[list[OutboxEvent]] = [[] for _ in range(partitions)]
        self.last = [0] * partitions
        self.trims = 0

    def add(self, partition: int, count: int = 1, account: str = "00-aa") -> None:
        for _ in range(count):
            self.last[partition] += 1
            n = self.last[partition]
            body: dict[str, object] = {
                "k": "topup",
                "t": T0 + n,
                "a": account,
                "credit_in": n,
                "credit": n,
                "ref": f"R{n}",
            }
            self.events[partition].append(OutboxEvent(partition, n, body))

    async def outbox_read(self, partition: int, *, after: int, count: int) -> list[OutboxEvent]:
        return [event for event in self.events[partition] if event.sequence > after][:count]

    async def outbox_trim(self, partition: int, *, upto: int) -> None:
        self.trims += 1
        self.events[partition] = [event for event in self.events[partition] if event.sequence > upto]

    async def outbox_lag(self, partition: int) -> int:
        return len(self.events[partition])

    async def outbox_last(self, partition: int) -> int:
        return self.last[partition]


def make_writer(
    folder: Path, *, rotate_octets: int = 1 << 20, clock: Sequence[float] = (T0,), **more: object
) -> RecordWriter:
    times = iter(clock)
    last = [float(T0)]

    def tick() -> float:
        last[0] = next(times, last[0])
        return last[0]

    writer = RecordWriter(folder, rotate_octets=rotate_octets, rotate_s=3600, clock=tick, **more)  # type: ignore[arg-type]
    OPENED.append(writer)
    writer.open()
    return writer


@pytest.fixture(autouse=True)
def close_writers() -> Iterator[None]:
    """A writer a test leaves open stands for a process that was killed; its file is closed in the end."""
    yield
    while OPENED:
        OPENED.pop().close()


def lines(folder: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for _, path in files.record_files(folder) for line in path.read_bytes().splitlines()]


def ids(folder: Path) -> list[str]:
    return [str(line["event_id"]) for line in lines(folder)]


# -- format


def test_a_charge_says_who_what_where_when_units_price_and_who_paid() -> None:
    line = {
        "key": "1/", "label": "data.home", "price": "data@1", "used": 1000, "debit": 70, "units": [["MAXI.data", 500]],
        "overrun": 3, "granted": 2000, "held": 90, "detail": "home", "code": 2001, "dropped": 0,
    }  # fmt: skip
    body: dict[str, object] = {
        "k": "charge", "t": T0, "a": "07-ab", "sid": "pgw;1;2", "ctx": "data", "typ": "U", "n": 3, "svc": [line],
        "code": 2001, "debit": 70, "credit": 930, "closed": False, "late": False,
    }  # fmt: skip
    assert record(OutboxEvent(7, 12, body)) == {
        "event_id": "p07-12",
        "kind": "charge",
        "time": "2026-11-18T11:06:40Z",
        "account": "07-ab",
        "session_id": "pgw;1;2",
        "context": "data",
        "request_type": "U",
        "request_number": 3,
        "result_code": 2001,
        "credit_micro_eur": 930,
        "closed": False,
        "late": False,
        "services": [
            {
                "key": "1/",
                "label": "data.home",
                "price": "data@1",
                "used": 1000,
                "debit_micro_eur": 70,
                "bucket_units": [{"bucket": "MAXI.data", "units": 500}],
                "overrun_units": 3,
                "granted": 2000,
                "held_micro_eur": 90,
                "detail": "home",
                "result_code": 2001,
                "dropped": 0,
            }
        ],
        "debit_micro_eur": 70,
        "credit_in_micro_eur": 0,
    }


def test_a_charge_with_a_field_of_a_later_version_keeps_it() -> None:
    body: dict[str, object] = {
        "k": "charge", "t": T0, "a": "07-ab", "sid": "pgw;1;2", "ctx": "sms", "typ": "E", "n": 0, "svc": [],
        "code": 4012, "debit": 0, "credit": 9, "closed": False, "late": False,
    }  # fmt: skip
    known = record(OutboxEvent(0, 1, body))
    assert record(OutboxEvent(0, 1, {**body, "vat": 22})) == {**known, "vat": 22}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"k": "opened", "credit_in": 5, "credit": 5, "package": "MAXI"},
            {"credit_in_micro_eur": 5, "package": "MAXI"},
        ),
        (
            {"k": "package", "id": "MAXI", "price": 9, "period_end": T0, "ok": True, "debit": 9, "credit": 1},
            {
                "package": "MAXI",
                "paid": True,
                "price_micro_eur": 9,
                "debit_micro_eur": 9,
                "period_end": "2026-11-18T11:06:40Z",
            },
        ),
        ({"k": "limit", "limit": -1}, {"limit_micro_eur": None}),
        ({"k": "limit", "limit": 7}, {"limit_micro_eur": 7}),
        ({"k": "state", "state": "b"}, {"state": "blocked"}),
        ({"k": "bars", "bars": "data,roaming"}, {"bars": ["data", "roaming"]}),
        ({"k": "threshold", "pct": 80, "spent": 8, "limit": 10}, {"percent": 80, "spent_month_micro_eur": 8}),
        ({"k": "expired", "sid": "s", "ctx": "data", "returned": 4}, {"session_id": "s", "returned_micro_eur": 4}),
        ({"k": "newer", "strange": 1}, {"strange": 1}),
    ],
)
def test_other_kinds(body: dict[str, object], expected: dict[str, object]) -> None:
    line = record(OutboxEvent(0, 1, {"t": T0, "a": "00-aa", **body}))
    assert {name: line[name] for name in expected} == expected
    assert {"debit_micro_eur", "credit_in_micro_eur"} <= line.keys()


# -- writing


async def test_events_are_stored_then_forgotten(tmp_path: Path) -> None:
    outbox, counted = FakeOutbox(), dict[str, int]()
    writer = make_writer(tmp_path, written=lambda kind, count: counted.update({kind: counted.get(kind, 0) + count}))
    pump = Pump(outbox, [writer])
    await pump.begin()
    outbox.add(0, 3)
    outbox.add(3, MAX_EVENTS_PER_READ + 1)
    assert await pump.round() == 3 + MAX_EVENTS_PER_READ
    assert pump.lag == 4 + MAX_EVENTS_PER_READ
    assert await pump.round() == 1
    assert await pump.round() == 0
    assert sum(map(len, outbox.events)) == 0
    assert len(set(ids(tmp_path))) == len(ids(tmp_path)) == 4 + MAX_EVENTS_PER_READ == counted["topup"]


async def test_the_outbox_forgets_only_what_every_consumer_has(tmp_path: Path) -> None:
    outbox = FakeOutbox(1)
    first, second = make_writer(tmp_path / "1"), make_writer(tmp_path / "2")
    outbox.add(0, 5)
    second.store(outbox.events[0][:2])
    pump = Pump(outbox, [first, second])
    await pump.begin()
    assert len(outbox.events[0]) == 5
    await pump.round()
    assert not outbox.events[0]
    assert ids(tmp_path / "1") == ids(tmp_path / "2")


async def test_what_was_stored_and_not_forgotten_is_not_stored_again(tmp_path: Path) -> None:
    """A crash between the sync and the trim."""
    outbox = FakeOutbox()
    outbox.add(1, 4)
    make_writer(tmp_path).store(outbox.events[1])
    outbox.add(1, 1)
    writer = make_writer(tmp_path)
    pump = Pump(outbox, [writer])
    await pump.begin()
    assert [event.sequence for event in outbox.events[1]] == [5]
    await pump.round()
    assert ids(tmp_path) == [f"p01-{n}" for n in range(1, 6)]


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    batches=st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=4), min_size=1, max_size=6),
)
def test_exactly_once_over_crashes(data: st.DataObject, batches: list[list[tuple[int, int]]]) -> None:
    """Whatever octet of the unforgotten batch the disk had at the crash, each event ends up in the files once, in order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outbox = FakeOutbox(3)
        for batch in batches:
            for partition, count in batch:
                outbox.add(partition, count)
            events = [event for partition in outbox.events for event in partition]
            writer = make_writer(folder, rotate_octets=data.draw(st.sampled_from([1, 600, 1 << 20])))
            before = {path: path.stat().st_size for _, path in files.record_files(folder)}
            writer.store(events)
            writer.close()
            if data.draw(st.booleans()):
                # Power cut in the middle of the batch: of its file, any part of what was added since the last sync is there.
                last = files.record_files(folder)[-1][1] if files.record_files(folder) else None
                if last is not None:
                    os.truncate(last, data.draw(st.integers(before.get(last, 0), last.stat().st_size)))
            else:
                for partition in range(3):
                    outbox.events[partition].clear()
        writer = make_writer(folder)
        writer.store([event for partition in outbox.events for event in partition])
        writer.close()
        for partition in range(3):
            mine = [each for each in ids(folder) if each.startswith(f"p{partition:02d}")]
            assert mine == [f"p{partition:02d}-{n}" for n in range(1, outbox.last[partition] + 1)]


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 3)
    make_writer(tmp_path).store(outbox.events[0][:2])
    path = files.record_files(tmp_path)[-1][1]
    whole = path.read_bytes()
    for tail in (b'{"event_id":"p00-3","kin', b"\0" * 4096, b'{"event_id":"p00-3"}', b"\0\n\0\n"):
        path.write_bytes(whole + tail)
        writer = make_writer(tmp_path)
        assert writer.position(0) == 2
        assert path.read_bytes() == whole
        writer.close()


def test_damage_in_the_middle_is_reported_not_repaired(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 3)
    make_writer(tmp_path).store(outbox.events[0])
    path = files.record_files(tmp_path)[-1][1]
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(rows[0] + b"garbage\n" + rows[2])
    with pytest.raises(RecordsError, match="line 2"):
        make_writer(tmp_path)


def test_files_rotate_by_size_and_age_and_old_ones_need_not_be_read(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 6)
    events = outbox.events[0]
    writer = make_writer(tmp_path, rotate_octets=200, clock=[T0] * 3 + [T0 + 1] * 4)
    for event in events[:3]:
        writer.store([event])
    writer.close()
    found = files.record_files(tmp_path)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert len(found) > 1
    for _, path in found[:-1]:
        path.unlink()  # archived elsewhere
    writer = make_writer(tmp_path)
    assert writer.position(0) == 3
    late = make_writer(tmp_path, clock=[T0 + 100_000])
    late.store(events[3:4])
    assert len(files.record_files(tmp_path)) == 2
    assert late.position(0) == 4


def test_a_lost_checkpoint_only_costs_time(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(2, 9)
    writer = make_writer(tmp_path, rotate_octets=100)
    for event in outbox.events[2]:
        writer.store([event])
    (tmp_path / "checkpoint.json").write_text("{", encoding="ascii")
    assert make_writer(tmp_path).position(2) == 9


def test_a_full_disk_stores_nothing_and_goes_on_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 4)
    events = outbox.events[0]
    writer = make_writer(tmp_path)
    writer.store(events[:1])
    real = os.fsync
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space"):
        writer.store(events)
    assert writer.position(0) == 1
    assert ids(tmp_path) == ["p00-1"]
    monkeypatch.setattr(os, "fsync", real)
    writer.store(events)
    assert ids(tmp_path) == [f"p00-{n}" for n in range(1, 5)]


def _no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_gap_is_counted(tmp_path: Path) -> None:
    outbox, lost = FakeOutbox(), list[int]()
    outbox.add(0, 6)
    writer = make_writer(tmp_path, missing=lost.append)
    writer.store(outbox.events[0][:2])
    writer.store(outbox.events[0][4:])
    assert lost == [2]
    assert writer.position(0) == 6


async def test_another_ledgers_folder_is_refused(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 5)
    make_writer(tmp_path).store(outbox.events[0])
    emptier, other = FakeOutbox(), FakeOutbox()
    emptier.add(0, 2)
    other.add(0, 7, account="00-bb")
    for wrong in (emptier, other):
        with pytest.raises(ForeignOutboxError):
            await Pump(wrong, [make_writer(tmp_path)]).begin()
        assert wrong.trims == 0
    await Pump(outbox, [make_writer(tmp_path)]).begin()
