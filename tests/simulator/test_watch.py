"""`make watch` with a small scenario: it says which address to open, and leaves nothing running."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("small.toml")


def command(folder: Path, speed: str) -> list[str]:
    return [
        *(sys.executable, "-m", "simulator.cli", "watch", "--folder", str(folder)),
        *("--scenario", str(SMALL), "--speed", speed, "--rounds", "1"),
    ]


def watch(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, "200"),
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
    assert still_running(tmp_path) == ""


@pytest.mark.long
def test_a_closed_terminal_ends_all(tmp_path: Path) -> None:
    """It is a hang-up: a server would keep the port."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(tmp_path / "watch", "1"),
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_the_terminal,
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # it has ended
            while b"accounts opened" not in shown:
                shown += os.read(ours, 4096)
        assert b"accounts opened" in shown, shown.decode()
        os.close(ours)
        process.wait(PATIENCE_S)
    wait_for(lambda: still_running(tmp_path) == "")


def take_the_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def still_running(folder: Path) -> str:
    return subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False).stdout


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
