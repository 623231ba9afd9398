"""Plots of a scenario of days: requests over the days, and by hour of the day (SVG)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import matplotlib
from matplotlib.axes import Axes

from simulator.days import HOURS, Days
from simulator.plots import COLOURS, RC, new_axes, svg_text
from simulator.tally import Tally

MINUTES, HOUR_S = 60, 3600
A_NIGHT, LABELLED_DAYS = 2, 8
"""Days of a night, whose hours are written; most days whose weekdays are."""


def over_days(tally: Tally, days: Days) -> str:
    """Requests in each hour of the run, stacked by service."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 3.1)
        counts = _count(tally, lambda minute: minute // MINUTES)
        hours = range(math.ceil(days.duration_s / HOUR_S))
        services = [name for name in COLOURS if any(service == name for _, service in counts)]
        rows = [[counts[hour, service] for hour in hours] for service in services]
        if rows:
            axes.stackplot(hours, *rows, labels=services, colors=[COLOURS[name] for name in services], linewidth=0)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False, fontsize=9, ncols=len(services))
        axes.set_xlim(0, max(len(hours) - 1, 1))
        axes.set_ylim(bottom=0)
        axes.set_ylabel("requests per hour")
        _label_days(axes, days)
        return svg_text(figure)


def by_hour(tally: Tally, days: Days) -> str:
    """Requests by local hour of the day, stacked by service; of several days the sum."""
    with matplotlib.rc_context(RC):
        figure, axes = new_axes(7.6, 3.1)
        counts = _count(tally, lambda minute: days.hour(minute * MINUTES))
        bottom = [0] * HOURS
        services = [name for name in COLOURS if any(service == name for _, service in counts)]
        for service in services:
            row = [counts[hour, service] for hour in range(HOURS)]
            axes.bar(range(HOURS), row, bottom=bottom, color=COLOURS[service], width=0.86, label=service)
            bottom = [below + more for below, more in zip(bottom, row, strict=True)]
        if services:
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False, fontsize=9, ncols=len(services))
        axes.set_xlim(-0.6, HOURS - 0.4)
        axes.set_xticks(range(0, HOURS, 3))
        axes.set_xlabel("hour of the day")
        axes.set_ylabel("requests")
        return svg_text(figure)


def _label_days(axes: Axes, days: Days) -> None:
    """Weekdays at noon of a few days; else hours of the day, or days of the run."""
    midnights = [(date, days.midnight(date)) for date in days.dates]
    for _, at_s in midnights:
        if at_s > 0:
            axes.axvline(at_s / HOUR_S, color="#ffffff", linewidth=0.8)
    if len(midnights) <= A_NIGHT:
        ticks = range(0, math.ceil(days.duration_s / HOUR_S), 3)
        axes.set_xticks(ticks, [f"{days.hour(hour * HOUR_S):02d}" for hour in ticks])
        axes.set_xlabel("hour of the day")
    elif len(midnights) <= LABELLED_DAYS:
        noons = [(at_s / HOUR_S + HOURS / 2, f"{date:%a %d %b}") for date, at_s in midnights]
        axes.set_xticks([at for at, _ in noons], [label for _, label in noons])
    else:
        axes.set_xlabel("hour of the run")


def _count(tally: Tally, group: Callable[[int], int]) -> Counter[tuple[int, str]]:
    found: Counter[tuple[int, str]] = Counter()
    for (minute, service), count in tally.timeline.items():
        found[group(minute), service] += count
    return found
