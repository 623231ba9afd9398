"""`ocs rate`: the price of a use and its reasons, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocs.process.embedded_redis import EmbeddedRedis
from tests.ocs.cli.conftest import Ocs
from tests.ocs.rules.test_catalogue_versions import NEXT
from tests.rules import rule

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]
MSISDN = "38668100000"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("rate"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def ocs(ocs_in: Ocs) -> Call:
    """Runs the command without a ledger: a price without an account needs none."""
    return lambda *words: ocs_in(*words, cwd=ROOT)


def rated(ocs: Call, *words: str) -> dict[str, Any]:
    status, out, error = ocs("rate", *words, "--json")
    assert status == 0, error
    found: dict[str, Any] = json.loads(out)
    return found


def steps(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [step for step in found["steps"] if step["step"] == name]


@rule("HOT-RAT-1")
def test_each_step_says_why(ocs: Call) -> None:
    words = ("--to", "+381641234567", "--duration", "125", "--at", "2026-12-25T23:58", "--from-plmn", "22003")
    status, out, error = ocs("rate", *words)
    assert status == 0, error
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines == [
        "catalogue 1 version of server.catalogue; no ledger was reached",
        "service voice the default of ims",
        "place balkan RS, the country of the serving network 22003",
        "destination zone2 a number of RS",
        "version 1 the first version",
        "rate voice.world-1.out voice, outgoing, at balkan, to zone2 (all others)",
        "price 0.99 EUR per min charged by 60, then by 60 s; rounded half_up, once",
        "billable 180 s 125 s in steps of 60, then 60 s",
        "credit 2.97 EUR 180 s at 0.99 EUR per min, rounded half_up; left 197.03 EUR",
        "VAT 22 % of 2.97 EUR; net 2.434426 EUR",
        "counter limit 0.00 EUR + 2.97 EUR counted in the window; limit 100.00 EUR",
        "sum 2.97 EUR",
    ]
    assert rated(ocs, *words)["micro_eur"] == 2_970_000


def test_octets_are_told_in_units_that_people_use(ocs: Call) -> None:
    """10 MB abroad by 10 kB: 10,240 kB are 1,024 steps of 10 kB; 4.90 EUR a MB."""
    status, out, error = ocs("rate", "--octets", "10 MB", "--from-plmn", "22003", "--product", "MINI")
    assert status == 0, error
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "billable 10 MB 10 MB in steps of 10, then 10 kB" in lines
    assert not any("10485760" in line or "octets" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "micro_eur", "units", "rate"),
    [
        (("--to", "031 234 567"), 69_000, {}, "voice.home.national"),
        (("--to", "+38631234567", "--duration", "2 min", "--product", "MINI"), 0, {"MINI.voice": 120}, None),
        (("--octets", "5MB", "--product", "MINI"), 0, {"MINI.data": 5 * 1024**2}, "data.home"),
        (("--octets", "1 MB", "--from-plmn", "310260"), 9_958_008, {}, "data.world-2"),
        (("--octets", "1024", "--service", "portal"), 0, {}, "portal.free"),
        (("--messages", "2", "--to", "1919"), 138_000, {}, "sms.short"),
        (("--messages", "1", "--service", "mms", "--to", "+38631234567"), 250_000, {}, "mms.home.national"),
        (("--direction", "mt", "--from-plmn", "22003"), 490_000, {}, "voice.world-1.in"),
        (("--to", "112", "--from-plmn", "22003"), 0, {}, "voice.emergency"),
        (("--to", "+38690412345", "--duration", "600"), 2_000_000, {}, "voice.premium-call"),
        (("--to", "+38631234567", "--forwarded-from", "+38640111222", "--from-plmn", "22003"), 69_000, {}, None),
    ],
)
def test_the_total_cost(  # 1 MB at 9.90 EUR by 10 kB is 103 steps: 1030 / 1024 x 9.90 EUR
    ocs: Call, words: tuple[str, ...], micro_eur: int, units: dict[str, int], rate: str | None
) -> None:
    found = rated(ocs, *words)
    assert (found["micro_eur"], found["bucket_units"], found["refused"]) == (micro_eur, units, None)
    assert rate is None or steps(found, "rate")[0]["value"] == rate


@rule("HOT-RAT-7")
def test_a_call_forwarded_late_has_two_legs(ocs: Call) -> None:
    words = ("--to", "+38631234567", "--forwarded-from", "+38640111222", "--from-plmn", "22003")
    found = rated(ocs, *words, "--diversion", "cfnrc")
    assert found["micro_eur"] == 990_000 + 490_000
    assert [step["value"] for step in steps(found, "rate")] == ["voice.world-1.out", "voice.world-1.in"]


def test_a_draft_of_the_catalogue(ocs: Call, tmp_path: Path) -> None:
    draft = tmp_path / "draft.toml"
    draft.write_text(NEXT)
    found = rated(ocs, "--messages", "1", "--to", "+38631234567", "--catalogue", str(draft))
    assert found["micro_eur"] == 80_000 and steps(found, "version")[0]["value"] == "2026-12"


def test_versions_loaded_into_the_ledger_rate_without_an_account_too(ocs_in: Ocs, url: str, tmp_path: Path) -> None:
    """SMS for 0.08 from December 2036 on; who has no ledger does not know of it."""
    account = ("--msisdn", "38668100009", "--imsi", "293438668100009")
    assert ocs_in("account", "create", *account, cwd=ROOT, OCS_REDIS_URL=url).returncode == 0
    later = tmp_path / "later.toml"
    later.write_text(NEXT.replace("2026-12-01T00:00", "2036-12-01T00:00"))
    loaded = ocs_in("catalogue", "load", str(later), cwd=ROOT, OCS_REDIS_URL=url)
    assert loaded.returncode == 0, loaded.stderr
    words = ("rate", "--messages", "1", "--to", "+38631234567", "--at", "2036-12-02T12:00", "--json")
    known = json.loads(ocs_in(*words, cwd=ROOT, OCS_REDIS_URL=url).stdout)
    unknown = json.loads(ocs_in(*words, cwd=ROOT, OCS_REDIS_URL="redis://127.0.0.1:1").stdout)
    found = [(each["micro_eur"], each["steps"][0]["versions"], each["steps"][0]["why"]) for each in (known, unknown)]
    assert found == [
        (80_000, ["1", "2026-12"], "of server.catalogue, and those loaded into the ledger"),
        (69_000, ["1"], "of server.catalogue; no ledger was reached"),
    ]


def test_the_price_for_an_account(ocs_in: Ocs, url: str) -> None:
    def ocs(*words: str) -> tuple[int, str, str]:
        return ocs_in(*words, cwd=ROOT, OCS_REDIS_URL=url)

    account = ("--msisdn", MSISDN, "--imsi", f"2934{MSISDN}")
    assert ocs("account", "create", *account, "--credit", "8.00", "--package", "MINI")[0] == 0
    before = ocs("account", "show", MSISDN, "--json")[1]
    own = rated(ocs, "--msisdn", MSISDN, "--to", "+38631234567", "--duration", "600")
    assert own["bucket_units"] == {"MINI.voice": 600}
    abroad = rated(ocs, "--msisdn", MSISDN, "--to", "+38631234567", "--duration", "600", "--from-plmn", "22003")
    assert (abroad["granted"], abroad["micro_eur"]) == (60, 990_000), "1.01 EUR are one minute of 0.99 EUR"
    ocs("account", "bars", MSISDN, "--bars", "international")
    barred = rated(ocs, "--msisdn", MSISDN, "--to", "+381641234567")
    assert (barred["granted"], barred["refused"]) == (0, "the bar international forbids it")
    ocs("account", "bars", MSISDN, "--bars", "none")
    assert ocs("account", "show", MSISDN, "--json")[1] == before, "nothing is charged"


def test_a_use_without_a_price_is_reported(ocs: Call) -> None:
    found = rated(ocs, "--direction", "mo")
    assert found["refused"] == "5031: the request names no other party"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--duration", "1", "--octets", "1"), "state one of --duration, --octets and --messages"),
        (("--service", "fax"), "--service 'fax' is no service; the catalogue has data"),
        (("--service", "data", "--duration", "5"), "service data is charged in octets"),
        (("--duration", "5 MB"), "'5 MB' must be a whole number and s, min or h"),
        (("--duration", "0"), "'0' must be a whole number and s, min or h"),
        (("--from-plmn", "abc"), "--from-plmn 'abc' must be 5 or 6 digits"),
        (("--at", "noon"), "--at 'noon' must be a local time such as 2026-12-25T23:58"),
        (("--direction", "up"), "--direction 'up' must be one of mo, mt, fw"),
        (("--forwarded-from", "1", "--diversion", "x"), "--diversion 'x' must be one of unknown, cfu"),
        (("--product", "MIDI"), "'MIDI' is no package"),
        (("--msisdn", MSISDN, "--product", "MINI"), "--product is for a price without an account"),
    ],
)
def test_a_wrong_call_has_status_2(ocs: Call, words: tuple[str, ...], said: str) -> None:
    status, out, error = ocs("rate", *words)
    assert (status, out) == (2, "") and said in error and error.count("\n") == 1
