"""`ocs product` and `ocs balance`, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ocs.process.embedded_redis import EmbeddedRedis
from tests.catalogue import CATALOGUE
from tests.ocs.cli.conftest import Ocs
from tests.rules import rule
from tests.waiting import today

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("products"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("OCS_REDIS_URL", url)
    return lambda *words, **environment: ocs_in(*words, cwd=ROOT, **environment)


def opened(ocs: Call, msisdn: str, *more: str) -> str:
    status, _, error = ocs("account", "create", "--msisdn", msisdn, "--imsi", "2934" + msisdn, *more)
    assert status == 0, error
    return msisdn


def test_the_catalogue_is_listed_and_a_product_shown(ocs: Call) -> None:
    status, out, _ = ocs("product", "list")
    assert status == 0 and "SMS-200-MESEC" in out and "USA-UNLIMITED" in out
    found = {each["product"]: each for each in json.loads(ocs("product", "list", "--json")[1])}
    assert found["SMS-200"]["price_micro_eur"] == 7_000_000 and found["SMS-200"]["keyword"] == "SMS 200"
    assert found["FREEZE"]["period_days"] is None
    _, out, _ = ocs("product", "show", "sms 200")
    assert "barred_with: MAXI, EXTRA" in out
    assert json.loads(ocs("product", "show", "TV", "--json")[1])["commitment_days"] == 720
    status, _, error = ocs("product", "show", "SMS-300")
    assert status == 2 and "'SMS-300' is no product; the catalogue has 5G, " in error


@rule("HOT-PKG-8", "HOT-PKG-1")
def test_what_is_not_on_sale_is_listed_with_all_only(
    ocs: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CATALOGUE.read_text("utf-8").replace(
        'keyword = "SMS 200"\n', 'keyword = "SMS 200"\nsold_until = "2020-01-01"\n'
    )
    text = text.replace("[package.MAXI]\n", '[package.MAXI]\nsold_from = "2099-01-01"\n')
    (tmp_path / "fewer.toml").write_text(text, "utf-8")
    number = opened(ocs, "38668300090", "--package", "MINI", "--credit", "30")
    fewer = {"OCS_SERVER_CATALOGUE": str(tmp_path / "fewer.toml")}
    listed = {each["product"] for each in json.loads(ocs("product", "list", "--json", **fewer)[1])}
    every = {each["product"]: each for each in json.loads(ocs("product", "list", "--all", "--json", **fewer)[1])}
    assert every.keys() - listed == {"SMS-200", "MAXI"}
    assert every["SMS-200"]["sold_until"] == "2020-01-01T23:00:00Z"
    refused = (
        ("product", "buy", number, "SMS-200", "--reference", "P1"),
        ("product", "change", number, "MAXI", "--reference", "P2"),
    )
    assert [ocs(*each, **fewer)[0::2] for each in refused] == [
        (1, "ocs: SMS-200 is not on sale now\n"),
        (1, "ocs: MAXI is not on sale now\n"),
    ]
    account = ("account", "create", "--msisdn", "38668300091", "--imsi", "293438668300091", "--package", "MAXI")
    status, _, error = ocs(*account, **fewer)
    assert status == 2 and "'MAXI' is not on sale now" in error
    status, _, error = ocs("account", "package", number, "--package", "MAXI", "--reference", "P3", **fewer)
    assert status == 2 and "'MAXI' is not on sale now" in error


@rule("HOT-PKG-7", "HOT-PKG-9", "HOT-ACC-12")
def test_a_pack_is_bought_once_and_cancelled(ocs: Call) -> None:
    number = opened(ocs, "38668300001", "--package", "MINI", "--credit", "30")
    buy = ("product", "buy", number, "SMS-200", "--reference", "P1")
    assert ocs(*buy) == (0, f"{number}: SMS-200 is active: 7.00 EUR\n", "")
    assert ocs(*buy) == (0, f"{number}: SMS-200 was ordered before under this reference: no change\n", "")
    status, _, error = ocs("product", "buy", number, "SMS-1000", "--reference", "P2")
    assert status == 1 and "SMS-200 of the account and this product exclude each other (HOT-PKG-9); until 2" in error
    balance = json.loads(ocs("balance", number, "--json")[1])
    assert (balance["credit_micro_eur"], balance["tariff"]) == (16_010_000, "MINI")
    left = [(each["bucket"], each["left"]) for each in balance["units"]]
    assert left[0] == ("SMS-200.pack-sms", 200) and ("MINI.sms", 1500) in left
    _, out, _ = ocs("balance", number)
    assert "credit 16.01 EUR, active until 2" in out and "SMS-200.pack-sms: 200 messages until 2" in out
    status, out, _ = ocs("product", "cancel", number, "SMS-200")
    assert status == 0 and out.startswith(f"{number}: SMS-200 ends at 2")


@rule("HOT-PKG-6", "HOT-PKG-11", "HOT-PKG-13", "HOT-REC-4")
def test_plan_change_arm_and_an_early_end(ocs: Call) -> None:
    number = opened(ocs, "38668300002", "--package", "MINI", "--credit", "190")
    day = today()
    on = (day + timedelta(days=5)).isoformat()
    status, out, _ = ocs("product", "plan", number, "SMS-200", "--on", on, "--reference", "Q1")
    assert status == 0 and out.startswith(f"{number}: SMS-200 begins at ")
    late = (day + timedelta(days=40)).isoformat()
    status, _, error = ocs("product", "plan", number, "TV", "--on", late, "--reference", "Q2")
    assert status == 1 and "from tomorrow up to one month ahead (HOT-PKG-11)" in error
    status, _, error = ocs("product", "plan", number, "TV", "--on", "soon", "--reference", "Q2")
    assert status == 2 and "'soon' is no date" in error
    changed = ocs("product", "change", number, "MAXI", "--reference", "Q3")
    assert changed == (0, f"{number}: MAXI is active: 9.99 EUR\n", "")
    armed = ocs("product", "buy", number, "USA unlimited", "--reference", "Q4")
    assert armed == (0, f"{number}: USA-UNLIMITED begins with its first use\n", "")
    paid = ocs("product", "buy", number, "FREEZE", "--reference", "Q5")
    assert paid == (0, f"{number}: FREEZE is paid: 3.00 EUR\n", "")
    assert ocs("product", "buy", number, "TV", "--reference", "Q6")[0] == 0
    status, out, _ = ocs("product", "cancel", number, "TV", "--at-once")
    assert status == 0 and "early end: connection " in out and "of 720 days)" in out


@rule("HOT-PKG-14")
def test_a_pool_is_opened_joined_limited_and_left(ocs: Call) -> None:
    primary, additional = opened(ocs, "38668300003", "--credit", "30"), opened(ocs, "38668300004", "--credit", "5")
    assert ocs("pool", "open", primary, "--name", "family") == (0, f"{primary}: is in the pool family\n", "")
    assert ocs("pool", "join", additional, "--of", primary) == (0, f"{additional}: is in the pool family\n", "")
    status, _, error = ocs("pool", "limit", additional, "MINI.data", "--units", "2 GB")
    assert status == 1 and "the pool has no bucket 'MINI.data'; it has none yet" in error
    assert ocs("product", "change", primary, "MINI", "--reference", "S1")[0] == 0
    status, out, _ = ocs("pool", "limit", additional, "MINI.data", "--units", "2 GB")
    assert (status, out) == (0, f"{additional}: at most 2.0 GB of MINI.data in a period\n")
    assert ocs("pool", "limit", primary, "MINI.sms", "--units", "50 messages", "--common")[0] == 0
    status, _, error = ocs("pool", "limit", primary, "MINI.sms", "--units", "2 GB")
    assert status == 2 and "'2 GB' must be a whole number of messages" in error
    found = json.loads(ocs("pool", "show", primary, "--json")[1])
    assert [(each["bucket"], each["units"]) for each in found["limits"]] == [
        ("MINI.sms", 50),
        ("MINI.data", 2 * 1024**3),
    ]
    assert {each["bucket"]: each["left"] for each in found["buckets"]}["MINI.data"] == 9 * 1024**3
    status, out, _ = ocs("pool", "show", additional)
    assert status == 0 and "limits: each MINI.sms 50" in out
    assert json.loads(ocs("balance", additional, "--json")[1])["units"][0]["shared"] is True
    assert ocs("pool", "leave", additional) == (0, f"{additional}: is in no pool\n", "")
    assert ocs("pool", "show", additional)[0] == 1


@rule("HOT-PKG-12")
def test_a_keyword(ocs: Call) -> None:
    number = opened(ocs, "38668300005", "--package", "MINI", "--credit", "20")
    status, out, _ = ocs("keyword", "--msisdn", number, "SMS 200")
    assert (status, out) == (0, "Naročilo SMS 200 stane 7,00 EUR. Za potrditev v 5 minutah pošljite SMS 200 DA.\n")
    _, out, _ = ocs("keyword", "--msisdn", number, "--language", "en", "--json", "sms 200 da")
    assert json.loads(out) == {"answer": "bought", "text": "SMS 200 is active. Price: 7.00 EUR.", "product": "SMS-200"}
    _, out, _ = ocs("keyword", "--msisdn", number, "--to", "1919", "PORABA K")
    assert out.startswith("Preostalo: SMS 200 200 sporočil do ")
    assert ocs("keyword", "--msisdn", number, "--to", "1900", "PORABA K")[0] == 2
    assert ocs("keyword", "--msisdn", number, "--language", "de", "PORABA K")[0] == 2
