"""Plot of a soak: memory of each process, and latency of each second, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmarks.soak_rules import WARM_UP_SHARE
from simulator.plots import BAD, FAINT, GRID, INK, RC
from simulator.timeline import Pause, Second

COLOURS = ("#2f6fde", "#d6455d", "#12a594", "#f2a33a", "#a35bd6", "#7d8794")
ABOVE: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False, "fontsize": 9}
"""Position of the legends."""


def draw(
    path: Path,
    *,
    title: str,
    memory: Mapping[str, Sequence[tuple[float, int]]],
    timeline: Sequence[Second],
    found: Sequence[Pause],
    seconds: float,
    slow_ms: float,
) -> None:
    """`memory` by process: (seconds after the start, octets)."""
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(11, 7), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        figure.suptitle(title, color=INK, fontsize=11)
        _memory(upper, memory)
        _latency(lower, timeline, found, slow_ms)
        for axes in (upper, lower):
            axes.axvspan(0, seconds * WARM_UP_SHARE, color=GRID, alpha=0.6, linewidth=0)
            axes.grid(color=GRID, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
        lower.set_xlim(0, seconds)
        lower.set_xlabel("seconds (shaded: warm-up)")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)


def _memory(axes: Axes, memory: Mapping[str, Sequence[tuple[float, int]]]) -> None:
    for (role, samples), colour in zip(memory.items(), COLOURS * len(memory), strict=False):
        style: Any = "dotted" if role == "generator" else "solid"
        xs, ys = [at for at, _ in samples], [octets / 1e6 for _, octets in samples]
        axes.plot(xs, ys, color=colour, linewidth=1.6, linestyle=style, label=role)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("resident memory, MB")
    axes.legend(ncols=len(memory), **ABOVE)


def _latency(axes: Axes, timeline: Sequence[Second], found: Sequence[Pause], slow_ms: float) -> None:
    at = [each.at_s for each in timeline]
    axes.plot(at, [each.max_ms for each in timeline], color=FAINT, linewidth=0.8, label="worst of the second")
    axes.plot(at, [each.p99_ms for each in timeline], color=COLOURS[3], linewidth=1.2, label="p99")
    axes.plot(at, [each.p50_ms for each in timeline], color=COLOURS[0], linewidth=1.4, label="p50")
    axes.axhline(slow_ms, color=BAD, linewidth=1, linestyle=(0, (4, 3)), label=f"{slow_ms:g} ms")
    if found:
        xs, ys = [pause.at_s for pause in found], [pause.worst_ms for pause in found]
        axes.scatter(xs, ys, color=BAD, s=16, zorder=3, label="pause")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("ms from the intended time")
    axes.legend(ncols=5, **ABOVE)
