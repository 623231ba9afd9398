"""The operator's rules (docs/rules.toml), the tests that show them, and the page docs/RULES.md that is generated from
them.

`@rule("HOT-CC-3")` marks a test, or all tests of a class; `pytest -m 'rule(id="HOT-CC-3")'` runs those of a rule.
`python -m tests.rules` (`make docs`) writes the page.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "rules.toml"
PAGE = ROOT / "docs" / "RULES.md"
STATUSES = ("done", "partly", "open")
LINE = 120
"""Characters in a line of the page."""
Test = TypeVar("Test", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    id: str
    about: str
    """Its chapter."""
    text: str
    source: str
    """The operator's text that states it."""
    status: str
    """One of STATUSES."""
    where: tuple[str, ...] = ()
    """What implements it: "file" or "file:name"."""
    missing: str = ""
    """What is not implemented yet."""


@cache
def rules() -> dict[str, Rule]:
    """Rules by id, in the order of the file. KeyError, TypeError: an entry lacks a key or has an unknown one."""
    found = tomllib.loads(SOURCE.read_text("utf-8"))["rule"]
    made = [Rule(**{**entry, "where": tuple(entry.get("where", ()))}) for entry in found]
    assert len({each.id for each in made}) == len(made), "two rules have one id"
    return {each.id: each for each in made}


def rule(*ids: str) -> Callable[[Test], Test]:
    """Marks tests that show these rules. ValueError: unknown rule."""
    for each in ids:
        if each not in rules():
            raise ValueError(f"{each} is not in docs/rules.toml")

    def mark(test: Test) -> Test:
        for each in ids:
            test = pytest.mark.rule(id=each)(test)
        return test

    return mark


@cache
def shown_by() -> dict[str, tuple[str, ...]]:
    """Rule id → node ids of the tests with its decorator, read from the sources without importing them."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "node_modules" not in path.parts:
            for name, ids in _marked(ast.parse(path.read_text("utf-8")), ""):
                for each in ids:
                    found.setdefault(each, []).append(f"{path.relative_to(ROOT)}::{name}")
    return {id_: tuple(nodes) for id_, nodes in found.items()}


def _marked(tree: ast.Module | ast.ClassDef, prefix: str) -> list[tuple[str, list[str]]]:
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            ids = [
                argument.value
                for each in node.decorator_list
                if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "rule"
                for argument in each.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            ]
            if ids:
                found.append((prefix + node.name, ids))
        if isinstance(node, ast.ClassDef):
            found += _marked(node, f"{prefix}{node.name}::")
    return found


def _wrapped(text: str) -> list[str]:
    """Lines of at most LINE characters; those of an item of a list are indented."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.wrap(text, LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def page() -> str:
    """docs/RULES.md."""
    data = tomllib.loads(SOURCE.read_text("utf-8"))
    counts = ", ".join(f"{sum(each.status == status for each in rules().values())} {status}" for status in STATUSES)
    lines = [
        *("# Rules", "", "Made from [rules.toml](rules.toml) by `make docs`: change that file, not this one.", ""),
        *(*_wrapped(data["preamble"].replace("\n", " ").strip()), ""),
        *_wrapped(
            f"{len(rules())} rules: {counts}. *Done*: all of it is true, and the tests show it. *Open*: do not rely on "
            "it yet."
        ),
        "`pytest -m 'rule(id=\"HOT-CC-3\")'` runs the tests of one rule.",
    ]
    about = ""
    for each in rules().values():
        if each.about != about:
            about = each.about
            lines += ["", f"## {about}"]
        lines += ["", f"### {each.id} – {each.status}", ""]
        lines += _wrapped(each.text + (f" ({each.source})" if each.source else ""))
        lines += [""] if each.missing or each.where else []
        lines += _wrapped(f"- Missing: {each.missing}") if each.missing else []
        lines += _wrapped(f"- Where: {', '.join(f'`{place}`' for place in each.where)}") if each.where else []
        shown = dict.fromkeys(node.partition("::")[0] for node in shown_by().get(each.id, ()))
        lines += _wrapped(f"- Tests: {', '.join(f'`{file}`' for file in shown)}") if shown else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(rules())} rules")
