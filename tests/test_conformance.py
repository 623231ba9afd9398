"""docs/conformance.toml has one row for each section of the two RFCs and each AVP table, each with its tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.conformance import LONGEST_ROW, PAGE, ROOT, STATUSES, chapters, page, shown_by

STANDARDS = ROOT / "tests" / "data" / "standards"
CONTENTS_ROW = re.compile(r"^ +(\d+(?:\.\d+)*)\. .*\. ?\.")
NODE = re.compile(r"`(tests/[\w/]+\.py)`")
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
"""Tables of AVPs that 3GPP adds to RFC 8506, and where they are specified."""


def sections(rfc: str) -> list[str]:
    lines = (STANDARDS / f"{rfc}-contents.txt").read_text("utf-8").splitlines()
    return [match[1] for line in lines if (match := CONTENTS_ROW.match(line))]


@cache
def names(path: Path) -> frozenset[str]:
    """Functions and classes that a test file defines."""
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("standard", ["RFC 6733", "RFC 8506"])
def test_each_section_has_one_row(standard: str) -> None:
    found = [row.number for row in chapters()[standard].rows]
    assert found == sections(standard.lower().replace(" ", ""))


def test_each_avp_table_has_one_row() -> None:
    assert [row.section for row in chapters()["3GPP"].rows] == list(AVP_TABLES)


@pytest.mark.parametrize("standard", ["RFC 6733", "RFC 8506", "3GPP"])
def test_each_row_has_its_proof_or_its_reason(standard: str) -> None:
    for row in chapters()[standard].rows:
        assert row.status in STATUSES, f"{row.section}: {row.status}"
        assert bool(row.tests) == (row.status in ("done", "partly")), f"{row.section} is {row.status}: {row.tests}"
        if row.status in ("partly", "not"):
            assert row.remark, f"{row.section} is {row.status}, and no reason is given"
        assert row.remark or not row.note, f"{row.section}: the note goes on from a remark"


def test_the_tests_it_names_exist() -> None:
    found = [test for chapter in chapters().values() for row in chapter.rows for test in row.tests]
    assert len(found) > 50
    for node in [*found, *NODE.findall(PAGE.read_text("utf-8"))]:
        path, *parts = node.split("::")
        assert (ROOT / path).is_file(), f"{path} does not exist"
        for each in parts:
            assert each in names(ROOT / path), f"{node} does not exist"


def test_a_row_fits_a_screen() -> None:
    for chapter in chapters().values():
        for row in chapter.rows:
            assert "|" not in row.section + row.remark and "\n" not in row.line, row.section
            assert len(row.line) <= LONGEST_ROW, f"{row.section}: move a part of its remark to its note"


def test_the_shown_by_a_section_are_those_of_the_sections_below_it_too() -> None:
    whole, part = shown_by("RFC 6733", "5.3"), shown_by("RFC 6733", "5.3.1")
    assert part and set(part) < set(whole)
    assert not set(shown_by("RFC 6733", "1")), "1 is not 11"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "make docs writes it anew"
