"""`ocs auto-top-up`, `ocs mandate`, `ocs payment`, `ocs sepa`, as a user types them."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.ocs.cli.conftest import ROOT, Done, Ocs
from tests.ocs.ledger.books import flush
from tests.ocs.payments.test_sepa import camt_054
from tests.ocs.payments.till import IBAN
from tests.rules import rule

NUMBER = "38668100071"


@pytest.fixture
def ocs(redis_7: RedisServer, ocs_in: Ocs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    flush(redis_7.url)
    settings = {
        "OCS_REDIS_URL": redis_7.url,
        "OCS_PAYMENTS_AUTOMATIC": "sepa",
        "OCS_PAYMENTS_CREDITOR_NAME": "Operater d.o.o.",
        "OCS_PAYMENTS_CREDITOR_ID": "SI98ZZZ12345678",
        "OCS_PAYMENTS_CREDITOR_IBAN": IBAN,
        "OCS_PAYMENTS_CREDITOR_BIC": "LJBASI2X",
        "OCS_PAYMENTS_MANDATE_KEY_FILE": str(tmp_path / "key"),
    }
    assert ocs_in("mandate", "new-key", str(tmp_path / "key"), cwd=ROOT).returncode == 0

    def call(*words: str, stdin: str = "", **more: str) -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return ocs_in(*words, cwd=ROOT, **{**settings, **more})

    opened = call(
        *("account", "create", "--msisdn", NUMBER, "--imsi", "293400000000071", "--package", "MINI", "--credit", "8")
    )
    assert opened.returncode == 0, opened.stderr
    return call


def plain(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


@rule("HOT-TOP-4", "HOT-TOP-5")
def test_it_is_switched_on_with_a_mark_shown_and_switched_off(ocs: Callable[..., Done]) -> None:
    assert "by 6.99 EUR below 2.00 EUR; nobody pays: add a mandate" in plain(ocs("auto-top-up", "on", NUMBER))
    assert "below 5.00 EUR" in plain(ocs("auto-top-up", "on", NUMBER, "--below", "5"))
    assert "as before" in plain(ocs("auto-top-up", "on", NUMBER, "--below", "5"))
    told = json.loads(plain(ocs("auto-top-up", "show", NUMBER, "--json")))
    assert (told["on"], told["below_micro_eur"], told["asked"]) == (True, 5_000_000, True)
    assert "nobody: there is no mandate" in plain(ocs("auto-top-up", "show", NUMBER))
    assert plain(ocs("auto-top-up", "off", NUMBER)) == f"{NUMBER}: automatic top-up is off\n"
    assert "as before" in plain(ocs("auto-top-up", "off", NUMBER))
    assert ocs("auto-top-up", "on", NUMBER, "--below", "200").returncode == 2


def test_a_mandate_is_read_from_standard_input_masked_and_revoked(ocs: Callable[..., Done]) -> None:
    add = ("mandate", "add", NUMBER, "--name", "Ana Žagar", "--signed", "2026-10-01", "--iban", "-")
    told = plain(ocs(*add, stdin=f"{IBAN}\n"))
    assert "sepa, SI56…892, signed on 2026-10-01" in told
    assert IBAN not in told + plain(ocs("mandate", "show", NUMBER))
    assert json.loads(plain(ocs("mandate", "show", NUMBER, "--json")))["account"] == "SI56…892"
    wrong = ocs(*add, stdin="SI56192001234567893\n")
    assert (wrong.returncode, "SI56" in wrong.stderr) == (2, False)
    assert "is revoked" in plain(ocs("mandate", "revoke", NUMBER))
    assert "there was no mandate" in plain(ocs("mandate", "revoke", NUMBER))
    assert ocs("mandate", "show").returncode == 2
    assert ocs("mandate", "show", NUMBER, "--group", "G1").returncode == 2
    group = ("mandate", "add", "--group", NUMBER, "--name", "Firma", "--signed", "2026-10-01", "--iban", IBAN)
    assert "no group" in ocs(*group).stderr or "is in no" in ocs(*group).stderr
    plain(ocs("group", "create", "--name", "Firma", "--administrator", NUMBER))
    told = plain(ocs(*group))
    assert told.startswith(f"{NUMBER}: mandate OCS-")
    assert plain(ocs("mandate", "show", "--group", NUMBER)) == told
    assert f"payer {told.split()[2].rstrip(',')}" in plain(ocs("group", "show", NUMBER)), "the group's record names it"
    assert "is revoked" in plain(ocs("mandate", "revoke", "--group", NUMBER))
    assert "payer none" in plain(ocs("group", "show", NUMBER))


def test_keys_are_never_overwritten_and_settings_name_what_is_missing(ocs: Callable[..., Done], tmp_path: Path) -> None:
    refused = ocs("mandate", "new-key", str(tmp_path / "key"))
    assert (refused.returncode, "must not be lost" in refused.stderr) == (2, True)
    for name, value, told in (
        ("OCS_PAYMENTS_CREDITOR_IBAN", "SI00", "OCS_PAYMENTS_CREDITOR_IBAN"),
        ("OCS_PAYMENTS_CREDITOR_IBAN", "", "is needed by automatic"),
        ("OCS_PAYMENTS_URL", "http://bank.example.net", "OCS_PAYMENTS_URL"),
        ("OCS_PAYMENTS_URL", "https://bank.example.net", "secret_file"),
        ("OCS_PAYMENTS_MANDATE_KEY_FILE", str(tmp_path / "none"), "payments.mandate_key_file: "),
    ):
        for words in (("mandate", "show", NUMBER), ("check",)):
            refused = ocs(*words, **{name: value})
            assert refused.returncode == 1, told
            assert told in refused.stderr
    assert ocs("check").returncode == 0


def test_debits_are_exported_once_and_reports_imported(ocs: Callable[..., Done], tmp_path: Path) -> None:
    add = ("mandate", "add", NUMBER, "--name", "Ana", "--signed", "2026-10-01", "--iban", IBAN)
    plain(ocs(*add))
    plain(ocs("auto-top-up", "on", NUMBER))
    plain(ocs("payment", "order", NUMBER))
    order = json.loads(plain(ocs("payment", "list", NUMBER, "--json")))[0]
    assert (order["state"], order["amount_micro_eur"]) == ("ordered", 6_990_000)
    file = tmp_path / "debits.xml"
    done = ocs("sepa", "export", str(file))
    assert "1 debit, 6.99 EUR, collected on" in plain(done)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert order["order"] in file.read_text()
    message = done.stderr.split()[1].rstrip(";")
    assert ocs("sepa", "export", str(file)).returncode == 2, "it exists"
    assert "no debits" in plain(ocs("sepa", "export", str(tmp_path / "2.xml")))
    plain(ocs("sepa", "export", str(tmp_path / "again.xml"), "--again", message))
    assert message in (tmp_path / "again.xml").read_text()
    report = tmp_path / "camt.xml"
    report.write_text(camt_054((order["order"], "CRDT", ""), ("OTHERS", "CRDT", "")))
    assert json.loads(plain(ocs("sepa", "import", str(report), "--json"))) == {
        "credited": 1, "unchanged": 0, "unknown": 1, "different": []
    }  # fmt: skip
    assert "unchanged  1" in plain(ocs("sepa", "import", str(report)))
    report.write_text(camt_054((order["order"], "DBIT", "MD06"), amount="5.00"))
    wrong = ocs("sepa", "import", str(report))
    assert wrong.returncode == 1 and "1 order not changed: the amount is another one" in wrong.stderr
    assert order["order"] in wrong.stdout
    assert "credited" in plain(ocs("payment", "list", NUMBER))
    assert "6.99 EUR" in plain(ocs("payment", "show", order["order"]))
    assert plain(ocs("payment", "list")) == "no payment orders\n"
    assert "it has its outcome" in ocs("payment", "retry", order["order"]).stderr
    assert ocs("payment", "show", "00-1-1").returncode == 1
    assert ocs("sepa", "import", str(file)).returncode == 2, "this is no report"
    assert ocs("sepa", "import", str(tmp_path / "none")).returncode == 1
