"""`ocs numbers check`, and what `ocs rate` and `ocs check` do with `server.ported_numbers`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ocs.catalogue.test_ported_numbers import FIXED, MOBILE, WITH_NETWORKS
from tests.ocs.cli.conftest import Ocs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ocs.toml").write_text(
        '[server]\nported_numbers = "ported.csv"\n[diameter]\naccept_unknown_peers = true\n'
    )
    (tmp_path / "catalogue.toml").write_text(WITH_NETWORKS)
    (tmp_path / "ported.csv").write_text(f"{FIXED},A1\n{MOBILE},nobody\n")
    return tmp_path


def call(ocs_in: Ocs, folder: Path, *words: str) -> tuple[int, str, str]:
    status, out, error = ocs_in(*words, cwd=folder, OCS_CONFIG="ocs.toml")
    return status, out, error


def test_a_file_is_checked(ocs_in: Ocs, folder: Path) -> None:
    assert call(ocs_in, folder, "numbers", "check", "ported.csv")[:2] == (
        0,
        "ported.csv: no mistakes; 2 numbers\n"
        "a1: 1, national-mobile\n"
        "nobody: 1, no class names it: the prefix decides\n",
    )
    found = json.loads(call(ocs_in, folder, "numbers", "check", "ported.csv", "--json")[1])
    assert found == {
        "numbers": 2,
        "networks": [
            {"network": "a1", "numbers": 1, "destination": "national-mobile"},
            {"network": "nobody", "numbers": 1, "destination": None},
        ],
    }


def test_wrong_lines_are_named(ocs_in: Ocs, folder: Path) -> None:
    (folder / "ported.csv").write_text(f"{FIXED},A1\n{FIXED},nobody\n")
    status, _, error = call(ocs_in, folder, "numbers", "check", "ported.csv")
    assert status == 1
    assert error.splitlines() == [
        "ocs: ported.csv: 1 number has two networks; `ocs numbers check` names their lines",
        "ocs: ported.csv, line 2: the number has another network than in line 1",
    ]
    (folder / "ported.csv").write_text("what\n")
    status, _, error = call(ocs_in, folder, "numbers", "check", "ported.csv")
    assert status == 1 and error.startswith("ocs: ported.csv, line 1: must be a number with country code")


def test_rate_and_check_use_the_file(ocs_in: Ocs, folder: Path) -> None:
    out = call(ocs_in, folder, "rate", "--to", f"+{FIXED}", "--json")[1]
    (step,) = [step for step in json.loads(out)["steps"] if step["step"] == "destination"]
    assert (step["value"], step["why"]) == ("national-mobile", "ported to a1")
    assert "ported.csv: no mistakes; 2 numbers" in call(ocs_in, folder, "check")[1]
    (folder / "ported.csv").write_text("what\n")
    status, _, error = call(ocs_in, folder, "check")
    assert status == 1 and "line 1" in error
