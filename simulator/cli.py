"""The `ocs-sim` command: simulates the network.

Exit status: 0 success (everything was answered and right), 1 failure, 2 wrong usage.
"""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from simulator.catalogue_sheet import CatalogueSheet
from simulator.cli_compare import compare_files
from simulator.cli_load import generate_load
from simulator.cli_network import print_peers
from simulator.cli_options import (
    DEFAULT_CATALOGUE,
    MAX_SPEED,
    CatalogueOption,
    HostOption,
    JsonOption,
    MetricsPortOption,
    PortOption,
    RealmOption,
    RecordsOption,
    ServerRealmOption,
    SubscribersOption,
    writable,
)
from simulator.cli_record import record_traffic
from simulator.cli_replay import ScaleOption, recorded_subscribers, replay_file
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.errors import SimulatorError
from simulator.metrics import serving_on
from simulator.plan import make_plan, with_subscribers
from simulator.prices import PriceList
from simulator.running import add_audits, run_plan
from simulator.scenario import MAX_SUBSCRIBERS, Scenario, load_scenario
from simulator.show import output, print_json, print_outcome
from simulator.subscribers import default_subscribers, read_subscribers, write_subscribers
from simulator.summary import RunOutcome, audit_json
from simulator.wholesale import write_wholesale

app = typer.Typer(
    name="ocs-sim",
    help="Network elements, traffic, captures and load against an online charging system.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130
"""Exit status of the command-line library for Ctrl-C; it is mapped to 1."""


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"ocs-sim {metadata.version('ocs')}")
        raise typer.Exit


@app.callback()
def _ocs_sim(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exit status: 0 success (everything was answered and right), 1 failure, 2 wrong usage."""


AccountsOption = Annotated[
    int | None, typer.Option(min=1, max=MAX_SUBSCRIBERS, help="So many subscribers instead of the scenario's.")
]


def _with_accounts(scenario: Scenario, accounts: int | None) -> Scenario:
    return replace(scenario, subscribers=accounts) if accounts else scenario


@app.command("run")
def run_scenario(
    scenario: Annotated[str, typer.Option(help="A scenario file, or the name of a shipped one.")] = "busy_hour",
    accounts: AccountsOption = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events in the same order.")] = 1,
    speed: Annotated[
        float | None,
        typer.Option(min=0.01, max=MAX_SPEED, help="Simulated seconds per real one; default: the scenario's."),
    ] = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 3868,
    realm: RealmOption = SIMULATED_REALM,
    server_realm: ServerRealmOption = SERVER_REALM,
    subscribers: SubscribersOption = None,
    records: RecordsOption = None,
    catalogue: CatalogueOption = DEFAULT_CATALOGUE,
    ocs_config: Annotated[
        Path | None, typer.Option(exists=True, help="The server's settings, to run `ocs audit` too.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
    wholesale: Annotated[Path | None, typer.Option(help="Write the host's usage file here.")] = None,
    wholesale_session_ids: Annotated[bool, typer.Option(help="With the Session-Ids of Gy and Ro.")] = True,
    metrics_port: MetricsPortOption = None,
    json: JsonOption = False,
) -> None:
    """Play a scenario: five network elements, thousands of subscribers, in compressed time."""
    writable(report, wholesale)
    prices = PriceList.read(catalogue) if records or catalogue.exists() else None
    sheet = CatalogueSheet.read(catalogue) if records else None
    wanted = _with_accounts(load_scenario(scenario), accounts)
    plan = make_plan(wanted, seed, prices.package_prices if prices else {})
    if subscribers:
        plan = with_subscribers(plan, read_subscribers(subscribers))
    console = Console(stderr=True)
    target = Target(host, port, realm, server_realm)
    with serving_on(metrics_port) as metrics:
        outcome = run_plan(
            *(plan, target), name=wanted.name, seed=seed, speed=speed or wanted.speed, console=console, metrics=metrics
        )
    add_audits(outcome, records=records, prices=prices, ocs_config=ocs_config, sheet=sheet)
    if wholesale:
        write_wholesale(wholesale, outcome.tally.sessions, session_ids=wholesale_session_ids)
    if report:
        from simulator.report import write_report

        write_report(outcome, report, made_at=datetime.datetime.now().astimezone())
    _say(outcome, json)
    raise typer.Exit(0 if outcome.ok else 1)


@app.command("subscribers")
def make_subscribers_file(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="The CSV file to write, for `ocs account import`.")],
    scenario: Annotated[str, typer.Option(help="A scenario file, or the name of a shipped one.")] = "busy_hour",
    accounts: AccountsOption = None,
    seed: Annotated[int, typer.Option()] = 1,
    catalogue: CatalogueOption = DEFAULT_CATALOGUE,
    load: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_SUBSCRIBERS, help="Instead: this many equal subscribers on MAXI for `ocs-sim load`."
        ),
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Instead: those that the replay of this one needs.")
    ] = None,
    scale: ScaleOption = 1,
) -> None:
    """Write the subscribers of a scenario (or of a load run, or of a replay) as a provisioning file."""
    if load and recording:
        raise typer.BadParameter("give --load or --recording, not both")
    if scale != 1 and not recording:
        raise typer.BadParameter("--scale belongs to --recording")
    if load:
        made = default_subscribers(load)
    elif recording:
        made = recorded_subscribers(recording, scale)
    else:
        wanted = _with_accounts(load_scenario(scenario), accounts)
        made = make_plan(wanted, seed, PriceList.read(catalogue).package_prices).subscribers
    write_subscribers(out, made)
    print(f"{len(made)} subscribers in {out}")


@app.command("demo")
def demo(
    folder: Annotated[Path, typer.Option(help="Folder of the demo; emptied first.")] = Path("out/demo"),
    report: Annotated[Path, typer.Option(help="The HTML report.")] = Path("out/report.html"),
    scenario: Annotated[str, typer.Option()] = "busy_hour",
    seed: Annotated[int, typer.Option()] = 1,
    speed: Annotated[float | None, typer.Option(min=0.01, max=MAX_SPEED)] = None,
    catalogue: CatalogueOption = DEFAULT_CATALOGUE,
    capture: Annotated[Path, typer.Option(help="Capture to replay at the end.")] = Path(
        "tests/data/pgw-open5gs-gy.pcap"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Diameter; another if it is in use, 0 = any.")] = 3868,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="API; another if it is in use, 0 = any.")] = 8080,
) -> None:
    """Run the whole system: server, 2,000 accounts, a busy hour in half a minute, audit and report."""
    from simulator.demo import DemoOptions, run_demo

    writable(report)
    options = DemoOptions(folder, report, scenario, seed, speed, catalogue, capture, port, api_port)
    raise typer.Exit(0 if run_demo(options, output()) else 1)


@app.command("days")
def days(
    folder: Annotated[Path, typer.Option(help="Folder of the server; emptied first.")] = Path("out/days"),
    report: Annotated[Path | None, typer.Option(help="The HTML report.")] = Path("out/days.html"),
    scenario: Annotated[str, typer.Option(help="A scenario file with a date, or the name of a shipped one.")] = "day",
    accounts: AccountsOption = None,
    seed: Annotated[int, typer.Option()] = 1,
    speed: Annotated[
        float | None,
        typer.Option(min=0.01, max=MAX_SPEED, help="Most simulated seconds per real one; default: the scenario's."),
    ] = None,
    catalogue: CatalogueOption = DEFAULT_CATALOGUE,
    json: JsonOption = False,
) -> None:
    """Play days or a week: a server of its own whose clock the simulator turns, accounts, traffic, orders, audits."""
    from simulator.stage import StageOptions, play_days

    writable(report)
    options = StageOptions(folder, seed, speed, catalogue, report)
    console = Console(stderr=True) if json else output()
    outcome = play_days(_with_accounts(load_scenario(scenario), accounts), options, console)
    if json:
        _say(outcome, json)
    raise typer.Exit(0 if outcome.ok else 1)


@app.command("watch")
def watch(
    folder: Annotated[Path, typer.Option(help="Folder of server and Prometheus; emptied first.")] = Path("out/watch"),
    scenario: Annotated[str, typer.Option(help="A scenario file, or the name of a shipped one.")] = "busy_hour",
    seed: Annotated[int, typer.Option(help="Of the first round; the next one has the next seed.")] = 1,
    speed: Annotated[float, typer.Option(min=0.01, max=MAX_SPEED, help="Simulated seconds per real one.")] = 12.0,
    rounds: Annotated[int, typer.Option(min=0, help="How often the scenario is played; 0 = until Ctrl-C.")] = 0,
    catalogue: CatalogueOption = DEFAULT_CATALOGUE,
    settings: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Folder with prometheus/ and grafana/.")
    ] = Path("config"),
) -> None:
    """Server, traffic at a steady pace, Prometheus and Grafana (if they are installed), to look at the dashboards."""
    from simulator.watch import WatchOptions, run_watch

    run_watch(WatchOptions(folder, scenario, seed, speed, rounds, catalogue, settings), output())


def _say(outcome: RunOutcome, json: bool) -> None:
    if not json:
        print_outcome(output(), outcome)
        return
    print_json(
        {
            **outcome.summary.as_json(),
            "ok": outcome.ok,
            "money": dict(outcome.money) or None,
            "books": outcome.books_findings,
            "acts": outcome.acted.as_json() if outcome.acted else None,
            "audit": audit_json(outcome.audit) if outcome.audit else None,
        }
    )


app.command("load")(generate_load)
app.command("compare")(compare_files)
app.command("peers")(print_peers)
app.command("record")(record_traffic)
app.command("replay")(replay_file)


def run() -> None:
    """Entry point: errors become one line and an exit status."""
    try:
        app()
    except (SimulatorError, ValueError) as error:
        print(f"ocs-sim: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        print(f"ocs-sim: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("ocs-sim: interrupted", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        print("ocs-sim: interrupted", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run()
