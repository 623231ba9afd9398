"""`make demo`: the whole system, from nothing to a report, in about a minute.

It starts a server (embedded Redis, fsync always) in its own folder, opens 2,000 accounts, plays a busy hour in half a
minute, replays a captured P-GW session, runs both audits and writes a report. The server is stopped in any case.
"""

from __future__ import annotations

import datetime
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import uvloop
from rich.console import Console

from simulator.capture import captured_requests
from simulator.catalogue_sheet import CatalogueSheet
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.network import DIRECT, Network, PeerEntry, peer_entries
from simulator.plan import Plan, make_plan
from simulator.prices import PriceList
from simulator.replay import Numbers, ReplayResult, SubscriberMap, replay
from simulator.report import write_report
from simulator.requests import Subscriber
from simulator.running import add_audits, run_plan
from simulator.scenario import load_scenario
from simulator.server_process import ServerError, ServerProcess, free_port, ocs
from simulator.show import print_outcome, print_replayed, print_story
from simulator.story import MakeKey, Story
from simulator.story_network import STORY_HOSTS, STORY_REALM
from simulator.subscribers import write_subscribers
from simulator.tally import SessionReport
from simulator.wholesale import write_wholesale

DIAMETER_PORT, API_PORT = 3868, 8080
CAPTURED_REALM = "localdomain"
CAPTURED_HOSTS = ("smf.localdomain", "scscf.localdomain")
"""Origin-Hosts of the shipped captures."""
TOP_UP_EUR = "5.00"
WHOLESALE = "wholesale.csv"
"""The host's usage file, for `ocs reconcile`."""
MARK = ".ocs-demo"
"""File that marks a folder of the demo, which the next demo may empty."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    folder: Path
    report: Path
    scenario: str
    seed: int
    speed: float | None
    catalogue: Path
    capture: Path
    port: int = DIAMETER_PORT
    """Of Diameter; another if it is in use, 0 = any."""
    api_port: int = API_PORT
    """Likewise."""


def run_demo(options: DemoOptions, console: Console) -> bool:
    """True if every request was answered, the books are right and no balance went negative."""
    end_in_order()
    scenario = load_scenario(options.scenario)
    prices = PriceList.read(options.catalogue)
    plan = make_plan(scenario, options.seed, prices.package_prices)
    clear(options.folder)
    ports = free_port(options.port), free_port(options.api_port), free_port()
    config = write_config(options.folder, options.catalogue, ports, scenario.network)
    console.rule("[bold]online charging: a busy hour", align="left")
    with ServerProcess(config, ports[2], options.folder / "server.log"):
        console.print(f"server on 127.0.0.1:{ports[0]}, ledger on an embedded Redis that syncs every write to disk")
        console.print(f"API on http://127.0.0.1:{ports[1]}, with its documentation at /docs")
        provision(plan, config, options.folder, console)
        target = Target("127.0.0.1", ports[0], SIMULATED_REALM, SERVER_REALM)
        speed = options.speed or scenario.speed
        console.print(
            f"playing {len(plan.sessions):,} sessions of {scenario.duration_s / 60:g} minutes, {speed:g} times "
            "real time"
        )
        story = Story(target, ports[1], key_maker(config), prices)
        outcome = run_plan(
            *(plan, target),
            name=scenario.name,
            seed=options.seed,
            speed=speed,
            console=console,
            top_up=lambda msisdn: _top_up(msisdn, config),
            beside=story.play,
        )
        outcome.story = story.result
        payer = max(plan.subscribers, key=lambda one: float(one.credit))
        replayed = _replay(options, payer, ports[0], console)
        if replayed is not None:
            outcome.replayed, outcome.replayed_unanswered = len(replayed.requests), replayed.unanswered
            outcome.replayed_errors = replayed.errors
        more: list[SessionReport] = replayed.sessions if replayed else []
        add_audits(
            outcome,
            records=options.folder / "data" / "records",
            prices=prices,
            ocs_config=config,
            more_sessions=[*more, *story.result.reports],
            sheet=CatalogueSheet.read(options.catalogue),
        )
    carried = [replace(each, msisdn=payer.msisdn, imsi=payer.imsi, traffic="data") for each in more]
    write_wholesale(options.folder / WHOLESALE, [*outcome.tally.sessions, *carried, *story.result.reports])
    write_report(outcome, options.report, made_at=datetime.datetime.now().astimezone())
    print_outcome(console, outcome)
    print_story(console, story.result)
    mark = "[bold green]✓ all right[/]" if outcome.ok else "[bold red]✗ something is wrong[/]"
    console.print(f"{mark}: report in {options.report}")
    api = f"http://127.0.0.1:{ports[1]}/docs"
    console.print(f"look around: {api} while this runs: .venv/bin/ocs serve --config {config}", soft_wrap=True)
    return outcome.ok


def end_in_order() -> None:
    """SIGTERM, and SIGHUP of a closed terminal, end us like Ctrl-C: the server is stopped. Under nohup we go on."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def clear(folder: Path) -> None:
    """Makes the folder empty. Only a folder of an earlier demo is emptied."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise ServerError(f"{folder} is not empty and was not made by an earlier demo: choose another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def write_config(folder: Path, catalogue: Path, ports: tuple[int, int, int], network: Network = DIRECT) -> Path:
    """The settings of the demo's server: as shipped, except ports, folder and peers."""
    peers = [*peer_entries(network, SIMULATED_REALM), *(PeerEntry(host, CAPTURED_REALM) for host in CAPTURED_HOSTS)]
    peers += [PeerEntry(host, STORY_REALM) for host in STORY_HOSTS]
    lines = [
        "# Written by ocs-sim.",
        "[diameter]",
        f'identity = "ocs.{SERVER_REALM}"',
        f'realm = "{SERVER_REALM}"',
        f'listen = ["127.0.0.1:{ports[0]}"]',
        "[ledger]",
        'durability = "fsync"',
        "[api]",
        f'listen = "127.0.0.1:{ports[1]}"',
        "[metrics]",
        f'listen = "127.0.0.1:{ports[2]}"',
        "[server]",
        f'data_dir = "{(folder / "data").resolve()}"',
        f'catalogue = "{catalogue.resolve()}"',
        *(peer.toml() for peer in peers),
    ]
    path = folder / "ocs.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def provision(plan: Plan, config: Path, folder: Path, console: Console) -> None:
    """Accounts by `ocs account import`."""
    path = folder / "subscribers.csv"
    write_subscribers(path, plan.subscribers)
    console.print(ocs(["account", "import", str(path)], config).strip())


def key_maker(config: Path) -> MakeKey:
    """Keys of the API by `ocs key create`."""

    def make(role: str, msisdn: str) -> str:
        bound = ["--msisdn", msisdn] if msisdn else []
        return ocs(["key", "create", "--role", role, "--name", f"demo, {role}", *bound], config).strip()

    return make


def _top_up(msisdn: str, config: Path) -> None:
    """Tops up the account of a waiting data session: the server then sends a RAR."""
    ocs(["account", "topup", msisdn, "--amount", TOP_UP_EUR, "--reference", f"demo-{msisdn}"], config)


def _replay(options: DemoOptions, payer: Subscriber, port: int, console: Console) -> ReplayResult | None:
    """Replays the captured session for this subscriber: the one with the most credit."""
    if not options.capture.exists():
        console.print(f"no capture at {options.capture}: not replayed")
        return None
    console.print(f"replaying {options.capture.name}, recorded from a real network element:")
    return uvloop.run(
        replay(
            captured_requests(options.capture),
            host="127.0.0.1",
            port=port,
            server_realm=SERVER_REALM,
            subscribers=SubscriberMap(Numbers(payer.msisdn, payer.imsi)),
            on_request=lambda request: print_replayed(console, request),
        )
    )
