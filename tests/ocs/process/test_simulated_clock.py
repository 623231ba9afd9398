"""A server on a simulated clock: all its processes and commands go by the time in a file, and no others may see it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from ocs.compose import SimulatedClock, StartError, environment_of
from ocs.settings.loading import SettingsError, load_settings
from tests.ocs.process.served import CONFIG, Server
from tests.waiting import PATIENCE_S, wait_for

MARCH, DAY_S = 1_900_000_000, 86_400
"""2030-03-17, 17:46 UTC."""
SIMULATED = CONFIG.replace('durability = "everysec"', 'durability = "everysec"\nmax_clock_skew_s = 0')
SIMULATED += 'simulated_clock = "clock"\n'


def turn(path: Path, unix_s: float) -> None:
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(struct.pack("=q", int(unix_s * 1e6)))


def command(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from ocs.cli.main import run; run()", *words, "--config", "ocs.toml"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def account(folder: Path, msisdn: str) -> dict[str, object]:
    return dict(json.loads(command(folder, "account", "show", msisdn, "--json")))


def test_it_is_what_the_file_says_at_any_moment(tmp_path: Path) -> None:
    turn(tmp_path / "clock", MARCH + 0.25)
    clock = SimulatedClock(tmp_path / "clock")
    assert clock() == MARCH + 0.25
    turn(tmp_path / "clock", MARCH + DAY_S)
    assert clock() == MARCH + DAY_S


@pytest.mark.parametrize("octets", [None, b"1234"])
def test_a_file_that_cannot_be_a_clock_is_named(tmp_path: Path, octets: bytes | None) -> None:
    if octets is not None:
        (tmp_path / "clock").write_bytes(octets)
    with pytest.raises(StartError, match=r"server\.simulated_clock = .*clock.* cannot be used"):
        SimulatedClock(tmp_path / "clock")


def test_it_needs_a_ledger_that_does_not_compare_clocks(tmp_path: Path) -> None:
    (tmp_path / "ocs.toml").write_text(SIMULATED.replace("max_clock_skew_s = 0", ""))
    with pytest.raises(SettingsError, match=r"ledger\.max_clock_skew_s = 5: must be 0 with server\.simulated_clock"):
        load_settings(tmp_path / "ocs.toml", {})
    (tmp_path / "ocs.toml").write_text(SIMULATED)
    turn(tmp_path / "clock", MARCH)
    assert environment_of(load_settings(tmp_path / "ocs.toml", {})).now() == MARCH


def test_no_ledger_of_others_is_charged_by_it(tmp_path: Path) -> None:
    turn(tmp_path / "clock", MARCH)
    server = Server(tmp_path, SIMULATED, OCS_REDIS_URL="redis://127.0.0.1:1/0")
    try:
        assert server.process.wait(PATIENCE_S) == 1
        assert "server.simulated_clock is for a private Redis" in (tmp_path / "log").read_text()
    finally:
        server.end_whatever_it_does()


def test_server_and_commands_go_by_it(tmp_path: Path) -> None:
    """The package of 30 days ends when the clock is turned, not when 30 days have passed."""
    turn(tmp_path / "clock", MARCH)
    server = Server(tmp_path, SIMULATED)
    try:
        wait_for(lambda: server.health()[0] == 200)
        words = ("--msisdn", "38668100000", "--imsi", "293400000000000", "--package", "MINI", "--credit", "50.00")
        command(tmp_path, "account", "create", *words)
        (tariff,) = _subscriptions(tmp_path)
        assert (tariff["from"], tariff["until"]) == ("2030-03-17T17:46:40Z", "2030-04-16T17:46:40Z")
        turn(tmp_path / "clock", MARCH + 31 * DAY_S)
        renewed = wait_for(lambda: [each for each in _subscriptions(tmp_path) if each["from"] > "2030-04"])
        assert renewed[0]["from"] == "2030-04-16T17:46:40Z", "the housekeeper has renewed it"
        assert "the time is what a simulator says" in (tmp_path / "log").read_text()
        key = command(tmp_path, "key", "create", "--role", "care", "--name", "test").strip()
        asked = urllib.request.Request(
            f"http://{server.facts()['api']}/v1/accounts/38668100000", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            assert "2030-0" in json.loads(answer.read())["active_until"]
    finally:
        server.end_whatever_it_does()


def _subscriptions(folder: Path) -> list[dict[str, str]]:
    return account(folder, "38668100000")["subscriptions"]  # type: ignore[return-value]
