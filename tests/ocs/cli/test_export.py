"""`ocs export` as typed. What the rows say: `tests/ocs/history/test_exports.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ocs.cli.conftest import Done, Ocs
from tests.ocs.history.record_files import write_file
from tests.ocs.history.test_exports import FIVE, T0
from tests.rules import rule

ROOT = Path(__file__).parents[3]
NOVEMBER = ("--from", "2026-10-31", "--to", "2026-12-01")


@pytest.fixture
def ocs(ocs_in: Ocs, tmp_path: Path) -> Callable[..., Done]:
    """Without a ledger: an export needs none."""
    write_file(tmp_path / "data" / "records", 1, T0, *FIVE)
    return lambda *words: ocs_in("export", *words, cwd=ROOT, OCS_SERVER_DATA_DIR=str(tmp_path / "data"))


@rule("HOT-REC-2")
def test_an_export_says_what_it_has_written(ocs: Callable[..., Done], tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    done = ocs(*NOVEMBER, "--kind", "money", "-o", str(file))
    assert done.returncode == 0, done.stderr
    assert f"{file}: 4 rows of 4 records in " in done.stderr and done.stdout == ""
    assert len(file.read_text().splitlines()) == 5
    again = ocs(*NOVEMBER, "-o", str(file))
    assert again.returncode == 1 and "exists already: name a new file, or move it away" in again.stderr


def test_the_range_is_local_time(ocs: Callable[..., Done], tmp_path: Path) -> None:
    """The first record is of 2026-10-31T09:00:00Z, 10:00 in Ljubljana."""
    for until, rows in (("2026-10-31T10:00", 0), ("2026-10-31T10:01", 1), ("2026-11-01", 7)):
        file = tmp_path / f"{rows}.jsonl"
        words = ("--from", "2026-10-31", "--to", until, "--format", "jsonl", "-o", str(file))
        assert ocs(*words).returncode == 0
        assert len(file.read_bytes().splitlines()) == rows


@rule("HOT-REC-1")
def test_whole_numbers_need_a_reason_which_is_kept(ocs: Callable[..., Done], tmp_path: Path) -> None:
    words = (*NOVEMBER, "--format", "jsonl", "-o", str(tmp_path / "out.jsonl"))
    refused = ocs(*words, "--full")
    assert refused.returncode == 2 and "--full and --reason belong together" in refused.stderr
    assert not (tmp_path / "data" / "disclosures.jsonl").exists()
    assert ocs(*words, "--full", "--reason", "order of a court 7/2026").returncode == 0
    assert "+38631234567" in (tmp_path / "out.jsonl").read_text()
    (line,) = map(json.loads, (tmp_path / "data" / "disclosures.jsonl").read_text().splitlines())
    assert line["reason"] == "order of a court 7/2026" and line["who"].startswith("cli")
    assert (line["from"], line["to"]) == ("2026-10-30T23:00:00Z", "2026-11-30T23:00:00Z")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "2026-11-01", "--to", "2026-11-01", "-o", "x"), "must be later than --from"),
        (("--from", "yesterday", "--to", "2026-11-01", "-o", "x"), "'yesterday' must be a date or a time"),
        ((*NOVEMBER, "--format", "parquet", "-o", "-"), "Parquet needs a file"),
        ((*NOVEMBER, "-o", "x", "--reason", "why"), "belong together"),
    ],
)
def test_a_wrong_call(ocs: Callable[..., Done], words: tuple[str, ...], said: str) -> None:
    done = ocs(*words)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr
