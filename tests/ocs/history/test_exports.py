"""HOT-REC-2: an export has every record of its range once, and its sums are the balances. HOT-REC-1: masked."""

from __future__ import annotations

import csv
import json
import random
import re
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest

from ocs.catalogue.versions import Catalogues
from ocs.history.exports.export import Wanted, export, export_rows, files_of, units_of
from ocs.history.exports.schema import COLUMNS, NAMES, Kind
from ocs.history.exports.writers import ExportError, Format
from ocs.outbox.files import RecordsError
from ocs.outbox.reading import CLOCKS_DIFFER_S, Range
from ocs.values.masking import masked_party
from ocs.values.moment import utc_text
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import AUSTRIA, HOME, MB, SERBIA, SMS, octets, sms_to, towards
from tests.ocs.history.record_files import write_file, write_records
from tests.ocs.rules.conftest import world as world
from tests.ocs.rules.test_call_forwarding import C
from tests.ocs.rules.world import Subscriber, World, granted
from tests.rules import rule

T0 = 1_793_437_200
"""2026-10-31T09:00:00Z."""
ALWAYS = Range(0, 2**32)
PAGE = Path(__file__).parents[3] / "docs" / "RECORDS.md"
TOP_UP = {
    "event_id": "p01-1", "kind": "topup", "time": utc_text(T0), "account": "01-aa", "reference": "R1",
    "credit_in_micro_eur": 10_000_000, "credit_micro_eur": 10_000_000, "by": "cli",
}  # fmt: skip
USE = {
    "event_id": "p01-2", "kind": "use", "time": utc_text(T0 + 60), "account": "01-aa", "session_id": "ims;1",
    "request_type": "U", "request_number": 1, "debit_micro_eur": 69_000, "credit_micro_eur": 9_931_000,
}  # fmt: skip
CALL = {
    "event_id": "p01-3", "kind": "charge", "time": utc_text(T0 + 120), "account": "01-aa", "session_id": "ims;1",
    "context": "ims", "request_type": "T", "request_number": 2, "result_code": 2001, "closed": True,
    "started": utc_text(T0), "debit_micro_eur": 69_000, "credit_micro_eur": 9_862_000,
    "services_debit_micro_eur": 138_000,
    "services": [{
        "key": "-", "label": "voice.home.national", "price": "voice-national@0a1b2c/1", "used": 120,
        "debit_micro_eur": 138_000, "vat_percent": 22, "net_micro_eur": 113_115, "detail": "29340 mo +38631234567",
    }],
}  # fmt: skip
REFUND = {
    "event_id": "p01-4", "kind": "refund", "time": utc_text(T0 + 180), "account": "01-aa", "session_id": "sms;1",
    "context": "sms", "credit_in_micro_eur": 69_000, "credit_micro_eur": 9_931_000,
    "services": [{
        "key": "-", "price": "sms.home.national@0a1b2c/1", "used": -1, "credit_in_micro_eur": 69_000,
        "vat_percent": 22, "net_micro_eur": 56_557,
    }],
}  # fmt: skip
BARRED = {
    "event_id": "p01-5", "kind": "equipment", "time": utc_text(T0 + 240), "account": "01-aa", "imei": "35693803564380",
}  # fmt: skip
FIVE = (TOP_UP, USE, CALL, REFUND, BARRED)


def catalogues() -> Catalogues:
    return Catalogues([fixed_catalogue()], lambda: T0)


def exported(folder: Path, out: Path, form: Format = Format.CSV, **wanted: Any) -> Path:
    what = Wanted(wanted.pop("range", ALWAYS), **wanted)
    export(files_of(folder, what), what, units_of(catalogues()), form=form, output=str(out))
    return out


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def all_rows(folder: Path, kind: Kind, **more: Any) -> list[dict[str, Any]]:
    what = Wanted(ALWAYS, kind, **more)
    return list(export_rows(files_of(folder, what), what, units_of(catalogues())))


# -- rows


@rule("HOT-REC-2")
def test_the_rows_of_five_records(tmp_path: Path) -> None:
    write_file(tmp_path, 1, T0, *FIVE)
    found = csv_rows(exported(tmp_path, tmp_path / "all.csv"))
    assert list(found[0]) == list(NAMES)
    assert [(row["event_id"], row["line"], row["kind"]) for row in found] == [
        ("p01-1", "0", "topup"), ("p01-2", "0", "use"), ("p01-3", "0", "charge"), ("p01-3", "1", "charge"),
        ("p01-4", "0", "refund"), ("p01-4", "1", "refund"), ("p01-5", "0", "equipment"),
    ]  # fmt: skip
    line = {name: value for name, value in found[3].items() if value}
    assert line == {
        "event_id": "p01-3", "line": "1", "kind": "charge", "time": "2026-10-31T09:02:00Z", "account": "01-aa",
        "session_id": "ims;1", "context": "ims", "request_type": "T", "request_number": "2", "result_code": "2001",
        "started": "2026-10-31T09:00:00Z", "closed": "1", "late": "0", "service_key": "-",
        "rate": "voice.home.national", "price": "voice-national@0a1b2c/1", "catalogue_version": "1",
        "network": "29340", "direction": "mo", "other_party": "+38631234xxx", "unit": "seconds", "used": "120",
        "charged_micro_eur": "138000", "vat_percent": "22", "net_micro_eur": "113115",
    }  # fmt: skip
    assert (found[5]["charged_micro_eur"], found[5]["net_micro_eur"], found[5]["used"]) == ("-69000", "-56557", "-1")
    assert (found[0]["reference"], found[0]["by"], found[0]["credit_in_micro_eur"]) == ("R1", "cli", "10000000")
    assert found[6]["more"] == '{"imei":"35693803xxxxxx"}'


@rule("HOT-REC-2")
def test_money_is_in_a_row_once(tmp_path: Path) -> None:
    """10.00 in; two minutes at 0.069 EUR; an SMS of 0.069 EUR refunded: 9.931 EUR are left."""
    write_file(tmp_path, 1, T0, *FIVE)
    money = all_rows(tmp_path, Kind.MONEY)
    assert [row["kind"] for row in money] == ["topup", "use", "charge", "refund"]
    assert sum((row["credit_in_micro_eur"] or 0) - (row["debit_micro_eur"] or 0) for row in money) == 9_931_000
    usage = all_rows(tmp_path, Kind.USAGE)
    assert [(row["kind"], row["charged_micro_eur"]) for row in usage] == [("charge", 138_000), ("refund", -69_000)]
    assert not any(row["debit_micro_eur"] or row["credit_in_micro_eur"] for row in usage)


@rule("HOT-REC-2")
@pytest.mark.parametrize("seed", range(4))
async def test_the_sums_of_all_records_are_the_balances(world: World, tmp_path: Path, seed: int) -> None:
    """Whatever is used, bought and topped up, by whomever: Σ money = credit; Σ usage = what use has moved."""
    chance = random.Random(seed)
    users = [await world.subscriber(chance.randint(1, 30), chance.choice([None, "MINI", "MAXI"])) for _ in range(4)]
    for number in range(40):
        user = chance.choice(users)
        world.now += chance.randint(1, 5 * 86_400)
        if chance.random() < 0.2:
            await user.top_up(chance.randint(1, 9), f"R{number}")
        elif (await user.view()).state == "active":
            plmn = chance.choice([HOME, AUSTRIA, SERBIA])
            await some_use(user, chance, plmn)
    await write_records(world, tmp_path, rotate_octets=4096)
    sums: Counter[str] = Counter()
    for row in all_rows(tmp_path, Kind.MONEY):
        sums[row["account"]] += (row["credit_in_micro_eur"] or 0) - (row["debit_micro_eur"] or 0)
    assert {user.account_id: await user.credit() for user in users} == {
        each.account_id: sums[each.account_id] for each in users
    }
    everything = all_rows(tmp_path, Kind.ALL)
    use = [row for row in everything if row["session_id"]]
    moved = sum((row["debit_micro_eur"] or 0) - (row["credit_in_micro_eur"] or 0) for row in use)
    assert moved == sum(row["charged_micro_eur"] or 0 for row in use) > 0
    assert [row for row in everything if row["line"]] == all_rows(tmp_path, Kind.USAGE)
    assert len({(row["event_id"], row["line"]) for row in everything}) == len(everything)


async def some_use(user: Subscriber, chance: random.Random, plmn: str) -> None:
    kind = chance.choice(["message", "call", "data"])
    if kind == "message":
        await user.message(SMS, sms_to("+38631234567"))
    elif kind == "call":
        await user.may_call(towards(C, plmn))
    else:
        await some_data(user, chance.randint(1, 9 * MB), plmn)


async def some_data(user: Subscriber, amount: int, plmn: str) -> None:
    session = user.data(plmn)
    opened = await session.take("I", octets(want=0))
    if opened.result_code == 2001:
        allowed = granted(opened.multiple_services_credit_control[0])
        await session.take("T", octets(used=min(amount, allowed)))


# -- forms


def test_all_forms_say_the_same(tmp_path: Path) -> None:
    write_file(tmp_path, 1, T0, *FIVE)
    lines = exported(tmp_path, tmp_path / "out.jsonl", Format.JSONL).read_bytes().splitlines()
    objects = [orjson.loads(line) for line in lines]
    table = pyarrow.parquet.read_table(exported(tmp_path, tmp_path / "out.parquet", Format.PARQUET))
    assert table.column_names == list(NAMES)
    columns = table.to_pylist()
    cells = csv_rows(exported(tmp_path, tmp_path / "out.csv"))
    for one, other, third in zip(objects, columns, cells, strict=True):
        for column in COLUMNS:
            value = other[column.name]
            text = value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else value
            assert one.get(column.name) == text
            assert third[column.name] == (
                "" if text is None else str(int(text)) if isinstance(text, bool) else str(text)
            )


def test_the_page_describes_every_column() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for column in COLUMNS:
        unit = column.unit or ""
        assert f"| `{column.name}` | {column.type} | {unit} | {column.source} |" in page, column.name


def test_parquet_without_its_library_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(tmp_path, 1, T0, *FIVE)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ExportError, match=re.escape("pip install 'ocs[parquet]', or choose --format csv or jsonl")):
        exported(tmp_path, tmp_path / "out.parquet", Format.PARQUET)
    assert not list(tmp_path.glob("*out*"))


# -- range and order


def test_a_range_has_its_beginning_and_not_its_end(tmp_path: Path) -> None:
    write_file(tmp_path, 1, T0, *FIVE)
    found = csv_rows(exported(tmp_path, tmp_path / "a.csv", range=Range(T0 + 60, T0 + 180), kind=Kind.MONEY))
    assert [row["event_id"] for row in found] == ["p01-2", "p01-3"]


def test_late_records_of_later_files_are_found_and_earlier_files_are_not_read(tmp_path: Path) -> None:
    far = 10 * CLOCKS_DIFFER_S
    write_file(tmp_path, 1, T0, TOP_UP)
    damaged = write_file(tmp_path, 2, T0 + 200)
    damaged.write_bytes(b"not a record\n")
    write_file(tmp_path, 3, T0 + far, {**USE, "time": utc_text(T0 + far + 5)})
    write_file(tmp_path, 4, T0 + 2 * far, {**CALL, "time": utc_text(T0 + far + 6)})
    found = csv_rows(exported(tmp_path, tmp_path / "a.csv", range=Range(T0 + far + CLOCKS_DIFFER_S, T0 + 9 * far)))
    assert found == []
    wanted = Wanted(Range(T0 + far, T0 + far + 10), Kind.MONEY)
    with pytest.raises(RecordsError, match=r"records-000002-.*line 1: is no charging record"):
        list(export_rows(files_of(tmp_path, wanted), wanted, units_of(catalogues())))
    damaged.write_bytes(b"")
    rows = export_rows(files_of(tmp_path, wanted), wanted, units_of(catalogues()))
    assert [row["event_id"] for row in rows] == ["p01-2", "p01-3"]


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((2, 3), "files before records-000002-"),
        ((1, 3), "files between records-000001-"),
        ((), "there are no files of records"),
    ],
)
def test_missing_files_are_told_unless_gaps_are_allowed(tmp_path: Path, numbers: tuple[int, ...], says: str) -> None:
    for number in numbers:
        write_file(tmp_path, number, T0 + number, {**TOP_UP, "event_id": f"p01-{number}"})
    wanted = Wanted(Range(0, 2**32))
    with pytest.raises(ExportError, match=says):
        files_of(tmp_path, wanted)
    assert len(files_of(tmp_path, wanted, gaps=True)) == len(numbers)


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = write_file(tmp_path, 1, T0, TOP_UP)
    with path.open("ab") as file:
        file.write(orjson.dumps(USE)[:40])
    assert len(csv_rows(exported(tmp_path, tmp_path / "a.csv"))) == 1


# -- the file


def test_a_file_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    write_file(tmp_path, 1, T0, *FIVE)
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(ExportError, match="exists already"):
        exported(tmp_path, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "mine"


@pytest.mark.parametrize("form", Format)
def test_a_failure_leaves_no_file(tmp_path: Path, form: Format) -> None:
    write_file(tmp_path, 1, T0, *FIVE)
    write_file(tmp_path, 2, T0 + 1).write_bytes(b"[]\n")
    with pytest.raises(RecordsError, match="line 1: is no charging record"):
        exported(tmp_path, tmp_path / "out", form)
    assert not list(tmp_path.glob("*out*"))


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    records = [{**CALL, "event_id": f"p01-{number}"} for number in range(40_000)]
    write_file(tmp_path, 1, T0, *records)
    del records
    wanted, units = Wanted(ALWAYS), units_of(catalogues())
    tracemalloc.start()
    try:
        done = export(files_of(tmp_path, wanted), wanted, units, form=Format.JSONL, output=str(tmp_path / "out"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (done.records, done.rows) == (40_000, 80_000)
    assert peak < 8 * MB, peak


# -- masks


@rule("HOT-REC-1")
@pytest.mark.parametrize(
    ("party", "masked"),
    [
        ("+38631234567", "+38631234xxx"),
        ("tel:+38631234567;phone-context=example.net", "tel:+38631234xxx;phone-context=example.net"),
        ("sip:+38631234567@ims.mnc040.mcc293.3gppnetwork.org", "sip:+38631234xxx@ims.mnc040.mcc293.3gppnetwork.org"),
        ("031 234 567", "031 234 xxx"),
        ("031/234-5-6-7", "031/234-x-x-x"),
        ("1918", "1xxx"),
        ("112", "xxx"),
        ("19", "xx"),
        ("Banka", "Banka"),
        ("", ""),
    ],
)
def test_the_last_three_digits_are_hidden(party: str, masked: str) -> None:
    assert masked_party(party) == masked


@rule("HOT-REC-1")
def test_only_a_full_export_has_whole_numbers(tmp_path: Path) -> None:
    write_file(tmp_path, 1, T0, *FIVE)
    for form in Format:
        assert b"31234567" not in exported(tmp_path, tmp_path / f"a.{form}", form).read_bytes()
        assert b"35693803564380" not in (tmp_path / f"a.{form}").read_bytes()
    whole = all_rows(tmp_path, Kind.ALL, full=True)
    assert whole[3]["other_party"] == "+38631234567" and json.loads(whole[6]["more"])["imei"] == "35693803564380"


def test_the_name_of_an_access_point_is_no_number(tmp_path: Path) -> None:
    line = {"key": "100", "label": "data.home", "price": "p@1/1", "used": 1, "detail": "29340 mo internet4567"}
    write_file(tmp_path, 1, T0, {**CALL, "context": "data", "services": [line]})
    (row,) = all_rows(tmp_path, Kind.USAGE)
    assert (row["apn"], row["other_party"], row["unit"]) == ("internet4567", None, "octets")


@rule("HOT-GRP-5", "HOT-REC-2")
def test_the_money_of_a_separate_account_stands_apart(tmp_path: Path) -> None:
    """10.00 EUR paid in, a pack of 7.00 EUR paid from it: 3.00 EUR are left, and the credit has not moved."""
    paid_in = {**TOP_UP, "credit_in_micro_eur": 0, "separate_in_micro_eur": 10_000_000, "credit_micro_eur": 5}
    pack = {
        "event_id": "p01-2", "kind": "package", "time": utc_text(T0), "account": "01-aa", "package": "SMS-200",
        "price_micro_eur": 7_000_000, "paid": True, "separate_out_micro_eur": 7_000_000, "credit_micro_eur": 5,
    }  # fmt: skip
    write_file(tmp_path, 1, T0, paid_in, pack)
    money = all_rows(tmp_path, Kind.MONEY)
    assert [row["product"] for row in money] == [None, "SMS-200"]
    assert sum((row["separate_in_micro_eur"] or 0) - (row["separate_out_micro_eur"] or 0) for row in money) == 3_000_000
    assert not any(row["debit_micro_eur"] or row["credit_in_micro_eur"] for row in money)
