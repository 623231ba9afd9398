"""Short forms of the Grafana Foundation SDK for the dashboards of this project.

A query is written without its selectors: `query` adds those of the variables job and instance to every metric, and
`[R]` is Grafana's `$__rate_interval`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SELECTOR = 'job=~"$job",instance=~"$instance"'
PREFIX = "ocs-"
TAG = "ocs"
WIDTH = 24
_METRIC = re.compile(r"\b(ocs[_:][a-z0-9_:]+)(\{([^}]*)\})?")
_BY_JOB = re.compile(r"^ocs:[a-z_]+:ratio_rate")
T = TypeVar("T")
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True)
class Series:
    """One query of a panel, and how its series are named: "{{label}}" is the value of a label."""

    expr: str
    legend: str = ""


def query(expr: str) -> str:
    """The expression with the selectors and the interval of the dashboard."""

    def selected(found: re.Match[str]) -> str:
        name, own = found[1], found[3]
        general = 'job=~"$job"' if _BY_JOB.match(name) else SELECTOR
        return f"{name}{{{own},{general}}}" if own else f"{name}{{{general}}}"

    return _METRIC.sub(selected, expr).replace("[R]", "[$__rate_interval]")


def _targets(series: Sequence[Series], *, instant: bool = False) -> list[prometheus.Dataquery]:
    made = []
    for number, each in enumerate(series):
        target = prometheus.Dataquery().expr(query(each.expr)).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        target.legend_format(each.legend or "__auto")
        made.append(target.instant() if instant else target.range())
    return made


def graph(
    title: str,
    text: str,
    unit: str,
    *series: Series,
    stacked: bool = False,
    width: int = 8,
    least: float | None = 0,
) -> timeseries.Panel:
    """Values over time. `unit`: an id of Grafana's units."""
    panel = timeseries.Panel().title(title).description(text).unit(unit).datasource(SOURCE).span(width).height(8)
    panel.targets(list(_targets(series))).line_width(1).fill_opacity(25 if stacked else 8)
    panel.show_points(common_model.VisibilityMode.NEVER)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(common_model.LegendDisplayMode.TABLE)
        .placement(common_model.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    panel.tooltip(
        common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI).sort(common_model.SortOrder.DESCENDING)
    )
    if least is not None:
        panel.min(least)
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    return panel


def number(
    title: str,
    text: str,
    unit: str,
    expr: str,
    *,
    bad_above: float | None = None,
    bad_below: float | None = None,
    width: int = 4,
    decimals: int | None = None,
) -> stat.Panel:
    """One value, now. Red above or below a limit."""
    panel = stat.Panel().title(title).description(text).unit(unit).datasource(SOURCE).span(width).height(4)
    panel.targets(list(_targets([Series(expr)], instant=True)))
    panel.graph_mode(common_model.BigValueGraphMode.NONE).color_mode(common_model.BigValueColorMode.VALUE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).no_value("–")
    if decimals is not None:
        panel.decimals(decimals)
    if bad_above is not None:
        steps = [model.Threshold(None, "green"), model.Threshold(bad_above, "red")]
    elif bad_below is not None:
        steps = [model.Threshold(None, "red"), model.Threshold(bad_below, "green")]
    else:
        steps = [model.Threshold(None, "text")]
    panel.thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps))
    return panel


def heat(title: str, text: str, unit: str, expr: str, *, width: int = 12) -> heatmap.Panel:
    """A histogram over time; `expr` gives its buckets by `le`. With the traces of its exemplars, if there are any."""
    panel = heatmap.Panel().title(title).description(text).datasource(SOURCE).span(width).height(8)
    (target,) = _targets([Series(expr, "{{le}}")])
    panel.with_target(target.format(PromQueryFormat.HEATMAP).exemplar(True))
    panel.y_axis(heatmap.YAxisConfig().unit(unit))
    panel.color(heatmap.HeatmapColorOptions().scheme("Oranges").mode(heatmap_model.HeatmapColorMode.SCHEME).steps(64))
    return panel


def quantiles(
    histogram: str, labels: str = "", *, by: str = "", percents: Sequence[str] = ("50", "90", "99")
) -> list[Series]:
    """Percentiles of a histogram."""
    names = f"le, {by}" if by else "le"
    more = f" {{{{{by}}}}}" if by else ""
    selector = f"{{{labels}}}" if labels else ""
    return [
        Series(
            f"histogram_quantile({float(percent) / 100:.4g}, sum by ({names}) (rate({histogram}_bucket{selector}[R])))",
            f"p{percent}{more}",
        )
        for percent in percents
    ]


Panel = timeseries.Panel | stat.Panel | heatmap.Panel


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Page:
    """A dashboard."""

    name: str
    """End of its uid and name of its file."""
    title: str
    text: str
    rows: Sequence[Row]
    of_metric: str = "ocs_redis_up"
    """The metric from which the variables job and instance take their values."""
    with_peer: bool = False
    since: str = "now-1h"

    @property
    def uid(self) -> str:
        return PREFIX + self.name


def build(page: Page) -> model.Dashboard:
    made = dashboard.Dashboard(page.title).uid(page.uid).description(page.text).tags([TAG]).readonly()
    made.time(page.since, "now").refresh("10s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for variable in _variables(page):
        made.with_variable(variable)
    for annotation in _annotations():
        made.annotation(annotation)
    made.link(
        dashboard.DashboardLink("Dashboards")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(False)
    )
    for row in page.rows:
        made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made.with_panel(panel)
    built = made.build()
    _lay_out(built.panels or ())
    return built


def _lay_out(panels: Sequence[model.Panel | model.RowPanel]) -> None:
    """From left to right and downwards. Neighbours of one size share the width, so no line has a hole. Ids by order,
    so that links to panels stay as long as the order does.
    """
    y = 0
    for (width, height), same in groupby(panels, key=_size):
        together = list(same)
        for line in _lines(together, WIDTH // width):
            for index, panel in enumerate(line):
                at = panel.grid_pos
                assert at is not None
                at.x, at.y = WIDTH * index // len(line), y
                at.w = WIDTH * (index + 1) // len(line) - at.x
            y += height
    for index, panel in enumerate(panels):
        panel.id_val = index + 1


def _size(panel: model.Panel | model.RowPanel) -> tuple[int, int]:
    assert panel.grid_pos is not None
    return panel.grid_pos.w, panel.grid_pos.h


def _lines(panels: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Lines of at most so many, as even as can be."""
    lines = -(-len(panels) // most)
    for index in range(lines):
        yield panels[len(panels) * index // lines : len(panels) * (index + 1) // lines]


def _variables(page: Page) -> list[Builder[model.VariableModel]]:
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    variables: list[Builder[model.VariableModel]] = [
        source.description("The Prometheus that is asked"),
        _of_label("job", "Job", page.of_metric, "", "The job of the scrape settings"),
        _of_label("instance", "Instance", page.of_metric, 'job=~"$job"', "Servers, by the address of their /metrics"),
    ]
    if page.with_peer:
        variables.append(_of_label("peer", "Peer", "ocs_peer_connections", SELECTOR, "Origin-Host of the peer"))
    return variables


def _of_label(name: str, label: str, metric: str, selector: str, text: str) -> dashboard.QueryVariable:
    of = "origin_host" if name == "peer" else name
    asked = f"{metric}{{{selector}}}" if selector else metric
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(text)
        .datasource(SOURCE)
        .query(f"label_values({asked}, {of})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


ANNOTATIONS = (
    ("Restarts", "red", "changes(ocs_start_timestamp_seconds[2m]) > 0"),
    ("Catalogue versions", "blue", "changes(ocs_catalogue_timestamp_seconds[2m]) > 0"),
    ("Deployments", "purple", "ocs_build_info unless (ocs_build_info offset 2m)"),
    ("Processes restarted", "orange", "sum by (role) (increase(ocs_process_restarts_total[2m])) > 0"),
)
"""Name, colour, and a query whose series exist while the event is recent."""


def _annotations() -> list[dashboard.AnnotationQuery]:
    return [
        dashboard.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(colour).expr(query(expr))
        for name, colour, expr in ANNOTATIONS
    ]
