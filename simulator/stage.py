"""`ocs-sim days`: a server of its own on a simulated clock, a scenario of days, both audits, a report.

The server is as shipped, but for its clock (`server.simulated_clock`) and fewer partitions, so that the housekeeper
sees all accounts within a simulated hour or two. Accounts are opened over the days before the run, so that their
periods end on different days.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from simulator import demo
from simulator.acting import Acting, Vouchers
from simulator.api_client import ApiClient
from simulator.catalogue_sheet import CatalogueSheet
from simulator.clocks import ClockFile, TurnedClock
from simulator.distributions import ScenarioError
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.plan import Plan, make_plan
from simulator.price_lists import write_price_lists
from simulator.prices import PriceList
from simulator.requests import Subscriber
from simulator.running import add_audits, run_plan
from simulator.scenario import Scenario
from simulator.server_process import ServerProcess, free_port, ocs
from simulator.show import print_outcome
from simulator.subscribers import write_subscribers
from simulator.summary import RunOutcome

DAY_S = 86_400
OPENINGS = 5
"""Most moments before the run at which accounts are opened."""
PARTITIONS = 64
CLOCK = "clock"
VOUCHERS_LAST_DAYS = 400


@dataclass(frozen=True, slots=True)
class StageOptions:
    folder: Path
    """Emptied first."""
    seed: int
    speed: float | None
    """None = the scenario's."""
    catalogue: Path
    report: Path | None = None


def play_days(scenario: Scenario, options: StageOptions, console: Console) -> RunOutcome:
    """Raises SimulatorError. The server is stopped in any case."""
    if scenario.days is None:
        raise ScenarioError(f"{scenario.name}: it has no date (begins); `ocs-sim run` plays it")
    demo.end_in_order()
    demo.clear(options.folder)
    prices = PriceList.read(options.catalogue)
    plan = make_plan(scenario, options.seed, prices.package_prices)
    ports = free_port(), free_port(), free_port()
    catalogue = write_price_lists(options.catalogue, scenario.price_changes, options.folder / "catalogue")
    begins_at = scenario.days.begins.timestamp()
    clock_file = ClockFile(options.folder / CLOCK, begins_at - scenario.opened_over_days * DAY_S)
    config = demo.write_config(options.folder, catalogue, ports, scenario.network)
    _go_by_the_clock(config, options.folder / CLOCK)
    speed = options.speed or scenario.speed
    with ServerProcess(config, ports[2], options.folder / "server.log") as server:
        console.print(f"{scenario.name}: server on 127.0.0.1:{ports[0]}, its clock at {scenario.days.begins:%d %B %Y}")
        api = _care(config, ports[1])
        _provision(plan, scenario, config, options.folder, clock_file)
        _set_up(plan, api)
        expires = scenario.days.begins.date() + datetime.timedelta(days=VOUCHERS_LAST_DAYS)
        vouchers = Vouchers(plan.acts, config, options.folder, expires)
        console.print(
            f"playing {len(plan.sessions):,} sessions and {len(plan.acts):,} orders and top-ups of "
            f"{len(plan.subscribers):,} subscribers"
        )
        clock = TurnedClock(clock_file, begins_at, speed=speed, slack_s=scenario.slack_s)
        acting = Acting(clock, api, vouchers, server)
        outcome = run_plan(
            *(plan, Target("127.0.0.1", ports[0], SIMULATED_REALM, SERVER_REALM)),
            name=scenario.name,
            seed=options.seed,
            speed=speed,
            console=console,
            beside=lambda: acting.play(plan.acts, plan.disturbances),
            clock=clock,
        )
        outcome.acted = acting.acted
        records, sheet = options.folder / "data" / "records", CatalogueSheet.read(catalogue)
        add_audits(outcome, records=records, prices=prices, ocs_config=config, sheet=sheet)
    if options.report is not None:
        from simulator.report import write_report

        write_report(outcome, options.report, made_at=datetime.datetime.now().astimezone(), days=scenario.days)
    print_outcome(console, outcome)
    return outcome


def _go_by_the_clock(config: Path, clock: Path) -> None:
    """Adds to the settings what a simulated clock needs."""
    text = config.read_text("utf-8")
    text = text.replace("[ledger]\n", f"[ledger]\nmax_clock_skew_s = 0\npartitions = {PARTITIONS}\n", 1)
    text = text.replace("[server]\n", f'[server]\nsimulated_clock = "{clock.resolve()}"\n', 1)
    config.write_text(text, "utf-8")


def _care(config: Path, port: int) -> ApiClient:
    ApiClient(port).wait_until_up()
    return ApiClient(port, ocs(["key", "create", "--role", "care", "--name", "ocs-sim days"], config).strip())


def _provision(plan: Plan, scenario: Scenario, config: Path, folder: Path, clock: ClockFile) -> None:
    """Opens the accounts, evenly over the days before the run, and leaves the clock at its beginning."""
    assert scenario.days is not None
    days, begins_at = scenario.opened_over_days, scenario.days.begins.timestamp()
    openings = min(days, OPENINGS) or 1
    for index in range(openings):
        clock.write(begins_at - days * DAY_S * (openings - index) / openings)
        path = folder / f"subscribers-{index}.csv"
        opened: Sequence[Subscriber] = plan.subscribers[index::openings]
        if opened:
            write_subscribers(path, opened)
            ocs(["account", "import", str(path)], config)
    clock.write(begins_at)


def _set_up(plan: Plan, api: ApiClient) -> None:
    """Pools of second SIMs."""
    for owner, second in plan.pools:
        api.post(f"/accounts/{owner}/pool", {"name": f"sims-{owner}"})
        api.post(f"/accounts/{second}/pool/join", {"of": owner})
