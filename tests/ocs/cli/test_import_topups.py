"""`ocs import topups`: a retailer's daily file, credited once and reconciled (HOT-TOP-1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocs.accounts.errors import InputError
from ocs.accounts.top_up_files import read_top_ups
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.settings.top_up_files import TopUpFileSection
from tests.ocs.cli.conftest import Ocs
from tests.rules import rule

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("topups"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("OCS_REDIS_URL", url)
    return lambda *words, **environment: ocs_in(*words, cwd=ROOT, **environment)


def opened(ocs: Call, msisdn: str, credit: str = "0") -> str:
    words = ("--msisdn", msisdn, "--imsi", "2934" + msisdn, "--credit", credit)
    status, _, error = ocs("account", "create", *words)
    assert status == 0, error
    return msisdn


def credit(ocs: Call, msisdn: str) -> int:
    found: int = json.loads(ocs("account", "show", msisdn, "--json")[1])["credit_micro_eur"]
    return found


def of(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: (each["rows"], each["amount_micro_eur"] // 1_000_000) for name, each in found["outcomes"].items()}


NOTHING = dict.fromkeys(("applied", "again", "repeated", "different", "refused", "unreadable"), (0, 0))


@rule("HOT-TOP-1")
def test_a_file_is_credited_once_and_reconciled(ocs: Call, tmp_path: Path) -> None:
    poor, rich = opened(ocs, "38668120001"), opened(ocs, "38668120002", "195")
    ocs("account", "topup", poor, "--amount", "3", "--reference", "D1-used")
    file, report = tmp_path / "day.csv", tmp_path / "differences.csv"
    file.write_text(
        "reference,msisdn,amount,till\n"
        f"D1-1,{poor},10.00,A\n"
        f"D1-2,+{poor},5,A\n"
        f"D1-2,00{poor},5.00,B\n"
        f"D1-1,{poor},11.00,B\n"
        f"D1-3,{rich},10.00,B\n"
        "D1-4,38668129999,7.00,B\n"
        f"D1-used,{poor},4.00,B\n"
        f"D1-5,{poor},ten,B\n"
        f"D1-6,{rich},5.00,B\n"
    )
    foretold = ocs("import", "topups", str(file), "--dry-run", "--json")
    assert credit(ocs, poor) == 3_000_000
    status, out, error = ocs("import", "topups", str(file), "--json", "--report", str(report))
    assert status == 1 and "differs from what is credited" in error
    found = json.loads(out)
    expected = {"applied": (3, 20), "repeated": (1, 5), "different": (2, 15), "refused": (2, 17), "unreadable": (1, 0)}
    assert of(found) == {**NOTHING, **expected}
    assert (found["rows"], found["amount_micro_eur"]) == (9, 57_000_000)
    assert [(each["line"], each["outcome"], each["reason"]) for each in found["differences"]] == [
        (4, "repeated", "file"),
        (5, "different", "file"),
        (6, "refused", "ceiling"),
        (7, "refused", "account"),
        (8, "different", "reference"),
        (9, "unreadable", "amount"),
    ]
    assert json.loads(foretold[1]) == {**found, "dry_run": True}, "a dry run foretells it"
    assert (credit(ocs, poor), credit(ocs, rich)) == (18_000_000, 200_000_000)
    assert report.read_text().splitlines()[0] == "line,outcome,reason,reference,msisdn,amount_eur,detail"
    assert len(report.read_text().splitlines()) == 7
    again = json.loads(ocs("import", "topups", str(file), "--json")[1])
    assert of(again) == {**of(found), "applied": (0, 0), "again": (3, 20)}
    assert (credit(ocs, poor), credit(ocs, rich)) == (18_000_000, 200_000_000)


def test_a_good_file_ends_well(ocs: Call, tmp_path: Path) -> None:
    who = opened(ocs, "38668120003")
    file = tmp_path / "good.csv"
    file.write_text(f"msisdn,amount,reference\n{who},1.50,G-1\n{who},2.50,G-2\n")
    status, out, error = ocs("import", "topups", str(file))
    assert status == 0, error
    assert out == f"{file}: 2 rows, 4.00 EUR\n  2 credited: 4.00 EUR\n  0 credited before: 0.00 EUR\n"
    assert "0 would be credited: 0.00 EUR\n  2 credited before" in ocs("import", "topups", str(file), "--dry-run")[1]


TABLE = """
[top_up_file.petrol]
columns = { msisdn = "Številka", amount = "Znesek", reference = "Račun" }
prefix = "PETROL-"
unit = "eur"
decimal = ","
delimiter = ";"
encoding = "cp1250"
skip_lines = 1
trailer = "SKUPAJ"
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    text = (ROOT / "config" / "ocs.toml").read_text("utf-8") + TABLE
    path = tmp_path / "ocs.toml"
    path.write_text(text, "utf-8")
    return str(path)


@rule("HOT-TOP-1")
def test_each_retailer_has_its_own_form_and_trailer(ocs: Call, tmp_path: Path, config: str) -> None:
    who = opened(ocs, "38668120004")
    file = tmp_path / "petrol.csv"
    rows = f"Petrol d.d.\nRačun;Številka;Znesek\n17;{who};10,50\n18;{who};1,00\n"
    words = ("import", "topups", str(file), "--format", "petrol", "--json", "--config", config)
    for trailer, text in (
        ("", "no trailer line 'SKUPAJ': the file may have been cut off"),
        ("SKUPAJ;3;11,50\n", "the trailer says 3 rows, the file has 2"),
        ("SKUPAJ;2;11,51\n", "the trailer's sum is 11.51 EUR, that of the rows 11.50 EUR"),
    ):
        file.write_text(rows + trailer, "cp1250")
        status, _, error = ocs(*words)
        assert status == 1 and text in error and "nothing was credited" in error
    assert credit(ocs, who) == 0
    file.write_text(rows + "SKUPAJ;2;11,50\n", "cp1250")
    status, out, error = ocs(*words)
    assert status == 0, error
    assert json.loads(out)["trailer"] == {"rows": 2, "amount_micro_eur": 11_500_000}
    assert credit(ocs, who) == 11_500_000
    taken = ocs("account", "topup", who, "--amount", "2", "--reference", "PETROL-17")
    assert taken[0] == 1 and "used for another account or amount" in taken[2]
    file.write_text(rows + f"19;{who};1,00\nSKUPAJ;2;11,50\n", "cp1250")
    status, out, _ = ocs(*words, "--ignore-trailer")
    assert status == 1 and of(json.loads(out))["applied"] == (1, 1)


SHORT = "the trailer's sum is 15.00 EUR, that of the rows 10.00 EUR, without 1 whose amount cannot be read"


@pytest.mark.parametrize(
    ("row", "total", "differs"),
    [
        ("local number,5.00,R2", 15, ""),
        ("38668120005,5.00,", 15, ""),
        ("38668120005,5.OO,R2", 10, SHORT),
        ("38668120005", 10, SHORT),
    ],
)
def test_the_sum_of_the_trailer_has_rows_that_cannot_be_read(
    tmp_path: Path, row: str, total: int, differs: str
) -> None:
    file = tmp_path / "day.csv"
    file.write_text(f"msisdn,amount,reference\n38668120005,10.00,R1\n{row}\nT,2,15.00\n", "utf-8")
    found = read_top_ups(file, TopUpFileSection(trailer="T"))
    assert [each.outcome for each in found.differences] == ["unreadable"]
    assert found.total.amount_micro_eur == total * 1_000_000
    assert found.trailer_differs == differs


@pytest.mark.parametrize(
    ("text", "more", "error"),
    [
        ("number,amount,reference\n", {}, r"no column msisdn; separated by ',' it has number \| amount \| ref"),
        ("msisdn;amount;reference\n", {}, "separated by ',' it has msisdn;amount;reference"),
        ("", {}, "no column msisdn, amount, reference"),
        ('msisdn,amount,reference\n"3866', {}, "is no CSV file in utf-8-sig"),
        ("T,2,5\n1,1,1\n", {"trailer": "T"}, "no column"),
        ("msisdn,amount,reference\nT,0,0\n38668120000,1,x\n", {"trailer": "T"}, "line 3: follows the trailer"),
        ("msisdn,amount,reference\nT,two,5\n", {"trailer": "T"}, "'two' is no number of rows"),
        ("msisdn,amount,reference\nT\n", {"trailer": "T"}, "the trailer has no column 2"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, text: str, more: dict[str, Any], error: str) -> None:
    file = tmp_path / "f.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=error):
        read_top_ups(file, TopUpFileSection(**more))


@pytest.mark.parametrize(
    ("text", "more", "micro_eur"),
    [
        ("10.5", {}, 10_500_000),
        ("1050", {"unit": "cent"}, 10_500_000),
        ("10,05", {"decimal": ","}, 10_050_000),
        ("10,5", {}, None),
        ("1.000,00", {"decimal": ","}, None),
        ("10.5", {"unit": "cent"}, None),
        ("-1", {}, None),
        ("0", {}, None),
    ],
)
def test_amounts(tmp_path: Path, text: str, more: dict[str, Any], micro_eur: int | None) -> None:
    file = tmp_path / "f.csv"
    file.write_text(f"msisdn;amount;reference\n38668120000;{text};x\n")
    found = read_top_ups(file, TopUpFileSection(delimiter=";", **more))
    assert [each.amount_micro_eur for each in found.rows] == ([] if micro_eur is None else [micro_eur])
    assert len(found.differences) == (micro_eur is None)


def test_wrong_calls(ocs: Call, tmp_path: Path) -> None:
    file = tmp_path / "f.csv"
    file.write_text("a,b,c\n")
    assert "there is no table [top_up_file.x]" in ocs("import", "topups", str(file), "--format", "x")[2]
    assert "must be msisdn, amount, reference" in ocs("import", "topups", str(file), "--column", "x=y")[2]
    status, _, error = ocs("import", "topups", str(file), "--column", "msisdn=a", "--column", "amount=b")
    assert status == 2 and "no column reference" in error


def test_a_reference_of_other_credit_is_told_before_the_import_too(ocs: Call, tmp_path: Path) -> None:
    number = opened(ocs, "38668120091")
    ocs("account", "topup", number, "--amount", "1", "--reference", "P-1", "--promotional")
    file = tmp_path / "day.csv"
    file.write_text(f"msisdn,amount,reference\n{number},1.00,P-1\n", encoding="utf-8")
    for more in (("--dry-run",), ()):
        status, out, _ = ocs("import", "topups", str(file), "--json", *more)
        assert status == 1 and of(json.loads(out)) == {**NOTHING, "different": (1, 1)}
    assert credit(ocs, number) == 1_000_000
