"""All queries of the shipped dashboards, and the selectors of rules, as files say them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
GRAFANA, PROMETHEUS = ROOT / "config" / "grafana", ROOT / "config" / "prometheus"
SELECTOR = re.compile(r"(?<![\w:])(?:up|ocs[_:][a-z0-9_:]+)(?:\{[^}]*\})?")


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(GRAFANA.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Without the rows."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels") or ()


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """(where, expression)."""
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}: {target['legendFormat']}", target["expr"]
        for annotation in dashboard["annotations"]["list"]:
            yield f"{name}: annotation {annotation['name']}", annotation["expr"]


def groups(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / file).read_text("utf-8"))["groups"]
    return found


def rules(file: str) -> list[dict[str, Any]]:
    return [rule for group in groups(file) for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return rules("alerts.yml")
