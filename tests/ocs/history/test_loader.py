"""Record files → rows: every record once, whatever happens to files, database and process."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, Engine, text

from ocs.history.loader import Loader
from ocs.history.position import PositionMovedError
from ocs.history.reader import ForeignFolderError, MissingFileError
from ocs.history.resume import ResumeError, resume
from ocs.history.rows import Loaded
from ocs.history.schema import ACCOUNT_MONTHS, EVENTS, MOVES, PERIODS, TRANSACTIONS, USAGE
from ocs.outbox.files import RecordsError
from tests.ocs.history.records import DAY, HOUR, T0, Folder, Journal, load_all, loader, rows, use
from tests.rules import rule

USED = ("session_id", "rate", "used", "debit_micro_eur", "bucket_units", "closed")


def units(engine: Engine) -> list[tuple[object, ...]]:
    return rows(engine, USAGE, *USED)


@pytest.mark.parametrize("octets", [1 << 20, 500])
def test_the_records_of_a_session_become_one_row_for_each_rate(engine: Engine, folder: Folder, octets: int) -> None:
    """In one batch, and in a batch each."""
    journal = Journal()
    folder.append(
        journal.line("01-a", "opened", T0, credit_in=5_000_000),
        journal.charge("01-a", T0 + HOUR, "s", use(used=100, debit=70_000, units=[["M.voice", 60]])),
        journal.charge("01-a", T0 + 2 * HOUR, "s", use(used=50, debit=5_000), use("premium", 10, 990_000)),
        journal.charge("01-a", T0 + 2 * HOUR + 9, "s", use(used=5, units=[["M.voice", 3], ["X", 1]]), closed=True),
    )
    load_all(engine, folder, octets)
    assert units(engine) == [
        ("s", "premium", 10, 990_000, {}, False),
        ("s", "voice.home.national", 155, 75_000, {"M.voice": 63, "X": 1}, True),
    ]
    found = rows(engine, USAGE, "event_id", "at", "started_at", "place", "direction")
    assert {row[2] for row in found} == {T0}
    assert ("p01-4", T0 + 2 * HOUR + 9, T0, "29340", "mo") in found


def test_a_session_that_is_recorded_again_within_the_hour_stays_one_row(engine: Engine, folder: Folder) -> None:
    """Its second record looks like a first one. Others of its batch are inserted too."""
    journal, each = Journal(), loader(engine, folder)
    folder.append(journal.charge("01-a", T0 + 5, "s", use(used=3, debit=1)))
    assert each.step()
    folder.append(
        *(journal.charge("01-a", T0 + 6, sid, use(used=4, debit=2, units=[["B", 9]])) for sid in ("s", "t")),
        journal.line("01-a", "topup", T0 + 7, credit_in=1),
    )
    assert each.step()
    found = rows(engine, USAGE, "session_id", "used", "debit_micro_eur", "bucket_units")
    assert found == [("s", 7, 3, {"B": 9}), ("t", 4, 2, {"B": 9})]
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 1


def test_a_session_over_the_end_of_a_month_has_a_row_in_each(engine: Engine, folder: Folder) -> None:
    journal, end = Journal(), T0 + 11 * HOUR
    folder.append(
        journal.charge("01-a", end - 60, "s", use(used=7)), journal.charge("01-a", end + 60, "s", use(used=9))
    )
    load_all(engine, folder)
    assert rows(engine, USAGE, "month", "used") == [(202611, 7), (202612, 9)]


@rule("HOT-REC-1")
@rule("HOT-RAT-6")
def test_the_last_three_digits_are_not_stored_and_premium_is_told_apart(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    premium = use("premium", debit=1, detail="29340 mo 090123456\x1fpremium")
    folder.append(
        journal.charge("01-a", T0, "s1", use()),
        journal.charge("01-a", T0, "s2", premium),
        journal.charge("01-a", T0, "s3", use("emergency", detail="29340 mo tel:112")),
        journal.charge("01-a", T0, "s4", use("data.home", detail="29340 mo internet"), ctx="data"),
        journal.line("01-a", "expired", T0, sid="s5", ctx="sms", svc=[use(detail="29340 mo My Bank")], started=T0),
    )
    load_all(engine, folder)
    assert rows(engine, USAGE, "session_id", "party", "itemised", "free") == [
        ("s1", "tel:+38641038xxx", "", False),
        ("s2", "090123xxx", "premium", False),
        ("s3", "", "", True),
        ("s4", "internet", "", False),
        ("s5", "My Bank", "", False),
    ]
    assert "services" not in str(rows(engine, EVENTS, "body"))


@rule("HOT-REC-2")
def test_money_periods_and_moves(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    folder.append(
        journal.line("01-a", "opened", T0, credit_in=3_000_000, package="MAXI"),
        journal.line("01-a", "topup", T0 + 1, credit_in=20_000_000, ref="R1", channel="voucher", by="key:7", promo=5),
        journal.line("01-a", "package", T0 + 2, id="MAXI", ok=1, debit=9_990_000, price=9_990_000, period_end=T0 + DAY),
        journal.line("01-a", "package", T0 + 3, id="SMS", ok=1, debit=7_000_000, price=7_000_000, period_end=T0 + DAY),
        journal.line("01-a", "package", T0 + 4, id="MAXI", ok=0, debit=0, price=9_990_000),
        journal.line("01-a", "state", T0 + 5, state="b", was="a", reason="lost"),
        journal.line("01-a", "use", T0 + 6, sid="s", typ="U", n=1, debit=100),
        journal.line("01-a", "moved_out", T0 + 7, to="02-b", debit=6_009_900),
        journal.line("02-b", "moved_in", T0 + 7, of="01-a", credit_in=6_009_900),
    )
    load_all(engine, folder)
    assert rows(engine, TRANSACTIONS, "at", "kind", "what", "reference", "channel", "acted_by", "credit_micro_eur") == [
        (T0, "opened", "MAXI", "", "", "", 3_000_000),
        (T0 + 1, "topup", "", "R1", "voucher", "key:7", 23_000_000),
        (T0 + 2, "package", "MAXI", "", "", "", 13_010_000),
        (T0 + 3, "package", "SMS", "", "", "", 6_010_000),
        (T0 + 7, "moved_in", "01-a", "", "", "", 6_009_900),
        (T0 + 7, "moved_out", "02-b", "", "", "", 0),
    ]
    assert len(rows(engine, EVENTS, "event_id")) == 8, "all but use"
    (state,) = (row[1] for row in rows(engine, EVENTS, "kind", "body") if row[0] == "state")
    assert (state["state"], state["was"], state["reason"]) == ("blocked", "a", "lost")
    assert rows(engine, PERIODS, "account", "begins_at", "ends_at") == [("01-a", T0 + 2, T0 + DAY)]
    assert rows(engine, MOVES, "account", "moved_from") == [("02-b", "01-a")]
    sums = ("account", "opening_micro_eur", "credit_in_micro_eur", "debit_micro_eur", "use_micro_eur")
    assert rows(engine, ACCOUNT_MONTHS, *sums, "recorded_micro_eur", "credit_micro_eur") == [
        ("01-a", 0, 23_000_000, 23_000_000, 100, 0, 0),
        ("02-b", 0, 6_009_900, 0, 0, 0, 6_009_900),
    ]


def test_texts_that_a_peer_invents_do_no_harm(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    sid = "a\tb\\N\nc\r\x00;'\"š\\"
    folder.append(
        journal.charge("01-a", T0, sid, use(detail="29340 mo \x00tel:š\t123456")),
        journal.line("01-a", "topup", T0, credit_in=1, ref=sid, note="\x00x\\u0000"),
    )
    load_all(engine, folder)
    clean = sid.replace("\x00", "")
    assert rows(engine, USAGE, "session_id", "party") == [(clean, "tel:š\t123xxx")]
    assert rows(engine, TRANSACTIONS, "reference") == [(clean,)]
    (body,) = (row[0] for row in rows(engine, EVENTS, "body"))
    assert body["note"] == "x\\u0000", "only the character itself is left out"


# -- files


def test_an_incomplete_line_is_read_when_it_is_complete(engine: Engine, folder: Folder) -> None:
    journal, path = Journal(), folder.begin()
    each = loader(engine, folder)
    assert not each.step()
    first, second = (journal.line("01-a", "topup", T0, credit_in=n) for n in (1, 2))
    folder.append(first, second[:40])
    assert each.step() and not each.step() and each.waiting_octets() == 40
    folder.append(second[40:])
    assert each.step() and not each.step() and each.waiting_octets() == 0
    assert [row[0] for row in rows(engine, TRANSACTIONS, "credit_in_micro_eur")] == [1, 2]
    assert path.exists()


def test_files_are_read_one_after_the_other(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    each = loader(engine, folder)
    for number in range(1, 8):
        folder.begin()
        folder.append(journal.line("01-a", "topup", T0, credit_in=number))
        if number % 3 == 0:
            while each.step():
                pass
    load_all(engine, folder)
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 7


def test_a_file_that_was_cut_off_and_written_anew_gives_each_event_once(engine: Engine, folder: Folder) -> None:
    """A power cut, or a full disk: lines that were loaded are gone, and come again in another order."""
    journal = Journal()
    kept, *lost = (journal.line(f"0{n % 3}-a", "topup", T0 + n, credit_in=1 + n) for n in range(9))
    path = folder.begin()
    folder.append(kept, *lost)
    each = loader(engine, folder)
    assert each.step()
    path.write_bytes(kept)
    while each.step():
        pass
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 9
    again = [line for n in (1, 2, 0) for line in lost if b'"account":"0%d-a"' % n in line]
    folder.append(*again, journal.line("01-a", "topup", T0, credit_in=77))
    while each.step():
        pass
    load_all(engine, folder)
    assert sorted(row[0] for row in rows(engine, TRANSACTIONS, "credit_in_micro_eur")) == [*range(1, 10), 77]


def test_events_after_a_rollback_of_the_ledger_are_loaded(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    folder.append(*(journal.line("01-a", "topup", T0, credit_in=n) for n in (1, 2, 3)))
    journal.roll_back(1, epoch=1)
    folder.append(*(journal.line("01-a", "topup", T0, credit_in=n) for n in (4, 5)))
    journal.roll_back(1, epoch=2)
    folder.append(journal.line("01-a", "topup", T0, credit_in=6))
    load_all(engine, folder)
    ids = ["p01-1", "p01-2", "p01-3", "p01.1-1", "p01.1-2", "p01.2-1"]
    assert [row[0] for row in rows(engine, TRANSACTIONS, "event_id")] == ids


def test_events_that_are_missing_between_records_are_counted(engine: Engine, folder: Folder) -> None:
    journal, counted = Journal(), list[int]()
    lines = [journal.line("01-a", "topup", T0, credit_in=1) for _ in range(9)]
    folder.append(*lines[:3], *lines[7:])
    each = Loader(engine, folder.path, loader(engine, folder)._projection, missing=counted.append)
    assert each.step()
    assert counted == [4]


def test_a_missing_file_stops_the_loading_until_it_is_back(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    paths = []
    for _ in range(3):
        paths.append(folder.begin())
        folder.append(journal.line("01-a", "topup", T0, credit_in=1))
    each = loader(engine, folder)
    assert each.step()
    hidden = paths[1].rename(folder.path / "elsewhere")
    for _ in range(2):
        with pytest.raises(MissingFileError, match=r"file 2 of the records is missing.* resume records-000003"):
            each.step()
    hidden.rename(paths[1])
    while each.step():
        pass
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 3


def test_a_file_that_is_deleted_while_it_is_read_stops_the_loading(engine: Engine, folder: Folder) -> None:
    journal, path = Journal(), folder.begin()
    folder.append(journal.line("01-a", "topup", T0, credit_in=1))
    load_all(engine, folder)
    folder.begin()
    path.unlink()
    with pytest.raises(MissingFileError, match="was not loaded to its end: restore it"):
        load_all(engine, folder)


@pytest.mark.parametrize(
    "damage",
    [
        *(b"\x00\x00\x00\n", b"\n", b"7\n", b"{}\n", b"[]\n", b'{"event_id":"p1-7","kind":"topup"}\n'),
        *(b'{"event_id":"p99999999-7"}\n', b'{"event_id":"p1-99999999999999999999"}\n', b'{"event_id":"p1--7"}\n'),
        b'{"event_id":"p1-7","kind":"topup","account":"01-a","time":"yesterday"}\n',
        b'{"event_id":"p1-7","kind":"charge","account":"01-a","time":"2026-11-30T13:00:00Z","services":[{}]}\n',
    ],
)
def test_a_damaged_line_stops_the_loading(engine: Engine, folder: Folder, damage: bytes) -> None:
    journal = Journal()
    good = journal.line("01-a", "topup", T0, credit_in=1)
    folder.append(good, damage)
    with pytest.raises(RecordsError, match="a line is no record; the file is damaged"):
        load_all(engine, folder)
    assert rows(engine, TRANSACTIONS, "event_id") == []


def test_a_new_database_is_loaded_from_the_oldest_file(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    for number in range(3):
        path = folder.begin()
        folder.append(journal.line("01-a", "topup", T0, credit_in=1))
        if number == 0:
            path.unlink()
    load_all(engine, folder)
    assert [row[0] for row in rows(engine, TRANSACTIONS, "event_id")] == ["p01-2", "p01-3"]


@pytest.mark.parametrize("is_empty", [True, False])
def test_an_old_database_beside_a_new_folder_is_refused(engine: Engine, folder: Folder, is_empty: bool) -> None:
    journal = Journal()
    folder.append(journal.line("01-a", "topup", T0, credit_in=1))
    load_all(engine, folder)
    other = Folder(folder.path.with_name("other"))
    if not is_empty:
        other.begin("2027-01-01T00:00:00Z")
        other.append(Journal().line("01-a", "topup", T0, credit_in=7))
    with pytest.raises(ForeignFolderError, match="restore that folder, name an empty database"):
        load_all(engine, other)


# -- transactions


class Hook:
    def __init__(self) -> None:
        self.seen: list[Loaded] = []
        self.fails = False

    def add(self, connection: Connection, events: Sequence[Loaded]) -> None:
        self.seen += events
        connection.execute(text("INSERT INTO moves VALUES ('hook', :count)"), {"count": str(len(events))})
        if self.fails:
            raise RuntimeError("the hook fails")


def test_a_hook_adds_its_rows_in_the_transaction_of_the_batch(engine: Engine, folder: Folder) -> None:
    journal, hook = Journal(), Hook()
    folder.append(journal.line("01-a", "topup", T0, credit_in=1, ref="R"), journal.charge("01-a", T0, "s", use(used=5)))
    each = loader(engine, folder, [hook])
    hook.fails = True
    with pytest.raises(RuntimeError):
        each.step()
    assert rows(engine, MOVES, "account") == rows(engine, TRANSACTIONS, "event_id") == rows(engine, USAGE, "used") == []
    hook.fails = False
    hook.seen.clear()
    assert each.step()
    assert rows(engine, MOVES, "account", "moved_from") == [("hook", "1")]
    assert [(each.kind, each.at, each.account, each.record["reference"]) for each in hook.seen] == [
        ("topup", T0, "01-a", "R")
    ]


def test_of_two_loaders_at_once_one_stores_the_batch(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    folder.append(journal.line("01-a", "topup", T0, credit_in=1))
    first, second = loader(engine, folder), loader(engine, folder)
    assert first.step() and not second.step()
    folder.append(journal.line("01-a", "topup", T0, credit_in=2))
    assert first.step()
    with pytest.raises(PositionMovedError):
        second.step()
    assert not second.step()
    assert len(rows(engine, TRANSACTIONS, "event_id")) == 2


# -- going on without a lost file


def test_the_loading_goes_on_with_the_file_that_is_named(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    paths = []
    for number in range(3):
        paths.append(folder.begin())
        folder.append(journal.line("01-a", "topup", T0 + number, credit_in=1 + number))
        if number == 0:
            load_all(engine, folder)
    paths[1].unlink()
    with pytest.raises(ResumeError, match="has no file records-9"):
        resume(engine, folder.path, "records-9")
    resume(engine, folder.path, paths[2].name)
    load_all(engine, folder)
    resume(engine, folder.path, paths[0].name)
    paths[2].unlink()
    load_all(engine, folder)
    assert [row[0] for row in rows(engine, TRANSACTIONS, "credit_in_micro_eur")] == [1, 3]


def test_records_of_another_ledger_are_not_loaded_into_the_same_database(engine: Engine, folder: Folder) -> None:
    journal, other = Journal(), Folder(folder.path.with_name("other"))
    folder.append(*(journal.line("01-a", "topup", T0 + n, credit_in=1) for n in range(9)))
    load_all(engine, folder)
    path = other.begin("2027-01-01T00:00:00Z")
    other.append(Journal().line("01-a", "topup", T0 + DAY, credit_in=7))
    with pytest.raises(ResumeError, match=r"are of another ledger.*name an empty one"):
        resume(engine, other.path, path.name)
    # The same ledger, whose folder was lost: its last event is kept in the outbox and comes again.
    path = other.begin("2027-01-01T00:00:01Z")
    journal.roll_back(1, epoch=0, sequence=8)
    journal.credit["01-a"] = 8
    other.append(
        journal.line("01-a", "topup", T0 + 8, credit_in=1), journal.line("01-a", "topup", T0 + DAY, credit_in=5)
    )
    resume(engine, other.path, path.name)
    load_all(engine, other)
    assert [row[0] for row in rows(engine, TRANSACTIONS, "credit_in_micro_eur")] == [*([1] * 9), 5]
