"""The demo with a small scenario and the real server, played twice in one folder for all tests that look at it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from simulator.demo import DemoOptions, run_demo
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("small.toml")
CAPTURE = ROOT / "tests/data/pgw-open5gs-gy.pcap"


class Demo(NamedTuple):
    folder: Path
    said: list[str]
    """By each run."""
    pages: list[str]
    """The report of each run."""


def demo_options(folder: Path) -> DemoOptions:
    """With ports of its own: another test may play the demo at the same time."""
    catalogue = ROOT / "config/catalogue.toml"
    ports = free_port(), free_port()
    return DemoOptions(folder / "demo", folder / "report.html", str(SMALL), 1, None, catalogue, CAPTURE, *ports)


def played_twice(folder: Path) -> Demo:
    options = demo_options(folder)
    said, pages = [], []
    for _ in range(2):
        out = io.StringIO()
        assert run_demo(options, Console(file=out, width=160)), out.getvalue()
        said.append(out.getvalue())
        pages.append(options.report.read_text("utf-8"))
    return Demo(options.folder, said, pages)
