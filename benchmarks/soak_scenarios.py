"""The second part of `make soak`: a day of 100,000 subscribers, and the restart storm, each on a server of its own.

Reports with plots: out/soak-day.html, out/soak-storm.html.
Books and records must be right afterwards. Exit status 0: they are; 1: a difference, or a request without an answer.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.console import Console

from benchmarks.__main__ import OUT
from benchmarks.trees import HERE
from simulator import demo
from simulator.catalogue_sheet import CatalogueSheet
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.errors import SimulatorError
from simulator.plan import make_plan
from simulator.prices import PriceList
from simulator.report import write_report
from simulator.running import add_audits, run_plan
from simulator.scenario import Scenario, load_scenario
from simulator.server_process import ServerProcess, free_port
from simulator.show import print_outcome
from simulator.stage import StageOptions, play_days

SUBSCRIBERS, QUICK_SUBSCRIBERS = 100_000, 100
QUICK_SPEED = 100_000.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak_scenarios")
    parser.add_argument("--quick", action="store_true", help="a hundred subscribers: only shows that it works")
    quick = parser.parse_args().quick
    subscribers, console = QUICK_SUBSCRIBERS if quick else SUBSCRIBERS, Console()
    day, storm = (replace(load_scenario(name), subscribers=subscribers) for name in ("day", "restart_storm"))
    speed = QUICK_SPEED if quick else None
    options = StageOptions(OUT / "soak-day", 1, speed, HERE.catalogue, OUT / "soak-day.html")
    try:
        right = play_days(day, options, console).ok
        return 0 if play_storm(storm, OUT / "soak-storm", console, quick=quick) and right else 1
    except SimulatorError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1


def play_storm(scenario: Scenario, folder: Path, console: Console, *, quick: bool) -> bool:
    """The restart storm, in real time times its speed. True if books and records are right."""
    demo.clear(folder)
    prices, sheet = PriceList.read(HERE.catalogue), CatalogueSheet.read(HERE.catalogue)
    plan = make_plan(scenario, 1, prices.package_prices)
    ports = free_port(), free_port(), free_port()
    config = demo.write_config(folder, HERE.catalogue, ports, scenario.network)
    speed = scenario.speed * (50 if quick else 1)
    with ServerProcess(config, ports[2], folder / "server.log"):
        demo.provision(plan, config, folder, console)
        target = Target("127.0.0.1", ports[0], SIMULATED_REALM, SERVER_REALM)
        outcome = run_plan(plan, target, name=scenario.name, seed=1, speed=speed, console=console)
        add_audits(outcome, records=folder / "data" / "records", prices=prices, ocs_config=config, sheet=sheet)
    write_report(outcome, folder.with_suffix(".html"), made_at=datetime.now().astimezone())
    print_outcome(console, outcome)
    return outcome.ok


if __name__ == "__main__":
    sys.exit(main())
