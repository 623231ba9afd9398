"""What is generated: path in the project → content."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.alerts import ALERTS, GROUPS
from monitoring.alerts.alert import Alert
from monitoring.dashboards import PAGES
from monitoring.objectives import recording_groups
from monitoring.panels import build

ROOT = Path(__file__).parents[1]
HEAD = "# Made from monitoring/ by `make docs`.\n"
DASHBOARDS, RUNBOOKS = "config/grafana", "docs/runbooks"
AT_THE_KEYBOARD = (
    "- **The log** is standard error of `ocs serve` (`journalctl -u …`, `docker compose logs ocs`).",
    "  A line names its process: worker, housekeeper, backoffice, api. [MESSAGES](../MESSAGES.md) explains each line.",
    "- **`ocs` commands** run on the server's machine, beside the server. They read `config/ocs.toml`, or the file",
    "  that `--config` or `OCS_CONFIG` names. With compose: `docker compose exec ocs ocs audit`.",
    "- **`<data_dir>`** is `server.data_dir` of the settings, with compose `/var/lib/ocs`.",
    "- **`redis-cli`** asks the Redis of `redis.url` (`-u URL`; `docker compose exec redis redis-cli …`).",
    "  A private Redis has no port: `redis-cli -s <data_dir>/redis/redis.sock …`.",
    "- **Port 9464**, of `/health` and `/metrics`, is that of `metrics.listen`.",
)


def generated() -> dict[str, str]:
    files = {
        "config/prometheus/recording.yml": HEAD + _yaml({"groups": recording_groups()}),
        "config/prometheus/alerts.yml": HEAD
        + "# What an operator wants to be woken for, or to see the next morning.\n"
        + _yaml({"groups": [{"name": name, "rules": [each.rule() for each in of]} for name, of in GROUPS.items()]}),
        f"{RUNBOOKS}/README.md": _index(),
    }
    for page in PAGES:
        text = json.dumps(build(page), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False)
        files[f"{DASHBOARDS}/{page.name}.json"] = text + "\n"
    for alert in ALERTS:
        files[alert.runbook] = _runbook(alert)
    return files


def superfluous(files: dict[str, str]) -> list[Path]:
    """Files of the generated folders that nothing makes any more."""
    found = [*(ROOT / DASHBOARDS).glob("*.json"), *(ROOT / RUNBOOKS).glob("*.md")]
    return sorted(path for path in found if str(path.relative_to(ROOT)) not in files)


def _yaml(content: object) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, width=10_000, allow_unicode=True))


def _index() -> str:
    lines = [
        "# Runbooks",
        "",
        "Made from `monitoring/alerts` by `make docs`. One page for each alert: what it means and what to do.",
        "",
        *AT_THE_KEYBOARD,
    ]
    for name, alerts in GROUPS.items():
        lines += ["", f"## {name.capitalize()}", "", "| alert | severity | says |", "|---|---|---|"]
        lines += [f"| [{each.name}]({each.name}.md) | {each.severity} | {_cell(each.summary)} |" for each in alerts]
    return "\n".join(lines) + "\n"


def _runbook(alert: Alert) -> str:
    page = next(page for page in PAGES if page.name == alert.dashboard)
    lasts = f", for {alert.lasts}" if alert.lasts else ""
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(alert.do, start=1))
    return (
        f"# {alert.name}\n\n"
        f"{_cell(alert.summary)}.\n\n"
        f"**Severity** {alert.severity}. **Dashboard** {page.title} (`/d/{page.uid}`).\n\n"
        f"## Harm\n\n{alert.harm}\n\n"
        f"## Do\n\n{steps}\n\n"
        f"## Fires when\n\n```promql\n{alert.expr}\n```\n\n"
        f"holds{lasts}.\n\n"
        "Where the log is, and how to call `ocs` and `redis-cli`: [runbooks](README.md). Made from "
        "`monitoring/alerts` by "
        "`make docs`.\n"
    )


def _cell(summary: str) -> str:
    """The summary without the templates of Prometheus."""
    return (
        summary.replace("{{ $value }}", "…")
        .replace("{{ $value | humanizeDuration }}", "…")
        .replace("{{ $labels.", "‹")
        .replace(" }}", "›")
    )
