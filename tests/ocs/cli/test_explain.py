"""`ocs explain` as typed: by event id, by Session-Id, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocs.process.embedded_redis import EmbeddedRedis
from tests.catalogue import CATALOGUE
from tests.ocs.cli.conftest import Ocs

ROOT = Path(__file__).parents[3]
SMS: dict[str, Any] = {
    "event_id": "p00-2",
    "kind": "charge",
    "time": "2026-11-30T17:00:00Z",
    "account": "0-1",
    "session_id": "smsc.example.net;1;2",
    "context": "sms",
    "request_type": "E",
    "request_number": 0,
    "result_code": 2001,
    "credit_micro_eur": 4_931_000,
    "debit_micro_eur": 69_000,
}
LINE = {"key": "-", "label": "sms.home.national", "used": 1, "detail": "29340 mo +38631234567"}
TOP_UP = {"event_id": "p00-1", "kind": "topup", "time": "2026-11-30T16:00:00Z", "account": "0-1", "reference": "R1"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("explain"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, tmp_path: Path) -> Any:
    """On records of a top-up and an SMS; the price id is that of the shipped catalogue."""

    def call(*words: str) -> tuple[int, str, str]:
        return ocs_in(*words, cwd=ROOT, OCS_REDIS_URL=url)

    call("account", "create", "--msisdn", "38668100000", "--imsi", "293400000000000", "--credit", "5")
    out = call("rate", "--messages", "1", "--to", "+38631234567", "--json")[1]
    price = next(step["price"] for step in json.loads(out)["steps"] if step["step"] == "price")
    services = [{**LINE, "price": price, "debit_micro_eur": 69_000, "vat_percent": 22, "net_micro_eur": 56_557}]
    lines = [json.dumps(each, separators=(",", ":")) for each in (TOP_UP, {**SMS, "services": services})]
    (tmp_path / "records-000001-20261130T160000Z.jsonl").write_text("\n".join(lines) + "\n")
    return lambda *words: call("explain", *words, "--records", str(tmp_path))


def test_a_record_is_explained(ocs: Any) -> None:
    status, out, error = ocs("p00-2")
    assert status == 0, error
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines == [
        "record p00-2 charge at 2026-11-30T17:00:00Z",
        "request E 0 one-off",
        "answer 2001 success",
        "credit afterwards 4.931 EUR",
        "facts none of the account, by its records before",
        "line sms.home.national 29340 mo +38631234xxx",
        "service sms the default of sms",
        "place home a home network",
        "destination national-mobile prefix +38631",
        "version 1 the first version",
        "rate sms.home.national sms, outgoing, at home, to national-mobile",
        "price 0.069 EUR per message",
        "counter limit moved by 0.069 EUR in its month",
        "used 1 raw units since the session's last record",
        "credit 0.069 EUR was debited",
        "VAT 22 % net 0.056557 EUR",
        "recomputed 0.069 EUR from the use and the prices of the catalogue: the same",
    ]


def test_a_session_is_explained_for_programs(ocs: Any) -> None:
    status, out, error = ocs("smsc.example.net;1;2", "--json")
    assert status == 0, error
    found = json.loads(out)
    assert [each["event_id"] for each in found["records"]] == ["p00-2"]
    assert found["differences"] == [] and found["steps"][0]["step"] == "record"


def test_a_session_has_its_ladder(ocs: Any) -> None:
    """The same that `ocs trace` draws live, as far as records say it; the other party is masked."""
    _, out, _ = ocs("smsc.example.net;1;2")
    assert [" ".join(line.split()) for line in out.splitlines()[:4]] == [
        "── #1 smsc.example.net smsc.example.net;1;2",
        "18:00:00.000 #1 CCR-E 0 ──▶ sms - sms.home.national 29340 mo +38631234xxx: used 1 messages",
        "2001 ◀── debited 0.069 EUR · balance 4.931 EUR",
        "",
    ]
    (rung,) = json.loads(ocs("smsc.example.net;1;2", "--json")[1])["ladder"]
    assert (rung["kind"], rung["result_code"], rung["debited_micro_eur"]) == ("CCR-E", 2001, 69_000)
    assert (rung["held_micro_eur"], rung["took_ms"]) == (None, None), "records do not say it"
    assert "ladder" not in json.loads(ocs("p00-2", "--json")[1]), "of one record there is none"


def test_a_record_of_another_kind_is_shown(ocs: Any) -> None:
    out = ocs("p00-1")[1]
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "record p00-1 topup at 2026-11-30T16:00:00Z",
        "reference R1",
    ]


def test_what_is_not_there_is_said(ocs: Any) -> None:
    status, out, error = ocs("p00-3")
    assert (status, out) == (1, "") and "no record has this event id or Session-Id" in error


# -- under a draft of the catalogue


@pytest.fixture
def draft(tmp_path: Path) -> str:
    """An SMS costs 0.10 EUR."""
    text = CATALOGUE.read_text("utf-8")
    before = "[price.sms-national]\nmicro_eur = 69_000"
    assert before in text
    path = tmp_path / "draft.toml"
    path.write_text(text.replace(before, "[price.sms-national]\nmicro_eur = 100_000"), "utf-8")
    return str(path)


def test_a_record_under_a_draft(ocs: Any, draft: str) -> None:
    status, out, error = ocs("p00-2", "--draft", draft)
    assert status == 0, error
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "draft credit 0.10 EUR for 1 messages; 0.069 EUR was debited" in lines
    assert lines[-1] == "draft sum 0.10 EUR 0.069 EUR was debited: 0.031 EUR more"
    found = json.loads(ocs("p00-2", "--draft", draft, "--json")[1])
    assert found["differences"] == [] and found["draft"][-1]["micro_eur"] == 100_000


def test_a_month_under_a_draft(ocs: Any, draft: str) -> None:
    status, out, error = ocs("--month", "2026-11", "--draft", draft)
    assert status == 0, error
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "no tariff sms home 1 0.069 0.069 0.10 0.031 +44.9 %" in lines
    assert "accounts: 1 pay more, 0 less, 0 the same" in lines
    assert (
        "credit, spending limits and bars end no use: all that was used is paid, but for what nobody could pay" in out
    )
    found = json.loads(ocs("--month", "2026-11", "--draft", draft, "--json")[1])
    assert (found["total"]["recorded"], found["difference"], found["model_deviation"]) == (69_000, 31_000, 0)
    assert found["accounts"] == {"more": 1, "less": 0, "same": 0}
    assert found["greatest_changes"] == [{"account": "0-1", "difference": 31_000}]
    nobody = json.loads(ocs("--month", "2026-11", "--draft", draft, "--msisdn", "38668100000", "--json")[1])
    assert nobody["records"] == 0, "the record is of another account"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a record or a session, or a month"),
        (("p00-2", "--month", "2026-11"), "name a record or a session, or a month"),
        (("--month", "2026-11"), "--month needs --draft"),
        (("p00-2", "--msisdn", "38668100000"), "--msisdn goes with --month"),
    ],
)
def test_a_wrong_call_of_the_month(ocs: Any, words: tuple[str, ...], said: str) -> None:
    status, out, error = ocs(*words)
    assert (status, out) == (2, "") and said in error
