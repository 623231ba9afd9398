"""Compares two runs by what their commands printed with --json: load, stairs, search, run or replay."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from simulator.errors import SimulatorError
from simulator.stats import encoded_histogram

KINDS = {"search": "probes", "stairs": "steps", "load": "ccr_per_s", "run": "scenario", "replay": "compared"}
"""Kind of run → a key that only its JSON has at the top."""
LEFT_OUT = frozenset(("started_at", "seed", "speed", "histogram", "timeline", "pauses", "probes", "audit", "warnings"))
LOWER_IS_BETTER = frozenset(
    ("unanswered", "unsent", "unequal_repeats", "cpu_us_per_request", "cpu_share", "replayed_errors")
)
HIGHER_IS_BETTER = frozenset(("ccr_per_s", "requests_per_s", "equal", "ok"))
RESULT_CODES = ("result_codes", "service_result_codes")
SEARCHED_RATE = "rate"


class ComparisonError(SimulatorError):
    """A file is not the JSON of a run, or the two are of different kinds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both runs; None = that run does not have it."""

    name: str
    before: float | None
    after: float | None
    sense: int = 0
    """1 = more is better, -1 = less is better, 0 = neither."""

    @property
    def change(self) -> float | None:
        """Share of the value before; None = it cannot be told."""
        if self.before is None or self.after is None or (not self.before and self.after):
            return None
        return (self.after - self.before) / abs(self.before) if self.before else 0.0

    def is_worse(self, tolerance: float) -> bool:
        """Whether it is worse by more than this share. From 0, anything that should be less is worse."""
        if not self.sense or self.before is None or self.after is None:
            return False
        return (self.before - self.after) * self.sense > tolerance * abs(self.before)


@dataclass(frozen=True, slots=True)
class Comparison:
    kind: str
    names: tuple[str, str]
    figures: tuple[Figure, ...]
    histograms: tuple[str, str]
    """Encoded latencies; "" = that run has none."""

    def worse(self, tolerance: float) -> list[Figure]:
        return [figure for figure in self.figures if figure.is_worse(tolerance)]

    def as_json(self, tolerance: float | None) -> dict[str, object]:
        return {
            "kind": self.kind,
            "before": self.names[0],
            "after": self.names[1],
            "figures": [
                {"name": one.name, "before": one.before, "after": one.after, "change": one.change}
                for one in self.figures
            ],
            "worse": None if tolerance is None else [one.name for one in self.worse(tolerance)],
        }


def compare_runs(before: Path, after: Path) -> Comparison:
    """Raises ComparisonError."""
    runs = [_read(path) for path in (before, after)]
    kinds = [_kind(run, path) for run, path in zip(runs, (before, after), strict=True)]
    if kinds[0] != kinds[1]:
        raise ComparisonError(f"{before} is of {kinds[0]}, {after} of {kinds[1]}: only equal kinds can be compared")
    found = [dict(_figures(run)) for run in runs]
    names = list(dict.fromkeys([*found[0], *found[1]]))
    figures = tuple(
        Figure(name, _value(found[0], name), _value(found[1], name), _sense(name, kinds[0])) for name in names
    )
    return Comparison(kinds[0], (str(before), str(after)), figures, (_histogram(runs[0]), _histogram(runs[1])))


def _read(path: Path) -> Mapping[str, object]:
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ComparisonError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ComparisonError(
            f"{path}: is no JSON: compare wants what run, load or replay print with --json"
        ) from error
    if not isinstance(found, dict):
        raise ComparisonError(f"{path}: not the JSON of a run")
    return found


def _kind(run: Mapping[str, object], path: Path) -> str:
    for kind, key in KINDS.items():
        if key in run:
            return kind
    raise ComparisonError(f"{path}: not what load, run or replay of a recording prints with --json")


def _figures(value: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, one in value.items():
        if key in LEFT_OUT:
            continue
        if isinstance(one, dict):
            yield from _figures(one, f"{prefix}{key} ")
        elif isinstance(one, list):
            for row in one:
                if key == "steps":
                    yield from _figures(row, f"{prefix}{row['rate']:g}/s ")
        elif isinstance(one, int | float) and (key == "ok" or not isinstance(one, bool)):
            yield f"{prefix}{key}", float(one)


def _value(run: Mapping[str, float], name: str) -> float | None:
    """A Result-Code that a run does not have was answered 0 times."""
    return run.get(name, 0.0 if _result_code(name) else None)


def _result_code(name: str) -> int:
    """The Result-Code that the figure counts; 0 = none."""
    *_, table, last = ("", "", *name.split(" "))
    return int(last) if table in RESULT_CODES and last.isdecimal() else 0


def _sense(name: str, kind: str) -> int:
    last = name.rpartition(" ")[2]
    if last in HIGHER_IS_BETTER or (kind == "search" and name == SEARCHED_RATE):
        return 1
    if _result_code(name) // 1000 not in (0, 2, 4):  # 4012 is an answer as good as another
        return -1
    return -1 if last in LOWER_IS_BETTER or (last.endswith("_ms") and not last.startswith("goal")) else 0


def _histogram(run: Mapping[str, object]) -> str:
    """That of the run, or of the highest rate that held."""
    probes = run.get("probes")
    if isinstance(probes, list):
        held = [probe for probe in probes if not probe["fails"]]
        return str(max(held, key=lambda probe: probe["rate"])["histogram"]) if held else ""
    return str(run.get("histogram", ""))


def rows(comparison: Comparison, tolerance: float | None) -> list[tuple[str, str, str, str, str]]:
    """Texts of a table: name, before, after, change, and whether it is worse."""
    worse = set(comparison.worse(tolerance)) if tolerance is not None else set()
    return [
        (
            one.name, _text(one.before), _text(one.after),
            "" if one.change is None else f"{one.change:+.1%}", "worse" if one in worse else "",
        )
        for one in comparison.figures
    ]  # fmt: skip


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.3f}"


def write_comparison(
    comparison: Comparison, path: Path, *, tolerance: float | None, made_at: datetime.datetime
) -> None:
    """An HTML page: the table, and both latency curves."""
    from simulator.load_report import histogram_curves  # matplotlib takes long to import
    from simulator.page import Section, Table, write_page

    before, after = comparison.names
    table = Table(("figure", "before", "after", "change", ""), rows(comparison, tolerance))
    sections: list[Section] = []
    curves: Sequence[tuple[str, str]] = list(zip(("before", "after"), comparison.histograms, strict=True))
    if any(text for _, text in curves):
        drawn = [(name, encoded_histogram(text)) for name, text in curves if text]
        sections.append(Section("Latency by percentile", plot=histogram_curves(drawn), wide=True))
    sections.append(Section("Figures", table=table, wide=True))
    title = f"Two runs of {comparison.kind}"
    write_page(path, title=title, subtitle=f"{before} → {after}, {made_at:%Y-%m-%d %H:%M}", sections=sections)
