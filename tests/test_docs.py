"""The documents keep up with the project: links resolve, every setting is explained, and what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from pydantic import BaseModel

from ocs.settings.peers import PeerSection, ProfileSection
from ocs.settings.schema import Settings

ROOT = Path(__file__).parents[1]
PAGES = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "tests/data/README.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINTERS = (".venv/bin/mypy", ".venv/bin/lint-imports")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def settings_keys() -> Iterator[str]:
    for section, field in Settings.model_fields.items():
        kind = {"peer": PeerSection, "profile": ProfileSection}.get(section, field.annotation)
        assert isinstance(kind, type) and issubclass(kind, BaseModel)
        yield from (f"{section}.{key}" for key in kind.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            found = (page.parent / target).resolve()
            assert found.is_relative_to(ROOT), target
            assert found.exists(), target


def test_operations_explains_every_setting_with_its_default() -> None:
    text = (ROOT / "docs" / "OPERATIONS.md").read_text("utf-8").split("## Settings")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| ([^|]*) \|", text, re.MULTILINE))
    assert set(rows) == set(settings_keys())
    for key in settings_keys():
        section, name = key.split(".")
        if section == "peer" or key == "server.workers":
            continue
        found = ProfileSection if section == "profile" else Settings.model_fields[section].annotation
        model = typing.cast("type[BaseModel]", found)
        default = model.model_fields[name].get_default(call_default_factory=True)
        default = "" if default in (None, [], {}) else default
        shown = rows[key].strip().strip("`").replace('"', "'")
        shown = {"false": "False", "true": "True", "''": "", "–": ""}.get(shown, shown)
        assert shown == str(default), key


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = LINK.findall(page.read_text("utf-8"))
        waiting += [(page.parent / target).resolve() for target in targets if not re.match(r"[a-z]+:", target)]
    assert reached == set(PAGES)


def test_the_drawing_is_well_formed() -> None:
    assert ElementTree.parse(ROOT / "docs" / "architecture.svg").getroot().tag.endswith("svg")


def test_files_that_the_pages_name_exist() -> None:
    """`ocs/…`, `protocol/…` and the like in code marks are files or folders; decisions are numbered without gaps."""
    for page in PAGES:
        for name in re.findall(
            r"`((?:ocs|protocol|simulator|config|benchmarks|tests)/[\w./-]*)`", page.read_text("utf-8")
        ):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_pages_name_limits_as_the_code_has_them() -> None:
    from ocs.charging import service
    from ocs.ledger import contract
    from ocs.ledger.settings import LedgerSettings
    from ocs.settings import diameter as config
    from protocol import avp, registry

    limits = config.DiameterConfig("", "")
    text = (ROOT / "docs" / "OPERATIONS.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", text.split("## Limits")[1].split("##")[0], re.MULTILINE))
    numbers = {
        "AVP nesting": avp.MAX_NESTING,
        "AVPs in a request, all levels": registry.LIMITS.max_avps,
        "services in a request": registry.LIMITS.max_services,
        "connections before their CER": limits.max_pending_connections,
        "connections of one address before their CER": limits.max_connections_per_address,
        "connections": limits.max_connections,
        "time for a TLS handshake, time for a CER": int(limits.cer_timeout_s),
        "unread answers of a peer": config.MAX_WRITE_BUFFER_OCTETS // 1024**2,
        "requests waiting for Redis": LedgerSettings().max_waiting,
        "open sessions of an account": contract.MAX_SESSIONS_PER_ACCOUNT,
        "services of a session": contract.MAX_SERVICES_PER_SESSION,
        "answers kept of a live session": contract.ANSWERS_KEPT_PER_SESSION,
        "credit after a top-up": contract.CREDIT_CEILING_MICRO_EUR // 1_000_000,
        "subscribers, sessions a worker remembers": service.MAX_SUBSCRIBERS_KEPT,
    }
    for name, number in numbers.items():
        assert f"{number:,}" in rows[name], name


@pytest.mark.parametrize("task", ["help", "demo", "test", "check", "docs", "fuzz", "bench", "sim", "setup", "clean"])
def test_every_task_of_the_makefile_can_be_planned(task: str) -> None:
    done = subprocess.run(["make", "-n", task], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_hooks_run_what_make_check_runs_and_fetch_nothing() -> None:
    settings = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [each["repo"] for each in settings["repos"]] == ["local"]
    hooks = settings["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    done = subprocess.run(["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True)
    linted = {line for line in done.stdout.splitlines() if line.startswith(".venv/bin/ruff") or line in LINTERS}
    at_commit = {hook["entry"].removesuffix(" --force-exclude") for hook in hooks if "stages" not in hook}
    assert at_commit == linted and len(linted) == 4
    assert [hook["entry"] for hook in hooks if hook.get("stages") == ["pre-push"]] == ["make check"]


def test_the_makefiles_demo_is_a_command_of_the_simulator() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulator.cli", "demo", "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0
    for option in ("--speed", "--folder", "--report"):
        assert option in re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_performance_has_the_markers_that_the_benchmark_writes_between(tmp_path: Path) -> None:
    from benchmarks.table import BEGIN, END

    text = (ROOT / "docs" / "PERFORMANCE.md").read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.index(BEGIN) < text.index(END)
