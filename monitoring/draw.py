"""Pictures of the dashboards, for who wants to see them before installing anything: `python -m monitoring.draw URL`.

Each panel is drawn by matplotlib from the dashboard's own file: its queries are asked of the Prometheus at URL, over
the last minutes. Colours and fonts are not Grafana's.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from cycler import cycler
from matplotlib import colors, pyplot, ticker
from matplotlib.axes import Axes
from PIL import Image

from monitoring.files import DASHBOARDS, ROOT

OUT = ROOT / "docs" / "dashboards"
WIDTH_IN, ROW_IN = 17.0, 0.36
"""Width of a picture, and height of a row of Grafana's grid."""
DOTS_PER_IN = 80
POINTS = 200
LINES = (*(colors.to_hex(pyplot.get_cmap("tab10")(index)) for index in range(8)), "#2e7d32", "#c62828")
HEAT = ("#ffffff", LINES[1], "#5c2a00")
SHADES = 20
"""Of each colour in the file, so that edges stay smooth and the file small."""
MOST_SERIES = 10
"""Drawn of a panel: those with the greatest values."""
LEGEND_COLUMNS, LEGEND_LETTERS = 4, 200
NOTHING = "no data: all is well, or nothing happened"
VARIABLES = {"$job": ".+", "$instance": ".+", "$peer": ".+", "${datasource}": "prometheus"}
_POWERS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Source:
    """A Prometheus, asked for the last `seconds`."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds, self._now = url, seconds, time.time()
        self.shown = self._now - seconds, self._now
        self.step_s = max(seconds / POINTS, 5.0)

    def _ask(self, path: str, expr: str, **more: str) -> list[dict[str, Any]]:
        for name, value in {**VARIABLES, "$__rate_interval": f"{4 * self.step_s:.0f}s"}.items():
            expr = expr.replace(name, value)
        words = urllib.parse.urlencode({"query": expr, **more})
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{words}", timeout=60) as answer:
            return list(json.load(answer)["data"]["result"])

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        start = str(self._now - self._seconds)
        return self._ask("query_range", expr, start=start, end=str(self._now), step=f"{self.step_s:.0f}")

    def now(self, expr: str) -> float | None:
        found = self._ask("query", expr, time=str(self._now))
        return float(found[0]["value"][1]) if found else None


def draw(dashboard: Mapping[str, Any], source: Source, path: Path) -> None:
    panels = dashboard["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    pyplot.rcParams["axes.prop_cycle"] = cycler(color=LINES)
    figure = pyplot.figure(figsize=(WIDTH_IN, ROW_IN * (rows + 2)), facecolor="white")
    figure.suptitle(dashboard["title"], x=0.01, y=1 - 0.4 / rows, ha="left", fontsize=17, weight="bold")
    for panel in panels:
        at = panel["gridPos"]
        left, bottom = at["x"] / 24, (rows - at["y"] - at["h"]) / (rows + 2)
        width, height = at["w"] / 24, at["h"] / (rows + 2)
        if panel["type"] == "row":
            figure.text(0.01, bottom + height / 3, panel["title"], fontsize=13, weight="bold", color="#555555")
            continue
        low, high = (1.9 if panel["type"] == "timeseries" else 0.9) / (rows + 2), 0.9 / (rows + 2)
        axes = figure.add_axes((left + 0.042, bottom + low, width - 0.05, height - low - high))
        axes.set_title(panel["title"], loc="left", fontsize=11)
        {"stat": _number, "heatmap": _heat}.get(panel["type"], _graph)(axes, panel, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DOTS_PER_IN)
    pyplot.close(figure)
    with Image.open(path) as drawn:
        few = drawn.convert("RGB").quantize(palette=_palette(), dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def _palette() -> Image.Image:
    """Greys and the shades of the colours in use: a palette made of the picture would merge colours that are rare."""
    wanted: list[tuple[float, ...]] = [(1, 1, 1), *((grey / 16,) * 3 for grey in range(16))]
    for first, last in (*(("white", line) for line in LINES), HEAT[1:]):
        one, other = colors.to_rgb(first), colors.to_rgb(last)
        for part in (shade / SHADES for shade in range(1 if last == HEAT[1] else 2, SHADES + 1)):
            wanted.append(tuple(a + (b - a) * part for a, b in zip(one, other, strict=True)))
    image = Image.new("P", (1, 1))
    image.putpalette([round(255 * part) for colour in wanted for part in colour])
    return image


def _number(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    value = source.now(panel["targets"][0]["expr"])
    defaults = panel["fieldConfig"]["defaults"]
    colour = "black"
    for step in defaults.get("thresholds", {}).get("steps", ()):
        if value is not None and (step["value"] is None or value >= step["value"]):
            colour = {"green": "#2e7d32", "red": "#c62828"}.get(step["color"], "black")
    if value is not None and defaults.get("decimals") == 0:
        value = round(value)
    shown = "–" if value is None else in_unit(value, defaults["unit"])
    axes.text(0.5, 0.45, shown, ha="center", va="center", fontsize=22, color=colour)
    axes.axis("off")


Drawn = tuple[str, list[float], list[float]]


def _graph(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    found: list[Drawn] = []
    for target in panel["targets"]:
        for series in source.over_time(target["expr"]):
            times = [float(at) for at, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]
            found.append((_legend(target["legendFormat"], series["metric"]), times, values))
    found = sorted(found, key=lambda each: -max(map(abs, each[2])))
    moved = [each for each in found if any(each[2])]
    found = (moved or found)[:MOST_SERIES]
    if defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal":
        _stack(axes, found)
    else:
        for name, times, values in found:
            axes.plot(times, values, linewidth=1.3, label=name, clip_on=False)
    if found:
        _legend_below(axes, LEGEND_LETTERS * panel["gridPos"]["w"] // 24)
    else:
        axes.text(0.5, 0.5, NOTHING, ha="center", fontsize=10, color="#777777", transform=axes.transAxes)
    if not moved:
        axes.set_ylim(0, 1)
    elif "min" in defaults:
        axes.set_ylim(bottom=defaults["min"])
    axes.set_xlim(*source.shown)
    axes.grid(alpha=0.3)
    _label(axes, defaults["unit"])


def _stack(axes: Axes, found: Sequence[Drawn]) -> None:
    """A series has no value before it began: 0."""
    moments = sorted({at for _, times, _ in found for at in times})
    rows = []
    for _, times, values in found:
        known = dict(zip(times, values, strict=True))
        rows.append([known.get(at, 0.0) for at in moments])
    axes.stackplot(moments, rows, labels=[name for name, _, _ in found], alpha=0.75, linewidth=0)


def _legend_below(axes: Axes, letters: int) -> None:
    """In one or two lines of so many letters; what does not fit is left out."""
    lines, labels = axes.get_legend_handles_labels()
    columns = min(LEGEND_COLUMNS, max(1, letters // (max(map(len, labels)) + 5)))
    most = 2 * columns
    axes.legend(
        lines[:most],
        labels[:most],
        fontsize=8,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.13),
        ncols=columns,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.0,
        labelspacing=0.25,
    )


def _heat(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    series = source.over_time(panel["targets"][0]["expr"])
    rows = sorted(series, key=lambda each: float(each["metric"]["le"]))
    if rows:
        moments = sorted({at for row in rows for at, _ in row["values"]})
        table = [[dict(row["values"]).get(at, "0") for at in moments] for row in rows]
        numbers = [[float(value) if value != "NaN" else 0.0 for value in line] for line in table]
        below = [[0.0] * len(moments), *numbers[:-1]]
        cells = [
            [max(a - b, 0.0) for a, b in zip(line, lower, strict=True)]
            for line, lower in zip(numbers, below, strict=True)
        ]
        shown = (float(moments[0]), float(moments[-1]), -0.5, len(rows) - 0.5)
        shades = colors.LinearSegmentedColormap.from_list("heat", HEAT)
        axes.imshow(cells, aspect="auto", origin="lower", cmap=shades, interpolation="nearest", extent=shown)
        ends = [float(row["metric"]["le"]) for row in rows]
        axes.set_yticks(range(len(rows)), ["more" if math.isinf(end) else in_unit(end, "s") for end in ends])
        axes.set_xlim(*source.shown)
    _times(axes)
    axes.tick_params(axis="y", labelsize=7)


def _label(axes: Axes, unit: str) -> None:
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    axes.yaxis.set_major_formatter(lambda value, _: in_unit(value, unit))
    axes.tick_params(axis="y", labelsize=8.5)
    _times(axes)


def _times(axes: Axes) -> None:
    """Whole minutes."""
    first, last = axes.get_xlim()
    step_s = 60 * max(1, round((last - first) / 60 / 5))
    axes.xaxis.set_major_locator(ticker.MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(lambda at, _: f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%H:%M}")
    axes.tick_params(axis="x", labelsize=8.5)


def _legend(form: str, metric: Mapping[str, str]) -> str:
    if form == "__auto":
        return ", ".join(value for name, value in metric.items() if name != "__name__") or "value"
    for name in ("__name__", *metric):
        form = form.replace(f"{{{{{name}}}}}", metric.get(name, ""))
    return form


def in_unit(value: float, unit: str) -> str:
    """The value in the form of a unit of Grafana, shortly."""
    if unit == "dateTimeFromNow":
        return f"{(time.time() - value / 1000) / 60:.0f} min ago"
    if unit == "percentunit":
        return f"{100 * value:.4g} %"
    if unit == "s" and value < 1:
        return f"{value * 1000:.3g} ms"
    suffix = {"s": " s", "currencyEUR": " €", "reqps": " req/s", "cps": "/s", "bytes": "B", "percent": " %"}.get(
        unit, ""
    )
    for power, letter in _POWERS:
        if abs(value) >= power:
            return f"{value / power:.3g} {letter}{suffix.strip()}"
    return f"{value:.3g}{suffix}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.draw", description=__doc__)
    parser.add_argument("url", help="of a Prometheus, such as http://127.0.0.1:9090 of make watch")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    source = Source(arguments.url, arguments.minutes * 60)
    for path in sorted((ROOT / DASHBOARDS).glob("*.json")):
        try:
            draw(json.loads(path.read_text("utf-8")), source, arguments.out / f"{path.stem}.png")
        except urllib.error.URLError as error:
            parser.exit(1, f"{arguments.url} does not answer as a Prometheus: {error}\n")


if __name__ == "__main__":
    main()
