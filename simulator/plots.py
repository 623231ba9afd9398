"""The report's plots, as SVG for the page (matplotlib without a display)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulator.stats import Latencies
from simulator.summary import RESULT_NAMES, eur
from simulator.tally import Tally

COLOURS = {"data": "#2f6fde", "voice": "#12a594", "sms": "#f2a33a", "mms": "#a35bd6", "replay": "#7d8794"}
INK, FAINT, GRID = "#1d2733", "#6b7785", "#e4e8ee"
GOOD, BAD, WARN = "#2e9e6b", "#d6455d", "#f2a33a"
RC: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": INK,
    "svg.fonttype": "path",
    "svg.hashsalt": "ocs",
}


def traffic(tally: Tally) -> str:
    """Requests per simulated minute, stacked by service."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 3.1)
        minutes = _whole_minutes(tally)
        services = [name for name in COLOURS if any(service == name for _, service in tally.timeline)]
        rows = [[tally.timeline[minute, service] for minute in minutes] for service in services]
        if rows:
            axes.stackplot(
                minutes, *rows, labels=services, colors=[COLOURS[name] for name in services], alpha=0.9, linewidth=0
            )
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False, fontsize=9, ncols=len(services))
            axes.set_xlim(0, max(minutes[-1], 1))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("minute of the simulated hour")
        axes.set_ylabel("requests per minute")
        return svg_text(figure)


def latency(latencies: Latencies, percentiles: Mapping[str, float]) -> str:
    """How long answers took, on a logarithmic scale, with the percentiles marked."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 3.1)
        samples = [max(sample, 1) / 1000 for sample in latencies.samples_us]
        if samples:
            low, high = min(samples), max(max(samples), min(samples) * 1.01)
            edges = [low * (high / low) ** (step / 70) for step in range(71)]
            axes.hist(samples, bins=edges, color=COLOURS["data"], alpha=0.88, linewidth=0)
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            for (name, value), colour in zip(percentiles.items(), (INK, WARN, BAD), strict=False):
                axes.axvline(value, color=colour, linewidth=1.4, linestyle=(0, (4, 3)), label=f"{name}  {value:.2f} ms")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False, fontsize=9, ncols=3)
        axes.set_xlabel("milliseconds from request to answer")
        axes.set_ylabel("answers")
        return svg_text(figure)


def results(tally: Tally) -> str:
    """Result codes of commands and services, on a logarithmic scale so that rare ones are visible."""
    with matplotlib.rc_context(RC):
        codes: dict[int, int] = {}
        for code, count in tally.results.items():
            codes[code] = codes.get(code, 0) + count
        for (_, code), count in tally.service_results.items():
            if code != 2001:
                codes[code] = codes.get(code, 0) + count
        ordered = sorted(codes.items())
        figure, axes = new_axes(7.6, 0.9 + 0.42 * max(len(ordered), 2))
        names = [f"{code}  {RESULT_NAMES.get(code, '')}" for code, _ in ordered]
        colours = [GOOD if code < 3000 else WARN if code in (4010, 4012) else BAD for code, _ in ordered]
        bars = axes.barh(names, [count for _, count in ordered], color=colours, height=0.62)
        axes.bar_label(bars, labels=[f"{count:,}" for _, count in ordered], padding=5, fontsize=9, color=INK)
        axes.invert_yaxis()
        if ordered:
            axes.set_xscale("log")
            axes.set_xlim(0.5, max(codes.values()) * 6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("answers and services (logarithmic)")
        axes.tick_params(axis="y", labelcolor=INK)
        return svg_text(figure)


def blocked(tally: Tally) -> str:
    """Cumulative refusals by reason: no credit, spending limit."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 3.1)
        last = max((minute for minute, _ in tally.timeline), default=0)
        for reason, label, colour in (
            ("zero", "credit at zero", BAD),
            ("limit", "spending limit reached", COLOURS["mms"]),
            ("other", "other reasons", FAINT),
        ):
            total, points = 0, []
            for minute in range(last + 1):
                total += tally.blocked[minute, reason]
                points.append(total)
            if total or reason != "other":
                accounts = sum(why == reason for why in tally.blocked_accounts.values())
                axes.step(
                    range(last + 1), points, where="post", color=colour, linewidth=2,
                    label=f"{label}: {total} times, {accounts} accounts",
                )  # fmt: skip
        axes.legend(loc="upper left", frameon=False, fontsize=9)
        axes.set_xlim(0, max(last, 1))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("minute of the simulated hour")
        axes.set_ylabel("refusals so far")
        return svg_text(figure)


def money(totals: Mapping[str, int]) -> str:
    """Money paid in, and below it where it went; the two bars are equal if the books are right."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 2.1)
        paid_in = totals.get("paid_in", 0)
        axes.barh(["paid in"], [paid_in / 1e6], color=INK, height=0.55)
        at = 0.0
        for name, colour in (
            ("left", GOOD), ("held", WARN), ("spent", COLOURS["data"]), ("refunded", FAINT), ("expired", GRID)
        ):  # fmt: skip
            amount = totals.get(name, 0)
            if amount:
                axes.barh(
                    ["became"], [amount / 1e6], left=[at], color=colour, height=0.55, label=f"{name} {eur(amount)} EUR"
                )
                at += amount / 1e6
        axes.annotate(
            f"{eur(paid_in)} EUR", (paid_in / 1e6, 0), (-6, 0), textcoords="offset points", ha="right", va="center",
            color="white", fontsize=9,
        )  # fmt: skip
        axes.invert_yaxis()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), frameon=False, fontsize=9, ncols=5)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelcolor=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f} €")
        return svg_text(figure)


def _whole_minutes(tally: Tally) -> list[int]:
    """Minutes with traffic, without an incomplete last one (its few requests would look like a drop)."""
    last = max((minute for minute, _ in tally.timeline), default=0)
    totals = [sum(count for (at, _), count in tally.timeline.items() if at == minute) for minute in (last - 1, last)]
    return list(range(last if last and totals[1] * 5 < totals[0] else last + 1))


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return figure, axes


def svg_text(figure: Figure) -> str:
    """The SVG element alone; matplotlib's salt makes its ids unique to the plot."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"|(<svg )', _flexible, text[text.index("<svg") :], count=1)


def _flexible(match: re.Match[str]) -> str:
    return (match[1] or match[2]) + ' style="width:100%;height:auto" '


__all__ = ["blocked", "latency", "money", "new_axes", "results", "svg_text", "traffic"]
