"""`ocs measure` and `ocs account limit --counter`: for one account, and for all accounts of a file (HOT-ROA-5, -8)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocs.process.embedded_redis import EmbeddedRedis
from tests.ocs.cli.conftest import Ocs
from tests.rules import rule

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]
ONE, TWO = "38668100000", "38668100001"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("measures"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("OCS_REDIS_URL", url)
    for msisdn in (ONE, TWO):
        ocs_in("account", "create", "--msisdn", msisdn, "--imsi", "2934" + msisdn, "--credit", "5", cwd=ROOT)
    return lambda *words: ocs_in(*words, cwd=ROOT)


def measures(ocs: Call, msisdn: str) -> list[dict[str, Any]]:
    status, out, error = ocs("measure", "list", msisdn, "--json")
    assert status == 0, error
    found: list[dict[str, Any]] = json.loads(out)
    return found


@rule("HOT-ROA-8")
def test_a_bar_with_reason_and_end_is_set_shown_and_lifted(ocs: Call) -> None:
    bar = ("--kind", "bar", "--name", "roaming")
    status, out, error = ocs("measure", "set", ONE, *bar, "--reason", "resale", "--until", "2999-01-01")
    assert (status, out) == (0, f"{ONE}: bar roaming is in force\n"), error
    (shown,) = measures(ocs, ONE)
    assert (shown["kind"], shown["name"], shown["reason"], shown["in_force"]) == ("bar", "roaming", "resale", True)
    assert shown["until"] == "2998-12-31T23:00:00Z", "the day begins in Ljubljana"
    _, out, _ = ocs("account", "show", ONE)
    assert "bar roaming until 2998-12-31T23:00:00Z: resale" in out
    assert ocs("measure", "list", ONE)[1] == "bar roaming until 2998-12-31T23:00:00Z: resale\n"
    assert ocs("measure", "lift", ONE, *bar)[1] == f"{ONE}: bar roaming is lifted\n"
    assert ocs("measure", "lift", ONE, *bar)[:2] == (0, f"{ONE}: bar roaming was not there: no change\n")
    assert measures(ocs, ONE) == []


@rule("HOT-ROA-8")
def test_a_file_of_accounts_with_an_error_in_one_line(ocs: Call, tmp_path: Path) -> None:
    file = tmp_path / "resold.csv"
    file.write_text(f"msisdn,note\n{ONE},a\n12,b\n38668199999,c\n{TWO},d\n")
    words = ("--kind", "bar", "--name", "roaming", "--file", str(file))
    status, out, error = ocs("measure", "set", *words, "--reason", "resale of SIMs")
    assert (status, out) == (1, "set on 2 accounts, 2 bad rows\n")
    assert (
        f"{file}, line 3: '12' is no MSISDN" in error
        and f"{file}, line 4: there is no account with MSISDN 38668199999" in error
    )
    assert [measures(ocs, each)[0]["reason"] for each in (ONE, TWO)] == ["resale of SIMs"] * 2
    file.write_text(f"msisdn\n{ONE}\n{TWO}\n")
    assert ocs("measure", "lift", *words)[:2] == (0, "lifted on 2 accounts, 0 bad rows\n")
    assert measures(ocs, ONE) == measures(ocs, TWO) == []
    assert ocs("measure", "lift", *words)[:2] == (0, "lifted on 0 accounts, 2 accounts had none, 0 bad rows\n")


def test_a_name_that_is_none_is_not_lifted_in_silence(ocs: Call, tmp_path: Path) -> None:
    """Else care takes a bar for lifted that is in force."""
    words = ("--kind", "bar", "--name", "roming")
    status, _, error = ocs("measure", "lift", ONE, *words)
    assert status == 2 and "'roming' cannot be the name of a bar" in error
    (tmp_path / "resold.csv").write_text(f"msisdn\n{ONE}\n")
    status, out, error = ocs("measure", "lift", *words, "--file", str(tmp_path / "resold.csv"))
    assert (status, out) == (1, "lifted on 0 accounts, 1 bad row\n") and "line 2: 'roming' cannot be" in error


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_spreadsheet_may_have_any_delimiter(ocs: Call, tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "excel.csv"
    file.write_text(f"ime{delimiter}msisdn\nAna{delimiter}{ONE}\n")
    words = ("--kind", "bar", "--name", "roaming", "--file", str(file))
    assert ocs("measure", "set", *words, "--reason", "x")[:2] == (0, "set on 1 account, 0 bad rows\n")
    assert ocs("measure", "lift", *words)[:2] == (0, "lifted on 1 account, 0 bad rows\n")


def test_a_header_without_the_column_is_shown(ocs: Call, tmp_path: Path) -> None:
    (tmp_path / "excel.csv").write_text(f"number|ime\n{ONE}|Ana\n")
    words = ("--kind", "bar", "--name", "roaming", "--reason", "x", "--file", str(tmp_path / "excel.csv"))
    status, _, error = ocs("measure", "set", *words)
    assert status == 2 and "excel.csv, line 1 = 'number|ime': must name a column msisdn, with commas" in error


@rule("HOT-ROA-2")
def test_a_volume_is_set_in_units_that_people_use(ocs: Call) -> None:
    def volume(amount: str) -> tuple[int, str, str]:
        return ocs("account", "limit", ONE, "--counter", "eu-data", "--amount", amount)

    for amount in ("5GB", "5 GB", str(5 * 1024**3)):
        assert volume(amount)[:2] == (0, f"{ONE}: limit of eu-data 5 GB a period\n")
    assert volume("1572865")[1] == f"{ONE}: limit of eu-data 1.5 MB (1,572,865 octets) a period\n"
    counters = json.loads(ocs("account", "show", ONE, "--json")[1])["counters"]
    assert next(each["limit"] for each in counters if each["id"] == "eu-data") == 1_572_865
    for wrong in ("5 min", "5,5 GB", "-1", "GB"):
        status, _, error = volume(wrong)
        assert status == 2 and "B, kB, MB, GB or TB, such as 50 MB; or off" in error
    assert volume("off")[1] == f"{ONE}: limit of eu-data off\n"


@pytest.mark.parametrize("at", ["0001-01-01", "9999-12-31"])
def test_a_day_that_no_calendar_reaches_is_refused(ocs: Call, at: str) -> None:
    status, _, error = ocs("fair-use", "evaluate", "--at", at)
    assert status == 2 and f"'{at}' must be" in error
    if at < "1970":
        bar = ("--kind", "bar", "--name", "roaming", "--reason", "x")
        assert ocs("measure", "set", ONE, *bar, "--from", at)[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--kind", "ban", "--name", "roaming"), "'ban' is no kind of measure; there are fact, bar, mute"),
        (("--kind", "bar", "--name", "sleep"), "'sleep' cannot be the name of a bar; there are content, data"),
        (("--kind", "fact", "--name", "rich"), "'rich' cannot be the name of a fact"),
        (("--kind", "mute", "--name", "limit:81"), "'limit:81' cannot be the name of a mute"),
        (("--kind", "bar", "--name", "data", "--until", "2001-01-01"), "the end must be later than the beginning"),
        (("--kind", "bar", "--name", "data", "--until", "soon"), "'soon' must be a date or a time"),
    ],
)
def test_a_wrong_call_says_what_is_allowed(ocs: Call, words: tuple[str, ...], said: str) -> None:
    status, out, error = ocs("measure", "set", ONE, *words, "--reason", "r")
    assert (status, out) == (2, "") and said in error
    assert ocs("measure", "set", *words, "--reason", "r")[0] == 2, "neither account nor file"


@rule("HOT-ROA-5")
def test_the_roaming_cap_is_raised_for_a_month_for_good_or_switched_off(ocs: Call) -> None:
    def cap() -> Any:
        counters = json.loads(ocs("account", "show", ONE, "--json")[1])["counters"]
        return next(each["limit"] for each in counters if each["id"] == "roaming-data")

    status, out, error = ocs("account", "limit", ONE, "--amount", "80.00", "--counter", "roaming-data", "--once")
    assert (status, out) == (0, f"{ONE}: limit of roaming-data 80.00 EUR a month until its window ends\n"), error
    assert cap() == 80_000_000
    ocs("account", "limit", ONE, "--amount", "off", "--counter", "roaming-data")
    assert cap() is None
    status, _, error = ocs("account", "limit", ONE, "--amount", "1", "--counter", "nothing")
    assert status == 2 and "'nothing' is no counter; there are" in error and "limit, roaming-data" in error
    assert ocs("account", "limit", ONE, "--amount", "50.00")[1] == f"{ONE}: limit 50.00 EUR a month\n"


@rule("HOT-ROA-5")
def test_a_notice_is_muted_and_unmuted(ocs: Call) -> None:
    notice = ("--kind", "mute", "--name", "roaming-data:80")
    assert ocs("measure", "set", TWO, *notice, "--reason", "asked for")[0] == 0
    assert [each["name"] for each in measures(ocs, TWO)] == ["roaming-data:80"]
    assert ocs("measure", "lift", TWO, *notice)[0] == 0
