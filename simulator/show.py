"""Terminal output: live progress of a run, and the summaries."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from simulator.engine import Engine
from simulator.outside_audit import OutsideAudit
from simulator.story_result import StoryResult
from simulator.story_timeline import left
from simulator.summary import RESULT_NAMES, RunOutcome, eur, human_units

if TYPE_CHECKING:
    from simulator.replay import ReplayedRequest  # imports scapy, which other commands do not need
    from simulator.replay_recording import RecordingReplay

RECENT = 8
"""Progress calls (a quarter of a second each) over which the shown rate is measured."""
SLOWEST_OF = 2000
"""Latest answers whose latency is shown."""
MAX_DIFFERENCES_SHOWN = 40
"""Kinds of differences between a replay and its recording."""
MINUTES_AN_HOUR = 60
PIPED_COLUMNS = 10_000
"""Wider than any line."""


class Progress:
    """A live table of a running engine on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console, engine: Engine, title: str) -> None:
        self._console, self._engine, self._title = console, engine, title
        self._marks: list[tuple[float, int]] = [(time.perf_counter(), 0)]
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next_line = 0.25

    def __enter__(self) -> Callable[[], None]:
        if self._live is not None:
            self._live.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _update(self) -> None:
        self._marks = [*self._marks[-RECENT:], (time.perf_counter(), self._engine.tally.answered)]
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif self._engine.progress >= self._next_line:
            self._next_line += 0.25
            self._console.print(f"{self._engine.progress:4.0%}  {self._engine.tally.answered:,} answers")

    def _table(self) -> Table:
        tally = self._engine.tally
        (then, before), (now, after) = self._marks[0], self._marks[-1]
        recent = sorted(tally.latencies.samples_us[-SLOWEST_OF:])
        p50, p99 = (recent[int(len(recent) * part)] / 1000 if recent else 0.0 for part in (0.5, 0.99))
        table = Table.grid(padding=(0, 2))
        table.add_row(Text(self._title, style="bold"), ProgressBar(total=1, completed=self._engine.progress, width=40),
                      f"{_passed(self._engine.clock.now_s())} simulated")  # fmt: skip
        figures = Table.grid(padding=(0, 3))
        figures.add_row(
            f"[bold]{(after - before) / max(now - then, 1e-9):6,.0f}[/] CCR/s",
            f"p50 [bold]{p50:.2f}[/] ms",
            f"p99 [bold]{p99:.2f}[/] ms",
            f"[bold]{tally.answered:,}[/] answered",
            f"[bold]{tally.live_sessions:,}[/] sessions open",
            f"[yellow]{tally.refusals:,}[/] blocked",
            f"{tally.repeats:,} repeated",
        )
        whole = Table.grid()
        whole.add_row(table)
        whole.add_row(figures)
        return whole


def _passed(seconds: float) -> str:
    """ "59:30", "day 3, 14:05"."""
    minutes, rest = divmod(int(seconds), 60)
    if minutes <= MINUTES_AN_HOUR:
        return f"{minutes:02d}:{rest:02d}"
    days, minutes = divmod(minutes, 24 * MINUTES_AN_HOUR)
    hours, minutes = divmod(minutes, MINUTES_AN_HOUR)
    return f"day {days + 1}, {hours:02d}:{minutes:02d}"


def output() -> Console:
    """Standard output: as wide as the terminal; for a file or another program no line is wrapped."""
    return Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS)


def print_outcome(console: Console, outcome: RunOutcome) -> None:
    """The summary of a run."""
    summary = outcome.summary
    table = Table(title=f"{summary.scenario}, seed {summary.seed}", title_justify="left", box=None, header_style="dim")
    for name in ("service", "requests", "used", "charged to credit"):
        table.add_column(name, justify="left" if name == "service" else "right")
    for service, count in summary.requests_by_service.items():
        charged = f"{eur(outcome.audit.charged_by_service[service])} EUR" if outcome.audit else "-"
        table.add_row(service, f"{count:,}", human_units(service, summary.used.get(service, 0)), charged)
    console.print(table)
    latency = summary.latency
    console.print(
        f"{summary.requests:,} requests in {summary.wall_s:g} s ({summary.requests_per_s:,.0f}/s),"
        f" {summary.unanswered} unanswered, {summary.repeats} repeated with T ({summary.failovers} another way),"
        f" {summary.sessions_died} sessions died;"
        f" answers in p50 {latency.p50_ms:.2f}, p99 {latency.p99_ms:.2f}, p99.9 {latency.p999_ms:.2f} ms"
    )
    console.print("results: " + _codes(summary.result_codes) + "; of services: " + _codes(summary.service_result_codes))
    console.print(
        f"blocked: {summary.refusals} refusals; {summary.accounts_blocked_zero} accounts at zero,"
        f" {summary.accounts_blocked_limit} at their spending limit, {summary.accounts_blocked_other} for other reasons"
    )
    if summary.server_requests:
        asked = ", ".join(f"{what} {count:,}" for what, count in summary.server_requests.items())
        console.print(
            f"asked by the server: {asked}; {summary.topped_up} topped up at zero, {summary.went_on} went on when asked"
        )
    if outcome.acted is not None:
        done = ", ".join(f"{kind} {count:,} {what}" for (kind, what), count in sorted(outcome.acted.outcomes.items()))
        killed = ", ".join(f"{what} {count}" for what, count in sorted(outcome.acted.killed.items()))
        console.print(f"beside the traffic: {done or 'nothing'}" + (f"; {killed}" if killed else ""))
    if outcome.replayed:
        console.print(
            f"replayed: {outcome.replayed} captured requests, {outcome.replayed_unanswered} unanswered,"
            f" {outcome.replayed_errors} answered with an error"
        )
    if outcome.money:
        money = outcome.money
        console.print(
            f"money: paid in {eur(money['paid_in'])} = left {eur(money['left'])} + held {eur(money['held'])}"
            f" + spent {eur(money['spent'])} EUR"
        )
    if summary.unequal_repeats:
        console.print(f"[red]✗[/] {summary.unequal_repeats} repetitions got another answer than the first request")
    for text in outcome.tally.unequal_texts:
        console.print(f"  {text}", style="red", highlight=False)
    for finding in (*outcome.books_findings, *(outcome.acted.failures if outcome.acted else ())):
        console.print(f"[red]✗[/] {finding}")
    if outcome.audit is not None:
        print_audit(console, outcome.audit)


def print_story(console: Console, story: StoryResult) -> None:
    """The story in a line an entry, and its checks."""
    table = Table(title=f"the story of {story.msisdn}", title_justify="left", box=None, header_style="dim")
    table.add_column("s", justify="right")
    for name in ("what he did, or was told", "left"):
        table.add_column(name)
    for row in story.rows:
        table.add_row(
            f"{row.at_s:.1f}", f"[italic]{escape(row.notice)}[/]" if row.notice else escape(row.did), left(row)
        )
    console.print(table)
    for check in story.checks:
        console.print(f"{'[green]✓[/]' if check.right else '[red]✗[/]'} {check.what}: {check.seen}", highlight=False)


def print_audit(console: Console, audit: OutsideAudit) -> None:
    """One line if all is right, else every finding."""
    mark = "[green]✓[/]" if audit.ok else "[red]✗[/]"
    console.print(
        f"{mark} audit from outside: {audit.sessions:,} sessions, {audit.services_compared:,} services' use,"
        f" {audit.prices_compared:,} prices, {audit.accounts:,} accounts against {audit.records:,} records:"
        f" {audit.finding_count} differences; {audit.recomputed:,} accounts computed again on paper"
        + (f" ({audit.uncertain} sessions without a clear answer left out)" if audit.uncertain else "")
        + (f" ({audit.still_open} still open)" if audit.still_open else "")
    )
    for reason, accounts in audit.not_recomputed.items():
        console.print(f"  {accounts:,} accounts not computed again: {reason}", style="yellow", highlight=False)
    for finding in audit.findings:
        console.print(f"  {finding}", style="red", highlight=False)


def print_replayed(console: Console, request: ReplayedRequest) -> None:
    """One request of a capture and its answer."""
    answer = request.answer
    if answer is None:
        console.print(f"CCR-{request.kind} #{request.number}: [red]no answer[/]")
        return
    services = ", ".join(
        f"{'RG ' + str(service.rating_group) if service.rating_group is not None else 'service'}"
        f" {service.result_code or answer.result_code}"
        + (f" granted {service.granted:,} {service.granted_kind}" if service.granted else "")
        for service in answer.services
    )
    meaning = RESULT_NAMES.get(answer.result_code, answer.error_message)
    console.print(
        f"CCR-{request.kind} #{request.number}: {answer.result_code} {meaning} in {request.latency_ms:.2f} ms"
        + (f": {services}" if services else "")
        + (f" ({answer.error_message})" if answer.error_message else "")
    )


def print_recording_replay(console: Console, played: RecordingReplay) -> None:
    """The figures, and a table of the differences by kind."""
    latency = played.latency
    console.print(
        f"{played.requests:,} requests in {played.seconds:.1f} s, {played.unanswered} unanswered;"
        f" p50 {latency.p50_ms:.2f}, p99 {latency.p99_ms:.2f} ms;"
        f" {played.equal:,} of {played.compared:,} answers as recorded"
        + (f", {played.without_answer:,} have none in the recording" if played.without_answer else "")
    )
    for warning in played.warnings:
        console.print(f"[yellow]![/] {warning}")
    if not played.differences:
        return
    table = Table(title="differences", title_justify="left", box=None, header_style="dim")
    for name in ("request", "what", "recorded", "now", "requests"):
        table.add_column(name, justify="right" if name == "requests" else "left")
    from simulator.replay_recording import for_people

    shown = for_people(played.differences)
    for difference, count in shown[:MAX_DIFFERENCES_SHOWN]:
        table.add_row(*difference, f"{count:,}")
    console.print(table)
    if len(shown) > MAX_DIFFERENCES_SHOWN:
        console.print(f"{len(shown) - MAX_DIFFERENCES_SHOWN} more kinds of differences: --json has them")


def print_json(value: object) -> None:
    """On standard output, for programs."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")


def _codes(codes: Mapping[str, int]) -> str:
    return ", ".join(
        f"{code} {RESULT_NAMES.get(int(code), '')} {count:,}".replace("  ", " ") for code, count in codes.items()
    )
