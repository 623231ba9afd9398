"""Pictures of the dashboards, for who wants to see them before installing anything: `python -m monitoring.draw URL`.

Each panel is drawn by matplotlib from the dashboard's own file: its queries are asked of the Prometheus at URL, over
the last minutes. Colours and fonts are not Grafana's.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker
from matplotlib.axes import Axes
from PIL import Image

from monitoring.files import DASHBOARDS, ROOT

OUT = ROOT / "docs" / "dashboards"
WIDTH_IN, ROW_IN = 17.0, 0.33
"""Width of a picture, and height of a row of Grafana's grid."""
POINTS = 200
COLOURS = 256
MOST_SERIES = 12
"""Drawn of a panel: those with the greatest last values."""
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
    figure = pyplot.figure(figsize=(WIDTH_IN, ROW_IN * (rows + 2)), facecolor="white")
    figure.suptitle(dashboard["title"], x=0.01, y=1 - 0.4 / rows, ha="left", fontsize=16, weight="bold")
    for panel in panels:
        at = panel["gridPos"]
        left, bottom = at["x"] / 24, (rows - at["y"] - at["h"]) / (rows + 2)
        width, height = at["w"] / 24, at["h"] / (rows + 2)
        if panel["type"] == "row":
            figure.text(0.01, bottom + height / 3, panel["title"], fontsize=12, weight="bold", color="#555555")
            continue
        pad_x, pad_y = 0.035, 0.9 / (rows + 2)
        axes = figure.add_axes((left + pad_x, bottom + pad_y, width - pad_x - 0.008, height - 2.2 * pad_y))
        axes.set_title(panel["title"], loc="left", fontsize=9)
        {"stat": _number, "heatmap": _heat}.get(panel["type"], _graph)(axes, panel, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=70)
    pyplot.close(figure)
    with Image.open(path) as drawn:
        few = drawn.convert("RGB").quantize(COLOURS)
    few.save(path, optimize=True)


def _number(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    value = source.now(panel["targets"][0]["expr"])
    defaults = panel["fieldConfig"]["defaults"]
    colour = "black"
    for step in defaults.get("thresholds", {}).get("steps", ()):
        if value is not None and (step["value"] is None or value >= step["value"]):
            colour = {"green": "#2e7d32", "red": "#c62828"}.get(step["color"], "black")
    shown = "–" if value is None else in_unit(value, defaults["unit"])
    axes.text(0.5, 0.45, shown, ha="center", va="center", fontsize=20, color=colour)
    axes.axis("off")


def _graph(axes: Axes, panel: Mapping[str, Any], source: Source) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    found = []
    for target in panel["targets"]:
        for series in source.over_time(target["expr"]):
            times = [float(at) for at, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]
            found.append((_legend(target["legendFormat"], series["metric"]), times, values))
    found = sorted(found, key=lambda each: -each[2][-1])[:MOST_SERIES]
    for name, times, values in found:
        axes.plot(times, values, linewidth=1, label=name)
    if found:
        axes.legend(fontsize=6, loc="upper left", ncols=2, framealpha=0.5)
    else:
        axes.text(
            0.5, 0.5, "no data: all is well, or nothing happened", ha="center", fontsize=8, transform=axes.transAxes
        )
    if "min" in defaults:
        axes.set_ylim(bottom=defaults["min"])
    axes.set_xlim(*source.shown)
    axes.grid(alpha=0.3)
    _label(axes, defaults["unit"])


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
        axes.imshow(cells, aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
        axes.set_yticks(range(len(rows)), [f"{row['metric']['le']} s" for row in rows])
    axes.tick_params(labelsize=6)
    axes.set_xticks([])


def _label(axes: Axes, unit: str) -> None:
    axes.yaxis.set_major_formatter(lambda value, _: in_unit(value, unit))
    axes.xaxis.set_major_formatter(lambda at, _: f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%H:%M}")
    axes.xaxis.set_major_locator(ticker.LinearLocator(4))
    axes.tick_params(labelsize=7)


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
        return f"{value:.1%}"
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
        draw(json.loads(path.read_text("utf-8")), source, arguments.out / f"{path.stem}.png")


if __name__ == "__main__":
    main()
