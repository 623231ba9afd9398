"""`ocs group …` (HOT-GRP-1, -2, -5)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocs.process.embedded_redis import EmbeddedRedis
from tests.ocs.cli.conftest import Done, Ocs
from tests.rules import rule

ROOT = Path(__file__).parents[3]
Call = Callable[..., Done]

BOSS, MEMBER, NEW = "38668100000", "38668100001", "38668100002"
PUK = "12345678"


@pytest.fixture
def ocs(tmp_path: Path, ocs_in: Ocs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    server = EmbeddedRedis(tmp_path / "data", durability="everysec")
    monkeypatch.setenv("OCS_REDIS_URL", server.acquire())
    yield lambda *words: ocs_in(*words, cwd=ROOT)
    server.release()


def open_account(ocs: Call, msisdn: str, *more: str) -> None:
    done = ocs(*f"account create --msisdn {msisdn} --imsi 2934{msisdn} --credit 20 --puk {PUK}".split(), *more)
    assert done.returncode == 0, done.stderr


@rule("HOT-GRP-1", "HOT-GRP-2", "HOT-GRP-5")
def test_a_group_from_its_beginning(ocs: Call) -> None:
    for msisdn in (BOSS, MEMBER):
        open_account(ocs, msisdn)
    created = ocs("group", "create", "--administrator", BOSS, "--name", "Firma", "--payer", "SI56-1", "--json")
    group = json.loads(created.stdout)["group"]
    assert ocs("group", "add", group, MEMBER, "--puk", "11111111").returncode == 1
    assert ocs("group", "add", group, MEMBER, "--puk", PUK).stdout == f"{MEMBER}: added\n"
    added = ocs("group", "add", BOSS, NEW, "--puk", "87654321", "--imsi", f"2934{NEW}", "--package", "MINI")
    assert added.stdout == f"{NEW}: added\n", added.stderr
    done = ocs(*f"group transfer --from {BOSS} --to {NEW} --amount 7.5 --reference t1".split())
    assert done.stdout == f"{BOSS}: 7.50 EUR to {NEW}; credit 12.50 EUR\n", done.stderr
    again = ocs(*f"group transfer --from {BOSS} --to {NEW} --amount 7.5 --reference t1 --json".split())
    assert json.loads(again.stdout)["applied"] is False
    wrong = ocs(*f"group transfer --from {MEMBER} --to {NEW} --amount 1 --reference t2".split())
    assert (wrong.returncode, "HOT-GRP-2" in wrong.stderr) == (1, True)
    assert ocs("group", "limit", group, "30").stdout == "3 numbers: 30.00 EUR a month\n"
    assert ocs("group", "share", group).stdout == "3 numbers: in one pool\n"
    assert ocs("group", "separate", MEMBER, "on").stdout == f"{MEMBER}: separate account on\n"
    topped = ocs(*f"account topup {MEMBER} --amount 5 --reference s1 --separate".split())
    assert topped.stdout == f"{MEMBER}: topped up by 5.00 EUR; separate account 5.00 EUR\n"
    assert "separate account 5.00 EUR" in ocs("balance", MEMBER).stdout
    assert ocs("group", "administrator", group, MEMBER).stdout == f"{MEMBER}: is the administrator\n"
    shown = json.loads(ocs("group", "show", group, "--json").stdout)
    assert [(each["msisdn"], each["role"]) for each in shown["numbers"]] == [
        (MEMBER, "administrator"),
        (BOSS, "member"),
        (NEW, "member"),
    ]
    assert {each["limit_micro_eur"] for each in shown["numbers"]} == {30_000_000}
    assert (shown["payer"], shown["unfinished"]) == ("SI56-1", [])
    assert f"{NEW}: member, active" in ocs("group", "show", NEW).stdout
    assert ocs("group", "remove", group, NEW).stdout == f"{NEW}: removed\n"
    assert ocs("group", "list").stdout == f"{group} Firma: 2 numbers\n"
    assert "+ separate 5.00" in ocs("audit").stdout
    assert ocs("group", "payer", group, "off").returncode == 0
    assert ocs("group", "show", "nobodys").returncode == 1


@rule("HOT-GRP-1")
def test_numbers_are_imported_with_their_puk(ocs: Call, tmp_path: Path) -> None:
    file = tmp_path / "sims.csv"
    rows = [f"{BOSS},2934{BOSS},,20,", f"{MEMBER},2934{MEMBER},,20,44445555", f"{NEW},2934{NEW},,20,123"]
    file.write_text("\n".join(["msisdn,imsi,package,credit,puk", *rows]) + "\n", encoding="utf-8")
    done = ocs("account", "import", str(file))
    assert done.stdout == "2 accounts opened, 1 bad row\n" and "line 4: a PUK1 has 8 digits" in done.stderr
    group = json.loads(ocs("group", "create", "--administrator", BOSS, "--name", "F", "--json").stdout)["group"]
    assert ocs("group", "add", group, MEMBER, "--puk", "44445555").returncode == 0


def test_a_new_sim_brings_its_puk(ocs: Call) -> None:
    open_account(ocs, BOSS)
    open_account(ocs, MEMBER)
    group = json.loads(ocs("group", "create", "--administrator", BOSS, "--name", "F", "--json").stdout)["group"]
    swapped = ocs("account", "swap-sim", MEMBER, "--imsi", "293400000000777", "--puk", "22223333")
    assert swapped.returncode == 0, swapped.stderr
    assert ocs("group", "add", group, MEMBER, "--puk", PUK).returncode == 1
    assert ocs("group", "add", group, MEMBER, "--puk", "22223333").returncode == 0
    wrong = ocs("group", "puk", MEMBER, "123")
    assert wrong.returncode == 2 and "8 digits" in wrong.stderr
