"""The `ocs` command on a real Redis: its output, output for other programs, and its exit status (0 done, 1 failed, 2
wrong call).
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
import redis

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.views import AccountView
from ocs.ledger.layout import LAYOUT
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.values.products import BucketTerms, CounterTerms, Measure, PackageTerms, Window
from ocs.values.requests import RequestType
from ocs.values.use import PriceTerms
from tests.ocs.cli.conftest import Ocs
from tests.rules import rule

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("cli"), durability="everysec")
    yield server.acquire()
    server.release()


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the command on the module's Redis; returns exit status, standard output, standard error."""
    monkeypatch.setenv("OCS_REDIS_URL", url)
    return lambda *words: ocs_in(*words, cwd=ROOT)


def create(ocs: Call, msisdn: str, *more: str) -> None:
    status, _, error = ocs("account", "create", "--msisdn", msisdn, "--imsi", "2934" + msisdn, *more)
    assert status == 0, error


def shown(ocs: Call, msisdn: str) -> dict[str, Any]:
    status, out, error = ocs("account", "show", msisdn, "--json")
    assert status == 0, error
    view: dict[str, Any] = json.loads(out)
    return view


def test_an_account_is_created_and_shown(ocs: Call) -> None:
    create(ocs, "38668100000", "--package", "MAXI", "--credit", "20.00")
    view = shown(ocs, "38668100000")
    assert view["imsi"] == "293438668100000"
    assert view["state"] == "active"
    assert view["credit_micro_eur"] == 10_010_000
    assert (view["held_micro_eur"], view["spent_month_micro_eur"]) == (0, 0)
    assert view["limit_micro_eur"] == 100_000_000
    assert view["sessions"] == []
    assert {bucket["id"] for bucket in view["buckets"]} >= {"MAXI.data"}
    for bucket in view["buckets"]:
        assert {"id", "unit", "left", "held", "expires_at"} <= bucket.keys()
    assert next(bucket["left"] for bucket in view["buckets"] if bucket["unit"] == "seconds") is None
    status, out, _ = ocs("account", "show", "+38668100000")
    assert status == 0
    assert "10.01 EUR" in out and "150.0 GB" in out and "unlimited" in out


def test_an_account_is_shown_by_the_id_that_log_and_audit_name(ocs: Call) -> None:
    create(ocs, "38668100048", "--credit", "3.00")
    view = shown(ocs, "38668100048")
    assert shown(ocs, view["account"]) == view
    for unknown in ("00-0123456789abcdef", "9999-0123456789abcdef"):
        status, _, error = ocs("account", "show", unknown)
        assert status == 1 and error.startswith("ocs: there is no"), error


def test_subscriptions_buckets_and_counters_are_shown(ocs: Call, url: str) -> None:
    create(ocs, "38668100040", "--package", "MAXI", "--credit", "20.00")
    asyncio.run(_open_session(url, "38668100040", "40"))
    view = shown(ocs, "38668100040")
    (subscription,) = view["subscriptions"]
    expected = {"instance": 1, "product": "MAXI", "group": "package", "state": "active", "next": None}
    assert {name: subscription[name] for name in expected} == expected
    assert subscription["price_micro_eur"] == 9_990_000
    assert subscription["from"] < subscription["until"] == view["period_end"]
    buckets = {each["id"]: each for each in view["buckets"]}
    assert len({each["instance"] for each in view["buckets"]}) == len(view["buckets"])
    data = buckets["MAXI.data"]
    assert (data["subscription"], data["priority"], data["held"]) == (1, 0, 1_048_576)
    assert (data["from"], data["expires_at"]) == (subscription["from"], subscription["until"])
    limit = {"id": "limit", "window": "month", "value": 0, "held": 0, "limit": 100_000_000, "told": 0}
    assert limit in view["counters"]
    assert view["pool"] is None
    status, out, _ = ocs("account", "show", "38668100040")
    assert status == 0
    assert subscription["until"] in out and data["expires_at"] in out
    for words in ("subscriptions", "1.0 MB", "counters", "100.00 EUR", "pool"):
        assert words in out


async def _on_ledger(url: str, work: Callable[[RedisLedger, dict[str, int]], Coroutine[Any, Any, None]]) -> None:
    ledger = await RedisLedger.connect(url, LedgerSettings())
    try:
        await work(ledger, {"now": int(time.time()), "month": 202611, "day": 0})
    finally:
        await ledger.close()


def test_other_subscriptions_counters_and_the_pool_are_shown(ocs: Call, url: str) -> None:
    create(ocs, "38668100041", "--credit", "20.00")
    data = CounterTerms("data-cap", Window.PERIOD, Measure.UNITS, 5_000_000, (50,))
    family = PackageTerms(
        "FAMILY", 1_000_000, 86_400, (BucketTerms("FAMILY.data", "octets", 2**30, 3),), "", shared=True
    )
    capped = PackageTerms("CAPPED", 0, 86_400, (), "", counters=(data,))
    later = PackageTerms("LATER", 500_000, 86_400, (), "")

    async def subscribe(ledger: RedisLedger, when: dict[str, int]) -> None:
        account_id = await ledger.find_subscriber("m38668100041")
        assert account_id is not None
        await ledger.open_pool(account_id, "home", now=when["now"])
        await ledger.join_pool(account_id, "home", **when)
        await ledger.subscribe(account_id, product=family, reference="cli-family", **when)
        await ledger.subscribe(account_id, product=capped, reference="cli-capped", **when)
        starts_at = when["now"] + 3_600
        await ledger.subscribe(account_id, product=later, reference="cli-later", starts_at=starts_at, **when)
        await ledger.set_next(account_id, 1, product=capped, now=when["now"], month=when["month"])

    asyncio.run(_on_ledger(url, subscribe))
    view = shown(ocs, "38668100041")
    found = [(each["product"], each["state"], each["next"], each["until"] is None) for each in view["subscriptions"]]
    assert found == [
        ("FAMILY", "active", "CAPPED", False),
        ("CAPPED", "active", None, False),
        ("LATER", "planned", None, True),
    ]
    assert view["subscriptions"][2]["from"] > view["subscriptions"][1]["from"]
    assert view["buckets"] == []
    assert (view["pool"]["id"], view["pool"]["holds"]) == ("home", [])
    (bucket,) = view["pool"]["buckets"]
    assert (bucket["id"], bucket["left"], bucket["priority"]) == ("FAMILY.data", 2**30, 3)
    counters = {each["id"]: each for each in view["counters"]}
    assert counters["data-cap"]["limit"] == 5_000_000 and counters["data-cap"]["window"] == "period"
    status, out, _ = ocs("account", "show", "38668100041")
    assert status == 0
    for words in ("units of the pool home", "1.0 GB", "planned", "data-cap", "5000000", "CAPPED"):
        assert words in out


def test_an_account_is_moved(ocs: Call) -> None:
    create(ocs, "38668100042", "--credit", "5")
    before = shown(ocs, "38668100042")
    status, out, error = ocs("account", "move", "38668100042", "--partition", "7")
    after = shown(ocs, "38668100042")
    assert (status, error) == (0, "") and after["account"] in out
    assert after["account"] != before["account"]
    assert {**after, "account": before["account"]} == before
    assert "no change" in ocs("account", "move", "38668100042", "--partition", "7")[1]
    assert ocs("account", "topup", "38668100042", "--amount", "1", "--reference", "cli-moved")[0] == 0
    for partition in (1024, 99_999):
        status, _, error = ocs("account", "move", "38668100042", "--partition", str(partition))
        assert status == 2 and error == f"ocs: --partition {partition}: the ledger's are 0 to 1023\n"
    assert ocs("account", "move", "38668100042", "--partition", "-1")[0] == 2


# -- the ledger as a whole


def test_the_ledger_shows_its_layout_and_partitions(ocs: Call) -> None:
    before = json.loads(ocs("ledger", "show", "--json")[1])
    for n in (3, 4):
        create(ocs, f"3866810004{n}")
    ocs("account", "move", "38668100043", "--partition", "9")
    assert ocs("account", "terminate", "38668100044", "--yes")[0] == 0
    status, out, _ = ocs("ledger", "show", "--json")
    facts = json.loads(out)
    assert (status, facts["layout"], facts["partitions"]) == (0, LAYOUT.version, 1024)
    assert (facts["older"], facts["unreadable"]) == (0, 0)
    grown = [facts[name] - before[name] for name in ("accounts", "terminated")]
    assert grown == [1, 1]
    assert f"layout {LAYOUT.version}, 1024 partitions, {facts['accounts']} accounts" in ocs("ledger", "show")[1]


def test_show_upgrade_and_audit_count_the_same_accounts(ocs: Call, url: str) -> None:
    for n in range(3):
        create(ocs, f"3866810008{n}", "--credit", "1")
    assert ocs("account", "terminate", "38668100080", "--yes")[0] == 0
    assert ocs("account", "move", "38668100081", "--partition", "11")[0] == 0
    account = shown(ocs, "38668100082")["account"]
    with redis.Redis.from_url(url) as client:
        (key,) = client.scan_iter(f"*:a:{account}")
        document = client.getset(key, b"nonsense")
        try:
            shown_facts = json.loads(ocs("ledger", "show", "--json")[1])
            audited = json.loads(ocs("audit", "--json")[1])
            texts = [ocs(*words)[1] for words in (("ledger", "show"), ("audit",), ("ledger", "upgrade"))]
        finally:
            client.set(key, document)
    names = ("accounts", "terminated", "unreadable")
    facts = [shown_facts[name] for name in names]
    assert facts == [audited[name] for name in names] and facts[1] >= 1 and facts[2] == 1
    for text in texts:
        assert f"{facts[0]} accounts (and {facts[1]} terminated, 1 unreadable)" in text


def test_documents_of_an_older_layout_are_upgraded_once(ocs: Call, url: str) -> None:
    for n in range(3):
        create(ocs, f"3866810005{n}", "--package", "MINI", "--credit", "7")
    views = [shown(ocs, f"3866810005{n}") for n in range(3)]
    with redis.Redis.from_url(url) as client:
        for view in views[:2]:
            (key,) = client.scan_iter(f"*:a:{view['account']}")
            document = msgpack.unpackb(client.get(key), strict_map_key=False, unicode_errors="surrogateescape")
            assert document[0] == LAYOUT.version
            older = [LAYOUT.version - 1, *document[1:]]
            client.set(key, msgpack.packb(older, unicode_errors="surrogateescape"))
    assert json.loads(ocs("ledger", "show", "--json")[1])["older"] == 2
    assert "of an older layout: 2;" in ocs("ledger", "show")[1]
    status, out, error = ocs("ledger", "upgrade")
    assert status == 0, error
    upgraded, of, *_ = re.findall(r"[0-9]+", out)
    assert int(upgraded) == 2 and int(of) >= 3
    assert [shown(ocs, f"3866810005{n}") for n in range(3)] == views
    started = time.monotonic()
    assert ocs("ledger", "upgrade", "--per-second", "200")[1].startswith("0 documents rewritten")
    assert time.monotonic() - started > (int(of) - 50) / 200


def test_charging_goes_on_while_documents_are_upgraded(ocs: Call, url: str, tmp_path: Path) -> None:
    """Sessions open, continue and end during the upgrade. Each account ends up in today's layout with the right
    balance.
    """
    rows = [f"386682030{n:02d},29340003{n:05d},,1" for n in range(100)]
    assert ocs("account", "import", csv_file(tmp_path, *rows))[0] == 0
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter("*:a:*"):
            document = msgpack.unpackb(client.get(key), strict_map_key=False, unicode_errors="surrogateescape")
            older = [LAYOUT.version - 1, *document[1:]]
            client.set(key, msgpack.packb(older, unicode_errors="surrogateescape"))
    upgraded = threading.Event()

    async def charge_all(ledger: RedisLedger, when: dict[str, int]) -> None:
        found = [await ledger.find_subscriber(f"m386682030{n:02d}") for n in range(100)]
        number = 0
        while number < 2 or (number < 60 and not upgraded.is_set()):
            requests = [_data_request(each or "", f"pgw;up;{n}", number) for n, each in enumerate(found)]
            outcomes = await asyncio.gather(*(_charge(ledger, each) for each in requests))
            assert {outcome.code for outcome in outcomes} == {2001}
            number += 1

    with ThreadPoolExecutor(1) as pool:
        charging = pool.submit(lambda: asyncio.run(_on_ledger(url, charge_all)))
        status, out, error = ocs("ledger", "upgrade", "--per-second", "400")
        upgraded.set()
        charging.result(60)
    assert status == 0, error
    assert int(out.split()[0]) > 0
    facts = json.loads(ocs("ledger", "show", "--json")[1])
    assert (facts["older"], facts["unreadable"]) == (0, 0)
    assert ocs("audit")[0] == 0


def test_an_unreadable_document_is_named_and_skipped(ocs: Call, url: str) -> None:
    create(ocs, "38668100060", "--credit", "1")
    create(ocs, "38668100062", "--credit", "1")
    asyncio.run(_open_session(url, "38668100062", "62"))
    account = shown(ocs, "38668100060")["account"]
    with redis.Redis.from_url(url) as client:
        (key,) = client.scan_iter(f"*:a:{account}")
        document = client.getset(key, b"nonsense")
        try:
            listed, rows, complaint = ocs("session", "list", "--limit", "1000", "--json")
            audited, report, _ = ocs("audit", "--json")
            status, out, error = ocs("ledger", "upgrade")
        finally:
            client.set(key, document)
    assert listed == 1 and "38668100062" in {row["msisdn"] for row in json.loads(rows)}
    assert f"account {account}: " in complaint and "1 account could not be read" in complaint
    assert audited == 1 and [each["account"] for each in json.loads(report)["violations"]] == [account]
    assert status == 1 and out.startswith("0 documents rewritten")
    assert f"account {account}: " in error and "cannot be read" in error
    assert "1 account could not be upgraded" in error


@pytest.fixture
def first_layout(tmp_path: Path) -> Iterator[str]:
    """A Redis with a ledger of the first layout."""
    server = EmbeddedRedis(tmp_path / "first", durability="everysec")
    found = server.acquire()
    with redis.Redis.from_url(found) as client:
        client.hset("{p00}:subscribers", "m38668100000", "00-0000000000000001")
    yield found
    server.release()


@pytest.mark.parametrize(
    "words", [("account", "show", "38668100000"), ("audit",), ("session", "list"), ("ledger", "upgrade")]
)
def test_a_ledger_of_the_first_layout_is_refused(
    ocs: Call, first_layout: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OCS_REDIS_URL", first_layout)
    status, out, error = ocs(*words)
    assert (status, out) == (1, "")
    assert error.startswith("ocs: Redis holds a ledger of the first layout") and len(error.splitlines()) == 1


def test_another_number_of_partitions_is_refused(ocs: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    create(ocs, "38668100061")
    monkeypatch.setenv("OCS_LEDGER_PARTITIONS", "64")
    status, _, error = ocs("account", "show", "38668100061")
    assert status == 1 and "the ledger has 1024 partitions, and ledger.partitions = 64" in error


def test_a_redis_that_evicts_is_refused(ocs: Call, url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            status, _, error = ocs("audit")
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert status == 1 and "CONFIG SET maxmemory-policy noeviction" in error and "Traceback" not in error


def test_an_imsi_has_up_to_16_digits(ocs: Call) -> None:
    words = ("account", "create", "--msisdn", "38668100097", "--imsi")
    status, _, error = ocs(*words, "29340000000000097")
    assert status == 2 and "6 to 16 digits" in error
    assert ocs(*words, "2934000000000097")[0] == 0
    assert shown(ocs, "38668100097")["imsi"] == "2934000000000097"


def test_a_number_or_imsi_that_is_taken_is_refused(ocs: Call) -> None:
    create(ocs, "38668100001")
    status, _, error = ocs("account", "create", "--msisdn", "38668100001", "--imsi", "293400000000099")
    assert status == 1 and "belongs to an account already" in error
    status, _, error = ocs("account", "create", "--msisdn", "38668100099", "--imsi", "293438668100001")
    assert status == 1 and "belongs to an account already" in error


def test_an_unpaid_package_is_reported(ocs: Call) -> None:
    status, out, _ = ocs(
        "account",
        "create",
        "--msisdn",
        "38668100002",
        "--imsi",
        "293400000000002",
        "--package",
        "MAXI",
        "--credit",
        "1",
    )
    assert status == 0 and "does not cover" in out
    ocs("account", "topup", "38668100002", "--amount", "9", "--reference", "cli-pending")
    view = shown(ocs, "38668100002")
    assert (view["package_pending"], view["credit_micro_eur"]) == (False, 10_000)


def test_a_refused_topup_leaves_its_reference_free(ocs: Call) -> None:
    create(ocs, "38668100091")
    words = ("account", "topup", "38668100091", "--reference", "cli-again")
    status, _, error = ocs(*words, "--amount", "500")
    assert status == 1 and "200 EUR" in error
    status, out, error = ocs(*words, "--amount", "5")
    assert (status, error) == (0, "") and "topped up by 5.00 EUR" in out


def test_a_topup_credits_once_per_reference(ocs: Call) -> None:
    create(ocs, "38668100003", "--credit", "0.000001")
    for words in ("topped up by 10.00", "applied before"):
        status, out, _ = ocs("account", "topup", "38668100003", "--amount", "10.00", "--reference", "cli-1")
        assert status == 0 and words in out
    assert shown(ocs, "38668100003")["credit_micro_eur"] == 10_000_001
    status, _, error = ocs("account", "topup", "38668100003", "--amount", "11.00", "--reference", "cli-1")
    assert status == 1 and "another account or amount" in error
    status, _, error = ocs("account", "topup", "38668100003", "--amount", "190", "--reference", "cli-2")
    assert status == 1 and "200 EUR" in error


def test_the_limit_is_set_and_switched_off(ocs: Call) -> None:
    create(ocs, "38668100004")
    assert ocs("account", "limit", "38668100004", "--amount", "50.00")[0] == 0
    assert shown(ocs, "38668100004")["limit_micro_eur"] == 50_000_000
    assert ocs("account", "limit", "38668100004", "--amount", "off")[0] == 0
    assert shown(ocs, "38668100004")["limit_micro_eur"] is None


def test_bars_block_and_package(ocs: Call) -> None:
    create(ocs, "38668100005", "--credit", "20")
    assert ocs("account", "bars", "38668100005", "--bars", "data,roaming")[0] == 0
    assert ocs("account", "unblock", "38668100005")[1] == "38668100005: was not blocked: no change\n"
    assert ocs("account", "block", "38668100005")[:2] == (0, "38668100005: blocked\n")
    assert ocs("account", "block", "38668100005")[1] == "38668100005: was blocked before: no change\n"
    view = shown(ocs, "38668100005")
    assert (view["bars"], view["state"]) == (["data", "roaming"], "blocked")
    assert ocs("account", "package", "38668100005", "--package", "MINI", "--reference", "cli-p")[0] == 1
    assert ocs("account", "unblock", "38668100005")[:2] == (0, "38668100005: unblocked\n")
    assert ocs("account", "bars", "38668100005", "--bars", "none")[0] == 0
    for _ in range(2):
        assert ocs("account", "package", "38668100005", "--package", "MINI", "--reference", "cli-p")[0] == 0
    view = shown(ocs, "38668100005")
    assert (view["bars"], view["state"], view["package"]) == ([], "active", "MINI")
    assert view["credit_micro_eur"] == 13_010_000


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("account", "create", "--msisdn", "38668100010"),
        ("account", "create", "--msisdn", "068100010", "--imsi", "293400000000010"),
        ("account", "create", "--msisdn", "38668100010", "--imsi", "29340000000001x"),
        ("account", "create", "--msisdn", "38668100010", "--imsi", "293400000000010", "--credit", "1,50"),
        ("account", "create", "--msisdn", "38668100010", "--imsi", "293400000000010", "--credit", "-1"),
        ("account", "create", "--msisdn", "38668100010", "--imsi", "293400000000010", "--credit", "1.0000001"),
        ("account", "create", "--msisdn", "38668100010", "--imsi", "293400000000010", "--package", "HUGE"),
        ("account", "topup", "38668100010", "--amount", "0", "--reference", "r"),
        ("account", "topup", "38668100010", "--amount", "5"),
        ("account", "topup", "38668100010", "--amount", "5", "--reference", ""),
        ("account", "limit", "38668100010", "--amount", "none"),
        ("account", "bars", "38668100010", "--bars", "everything"),
        ("account", "show", "not-a-number"),
        ("account", "show", "38668100010", "--config", "/nonexistent/ocs.toml"),
        ("account", "import", "/nonexistent.csv"),
        ("session", "list", "--limit", "0"),
        ("decode", "xyz"),
        ("decode", "012"),
    ],
)
def test_a_wrong_call_has_status_2(ocs: Call, words: tuple[str, ...]) -> None:
    status, out, error = ocs(*words)
    assert status == 2, (out, error)
    assert error and "Traceback" not in error


@pytest.mark.parametrize(
    "words",
    [
        ("account", "show", "38668109999"),
        ("account", "topup", "38668109999", "--amount", "5", "--reference", "cli-none"),
        ("account", "limit", "38668109999", "--amount", "off"),
        ("account", "block", "38668109999"),
    ],
)
def test_an_unknown_account_has_status_1(ocs: Call, words: tuple[str, ...]) -> None:
    status, _, error = ocs(*words)
    assert status == 1
    assert error == "ocs: there is no account with MSISDN 38668109999\n"


def test_mistakes_in_the_settings_have_status_1(ocs: Call, tmp_path: Path) -> None:
    config = tmp_path / "ocs.toml"
    config.write_text('[ledger]\ndurability = "never"\n', encoding="utf-8")
    status, _, error = ocs("account", "show", "38668100000", "--config", str(config))
    assert status == 1
    assert error.startswith(f"ocs: {config}: ledger.durability = 'never'")


def test_an_unavailable_redis_has_status_1(ocs: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCS_REDIS_URL", f"unix://{tmp_path}/none.sock")
    for words in (("audit",), ("account", "topup", "38668100000", "--amount", "5", "--reference", "cli-away")):
        status, out, error = ocs(*words)
        assert (status, out, len(error.splitlines())) == (1, "", 1)
        assert "cannot reach Redis" in error and error.endswith("nothing was done\n")


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (("account", "show", "38668100071"), "nothing was changed: try again"),
        (("audit",), "nothing was changed: try again"),
        (("account", "topup", "38668100071", "--amount", "1", "--reference", "cli-broke"), "check, then repeat it"),
    ],
)
def test_a_redis_lost_during_the_command(
    ocs: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], end: str
) -> None:
    """Only after a change the result is unknown; a command that reads just fails."""
    ocs("account", "create", "--msisdn", "38668100071", "--imsi", "293438668100071")

    async def broken(self: RedisLedger, *arguments: object, **more: object) -> None:
        raise LedgerUnavailable("the connection to Redis broke")

    for name in ("read", "account_slice", "top_up"):
        monkeypatch.setattr(RedisLedger, name, broken)
    status, out, error = ocs(*words)
    assert (status, out, len(error.splitlines())) == (1, "", 1)
    assert error.startswith("ocs: the connection to Redis broke; ") and error.endswith(f"{end}\n")
    monkeypatch.undo()


def test_an_audit_without_errors(ocs: Call) -> None:
    create(ocs, "38668100020", "--package", "MINI", "--credit", "7")
    status, out, _ = ocs("audit", "--json")
    report = json.loads(out)
    assert status == 0
    assert report["ok"] is True and report["violations"] == []
    totals = report["totals"]
    assert totals["paid_in_micro_eur"] > 0
    assert totals["paid_in_micro_eur"] == sum(
        totals[f"{name}_micro_eur"] for name in ("available", "held", "spent", "refunded", "expired")
    )
    assert "the books are right" in ocs("audit")[1]


async def _open_session(url: str, msisdn: str, session: str = "2", *, always: bool = False) -> None:
    """A data session with 1 MiB reserved from credit, as by a P-GW's CCR-I; `always`: at the emergency APN."""
    ledger = await RedisLedger.connect(url, LedgerSettings())
    account_id = await ledger.find_subscriber("m" + msisdn)
    assert account_id is not None
    request = _data_request(account_id, f"pgw;1;{session}", 0)
    request.services[0].always = always
    outcome = await _charge(ledger, request)
    assert outcome.code == 2001
    await ledger.close()


def _data_request(account_id: str, session_id: str, number: int) -> ChargeRequest:
    """A request for 1 MiB that reports 1 kB."""
    price = PriceTerms("data@1", 6_900, 1_048_576, 1024, 1024, False, "up")
    service = ServiceCharge("1", "data.home", price, ("MAXI.data",), 1024 if number else 0, 1_048_576, 1024)
    now = int(time.time())
    return ChargeRequest(
        account_id=account_id,
        identity="",
        session_id=session_id,
        origin_host="pgw.example.net",
        context="data",
        type=RequestType.UPDATE if number else RequestType.INITIAL,
        number=number,
        now=now,
        month=202611,
        deadline=now + 3600,
        services=(service,),
    )


async def _charge(ledger: RedisLedger, request: ChargeRequest) -> ChargeOutcome:
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    ledger.charge(request, done.set_result)
    outcome = await done
    assert isinstance(outcome, ChargeOutcome)
    return outcome


def test_open_sessions_are_listed_and_shown(ocs: Call, url: str) -> None:
    everything = ("session", "list", "--limit", "1000")
    before = json.loads(ocs(*everything, "--json")[1])
    create(ocs, "38668100030", "--credit", "1")
    asyncio.run(_open_session(url, "38668100030"))
    status, out, error = ocs(*everything, "--json")
    assert (status, error) == (0, "")
    (row,) = [each for each in json.loads(out) if each not in before]
    expected = {
        "msisdn": "38668100030",
        "session_id": "pgw;1;2",
        "service": "data.home",
        "held": 0,
        "held_micro_eur": 6_900,
    }
    assert {name: row[name] for name in expected} == expected
    assert "pgw;1;2" in ocs(*everything)[1]
    view = shown(ocs, "38668100030")
    assert view["held_micro_eur"] == 6_900
    assert view["sessions"] == [{name: value for name, value in row.items() if name != "msisdn"}]
    assert "pgw;1;2" in ocs("account", "show", "38668100030")[1]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_list_of_sessions_that_is_cut_says_so(ocs: Call, url: str, form: tuple[str, ...]) -> None:
    """Beside the list, on standard error; a list of exactly so many rows is whole."""
    number = "3866810003" + str(6 + len(form))
    create(ocs, number, "--credit", "1")
    for session in ("first", "second"):
        asyncio.run(_open_session(url, number, f"{number};{session}"))
    rows = len(json.loads(ocs("session", "list", "--limit", "1000", "--json")[1]))
    assert ocs("session", "list", "--limit", str(rows), *form)[2] == ""
    assert len(json.loads(ocs("session", "list", "--limit", str(rows - 1), "--json")[1])) == rows - 1
    cut = ocs("session", "list", "--limit", str(rows - 1), *form)[2]
    assert cut == f"these are the first {rows - 1}: --limit shows more\n"


@rule("HOT-RAT-2")
def test_emergency_calls_are_aborted_only_on_explicit_request(
    ocs: Call, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HOT-RAT-2."""
    told: list[list[str]] = []

    async def announce(self: RedisLedger, notice: Notice) -> None:
        told.append([notice.kind, *(each.session_id for each in notice.sessions)])

    monkeypatch.setattr(RedisLedger, "announce", announce)
    create(ocs, "38668100032", "--credit", "1")
    asyncio.run(_open_session(url, "38668100032", "e1", always=True))
    exempt = "1 session not aborted: an emergency call, or a service that is always granted; --session ID aborts one"
    status, out, error = ocs("session", "abort", "38668100032")
    assert (status, out, told) == (1, "", []) and exempt in error and "no other open session" in error
    asyncio.run(_open_session(url, "38668100032", "d"))
    status, out, error = ocs("session", "abort", "38668100032")
    assert (status, told) == (0, [["abort", "pgw;1;d"]]) and "1 session announced" in out and exempt in error
    asyncio.run(_open_session(url, "38668100032", "e2", always=True))
    assert "2 sessions not aborted" in ocs("session", "abort", "38668100032")[2]
    told.clear()
    status, _, error = ocs("session", "abort", "38668100032", "--session", "pgw;1;e1")
    assert (status, error, told) == (0, "", [["abort", "pgw;1;e1"]])
    assert ocs("session", "reauthorize", "38668100032")[0] == 0
    assert sorted(told[1]) == ["pgw;1;d", "pgw;1;e1", "pgw;1;e2", "reauthorize"], "a RAR harms no call"


def test_the_audit_names_violations(ocs: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    create(ocs, "38668100031", "--credit", "5")
    account = shown(ocs, "38668100031")["account"]
    read = RedisLedger.read

    async def read_wrongly(self: RedisLedger, account_id: str, **when: int) -> AccountView | None:
        view = await read(self, account_id, **when)
        return replace(view, credit_micro_eur=1) if view is not None and account_id == account else view

    monkeypatch.setattr(RedisLedger, "read", read_wrongly)
    status, out, _ = ocs("audit", "--json")
    report = json.loads(out)
    assert (status, report["ok"]) == (1, False)
    (violation,) = report["violations"]
    assert (violation["account"], violation["invariant"]) == (account, 1)
    assert "5000000" in violation["detail"]
    status, out, _ = ocs("audit")
    assert status == 1 and f"account {account} breaks invariant 1" in out


def test_the_audit_names_an_account_whose_document_is_lost(ocs: Call, url: str) -> None:
    create(ocs, "38668100033", "--credit", "5")
    account = shown(ocs, "38668100033")["account"]
    with redis.Redis.from_url(url) as client:
        (key,) = client.keys(f"*:a:{account}")
        document = client.getdel(key)
        try:
            status, out, _ = ocs("audit", "--json")
            in_words = ocs("audit")[1]
        finally:
            client.set(key, document)
    report = json.loads(out)
    lost = {"account": account, "invariant": "document", "detail": "the index names it, but it has no document"}
    assert (status, report["ok"], report["violations"]) == (1, False, [lost])
    assert f"account {account} breaks invariant document: {lost['detail']}" in in_words
    assert ocs("audit")[0] == 0


def test_tables_for_other_programs_have_one_line_a_row(ocs: Call, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number split over two lines would be misread by grep or awk."""
    monkeypatch.setenv("COLUMNS", "40")
    create(ocs, "38668100035", "--package", "MAXI", "--credit", "20")
    session = "pgw.epc.mnc040.mcc293.3gppnetwork.org;1876543210;999;38668100035"
    asyncio.run(_open_session(url, "38668100035", session))
    for words in (("session", "list", "--limit", "1000"), ("account", "show", "38668100035")):
        (row,) = [line for line in ocs(*words)[1].splitlines() if session in line]
        assert "data.home" in row and row.rstrip()[-1] == "│"
    out = ocs("account", "show", "38668100035")[1]
    assert re.search(r"│ limit +│ month +│ 0.00 EUR +│ 0.00 EUR +│ 100.00 EUR +│", out)


def test_a_message_is_decoded(ocs: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    watchdog = "01000014 80:00:01:18 00000000 0x00000001 00000002"
    status, out, _ = ocs("decode", watchdog)
    assert status == 0 and "Device-Watchdog" in out
    monkeypatch.setattr(sys, "stdin", io.StringIO(watchdog + "\n"))
    assert ocs("decode", "-") == (0, out, "")
    status, _, error = ocs("decode", "010000")
    assert status == 1 and "no Diameter message" in error


# -- import


def csv_file(folder: Path, *rows: str, header: str = "msisdn,imsi,package,credit") -> str:
    path = folder / "accounts.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def test_import_reports_bad_rows_and_takes_the_rest(ocs: Call, tmp_path: Path) -> None:
    create(ocs, "38668200000")
    file = csv_file(
        tmp_path,
        "38668200001,293400082000001,MAXI,20.00",
        "38668200002,293400082000002,,5",
        "068200003,293400082000003,MAXI,20.00",
        "38668200004,2934000820x0004,MAXI,20.00",
        "38668200005,293400082000005,HUGE,20.00",
        "38668200006,293400082000006,MAXI,200.01",
        "38668200007,293400082000007,MAXI",
        "38668200001,293400082000008,MAXI,20.00",
        "38668200000,293400082000009,MAXI,20.00",
        "38668200010,293400082000010,GIGA-MINI,6.99",
    )
    status, out, error = ocs("account", "import", file)
    assert status == 1
    assert out == "3 accounts opened, 7 bad rows\n"
    reasons = [line.partition(", ")[2] for line in error.splitlines() if line.startswith(f"{file}, line ")]
    assert [line.split(":")[0] for line in reasons] == [f"line {n}" for n in (4, 5, 6, 7, 8, 9, 10)]
    for line, words in zip(
        reasons, ("MSISDN", "IMSI", "package", "200.00 EUR", "4 columns", "earlier row", "already"), strict=True
    ):
        assert words in line
    assert shown(ocs, "38668200010")["credit_micro_eur"] == 0


def test_import_of_a_spreadsheet_with_semicolons_and_decimal_commas(ocs: Call, tmp_path: Path) -> None:
    header = "msisdn;imsi;package;credit"
    file = csv_file(tmp_path, "38668200021;293400082000021;;20,50", "38668200022;293400082000022;;5", header=header)
    assert ocs("account", "import", file)[:2] == (0, "2 accounts opened, 0 bad rows\n")
    assert shown(ocs, "38668200021")["credit_micro_eur"] == 20_500_000


@rule("HOT-CC-1")
def test_import_takes_the_spending_limit_of_each(ocs: Call, tmp_path: Path) -> None:
    header = "msisdn;imsi;package;credit;limit"
    limits = ("40,50", "off", "", "much", "-1")
    rows = (f"3866820003{n};29340008200003{n};;5;{limit}" for n, limit in enumerate(limits))
    status, out, error = ocs("account", "import", csv_file(tmp_path, *rows, header=header))
    assert (status, out) == (1, "3 accounts opened, 2 bad rows\n")
    assert "line 5: 'much'" in error and "line 6: '-1'" in error
    assert [shown(ocs, f"3866820003{n}")["limit_micro_eur"] for n in range(3)] == [40_500_000, None, 100_000_000]


def test_import_all_or_nothing(ocs: Call, tmp_path: Path) -> None:
    good = ["38668200101,293400082000101,MAXI,20.00", "38668200102,293400082000102,MAXI,20.00"]
    status, out, error = ocs("account", "import", csv_file(tmp_path, *good, "x,y,,0"), "--all-or-nothing")
    assert (status, out) == (1, "0 accounts opened, 1 bad row\n")
    assert "line 4" in error and "nothing was imported" in error
    status, _, error = ocs("account", "import", csv_file(tmp_path, *good, '"38668200103'), "--all-or-nothing")
    assert status == 1 and error.splitlines()[-1].endswith("; nothing was imported")
    assert ocs("account", "show", "38668200101")[0] == 1
    status, out, _ = ocs("account", "import", csv_file(tmp_path, *good), "--all-or-nothing")
    assert (status, out) == (0, "2 accounts opened, 0 bad rows\n")
    status, out, error = ocs("account", "import", csv_file(tmp_path, *good), "--all-or-nothing")
    assert status == 1 and "already" in error
    status, out, _ = ocs("account", "import", csv_file(tmp_path, *good), "--skip-existing")
    assert (status, out) == (0, "0 accounts opened, 2 were there already, 0 bad rows\n")


def test_import_of_a_file_with_a_wrong_header_or_encoding(ocs: Call, tmp_path: Path) -> None:
    status, _, error = ocs("account", "import", csv_file(tmp_path, "1,2", header="a,b"))
    assert status == 2 and "msisdn,imsi,package,credit" in error
    (tmp_path / "accounts.csv").write_bytes(b"msisdn,imsi,package,credit\n\xff\xfe,1,2,3\n")
    status, _, error = ocs("account", "import", str(tmp_path / "accounts.csv"))
    assert status == 1 and "UTF-8" in error


def test_the_private_redis_is_started_for_one_command(
    ocs: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OCS_REDIS_URL", "")
    monkeypatch.setenv("OCS_SERVER_DATA_DIR", str(tmp_path / "data"))
    create(ocs, "38668300000", "--credit", "3")
    assert shown(ocs, "38668300000")["credit_micro_eur"] == 3_000_000
    assert not (tmp_path / "data" / "redis" / "server.json").exists()


@rule("HOT-ACC-2", "HOT-ACC-10")
def test_an_account_is_sold_unused_and_gets_a_gift(ocs: Call) -> None:
    number = "38668100090"
    words = ("--msisdn", number, "--imsi", "2934" + number, "--package", "MINI", "--credit", "10", "--unused")
    status, out, _ = ocs("account", "open", *words)
    assert (status, out) == (0, f"opened {number}: new, credit 10.00 EUR, package MINI\n")
    view = shown(ocs, number)
    assert (view["state"], view["active_until"], view["credit_micro_eur"]) == ("new", None, 10_000_000)
    assert ocs("account", "topup", number, "--amount", "5", "--reference", "gift-90", "--promotional")[0] == 0
    view = shown(ocs, number)
    assert (view["credit_micro_eur"], view["promotional_micro_eur"], view["state"]) == (15_000_000, 5_000_000, "new")
    status, out, _ = ocs("account", "show", number)
    assert status == 0 and "promotional 5.00 EUR" in out and "waits for the first use" in out


@rule("HOT-ACC-10", "HOT-ACC-11", "HOT-REC-3")
def test_an_account_is_blocked_frozen_swapped_and_ported_out(ocs: Call) -> None:
    number = "38668100191"
    create(ocs, number, "--credit", "20")
    assert ocs("account", "block", number, "--reason", "stolen")[:2] == (0, f"{number}: blocked\n")
    status, _, error = ocs("account", "unblock", number, "--reason", "stolen", "--by", "subscriber")
    assert (status, error) == (1, "ocs: a block for the reason stolen is lifted by care, new-sim\n")
    assert ocs("account", "swap-sim", number, "--imsi", "293409991")[:2] == (0, f"{number}: has the new SIM\n")
    view = shown(ocs, number)
    assert (view["state"], view["blocks"], view["imsi"]) == ("active", [], "293409991")
    assert ocs("account", "freeze", number, "--reference", "F91")[:2] == (0, f"{number}: frozen: 3.00 EUR\n")
    status, out, _ = ocs("account", "unfreeze", number, "--reference", "F92", "--json")
    assert (status, json.loads(out)) == (0, {"applied": True, "debit_micro_eur": 3_000_000})
    assert ocs("account", "fee", number, "--fee", "CONNECTION", "--reference", "F93")[0] == 0
    assert ocs("account", "fee", number, "--fee", "MINI", "--reference", "F94")[0] == 2
    assert ocs("account", "transfer-ownership", number, "--reference", "F95")[0] == 0
    status, _, error = ocs("account", "pay-out", number, "--reference", "P91")
    assert status == 1 and error.startswith("ocs: the account's state does not allow it")
    assert ocs("account", "change-number", number, "--to", "38668100192")[:2] == (0, f"{number}: is 38668100192 now\n")
    assert ocs("account", "port-out", "38668100192", "--reference", "P92")[0] == 2
    status, out, _ = ocs("account", "port-out", "38668100192", "--reference", "P92", "--yes")
    assert (status, out) == (0, "38668100192: ported out; 4.00 EUR are paid out\n")
    assert ocs("account", "show", "38668100192")[0] == 1
