"""One alert: its rule for Prometheus and its runbook."""

from __future__ import annotations

from dataclasses import dataclass

CRITICAL, WARNING = "critical", "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    name: str
    expr: str
    severity: str
    summary: str
    dashboard: str
    """Name of a page of `monitoring.dashboards`."""
    lasts: str = ""
    """How long the expression must hold (`for`)."""
    harm: str
    """What it means for subscribers and money."""
    do: tuple[str, ...]
    """Steps, the first one first."""

    @property
    def runbook(self) -> str:
        return f"docs/runbooks/{self.name}.md"

    def rule(self) -> dict[str, object]:
        waits = {"for": self.lasts} if self.lasts else {}
        return {
            "alert": self.name,
            "expr": self.expr,
            **waits,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "runbook": self.runbook,
                "dashboard": f"/d/ocs-{self.dashboard}",
            },
        }
