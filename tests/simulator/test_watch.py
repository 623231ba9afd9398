"""`make watch` with a small scenario: it says which address to open, and leaves nothing running."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("small.toml")


def watch(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "simulator.cli", "watch", "--folder", str(folder)),
            *("--scenario", str(SMALL), "--speed", "200", "--rounds", "1"),
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.long
def test_it_says_what_to_open_and_ends_in_order(tmp_path: Path) -> None:
    done = watch(tmp_path / "watch", os.environ["PATH"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "open http://127.0.0.1:" in done.stdout
    assert "round 1: " in done.stdout and " 0 differences" in done.stdout
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout
    assert left == ""


@pytest.mark.long
def test_without_prometheus_it_goes_on_and_says_how_to_get_it(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for name in ("redis-server", "ocs"):
            found = Path(folder, name)
            if found.exists() and not (tools / name).exists():
                (tools / name).symlink_to(found)
    done = watch(tmp_path / "watch", str(tools))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "apt-get install prometheus" in done.stdout
