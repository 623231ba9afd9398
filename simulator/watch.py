"""`make watch`: a server under steady traffic, with Prometheus and Grafana beside it, to look at the dashboards.

The scenario is played over and over, with other seeds, at a pace that one core bears easily. Accounts that run dry are
topped up. After each round the books are audited; differences are a metric.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from simulator import demo
from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.metrics import SimulatorMetrics, serving
from simulator.monitoring import Grafana, Prometheus
from simulator.plan import make_plan, with_subscribers
from simulator.prices import PriceList
from simulator.running import add_audits, run_plan
from simulator.scenario import load_scenario
from simulator.server_process import ServerError, ServerProcess, free_port, ocs

TOP_UP_EUR = "5.00"


@dataclass(frozen=True, slots=True)
class WatchOptions:
    folder: Path
    scenario: str
    seed: int
    speed: float
    rounds: int
    """0 = until interrupted."""
    catalogue: Path
    settings: Path
    """Folder with prometheus/ and grafana/."""


def run_watch(options: WatchOptions, console: Console) -> None:
    demo.end_in_order()
    demo.clear(options.folder)
    ports = free_port(demo.DIAMETER_PORT), free_port(), free_port()
    network = load_scenario(options.scenario).network
    config = demo.write_config(options.folder, options.catalogue, ports, network)
    with contextlib.ExitStack() as stack:
        stack.enter_context(ServerProcess(config, ports[2], options.folder / "server.log"))
        console.print(f"server on 127.0.0.1:{ports[0]}, metrics on http://127.0.0.1:{ports[2]}/metrics")
        metrics = SimulatorMetrics()
        own_port = stack.enter_context(serving(metrics, 0))
        _start_monitoring(stack, options, {"ocs": ports[2], "ocs-sim": own_port}, console)
        console.print("Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            _play(options, Target("127.0.0.1", ports[0], SIMULATED_REALM, SERVER_REALM), config, metrics, console)


def _start_monitoring(
    stack: contextlib.ExitStack, options: WatchOptions, targets: dict[str, int], console: Console
) -> None:
    if not Prometheus.is_installed():
        console.print("prometheus is not installed (apt-get install prometheus): only /metrics can be looked at")
        return
    prometheus = stack.enter_context(Prometheus(options.folder, options.settings / "prometheus", targets))
    if not Grafana.is_installed():
        console.print(f"open {prometheus.alerts_page()} (Grafana is not installed)")
        return
    grafana = stack.enter_context(Grafana(options.folder, options.settings / "grafana", prometheus.url))
    console.print(f"open {grafana.url}/d/ocs-service (Prometheus: {prometheus.url})")


def _play(options: WatchOptions, target: Target, config: Path, metrics: SimulatorMetrics, console: Console) -> None:
    scenario, prices = load_scenario(options.scenario), PriceList.read(options.catalogue)
    first = make_plan(scenario, options.seed, prices.package_prices)
    demo.provision(first, config, options.folder, console)
    played = 0
    while not options.rounds or played < options.rounds:
        seed, played = options.seed + played, played + 1
        plan = make_plan(scenario, seed, prices.package_prices)
        outcome = run_plan(
            *(with_subscribers(plan, first.subscribers), target),
            name=scenario.name,
            seed=seed,
            speed=options.speed,
            console=console,
            top_up=lambda msisdn, number=played: _top_up(msisdn, number, config),  # type: ignore[misc]
            metrics=metrics,
        )
        add_audits(outcome, records=None, prices=None, ocs_config=config)
        metrics.differ("books", len(outcome.books_findings))
        console.print(f"round {played}: {outcome.tally.answered:,} answers, {len(outcome.books_findings)} differences")


def _top_up(msisdn: str, number: int, config: Path) -> None:
    with contextlib.suppress(ServerError):  # Ctrl-C ends the command too
        ocs(["account", "topup", msisdn, "--amount", TOP_UP_EUR, "--reference", f"watch-{number}-{msisdn}"], config)
