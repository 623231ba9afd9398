"""Terminal output of `ocs-sim load`."""

from __future__ import annotations

from rich.console import Console

from simulator.load_run import LoadOutcome
from simulator.load_search import Probe, SearchResult
from simulator.outside_audit import OutsideAudit
from simulator.show import print_audit


def print_load(console: Console, outcome: LoadOutcome, checked: OutsideAudit | None) -> None:
    """The summary of one run."""
    latency = outcome.latency
    console.print(
        f"{outcome.ccr_per_s:,.0f} CCR/s over {outcome.seconds:.1f} s: {outcome.result.answered:,} answers,"
        f" {outcome.unanswered} unanswered, {outcome.result.sessions_started:,} sessions"
    )
    console.print(
        f"latency p50 {latency.p50_ms:.2f}  p90 {latency.p90_ms:.2f}  p99 {latency.p99_ms:.2f}  p99.9 "
        f"{latency.p999_ms:.2f}"
        f"  max {latency.max_ms:.2f} ms"
    )
    console.print("results: " + _codes(outcome))
    busiest = f" by the busiest of {outcome.processes} processes" if outcome.processes > 1 else ""
    console.print(
        f"the generator itself: {outcome.cpu_us_per_request:.1f} µs of CPU per request, {outcome.cpu_share:.0%} of "
        f"a core{busiest}"
    )
    for warning in outcome.warnings:
        console.print(f"[yellow]![/] {warning}")
    if checked:
        print_audit(console, checked)


def print_probe(console: Console, probe: Probe) -> None:
    """One line of a search or of stairs, as soon as it is measured."""
    outcome = probe.outcome
    mark = "[red]✗[/]" if probe.fails else "[green]✓[/]"
    console.print(
        f"{mark} {probe.rate:8,.0f}/s intended, {outcome.ccr_per_s:8,.0f}/s reached: p50 {outcome.latency.p50_ms:7.2f}"
        f"  p99 {outcome.latency.p99_ms:8.2f}  p99.9 {outcome.latency.p999_ms:8.2f} ms;"
        f" generator {outcome.cpu_share:.0%}"
        + (f"; {probe.fails}" if probe.fails else "")
        + (f"; {probe.generator}" if probe.generator else "")
    )


def print_search(console: Console, result: SearchResult) -> None:
    best = result.best
    if best is None:
        console.print(f"no rate holds a p99 of {result.goal.p99_ms:g} ms")
        return
    console.print(
        f"{result.rate:,.0f} requests per second hold a p99 of {result.goal.p99_ms:g} ms"
        f" (p99 {best.outcome.latency.p99_ms:.2f} ms, {_codes(best.outcome)})"
    )
    if result.generator:
        console.print(f"[yellow]![/] the server's limit may be higher: {result.generator}")
    elif not result.is_found:
        console.print("[yellow]![/] the search ended before it was as near as asked")


def _codes(outcome: LoadOutcome) -> str:
    return ", ".join(f"{code}: {count:,}" for code, count in sorted(outcome.result.codes.items()))
