"""The picture of the story: credit and pack over time, what the network asked, and the texts that he was sent."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes

from simulator.plots import BAD, COLOURS, FAINT, GOOD, GRID, INK, RC, WARN, new_axes, svg_text
from simulator.story_result import StoryResult
from simulator.tally import CREDIT_LIMIT_REACHED

MEGABYTE = 1024**2
ASKED_LANE, TOLD_LANE = -0.15, -0.25
"""Heights of the lanes below the axis, as shares of it."""

NUMBER_S = 0.7
"""Least distance of two numbers in a lane."""


def story(result: StoryResult) -> str:
    """Numbers on the picture are those of the timeline's rows."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(11.5, 4.4)
        rows = result.rows
        if rows:
            end = max([rows[-1].at_s, *(one.at_s for one in result.asked)]) + 1
            _credit(axes, result, end)
            _pack(axes, result, end)
            _steps(axes, result)
            _lanes(axes, result)
            axes.set_xlim(0, end)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("credit, EUR")
        axes.set_xlabel("seconds since the SIM was sold", labelpad=64)
        return svg_text(figure)


def _credit(axes: Axes, result: StoryResult, end: float) -> None:
    seen = [(entry.at_s, float(entry.credit)) for entry in result.entries if entry.credit]
    times, amounts = [at for at, _ in seen], [amount for _, amount in seen]
    axes.step([*times, end], [*amounts, amounts[-1]], where="post", color=GOOD, linewidth=2.2, label="credit")
    axes.set_ylim(0, max(amounts) * 1.35)


def _pack(axes: Axes, result: StoryResult, end: float) -> None:
    """Units of the pack, on an axis of their own."""
    seen = [(entry.at_s, entry.units / MEGABYTE) for entry in result.entries if entry.units is not None]
    if not seen:
        return
    other = axes.twinx()
    other.spines[["top", "right", "left"]].set_visible(False)
    other.tick_params(length=0)
    times, amounts = [at for at, _ in seen], [left for _, left in seen]
    other.fill_between([*times, end], [*amounts, amounts[-1]], step="post", color=COLOURS["data"], alpha=0.16)
    other.set_ylim(0, max(*amounts, 1) * 1.35)
    other.set_ylabel("left of the pack, MB", color=FAINT)


def _steps(axes: Axes, result: StoryResult) -> None:
    """Each row of the timeline by its number: what he did above, texts in their lane."""
    top, lower, told_s = axes.get_xaxis_transform(), False, -NUMBER_S
    for number, row in enumerate(result.rows, 1):
        if row.notice:
            told_s = max(row.at_s, told_s + NUMBER_S)
            _numbered(axes, told_s, TOLD_LANE, number, COLOURS["mms"], top)
            continue
        axes.axvline(row.at_s, color=BAD if row.lacks else GRID, linewidth=1, zorder=0)
        _numbered(axes, row.at_s, 0.88 if lower else 0.96, number, BAD if row.lacks else INK, top)
        lower = not lower


def _numbered(axes: Axes, at_s: float, height: float, number: int, colour: str, transform: object) -> None:
    axes.text(
        at_s, height, str(number), transform=transform, ha="center", va="center", fontsize=8, color="white",
        bbox={"boxstyle": "circle,pad=0.25", "facecolor": colour, "linewidth": 0}, clip_on=False,
    )  # fmt: skip


def _lanes(axes: Axes, result: StoryResult) -> None:
    """Requests of the network by their answer, and those of the server."""
    lane = axes.get_xaxis_transform()
    for name, marker, colour, times in (
        ("CCR granted", "|", GOOD, [one.at_s for one in result.asked if _is_ccr(one.what) and one.code < 3000]),
        ("CCR refused", "x", BAD, [one.at_s for one in result.asked if one.code == CREDIT_LIMIT_REACHED]),
        ("RAR of the server", "^", WARN, [one.at_s for one in result.asked if one.what == "RAR"]),
    ):
        axes.plot(
            times, [ASKED_LANE] * len(times), marker, color=colour, transform=lane, clip_on=False, label=name,
            markersize=8, markeredgewidth=2,
        )  # fmt: skip
    axes.text(-0.01, ASKED_LANE, "asked", transform=axes.transAxes, ha="right", va="center", color=FAINT, fontsize=9)
    axes.text(-0.01, TOLD_LANE, "told", transform=axes.transAxes, ha="right", va="center", color=FAINT, fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), frameon=False, fontsize=9, ncols=4)


def _is_ccr(what: str) -> bool:
    return what.startswith("CCR")
