"""`ocs history`, `ocs statement` and `ocs erase` as typed, on a server that has charged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from ocs.history.engine import history_engine
from ocs.history.migrating import migrate
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.settings.history_section import HistorySection
from tests.ocs.cli.conftest import Ocs
from tests.ocs.history.records import Folder, Journal, load_all, use

ROOT = Path(__file__).parents[3]
MSISDN = "38668100000"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path / "redis", durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, tmp_path: Path) -> Any:
    def call(*words: str) -> tuple[int, str, str]:
        return ocs_in(*words, cwd=ROOT, OCS_REDIS_URL=url, OCS_SERVER_DATA_DIR=str(tmp_path / "data"))

    return call


@pytest.fixture
def account(ocs: Any, tmp_path: Path) -> str:
    """An account with a top-up and a call in November, loaded; the next file of records is begun."""
    ocs("account", "create", "--msisdn", MSISDN, "--imsi", "293400000000000", "--credit", "5")
    account_id = str(json.loads(ocs("account", "show", MSISDN, "--json")[1])["account"])
    engine = history_engine(HistorySection(), tmp_path / "data")
    migrate(engine)
    journal, folder = Journal(2000), Folder(tmp_path / "data" / "records")
    at = 1_796_043_600  # 2026-11-30T14:00:00+01:00
    folder.append(
        journal.line(account_id, "opened", at, credit_in=5_000_000),
        journal.charge(account_id, at + 1, "s1", use(debit=122_000, used=61), debit=122_000, started=at + 1),
    )
    folder.begin()
    folder.append(journal.line(account_id, "state", at, state="a"))
    load_all(engine, folder)
    engine.dispose()
    return account_id


def test_without_a_database_the_commands_say_what_to_do(ocs: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    status, _, error = ocs("history", "show")
    assert status == 1 and "the backoffice of `ocs serve` makes them" in error


def test_where_the_loading_stands_and_how_it_goes_on(ocs: Any, account: str, tmp_path: Path) -> None:
    found = json.loads(ocs("history", "show", "--json")[1])
    assert found["file"].startswith("records-000002-") and found["waiting_octets"] == 0
    assert "0 octets wait" in ocs("history", "show")[1]
    status, out, _ = ocs("history", "resume", found["file"])
    assert (status, out) == (0, f"the loading goes on with {found['file']}\n")
    assert json.loads(ocs("history", "show", "--json")[1])["octets"] == 0
    status, _, error = ocs("history", "resume", "records-000007-x.jsonl")
    assert status == 1 and "has no file records-000007-x.jsonl" in error


def test_itemised_use_and_statement(ocs: Any, account: str) -> None:
    status, out, error = ocs("history", "usage", MSISDN)
    assert status == 0, error
    assert "voice.home.national" in out and "tel:+38641038xxx" in out and "1 line, 0.122 EUR" in out
    assert ocs("history", "usage", MSISDN, "--csv")[1].splitlines()[1].endswith(",s1")
    assert ocs("history", "usage", MSISDN, "--period", "4")[0] == 2
    out = ocs("statement", MSISDN, "2026-11", "--csv")[1]
    assert [line.split(",")[1:9] for line in out.splitlines()[1:]] == [
        ["opening", "", "", "", "", "", "", "0.00"],
        ["opened", "", "", "5.00", "0", "5.00", "0.00", "5.00"],
        ["use", "voice.home.national", "", "-0.122", "22", "-0.10", "-0.022", ""],
        ["closing", "", "", "", "", "", "", "4.878"],
        ["total", "sold in the month", "", "0.122", "", "0.10", "0.022", ""],
    ]
    assert "closing" in ocs("statement", MSISDN, "2026-11")[1]
    status, _, error = ocs("statement", MSISDN, "November")
    assert status == 2 and "'November' is no month" in error


def test_an_account_that_has_just_moved_keeps_its_history(ocs: Any, account: str, tmp_path: Path) -> None:
    """The database learns of the move some seconds later."""
    commands = ("history", "usage", MSISDN), ("statement", MSISDN, "2026-11")
    before = [ocs(*each)[1] for each in commands]
    assert "voice.home.national" in before[0] and "opened" in before[1]
    for partition in ("2", "3"):
        status, _, error = ocs("account", "move", MSISDN, "--partition", partition)
        assert status == 0, error
        assert [ocs(*each)[1] for each in commands] == before
    make_old(tmp_path)
    assert ocs("erase", "--msisdn", MSISDN, "--reason", "letter of today")[1].startswith("erased 1 row")


def make_old(folder: Path) -> None:
    """The call was in an earlier billing period."""
    with create_engine(f"sqlite:///{folder}/data/history.sqlite").begin() as connection:
        connection.execute(text("UPDATE usage SET at = at - 9000000, started_at = started_at - 9000000"))


def test_a_person_is_erased(ocs: Any, account: str, tmp_path: Path) -> None:
    make_old(tmp_path)
    assert ocs("erase", "--reason", "x")[0] == 2
    status, out, error = ocs("erase", "--msisdn", MSISDN, "--reason", "letter of today")
    assert status == 0, error
    assert "erased 1 row, and the other parties in 1 line of record files" in out
    records = "".join(path.read_text() for path in (tmp_path / "data" / "records").glob("*.jsonl"))
    assert "38641038" not in records and '"used":61' in records
    assert ocs("erase", "--account", account, "--reason", "again")[1].startswith("erased 0 rows")
