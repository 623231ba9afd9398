"""HOT-REC-2: every event of the ledger becomes one record, exactly once, wherever a crash interrupts writing and
trimming.
"""

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

from ocs.ledger.contract.events import EPOCH_EVENTS, OutboxEvent
from ocs.outbox import files
from ocs.outbox.consumer import ForeignOutboxError
from ocs.outbox.files import RecordsError, parse_event_id
from ocs.outbox.format import record
from ocs.outbox.pump import MAX_EVENTS_PER_READ, TRIM_EVENTS, Pump
from ocs.outbox.tail import EVENTS_IN_ALL, LEAST_EVENTS, Tail, capacity, fingerprint
from ocs.outbox.writer import RecordWriter
from tests.ocs.outbox.fake import T0, FakeOutbox

OPENED: list[RecordWriter] = []


def make_writer(
    folder: Path, *, rotate_octets: int = 1 << 20, clock: Sequence[float] = (T0,), **more: object
) -> RecordWriter:
    times = iter(clock)
    last = [float(T0)]

    def tick() -> float:
        last[0] = next(times, last[0])
        return last[0]

    writer = RecordWriter(folder, rotate_octets=rotate_octets, rotate_s=3600, clock=tick, **more)
    OPENED.append(writer)
    writer.open()
    return writer


@pytest.fixture(autouse=True)
def close_writers() -> Iterator[None]:
    """A writer that a test does not close stands for a killed process; its file is closed at the end."""
    yield
    while OPENED:
        OPENED.pop().close()


def lines(folder: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for _, path in files.record_files(folder) for line in path.read_bytes().splitlines()]


def ids(folder: Path) -> list[str]:
    return [str(line["event_id"]) for line in lines(folder)]


# -- format


LINE = {
    "key": "1/", "label": "data.home", "price": "data@1", "detail": "home", "used": 1000, "debit": 70,
    "units": [["MAXI.data", 500], ["MAXI.data", 20], ["PACK.data", 7]], "overrun": 3, "dropped": 9,
}  # fmt: skip
CHARGE: dict[str, object] = {
    "k": "charge", "t": T0, "a": "07-ab", "sid": "pgw;1;2", "ctx": "data", "typ": "T", "n": 3, "svc": [LINE],
    "code": 2001, "debit": 20, "credit": 930, "closed": True, "late": False, "started": T0 - 60,
}  # fmt: skip


def test_the_fields_of_a_charge() -> None:
    assert record(OutboxEvent(7, 12, CHARGE)) == {
        "event_id": "p07-12",
        "kind": "charge",
        "time": "2026-11-18T11:06:40Z",
        "account": "07-ab",
        "session_id": "pgw;1;2",
        "context": "data",
        "request_type": "T",
        "request_number": 3,
        "result_code": 2001,
        "debit_micro_eur": 20,
        "credit_micro_eur": 930,
        "started": "2026-11-18T11:05:40Z",
        "closed": True,
        "services": [
            {
                "key": "1/",
                "label": "data.home",
                "price": "data@1",
                "used": 1000,
                "debit_micro_eur": 70,
                "bucket_units": {"MAXI.data": 520, "PACK.data": 7},
                "overrun_units": 3,
                "detail": "home",
                "dropped": 9,
            }
        ],
        "services_debit_micro_eur": 70,
    }


def test_empty_fields_are_omitted_but_not_a_credit_of_zero() -> None:
    line = {**LINE, "debit": 0, "units": [], "overrun": 0, "dropped": 0, "detail": ""}
    body = {**CHARGE, "svc": [line], "debit": 0, "credit": 0, "closed": False, "started": 0}
    found = record(OutboxEvent(0, 1, body))
    assert found["credit_micro_eur"] == 0
    assert not found.keys() & {"debit_micro_eur", "closed", "late", "started", "services_debit_micro_eur"}
    assert found["services"] == [{"key": "1/", "label": "data.home", "price": "data@1", "used": 1000}]
    refused = record(OutboxEvent(0, 1, {**CHARGE, "svc": [], "code": 4012}))
    assert "services" not in refused and refused["result_code"] == 4012


def test_the_record_of_a_movement_has_few_fields() -> None:
    body: dict[str, object] = {
        "k": "use", "t": T0, "a": "07-ab", "sid": "pgw;1;2", "typ": "U", "n": 3, "debit": 70, "credit": 930,
    }  # fmt: skip
    found = record(OutboxEvent(7, 12, body))
    assert found == {
        "event_id": "p07-12",
        "kind": "use",
        "time": "2026-11-18T11:06:40Z",
        "account": "07-ab",
        "session_id": "pgw;1;2",
        "request_type": "U",
        "request_number": 3,
        "debit_micro_eur": 70,
        "credit_micro_eur": 930,
    }
    assert len(orjson.dumps(found)) < 210


@pytest.mark.parametrize("kind", ["charge", "use"])
def test_a_field_of_a_later_version_is_kept(kind: str) -> None:
    """The fast and the general encoder have the same result."""
    body = dict(CHARGE)
    if kind == "use":
        body = {"k": "use", "t": T0, "a": "a", "sid": "s", "typ": "I", "n": 1, "debit": 1, "credit": 1}
    known = record(OutboxEvent(0, 1, body))
    assert record(OutboxEvent(0, 1, {**body, "vat": 22})) == {**known, "vat": 22}
    if kind == "charge":
        newer = record(OutboxEvent(0, 1, {**body, "svc": [{**LINE, "zone": "EU"}]}))
        assert newer["services"][0]["zone"] == "EU"  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"k": "opened", "credit_in": 5, "credit": 5, "package": "MAXI"},
            {"credit_in_micro_eur": 5, "credit_micro_eur": 5, "package": "MAXI"},
        ),
        (
            {"k": "topup", "credit_in": 5, "ref": "R1", "credit": 9},
            {"credit_in_micro_eur": 5, "reference": "R1", "credit_micro_eur": 9},
        ),
        (
            {"k": "package", "id": "MAXI", "instance": 3, "price": 9, "period_end": T0, "ok": True, "debit": 9,
             "credit": 1},
            {
                "package": "MAXI", "instance": 3, "paid": True, "price_micro_eur": 9, "debit_micro_eur": 9,
                "period_end": "2026-11-18T11:06:40Z", "credit_micro_eur": 1,
            },
        ),
        (
            {"k": "package", "id": "MAXI", "instance": 3, "price": 9, "period_end": 0, "ok": False, "debit": 0,
             "credit": 1},
            {"package": "MAXI", "instance": 3, "paid": False, "price_micro_eur": 9, "credit_micro_eur": 1},
        ),
        (
            {"k": "subscription", "id": "PACK", "instance": 4, "state": "armed"},
            {"package": "PACK", "instance": 4, "state": "armed"},
        ),
        ({"k": "limit", "counter": "limit", "limit": -1}, {"counter": "limit", "limit": None}),
        ({"k": "limit", "counter": "roaming", "limit": 7}, {"counter": "roaming", "limit": 7}),
        ({"k": "state", "state": "b"}, {"state": "blocked"}),
        ({"k": "state", "state": "inactive"}, {"state": "inactive"}),
        ({"k": "bars", "bars": "data,roaming"}, {"bars": ["data", "roaming"]}),
        ({"k": "bars", "bars": ""}, {"bars": []}),
        ({"k": "pool", "pool": ""}, {"pool": ""}),
        (
            {"k": "threshold", "counter": "limit", "pct": 80, "value": 8, "limit": 10},
            {"counter": "limit", "percent": 80, "value": 8, "limit": 10},
        ),
        (
            {"k": "expired", "sid": "s", "ctx": "data", "returned": 4, "reason": "deadline", "svc": [LINE]},
            {
                "session_id": "s", "context": "data", "returned_micro_eur": 4, "reason": "deadline",
                "services": record(OutboxEvent(0, 1, CHARGE))["services"], "services_debit_micro_eur": 70,
            },
        ),
        (
            {
                "k": "refund", "sid": "s", "ctx": "sms", "n": 1, "credit_in": 6, "credit": 9,
                "svc": [{"key": "-", "price": "sms@1", "used": 1, "credit_in": 6, "units": [["MAXI.sms", 2]]}],
            },
            {
                "session_id": "s", "context": "sms", "request_number": 1, "credit_in_micro_eur": 6,
                "credit_micro_eur": 9,
                "services": [
                    {"key": "-", "price": "sms@1", "used": -1, "credit_in_micro_eur": 6,
                     "bucket_units": {"MAXI.sms": -2}}
                ],
            },
        ),
        ({"k": "terminated", "debit": 8, "credit": 0}, {"debit_micro_eur": 8, "credit_micro_eur": 0}),
        ({"k": "due", "kind": "confirm", "ref": "A1"}, {"due": "confirm", "reference": "A1"}),
        (
            {"k": "moved_out", "to": "0900-bb", "debit": 8, "credit": 0},
            {"to_account": "0900-bb", "debit_micro_eur": 8, "credit_micro_eur": 0},
        ),
        (
            {"k": "moved_in", "of": "07-ab", "credit_in": 8, "credit": 8},
            {"from_account": "07-ab", "credit_in_micro_eur": 8, "credit_micro_eur": 8},
        ),
        ({"k": "newer", "strange": 1}, {"strange": 1}),
    ],
)  # fmt: skip
def test_the_fields_of_other_events(body: dict[str, object], expected: dict[str, object]) -> None:
    found = record(OutboxEvent(0, 1, {"t": T0, "a": "00-aa", **body}))
    head = {"event_id": "p00-1", "kind": body["k"], "time": "2026-11-18T11:06:40Z", "account": "00-aa"}
    assert found == {**head, **expected}


def test_event_ids_are_parsed() -> None:
    for sequence in (1, 1234, EPOCH_EVENTS + 1, 2 * EPOCH_EVENTS + 77):
        assert parse_event_id(OutboxEvent(4711, sequence, {}).event_id) == (4711, sequence)


# -- the last events stored


def test_a_tail_is_bounded_and_in_order() -> None:
    tail = Tail(4)
    assert (list(tail), tail.oldest) == ([], 0)
    for n in range(1, 8):
        tail.add(n, 100 + n)
        assert list(tail) == [(each, 100 + each) for each in range(max(n - 3, 1), n + 1)]
        assert (len(tail), tail.oldest) == (min(n, 4), max(n - 3, 1))
    assert capacity(16_384) == LEAST_EVENTS and capacity(64) * 64 == EVENTS_IN_ALL


def test_a_fingerprint_depends_on_the_content_and_is_the_same_after_reading() -> None:
    line = record(OutboxEvent(0, 1, CHARGE))
    marks = {fingerprint(line)}
    assert fingerprint(orjson.loads(orjson.dumps({**line, "event_id": "p09.3-7", "later_field": 1}))) in marks
    changes = ({"credit": 931}, {"debit": 0}, {"n": 4}, {"sid": "other"}, {"t": T0 + 1}, {"a": "07-cc"}, {"typ": "U"})
    for change in changes:
        marks.add(fingerprint(record(OutboxEvent(0, 1, {**CHARGE, **change}))))
    assert len(marks) == 1 + len(changes)


# -- writing


async def test_events_are_stored_then_trimmed_except_the_last(tmp_path: Path) -> None:
    outbox, counted = FakeOutbox(), dict[str, int]()
    writer = make_writer(tmp_path, written=lambda kind, count: counted.update({kind: counted.get(kind, 0) + count}))
    pump = Pump(outbox, [writer], stopwatch=lambda: 0.0)
    await pump.begin()
    outbox.add(0, TRIM_EVENTS)
    outbox.add(3, MAX_EVENTS_PER_READ + 1)
    assert await pump.round() == TRIM_EVENTS + MAX_EVENTS_PER_READ
    assert pump.lag == 1
    assert await pump.round() == 1
    assert await pump.round() == 0
    assert pump.lag == 0
    assert [len(entries) for entries in outbox.entries] == [1, 0, 0, 2], "the second is trimmed some time later"
    assert len(set(ids(tmp_path))) == len(ids(tmp_path)) == TRIM_EVENTS + MAX_EVENTS_PER_READ + 1 == counted["topup"]


async def test_the_outbox_is_trimmed_only_up_to_the_slowest_consumer(tmp_path: Path) -> None:
    outbox = FakeOutbox(1)
    first, second = make_writer(tmp_path / "1"), make_writer(tmp_path / "2")
    outbox.add(0, TRIM_EVENTS)
    second.store(outbox.events(0)[:2])
    pump = Pump(outbox, [first, second], stopwatch=lambda: 0.0)
    await pump.begin()
    assert len(outbox.entries[0]) == TRIM_EVENTS
    await pump.round()
    assert len(outbox.entries[0]) == 1
    assert ids(tmp_path / "1") == ids(tmp_path / "2")


async def test_stored_events_that_were_not_trimmed_are_not_stored_again(tmp_path: Path) -> None:
    """A crash between sync and trim."""
    outbox = FakeOutbox()
    outbox.add(1, 4)
    make_writer(tmp_path).store(outbox.events(1))
    outbox.add(1, 1)
    writer = make_writer(tmp_path)
    pump = Pump(outbox, [writer], stopwatch=lambda: 0.0)
    await pump.begin()
    await pump.round()
    assert ids(tmp_path) == [f"p01-{n}" for n in range(1, 6)]


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    batches=st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=4), min_size=1, max_size=6),
)
def test_exactly_once_over_crashes(data: st.DataObject, batches: list[list[tuple[int, int]]]) -> None:
    """Whatever part of the untrimmed batch was on disk at the crash, each event is in the files once, in order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outbox = FakeOutbox(3)
        for batch in batches:
            for partition, count in batch:
                outbox.add(partition, count)
            events = [event for partition in range(3) for event in outbox.events(partition)]
            writer = make_writer(folder, rotate_octets=data.draw(st.sampled_from([1, 600, 1 << 20])))
            before = {path: path.stat().st_size for _, path in files.record_files(folder)}
            writer.store(events)
            writer.close()
            if data.draw(st.booleans()):
                # Power cut during the batch: the file may have any part of what was written since the last sync.
                last = files.record_files(folder)[-1][1] if files.record_files(folder) else None
                if last is not None:
                    os.truncate(last, data.draw(st.integers(before.get(last, 0), last.stat().st_size)))
            else:
                for partition in range(3):
                    outbox.entries[partition].clear()
        writer = make_writer(folder)
        writer.store([event for partition in range(3) for event in outbox.events(partition)])
        writer.close()
        for partition in range(3):
            mine = [each for each in ids(folder) if each.startswith(f"p{partition:02d}")]
            assert mine == [f"p{partition:02d}-{n}" for n in range(1, outbox.last[partition] + 1)]


def test_an_incomplete_last_line_is_cut_off(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 3)
    make_writer(tmp_path).store(outbox.events(0)[:2])
    path = files.record_files(tmp_path)[-1][1]
    whole = path.read_bytes()
    for tail in (b'{"event_id":"p00-3","kin', b"\0" * 4096, b'{"event_id":"p00-3"}', b"\0\n\0\n"):
        path.write_bytes(whole + tail)
        writer = make_writer(tmp_path)
        assert writer.position(0) == 2
        assert path.read_bytes() == whole
        writer.close()


def test_damage_within_a_file_is_reported_and_not_repaired(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 3)
    make_writer(tmp_path).store(outbox.events(0))
    path = files.record_files(tmp_path)[-1][1]
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(rows[0] + b"garbage\n" + rows[2])
    with pytest.raises(RecordsError, match="line 2"):
        make_writer(tmp_path)


def test_files_rotate_by_size_and_age_and_old_ones_may_be_removed(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 6)
    events = outbox.events(0)
    writer = make_writer(tmp_path, rotate_octets=100, clock=[T0] * 3 + [T0 + 1] * 4)
    for event in events[:3]:
        writer.store([event])
    writer.close()
    assert [each for each, _ in list(_tail(make_writer(tmp_path), 0))] == [1, 2, 3], "also over finished files"
    found = files.record_files(tmp_path)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert len(found) > 1
    for _, path in found[:-1]:
        path.unlink()  # moved to an archive
    writer = make_writer(tmp_path)
    assert writer.position(0) == 3
    late = make_writer(tmp_path, clock=[T0 + 100_000])
    late.store(events[3:4])
    assert len(files.record_files(tmp_path)) == 2
    assert late.position(0) == 4


def _tail(writer: RecordWriter, partition: int) -> Tail:
    tail = writer.tail(partition)
    assert tail is not None
    return tail


def test_the_tail_has_the_events_within_the_octets_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the number of octets bounds how much of the finished files is read; a line that begins before them is
    ignored.
    """
    outbox = FakeOutbox(1)
    outbox.add(0, 50)
    writer = make_writer(tmp_path, rotate_octets=2_000)
    for event in outbox.events(0):
        writer.store([event])
    monkeypatch.setattr(files, "TAIL_OCTETS", 3_000)
    found = [sequence for sequence, _ in _tail(make_writer(tmp_path), 0)]
    assert found == list(range(found[0], 51)) and 10 < len(found) < 45


def test_a_lost_checkpoint_only_costs_time(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(2, 9)
    writer = make_writer(tmp_path, rotate_octets=100)
    for event in outbox.events(2):
        writer.store([event])
    (tmp_path / "checkpoint.json").write_text("{", encoding="ascii")
    assert make_writer(tmp_path).position(2) == 9


def test_a_full_disk_stores_nothing_and_recording_resumes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 4)
    events = outbox.events(0)
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


async def test_a_full_disk_loses_no_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = FakeOutbox()
    pump = Pump(outbox, [make_writer(tmp_path)], stopwatch=lambda: 0.0)
    await pump.begin()
    await pump.round()
    outbox.add(2)
    real = os.fsync
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(OSError, match="No space"):
        await pump.round()
    monkeypatch.setattr(os, "fsync", real)
    assert await pump.round() == 1


def test_a_gap_is_counted(tmp_path: Path) -> None:
    outbox, lost = FakeOutbox(), list[int]()
    outbox.add(0, 6)
    writer = make_writer(tmp_path, missing=lost.append)
    writer.store(outbox.events(0)[:2])
    writer.store(outbox.events(0)[4:])
    assert lost == [2]
    body = outbox.events(0)[0].body
    writer.store([OutboxEvent(0, EPOCH_EVENTS + 1, body), OutboxEvent(0, 2 * EPOCH_EVENTS + 1, body)])
    assert lost == [2], "each epoch counts from 1"
    writer.store([OutboxEvent(0, 4 * EPOCH_EVENTS + 3, body)])
    assert lost == [2, 2]


async def test_a_folder_with_records_of_another_ledger_is_refused(tmp_path: Path) -> None:
    outbox = FakeOutbox()
    outbox.add(0, 5)
    make_writer(tmp_path).store(outbox.events(0))
    empty, other = FakeOutbox(), FakeOutbox()
    other.add(0, 7, account="00-bb")
    for wrong in (empty, other):
        with pytest.raises(ForeignOutboxError):
            await Pump(wrong, [make_writer(tmp_path)]).begin()
        assert wrong.trims == 0
    await Pump(outbox, [make_writer(tmp_path)]).begin()


# -- many partitions


async def test_only_partitions_with_a_hint_are_read(tmp_path: Path) -> None:
    outbox, now = FakeOutbox(16_384), [0.0]
    pump = Pump(outbox, [make_writer(tmp_path)], stopwatch=lambda: now[0])
    await pump.begin()
    await pump.round()
    assert sorted(outbox.reads) == list(range(16_384)), "once at the start"
    outbox.reads.clear()
    outbox.add(16_000)
    outbox.add(3)
    assert await pump.round() == 2
    assert outbox.reads == [3, 16_000]


async def test_a_lost_hint_costs_time_and_no_record(tmp_path: Path) -> None:
    """The work per second of the search without hints is bounded."""
    outbox, now = FakeOutbox(16_384), [0.0]
    pump = Pump(outbox, [make_writer(tmp_path)], stopwatch=lambda: now[0])
    await pump.begin()
    await pump.round()
    outbox.add(9_000, hint=False)
    moved = 0
    for _ in range(61):
        now[0] += 1.0
        outbox.reads.clear()
        moved += await pump.round()
        assert len(outbox.reads) <= 274
    assert moved == 1 and ids(tmp_path) == ["p9000-1"]
