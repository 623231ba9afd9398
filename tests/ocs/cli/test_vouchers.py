"""`ocs voucher` and the channels of `ocs account topup`, as a user types them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocs.process.embedded_redis import EmbeddedRedis
from tests.ocs.cli.conftest import Ocs
from tests.rules import rule

ROOT = Path(__file__).parents[3]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("vouchers"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
def ocs(url: str, ocs_in: Ocs, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("OCS_REDIS_URL", url)
    return lambda *words, **environment: ocs_in(*words, cwd=ROOT, **environment)


def opened(ocs: Call, msisdn: str) -> str:
    status, _, error = ocs("account", "create", "--msisdn", msisdn, "--imsi", "2934" + msisdn)
    assert status == 0, error
    return msisdn


def generated(ocs: Call, batch: str, file: Path, *more: str) -> list[str]:
    words = ("voucher", "generate", "--batch", batch, "--count", "3", "--value", "10", "--file", str(file), *more)
    status, out, error = ocs(*words)
    assert status == 0, error
    assert f"{batch}: 3 vouchers of 10.00 EUR in {file}" in out
    with file.open() as text:
        return [row["number"] for row in csv.DictReader(text)]


@rule("HOT-TOP-2")
def test_from_the_printer_to_the_subscriber(
    ocs: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    who = opened(ocs, "38668110001")
    numbers = generated(ocs, "SPAR-1", tmp_path / "spar.csv", "--expires", "2099-12-31")
    assert (tmp_path / "spar.csv").stat().st_mode & 0o777 == 0o600
    status, _, error = ocs("voucher", "redeem", who, numbers[0])
    assert status == 1 and "no voucher with this number that could be redeemed" in error
    assert ocs("voucher", "activate", "SPAR-1", "--serials", "1-2")[1] == "SPAR-1: 2 vouchers activated\n"
    grouped = "-".join(numbers[0][n : n + 4] for n in range(0, 16, 4))
    out = ocs("voucher", "redeem", who, grouped)[1]
    assert out == f"{who}: voucher SPAR-1/1 topped up by 10.00 EUR; credit 10.00 EUR\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(numbers[0] + "\n"))
    assert "redeemed before: no change" in ocs("voucher", "redeem", who, "-")[1]
    found = json.loads(ocs("voucher", "show", numbers[0], "--json")[1])
    assert (found["state"], found["reference"]) == ("spent", "SPAR-1/1")
    assert ocs("voucher", "show", "SPAR-1/3")[1].startswith("SPAR-1/3: 10.00 EUR, generated since ")
    blocked = json.loads(ocs("voucher", "block", "SPAR-1", "--json")[1])
    assert blocked == {"batch": "SPAR-1", "changed": 2, "redeemed": 1}
    (batch,) = json.loads(ocs("voucher", "list-batches", "--json")[1])
    assert batch["states"] == {"blocked": 2, "spent": 1}
    assert "SPAR-1: 3 vouchers of 10.00 EUR, until 2099-12-31T23:00:00Z" in ocs("voucher", "list-batches")[1]


@rule("HOT-TOP-3")
def test_care_lifts_the_block(ocs: Call) -> None:
    who = opened(ocs, "38668110002")
    assert ocs("voucher", "lift", who)[1] == f"{who}: has no wrong entries: no change\n"
    for left in range(19, 0, -1):
        status, _, error = ocs("voucher", "redeem", who, "1111111111111111")
        assert status == 1 and f"{left} more wrong entries" in error
    assert "until customer care lifts it" in ocs("voucher", "redeem", who, "1111111111111111")[2]
    status, _, error = ocs("voucher", "redeem", who, "1111111111111117")
    assert status == 1 and "20 wrong voucher entries: customer care must lift the block (HOT-TOP-3)" in error
    assert "blocked: too many wrong entries" in ocs("account", "show", who)[1]
    assert ocs("voucher", "lift", who)[1] == f"{who}: takes vouchers again\n"
    assert json.loads(ocs("account", "show", who, "--json")[1])["vouchers_blocked"] is False


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (("redeem", "38668110003", "123"), 2, "16 digits"),
        (("activate", "NONE"), 1, "there is no batch NONE"),
        (("activate", "X", "--serials", "9-3"), 2, "such as 17 or 100-199"),
        (("show", "X/Y"), 2, "BATCH/SERIAL"),
        (("show", "0000000000000000"), 1, "no voucher with this number"),
        (("discard", "NONE"), 1, "there is no batch NONE"),
    ],
)
def test_wrong_calls_say_what_is_wrong(ocs: Call, words: tuple[str, ...], status: int, error: str) -> None:
    ocs("account", "create", "--msisdn", "38668110000", "--imsi", "293438668110000")
    found, _, text = ocs("voucher", *words)
    assert found == status and error in text


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--value", "200.01"), "up to 200.00 EUR"),
        (("--count", "0"), "1 to 1000000 vouchers"),
        (("--batch", "a b"), "letters, digits"),
        (("--expires", "2020-01-01"), "this day is over"),
        (("--expires", "yesterday"), "no date"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(ocs: Call, tmp_path: Path, more: tuple[str, ...], error: str) -> None:
    words = {"--batch": "B1", "--count": "1", "--value": "5", "--file": str(tmp_path / "no.csv")}
    words.update([more])  # type: ignore[list-item]
    status, _, text = ocs("voucher", "generate", *(word for pair in words.items() for word in pair))
    assert status == 2 and error in text
    assert list(tmp_path.iterdir()) == []


def test_an_operator_keeps_the_key_in_a_file(
    ocs: Call, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On a ledger of its own: the key is chosen once."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("key"), durability="everysec")
    own = {"OCS_REDIS_URL": server.acquire()}
    try:
        assert ocs("account", "create", "--msisdn", "38668110009", "--imsi", "293400000110009", **own)[0] == 0
        key = tmp_path / "key"
        key.write_bytes(b"k" * 32)
        words = ("voucher", "generate", "--batch", "K", "--count", "1", "--value", "5", "--file")
        with_key = {**own, "OCS_VOUCHERS_KEY_FILE": str(key)}
        key.chmod(0o644)
        assert "chmod 600" in ocs(*words, str(tmp_path / "k.csv"), **with_key)[2]
        key.chmod(0o600)
        assert ocs(*words, str(tmp_path / "k.csv"), **with_key)[0] == 0
        number = (tmp_path / "k.csv").read_text().split(",")[4]
        assert ocs("voucher", "show", number, **with_key)[0] == 0
        assert "set vouchers.key_file to the file of then" in ocs("voucher", "show", number, **own)[2]
        key.write_bytes(b"other" * 10)
        assert "made with another key" in ocs("voucher", "show", number, **with_key)[2]
        key.write_bytes(b"short")
        assert "it must have 32 to 4096" in ocs("voucher", "show", number, **with_key)[2]
    finally:
        server.release()


@rule("HOT-TOP-1")
def test_a_top_up_names_its_channel(ocs: Call) -> None:
    who = opened(ocs, "38668110004")
    words = ("account", "topup", who, "--amount", "5", "--reference", "C1")
    assert ocs(*words, "--channel", "one-off")[0] == 0
    status, _, error = ocs(*words, "--channel", "voucher")
    assert status == 2 and "`ocs voucher redeem`" in error
