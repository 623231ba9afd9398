"""`ocs-sim load`: one run, stairs of rates, or the search for the highest rate that holds a p99."""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli_options import (
    DEFAULT_CATALOGUE,
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
from simulator.elements import MAX_LOAD_PEERS, SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.errors import SimulatorError
from simulator.load_processes import MAX_PROCESSES, run_load
from simulator.load_progress import LoadProgress
from simulator.load_run import LoadOptions, LoadOutcome, audit_load
from simulator.load_search import MAX_RATE, Goal, LoadPage, Probe, SearchResult, search, stair_rates, stairs
from simulator.load_show import print_load, print_probe, print_search
from simulator.metrics import serving_on
from simulator.pacing import Arrivals, Rate
from simulator.peer import PeerError
from simulator.prices import PriceList
from simulator.show import output, print_json
from simulator.stats import write_histogram_log
from simulator.subscribers import default_subscribers, read_subscribers
from simulator.summary import audit_json

OUTSTANDING = 64
RATE_OUTSTANDING = 4096
"""Requests that may be outstanding in an open loop, if not said."""
MAX_SECONDS = 86_400.0
"""Longest run: each answer is a sample in memory."""
SEARCH_FROM = 200.0
"""Rate at which a search begins, if not said."""


def generate_load(
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=MAX_RATE, help="Requests per second, whatever the server does.")
    ] = None,
    to: Annotated[
        float | None,
        typer.Option(min=0.1, max=MAX_RATE, help="With --rate: the rate changes evenly to this one within the time."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=2, max=100, help="With --to: so many rates instead, each for the time.")
    ] = None,
    find: Annotated[
        bool, typer.Option("--search", help="Search for the highest rate that holds --p99-ms. Begins with --rate.")
    ] = False,
    p99_ms: Annotated[float, typer.Option(min=0.1, help="What --search and --steps ask of a rate.")] = 20.0,
    within: Annotated[float, typer.Option(min=0.5, max=50, help="The search ends within this, in per cent.")] = 5.0,
    outstanding: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Outstanding requests (default 64).")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=MAX_SECONDS, help="Duration, of each run.")] = 10.0,
    peers: Annotated[int, typer.Option(min=1, max=MAX_LOAD_PEERS, help="Connections, each a peer of its own.")] = 1,
    processes: Annotated[
        int, typer.Option(min=1, max=MAX_PROCESSES, help="Processes, each with connections of its own.")
    ] = 1,
    host: HostOption = "127.0.0.1",
    port: PortOption = 3868,
    realm: RealmOption = SIMULATED_REALM,
    server_realm: ServerRealmOption = SERVER_REALM,
    subscribers: SubscribersOption = None,
    rating_group: Annotated[int, typer.Option(help="Rating group of the data service.")] = 100,
    octets: Annotated[
        int, typer.Option(min=1, help="Octets requested, and most octets used, per request.")
    ] = 1_048_576,
    arrivals: Annotated[Arrivals, typer.Option(help="With --rate: how requests follow each other.")] = Arrivals.EVEN,
    slow_ms: Annotated[
        float | None,
        typer.Option(min=0.1, help="With --json: every second, and the pauses of answers slower than this."),
    ] = None,
    records: RecordsOption = None,
    catalogue: CatalogueOption = DEFAULT_CATALOGUE,
    histogram: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the latencies here, a log of HdrHistogram.")
    ] = None,
    report: Annotated[Path | None, typer.Option(dir_okay=False, help="Write an HTML report here.")] = None,
    metrics_port: MetricsPortOption = None,
    json: JsonOption = False,
) -> None:
    """Generate load: data sessions INITIAL + 3 UPDATE + TERMINATION over 500 subscribers (or those of a file)."""
    several = find or steps is not None
    writable(report, histogram)
    _check(rate=rate, to=to, steps=steps, find=find, outstanding=outstanding, audited=records is not None)
    options = LoadOptions(
        target=Target(host, port, realm, server_realm),
        subscribers=read_subscribers(subscribers) if subscribers else default_subscribers(500),
        seconds=seconds,
        outstanding=outstanding or (RATE_OUTSTANDING if rate or find else OUTSTANDING),
        rate=Rate(rate, to, seconds) if rate else None,
        peers=peers,
        rating_group=rating_group,
        octets=octets,
        keep_usage=records is not None,
        arrivals=arrivals,
        slow_ms=slow_ms if json else None,
        processes=processes,
    )
    with serving_on(metrics_port) as metrics:
        options = replace(options, metrics=metrics)
        if several:
            page, ok = _several(options, Goal(p99_ms, within / 100), find=find, stop=to, steps=steps, json=json)
        else:
            page, ok = _one(options, records, catalogue, json)
    if not page.probes:
        raise typer.Exit(1)
    if histogram:
        write_histogram_log(histogram, [outcome.interval for outcome in page.outcomes])
    if report:
        from simulator.load_report import write_load_report  # matplotlib takes long to import

        write_load_report(page, report, made_at=datetime.datetime.now().astimezone())
    raise typer.Exit(0 if ok else 1)


def _check(
    *, rate: float | None, to: float | None, steps: int | None, find: bool, outstanding: int | None, audited: bool
) -> None:
    """Raises BadParameter for options that exclude each other."""
    if (rate is not None or find) and outstanding is not None:
        raise typer.BadParameter("give --rate or --outstanding, not both")
    if to is not None and (rate is None or find):
        raise typer.BadParameter("--to belongs to --rate, and not to --search")
    if steps is not None and to is None:
        raise typer.BadParameter("--steps needs --rate and --to")
    if audited and (find or steps is not None):
        raise typer.BadParameter("--records is for one run, not for --search or --steps")


def _one(options: LoadOptions, records: Path | None, catalogue: Path, json: bool) -> tuple[LoadPage, bool]:
    prices = PriceList.read(catalogue) if records else None
    outcome = run_load(replace(options, progress=LoadProgress(options.seconds)))
    checked = audit_load(outcome, options, records, prices) if records and prices else None
    if json:
        print_json({**outcome.as_json(), "audit": audit_json(checked) if checked else None})
    else:
        print_load(output(), outcome, checked)
    return LoadPage("load", [Probe(_intended(options), outcome)]), outcome.ok and (checked is None or checked.ok)


def _intended(options: LoadOptions) -> float:
    """The mean of the intended rate; 0 = closed loop."""
    if options.rate is None:
        return 0.0
    return (options.rate.start + (options.rate.to or options.rate.start)) / 2


def _several(
    options: LoadOptions, goal: Goal, *, find: bool, stop: float | None, steps: int | None, json: bool
) -> tuple[LoadPage, bool]:
    console = output()
    start = options.rate.start if options.rate else SEARCH_FROM

    probes: list[Probe] = []
    complete = True

    def measure(rate: float) -> LoadOutcome:
        outcome = run_load(
            replace(options, rate=Rate(rate), progress=LoadProgress(options.seconds, f"{rate:,.0f}/s intended, "))
        )
        if outcome.result.interrupted:
            raise KeyboardInterrupt  # a part of a probe says nothing about its rate
        if outcome.result.lost:
            raise PeerError(f"the connection to the server was lost at {rate:,.0f}/s, after {outcome.seconds:.1f} s")
        return outcome

    def show(probe: Probe) -> None:
        probes.append(probe)
        if not json:
            print_probe(console, probe)

    try:
        if find:
            search(measure, goal, start, show)
        else:
            assert stop is not None
            assert steps is not None
            stairs(measure, stair_rates(start, stop, steps), goal, show)
    except (KeyboardInterrupt, SimulatorError) as error:
        if not probes:
            raise
        complete = False
        print(f"ocs-sim: {str(error) or 'interrupted'}; what follows is what was measured before", file=sys.stderr)
    if find:
        result = SearchResult(goal, tuple(probes))
        if json:
            print_json(result.as_json())
        elif complete or result.best:
            print_search(console, result)
        return LoadPage("search", probes, goal, result), complete and result.is_found
    ok = complete and all(probe.outcome.ok for probe in probes)
    if json:
        print_json({"ok": ok, "goal_p99_ms": goal.p99_ms, "steps": [probe.as_json() for probe in probes]})
    return LoadPage("stairs", probes, goal), ok
