"""What is erased when, and what an erasure on request leaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, text

from ocs.history import retention
from ocs.history.erasure import erase_person
from ocs.history.partitions import existing, following, make_ahead
from ocs.history.periods import PERIOD_S, kept_from, period_starts
from ocs.history.resume import standing
from ocs.history.retention import Keep, delete_files, erase_money, erase_use
from ocs.history.schema import ACCOUNT_MONTHS, EVENTS, PERIODS, TRANSACTIONS, USAGE
from tests.ocs.history.records import DAY, T0, Folder, Journal, load_all, rows, use
from tests.rules import rule

KEEP = Keep(3, 7, 150)


@rule("HOT-REC-1")
@pytest.mark.parametrize(
    ("periods", "now", "expected"),
    [
        # No tariff: windows of 30 days, back from now.
        ([], 100 * DAY, [70, 40, 10, -20]),
        # In the fifth period.
        ([(n * 30, n * 30 + 30) for n in range(5)], 125, [120, 90, 60, 30]),
        # A tariff of another length, a change of tariff in the middle of a period.
        ([(0, 31), (31, 62), (62, 93), (70, 100), (100, 130)], 101, [100, 70, 62, 31]),
        # Fewer periods than are kept.
        ([(90, 120)], 100, [90, 60, 30, 0]),
        # The last one is over: periods go on in the calendar, so that use does not stay for ever.
        ([(0, 30)], 29, [0, -30, -60, -90]),
        ([(0, 30)], 30, [30, 0, -30, -60]),
        ([(0, 30)], 95, [90, 60, 30, 0]),
        ([(0, 30)], 400, [390, 360, 330, 300]),
        # One that has not begun.
        ([(0, 30), (60, 90)], 40, [30, 0, -30, -60]),
    ],
)
def test_the_billing_periods_that_are_kept(periods: list[tuple[int, int]], now: int, expected: list[int]) -> None:
    if periods:
        now *= DAY
    known = [(begins * DAY, ends * DAY) for begins, ends in periods]
    assert [start // DAY for start in period_starts(known, now, 4)] == expected
    assert kept_from(known, now, 3) == expected[-1] * DAY


def history(folder: Folder, accounts: int = 1) -> Journal:
    """Ten billing periods of accounts, with a call, a top-up, a fee and an arrival in each."""
    journal = Journal()
    for number in range(10):
        at = T0 + number * PERIOD_S
        for account in (f"0{n % 4}-{n}" for n in range(accounts)):
            fee: dict[str, Any] = {"id": "MAXI", "ok": 1, "debit": 5, "price": 5, "period_end": at + PERIOD_S}
            folder.append(
                journal.line(account, "topup", at, credit_in=100),
                journal.line(account, "package", at + 1, **fee),
                journal.charge(account, at + 2, f"s{number}", use(debit=7), debit=7, started=at + 2),
                journal.line(account, "arrived", at + 3, country="HR"),
                journal.line(account, "state", at + 4, state="b"),
            )
    return journal


def everything_erased(engine: Engine, now: int) -> int:
    erased, after = erase_use(engine, "", now, KEEP)
    while after:
        more, after = erase_use(engine, after, now, KEEP)
        erased += more
    return erased


@rule("HOT-REC-1")
def test_itemised_use_is_erased_after_three_past_periods_and_money_stays(
    engine: Engine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAGE_ACCOUNTS", 2)
    history(folder, accounts=5)
    load_all(engine, folder)
    now = T0 + 9 * PERIOD_S + 5
    assert everything_erased(engine, now) == 5 * 6 * 2
    assert everything_erased(engine, now) == 0
    kept = sorted({row[0] for row in rows(engine, USAGE, "session_id")})
    assert kept == ["s6", "s7", "s8", "s9"]
    assert len(rows(engine, PERIODS, "account")) == 5 * 4
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 5 * 20
    kinds = [row[0] for row in rows(engine, EVENTS, "kind")]
    assert (kinds.count("arrived"), kinds.count("state")) == (5 * 4, 5 * 10)


def test_money_is_erased_after_seven_years(engine: Engine, folder: Folder) -> None:
    history(folder)
    load_all(engine, folder)
    months = sorted({row[0] for row in rows(engine, ACCOUNT_MONTHS, "month")})
    assert months[0] == 202611
    for years, left in ((6, 20), (7, 18)):
        erase_money(engine, 202612 + years * 100, KEEP)
        assert len(rows(engine, TRANSACTIONS, "event_id")) == left
    assert {row[0] for row in rows(engine, ACCOUNT_MONTHS, "month")} == {*months[1:]}
    assert min(row[0] for row in rows(engine, EVENTS, "month")) == min(row[0] for row in rows(engine, USAGE, "month"))


def test_partitions_are_made_ahead_and_dropped_when_they_are_empty(engine: Engine, folder: Folder) -> None:
    if engine.dialect.name != "postgresql":
        return
    history(folder)
    load_all(engine, folder)
    with engine.begin() as connection:
        make_ahead(connection, 202712)
        assert {"usage_202712", "usage_202801", "events_202802"} <= existing(connection)
        connection.execute(text("DELETE FROM usage WHERE month < 202701"))
    erase_money(engine, 202702, KEEP)
    with engine.connect() as connection:
        found = existing(connection)
    assert not {"usage_202611", "usage_202612"} & found
    assert {"usage_202701", "usage_202712", "events_202611", "transactions_202611"} <= found


def test_the_month_after() -> None:
    steps = {(202611, 1): 202612, (202612, 1): 202701, (202701, -1): 202612, (202611, -84): 201911}
    assert {step: following(*step) for step in steps} == steps


# -- files


def test_old_files_that_are_loaded_are_deleted(engine: Engine, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TAIL_OCTETS", 300)
    journal, paths = Journal(), list[Path]()
    for number in range(6):
        paths.append(folder.begin())
        folder.append(journal.line("01-a", "topup", T0, credit_in=1), path=paths[-1])
        os.utime(paths[-1], (T0, T0 + number * DAY))
        if number == 4:
            load_all(engine, folder)
    at = standing(engine)
    assert delete_files(folder.path, at, T0 + 200 * DAY, Keep(3, 7, 0)) == []
    assert delete_files(folder.path, at, T0 + 152.5 * DAY, KEEP) == [paths[n].name for n in (2, 1, 0)]
    assert delete_files(folder.path, at, T0 + 900 * DAY, KEEP) == [], "neither what is not loaded nor the last octets"
    assert [path.exists() for path in paths] == [False] * 3 + [True] * 3
    load_all(engine, folder)
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 6


# -- erasure of a person


def test_a_person_is_erased_as_far_as_nothing_must_be_kept(engine: Engine, folder: Folder) -> None:
    folder.begin()
    journal = history(folder, accounts=2)
    old = max(folder.path.glob("records-*"))
    at = T0 + 9 * PERIOD_S + 100
    folder.begin()
    folder.append(
        journal.line("00-0", "moved_out", at, to="03-z", debit=journal.credit["00-0"]),
        journal.line("03-z", "moved_in", at, of="00-0", credit_in=880),
        journal.charge("03-z", at + 1, "s10", use(debit=7), debit=7, started=at + 1),
    )
    load_all(engine, folder)
    status = old.stat()
    before = [orjson.loads(line) for line in old.read_bytes().splitlines()]
    done = erase_person(engine, folder.path, ("03-z",), at + 5)
    assert (done.rows, done.file_lines, done.before) == (18, 10, T0 + 9 * PERIOD_S + 1)
    mine = [row[1] for row in rows(engine, USAGE, "account", "session_id") if row[0] != "01-1"]
    assert sorted(mine) == ["s10", "s9"], "the current period stays"
    assert len([row for row in rows(engine, USAGE, "account") if row[0] == "01-1"]) == 10
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 42
    after = [orjson.loads(line) for line in old.read_bytes().splitlines()]
    assert old.stat().st_mtime_ns == status.st_mtime_ns, "its retention runs on"
    for was, now in zip(before, after, strict=True):
        if was["account"] == "00-0" and "services" in was:
            assert "38641038107" in str(was) and "38641038" not in str(now)
            was["services"][0]["detail"] = now["services"][0]["detail"] = ""
        assert was == now
    assert erase_person(engine, folder.path, ("03-z",), at + 6).file_lines == 0
    load_all(engine, folder)


def test_an_erasure_that_is_interrupted_is_finished_by_the_next_one(
    engine: Engine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends before a file takes the place of the one before: each file is as it was, or is done."""
    folder.begin()
    history(folder)
    for _ in range(2):
        folder.begin()
        folder.append(Journal().charge("00-0", T0, "x", use(debit=1), debit=1))
    folder.begin()
    folder.append(Journal(64).line("40-9", "state", T0, state="a"))
    load_all(engine, folder)
    replaced, replace = [], Path.replace

    def ends_at_the_second(path: Path, target: Path) -> Path:
        if len(replaced) == 1:
            raise KeyboardInterrupt
        replaced.append(target)
        return replace(path, target)

    files = sorted(folder.path.glob("records-*.jsonl"))
    before = {path: path.read_bytes() for path in files}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", ends_at_the_second)
        erase_person(engine, folder.path, ("00-0",), T0 + 20 * PERIOD_S)
    assert [path.read_bytes() != before[path] for path in files] == [True, False, False, False]
    assert files[1].with_suffix(".new").exists()
    files[1].with_suffix(".new").rename(files[3].with_suffix(".new"))
    done = erase_person(engine, folder.path, ("00-0",), T0 + 20 * PERIOD_S)
    assert done.file_lines == 2
    assert all(b"38641038" not in path.read_bytes() for path in files)
    assert not list(folder.path.glob("*.new"))
