"""docs/rules.toml matches the code: done rules have tests, texts cite existing rules only, the page is up to date."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.rules import PAGE, ROOT, STATUSES, Rule, page, rule, rules, shown_by

ID = re.compile(r"HOT-[A-Z]+-\d+")
READ = (".py", ".lua", ".toml", ".md", ".yml", ".yaml", ".svg", ".json", ".js", ".erl")
every_rule = pytest.mark.parametrize("each", rules().values(), ids=lambda each: each.id)


@cache
def files() -> tuple[Path, ...]:
    """Files in the repository, including untracked ones; without git, files in its folders."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    names = [ROOT / line for line in done.stdout.splitlines()]
    if done.returncode:
        folders = ("ocs", "protocol", "simulator", "benchmarks", "config", "docs", "examples", "tests")
        names = [path for folder in folders for path in (ROOT / folder).rglob("*") if "node_modules" not in path.parts]
    return tuple(path for path in names if path.suffix in READ and path.is_file())


@every_rule
def test_status_place_and_what_is_missing_fit_each_other(each: Rule) -> None:
    assert re.fullmatch(ID, each.id)
    assert each.status in STATUSES
    assert bool(each.where) == (each.status != "open"), "what is true is true somewhere"
    assert bool(each.missing) == (each.status != "done"), "what is not done says what is missing"
    assert each.text.endswith((".", ")"))


@every_rule
def test_a_rule_that_is_done_has_a_test(each: Rule) -> None:
    shown = shown_by().get(each.id, ())
    assert each.status != "done" or shown, f"{each.id} is done, and no test has @rule({each.id!r})"
    assert each.status != "open" or not shown, f"{each.id} is open, and {shown} shows it"


def test_tests_name_rules_that_there_are() -> None:
    assert set(shown_by()) <= set(rules())


@pytest.mark.parametrize("wrong", ["HOT-CC-99", "CC-3", ""])
def test_a_rule_that_there_is_not_cannot_be_named(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is not in docs/rules\.toml"):
        rule("HOT-CC-3", wrong)


def test_no_file_cites_a_rule_that_there_is_not() -> None:
    here = Path(__file__)
    wrong = {
        f"{path.relative_to(ROOT)}: {cited}"
        for path in files()
        if path != here
        for cited in ID.findall(path.read_text("utf-8"))
        if cited not in rules()
    }
    assert not wrong


def test_no_file_cites_sections_of_a_document_that_is_not_here() -> None:
    cites = re.compile(r"[Dd]igest(?:'s \()?,? ?§|shared/design")
    here = Path(__file__)
    wrong = {str(path.relative_to(ROOT)) for path in files() if path != here and cites.search(path.read_text("utf-8"))}
    assert not wrong


def test_a_test_that_cites_a_rule_shows_it() -> None:
    """A test whose name or docstring cites a rule that is not open must have the decorator."""
    bare = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if "node_modules" in path.parts or path == Path(__file__):
            continue
        where = str(path.relative_to(ROOT))
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                cited = set(ID.findall(ast.get_docstring(node) or ""))
                if named := re.match(r"test_hot_([a-z]+)_(\d+)_", node.name):
                    cited.add(f"HOT-{named[1].upper()}-{named[2]}")
                shown = {each for each, nodes in shown_by().items() if f"{where}::{node.name}" in nodes}
                bare += [
                    f"{where}::{node.name}: {each}" for each in sorted(cited - shown) if rules()[each].status != "open"
                ]
    assert not bare


@every_rule
def test_what_makes_it_true_exists(each: Rule) -> None:
    for place in each.where:
        file, _, name = place.partition(":")
        path = ROOT / file
        assert path.is_file(), place
        if name:
            assert _has(path, name), place


def _has(path: Path, name: str) -> bool:
    text = path.read_text("utf-8")
    if path.suffix == ".lua":
        return re.search(rf"^(?:local )?function {re.escape(name)}\(", text, re.MULTILINE) is not None
    if path.suffix == ".toml":
        tomllib.loads(text)
        return re.search(rf"^\[{re.escape(name)}\]", text, re.MULTILINE) is not None
    found: list[ast.stmt] = ast.parse(text).body
    *owners, last = name.split(".")
    for owner in owners:
        found = next((node.body for node in found if isinstance(node, ast.ClassDef) and node.name == owner), [])
    defined = {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    assigned = {
        target.id
        for node in found
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return last in defined | assigned


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "make docs writes it anew"
