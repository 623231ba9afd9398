"""docs/CONFORMANCE.md keeps its promise: one row for each section of the two RFCs and each AVP table, each with its proof."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "CONFORMANCE.md"
STANDARDS = ROOT / "tests" / "data" / "standards"
STATUSES = {"done", "partly", "not", "no rule"}
CONTENTS_ROW = re.compile(r"^ +(\d+(?:\.\d+)*)\. .*\. ?\.")
ROW = re.compile(r"^\| *([^|]+?) *\| *([^|]+?) *\| *([^|]+?) *\| *([^|]*?) *\|$", re.MULTILINE)
NODE = re.compile(r"`((?:tests/[\w/]+\.py)(?:::\w+)*)`")
AVP_TABLES = (
    "TS 32.299 §6.4 Command-level AVPs",
    "TS 32.299 §7.1.12 Service-Context-Id",
    "TS 32.299 §7.1.9 Multiple-Services-Credit-Control",
    "RFC 8506 §8.34 Final-Unit-Indication",
    "TS 32.299 §7.2.236 Trigger-Type",
    "TS 32.280 Advice of charge",
    "TS 32.299 §7.2 Service-Information",
    "TS 32.251 PS-Information",
    "TS 32.260 IMS-Information",
    "TS 32.275, 32.276 Forwarded legs, MMTel, VCS",
    "TS 32.274, 32.270 SMS- and MMS-Information",
    "RFC 7683, 7944, 8583 Overload, priority, load",
    "TS 29.061 §16.4.7.2 Roaming and location",
)
"""What 3GPP adds to the AVPs of RFC 8506, and where it is specified."""


def part(title: str) -> str:
    """The text of one "## …" chapter of the page."""
    found = re.search(rf"^## {re.escape(title)}.*?(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"docs/CONFORMANCE.md has no chapter {title!r}"
    return found[0]


def rows(title: str) -> list[tuple[str, str, str, str]]:
    """(section, status, tests, remark) of a chapter's table."""
    found = ROW.findall(part(title))
    return [row for row in found if not set(row[0]) <= set("- :") and row[0] != "section"]


def sections(rfc: str) -> list[str]:
    lines = (STANDARDS / f"{rfc}-contents.txt").read_text("utf-8").splitlines()
    return [match[1] for line in lines if (match := CONTENTS_ROW.match(line))]


@cache
def names(path: Path) -> frozenset[str]:
    """Functions and classes that a test file defines."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize(("title", "rfc"), [("RFC 6733", "rfc6733"), ("RFC 8506", "rfc8506")])
def test_each_section_has_one_row(title: str, rfc: str) -> None:
    found = [row[0].split()[0] for row in rows(title)]
    assert found == sections(rfc)


def test_each_avp_table_has_one_row() -> None:
    assert [row[0] for row in rows("3GPP AVP tables")] == list(AVP_TABLES)


@pytest.mark.parametrize("title", ["RFC 6733", "RFC 8506", "3GPP AVP tables"])
def test_each_row_has_its_proof_or_its_reason(title: str) -> None:
    for section, status, proof, remark in rows(title):
        assert status in STATUSES, f"{section}: {status}"
        if status in ("done", "partly"):
            assert NODE.search(proof), f"{section} is {status}, and no test is named"
        if status in ("partly", "not"):
            assert remark, f"{section} is {status}, and no reason is given"


def test_the_tests_it_names_exist() -> None:
    found = NODE.findall(PAGE.read_text("utf-8"))
    assert len(found) > 50
    for node in found:
        path, *parts = node.split("::")
        assert (ROOT / path).is_file(), f"{path} does not exist"
        for each in parts:
            assert each in names(ROOT / path), f"{node} does not exist"
