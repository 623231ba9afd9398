"""The HTML report of `ocs-sim load`: one self-contained page with the runs and their latencies."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from simulator.load_run import LoadOutcome
from simulator.load_search import Goal, LoadPage, Probe
from simulator.page import Section, Table, write_page
from simulator.plots import BAD, COLOURS, FAINT, GOOD, INK, RC, new_axes, svg_text
from simulator.summary import RESULT_NAMES

MAX_CURVES = 8
"""More curves on one plot cannot be told apart."""
POINTS = 120


def write_load_report(page: LoadPage, path: Path, *, made_at: datetime.datetime) -> None:
    sections = [_runs(page.probes), Section("Latency by percentile", plot=_curves(page.probes))]
    if len(page.probes) > 1:
        sections.append(Section("p99 by rate", plot=_by_rate(page.probes, page.goal)))
    sections.append(_results(page.outcomes))
    write_page(path, title=_title(page), subtitle=f"{made_at:%Y-%m-%d %H:%M}", notes=_notes(page), sections=sections)


def _title(page: LoadPage) -> str:
    if page.search is None or page.goal is None:
        return "Load report"
    if not page.search.rate:
        return f"Load report: no rate holds a p99 of {page.goal.p99_ms:g} ms"
    return f"Load report: {page.search.rate:,.0f} requests per second at a p99 of {page.goal.p99_ms:g} ms"


def _notes(page: LoadPage) -> list[str]:
    if page.search is not None:
        limit = page.search.generator
        return [f"The server's limit may be higher: {limit}."] if limit else []
    return [f"{probe.rate:,.0f}/s: {warning}." for probe in page.probes for warning in probe.outcome.warnings]


def _runs(probes: Sequence[Probe]) -> Section:
    rows = [
        (
            f"{probe.rate:,.0f}" if probe.rate else "as answered",
            f"{probe.outcome.ccr_per_s:,.0f}",
            *(f"{value:.2f}" for value in _percentiles(probe.outcome)),
            f"{probe.outcome.cpu_share:.0%}",
            probe.fails or "holds",
        )
        for probe in probes
    ]
    heads = (
        "intended /s",
        "reached /s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "generator, of a core",
        "",
    )
    return Section("Runs", table=Table(heads, rows), wide=True)


def _percentiles(outcome: LoadOutcome) -> tuple[float, ...]:
    latency = outcome.latency
    return latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms


def _results(outcomes: Sequence[LoadOutcome]) -> Section:
    totals: dict[int, int] = {}
    for outcome in outcomes:
        for code, count in outcome.result.codes.items():
            totals[code] = totals.get(code, 0) + count
    rows = [(f"{code} {RESULT_NAMES.get(code, '')}", f"{count:,}") for code, count in sorted(totals.items())]
    return Section("Result codes", table=Table(("Result-Code", "answers"), rows))


def _curves(probes: Sequence[Probe]) -> str:
    """A curve each run, over the number of nines (as HdrHistogram's plotter does)."""
    shown = sorted(probes, key=lambda probe: probe.rate)[-MAX_CURVES:]
    named = [(f"{one.rate:,.0f}/s" if one.rate else "closed loop", one.outcome.interval.latencies) for one in shown]
    return histogram_curves([(name, latencies.histogram()) for name, latencies in named])


def histogram_curves(named: Sequence[tuple[str, Any]]) -> str:
    """Latency in ms over the percentile, whose axis is the number of nines; histograms in µs."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 3.6)
        colours = [COLOURS["data"], COLOURS["voice"], COLOURS["sms"], COLOURS["mms"], FAINT, GOOD, BAD, INK]
        for (name, histogram), colour in zip(named, colours, strict=False):
            if not histogram.get_total_count():
                continue
            nines = [4.0 * step / POINTS for step in range(POINTS + 1)]
            values = [histogram.get_value_at_percentile(100 - 100 / 10**each) / 1000 for each in nines]
            axes.plot(nines, values, color=colour, linewidth=1.6, label=name)
        axes.set_xticks([0, 0.301, 1, 2, 3, 4], labels=["0", "p50", "p90", "p99", "p99.9", "p99.99"])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_ylabel("milliseconds")
        axes.legend(loc="upper left", frameon=False, fontsize=9)
        return svg_text(figure)


def _by_rate(probes: Sequence[Probe], goal: Goal | None) -> str:
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 3.6)
        for fails, colour, name in ((False, GOOD, "holds"), (True, BAD, "does not hold")):
            chosen = [probe for probe in probes if bool(probe.fails) is fails]
            if chosen:
                axes.scatter(
                    [probe.rate for probe in chosen],
                    [probe.outcome.latency.p99_ms for probe in chosen],
                    color=colour, s=32, label=name, zorder=3,
                )  # fmt: skip
        if goal is not None:
            axes.axhline(goal.p99_ms, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=f"{goal.p99_ms:g} ms")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("intended requests per second")
        axes.set_ylabel("p99, milliseconds")
        axes.legend(loc="upper left", frameon=False, fontsize=9)
        return svg_text(figure)
