"""`ocs serve` sends notices: from a command to the file of the port, once though the backoffice is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.catalogue import CATALOGUE
from tests.ocs.process.served import CONFIG, Server, Starts
from tests.rules import rule
from tests.waiting import PATIENCE_S, wait_for


def ocs(server: Server, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from ocs.cli.main import run; run()", *words, "--config", "ocs.toml"],
        cwd=server.folder,
        env={**os.environ, "OCS_SERVER_CATALOGUE": str(CATALOGUE)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return done.stdout


def sent(server: Server) -> list[tuple[str, str]]:
    path = server.folder / "data" / "notices.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [(each["notice"], each["text"]) for each in map(json.loads, lines)]


@pytest.mark.long
@rule("HOT-NOT-1", "HOT-NOT-2")
def test_the_server_tells_subscribers_once(tmp_path: Path, start: Starts) -> None:
    quiet = {"OCS_SERVER_CATALOGUE": str(without_quiet_hours(tmp_path))}
    server = start(tmp_path, CONFIG.replace("workers = 2", "workers = 1"), OCS_API_LISTEN="", **quiet)
    wait_for(lambda: "ready:" in server.text())
    number = "38668100000"
    opening = "--imsi", "293400000000000", "--package", "MAXI", "--credit", "20"
    ocs(server, "account", "create", "--msisdn", number, *opening)
    ocs(server, "account", "set-language", number, "en")
    wait_for(lambda: len(sent(server)) == 1)
    for n in range(3):
        ocs(server, "account", "topup", number, "--amount", "10", "--reference", f"R{n}")
        (backoffice,) = wait_for(lambda: server.of("ocs.process.backoffice"))
        os.kill(backoffice, signal.SIGKILL)
    wait_for(lambda: len(sent(server)) == 4)
    listed = json.loads(ocs(server, "notice", "list", "--msisdn", number, "--json"))
    assert {each["state"] for each in listed} == {"sent"} and len(listed) == 4
    assert sorted(name for name, _ in sent(server)) == ["package-started", "topup", "topup", "topup"]
    assert len({text for _, text in sent(server)}) == 4 and server.end(signal.SIGINT) == 0


def without_quiet_hours(folder: Path) -> Path:
    path = folder / "own-catalogue.toml"
    text = CATALOGUE.read_text("utf-8").replace('quiet_until = "08:00"', 'quiet_until = "21:00"')
    path.write_text(text, "utf-8")
    return path
