"""The demo with a small scenario and the real server, twice."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from simulator.demo import run_demo
from simulator.server_process import ServerError, free_port
from tests.simulator.played_demo import ROOT, SMALL, Demo, demo_options
from tests.waiting import PATIENCE_S


@pytest.mark.long
def test_the_demo_runs_and_a_second_time_too(demo_played: Demo) -> None:
    assert len(demo_played.said) == 2
    for said, page in zip(demo_played.said, demo_played.pages, strict=True):
        assert "0 unanswered" in said
        assert "3 captured requests, 0 unanswered" in said
        assert said.count("2001 success in") == 3, "the recorded session is served whole"
        assert " 0 differences; 40 accounts computed again" in said, "all but the one of the replayed capture"
        assert "the books are right" in page
        shows_the_story(said, page)


def shows_the_story(said: str, page: str) -> None:
    """Each act is a row of the timeline, with what the network and the API said."""
    rows = page.partition('id="story"')[2].partition("</section>")[0]
    acts = ("activates the account", "buys BALKAN-500-MB", "lands in Belgrade", "used up", "tops up 30.00", "raises")
    assert [act for act in acts if act not in rows or act not in said] == []
    for text in (
        "Welcome to Serbia:",
        "You have used all your data: 500 MB",
        "Your credit is 0.",
        "Topped up: 30.00 EUR",
    ):
        assert text in rows and text in said
    assert rows.count("4012 credit limit reached") == 2, "stopped at zero and at the limit"
    assert rows.count("RAR, CCR-U") == 2, "asked again after the top-up and after the raise"
    assert "<svg" in rows and "✗" not in rows
    assert re.search(r"look around: http://127.0.0.1:\d+/docs while this runs: .*serve --config .*ocs.toml$", said)


def _takes_interrupts() -> None:
    """A shell starts background processes with SIGINT ignored, and their children inherit it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupting_it_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C in the middle: exit status 1, and every process whose command line names the demo's folder is gone."""
    command = [
        sys.executable,
        "-m",
        "simulator.cli",
        "demo",
        "--folder",
        str(tmp_path / "demo"),
        "--scenario",
        str(SMALL),
        "--port=0",
        "--api-port=0",
    ]
    demo = subprocess.Popen(
        [*command, "--report", str(tmp_path / "r.html")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_takes_interrupts,
    )
    assert demo.stdout is not None
    try:
        with demo.stdout as lines:
            for line in lines:
                if line.startswith("playing"):
                    break
            time.sleep(0.1)
            demo.send_signal(signal.SIGINT)
            demo.wait(PATIENCE_S)
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
    assert demo.returncode == 1
    deadline = time.monotonic() + PATIENCE_S
    while (left := _naming(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "precious").touch()
    with pytest.raises(ServerError, match="choose another folder"):
        run_demo(demo_options(tmp_path), Console(file=io.StringIO()))
    assert (tmp_path / "demo" / "precious").exists()


def test_a_preferred_port_is_taken_only_when_free() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) not in (0, port)
    assert free_port(port) == port


def _naming(text: str) -> list[str]:
    """Command lines of other processes that contain `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found
