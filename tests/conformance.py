"""Conformance to the standards (docs/conformance.toml), and the page docs/CONFORMANCE.md that is generated from it.

`python -m tests.conformance` (`make docs`) writes the page. `python -m tests.conformance "RFC 6733" 5.3` lists the
tests of a section and of its subsections.
"""

from __future__ import annotations

import sys
import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "conformance.toml"
PAGE = ROOT / "docs" / "CONFORMANCE.md"
STATUSES = ("done", "partly", "not", "no rule")
LONGEST_ROW = 150
"""Most characters of a line in the page's tables: what fits on a screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    section: str
    """Number and title, as in the standard."""
    status: str
    """One of STATUSES."""
    remark: str = ""
    note: str = ""
    """Text below the table, for longer remarks."""
    tests: tuple[str, ...] = ()
    """Node ids, or whole files."""

    @property
    def number(self) -> str:
        return self.section.split()[0]

    @property
    def line(self) -> str:
        remark = self.remark + (r" \*" if self.note else "")
        return f"| {self.section} | {self.status} | {len(self.tests) or ''} | {remark} |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    title: str
    standard: str
    rows: tuple[Row, ...]


@cache
def chapters() -> dict[str, Chapter]:
    """Chapters by standard. KeyError, TypeError: an entry lacks a key or has an unknown one."""
    made = {}
    for entry in tomllib.loads(SOURCE.read_text("utf-8"))["chapter"]:
        rows = tuple(Row(**{**row, "tests": tuple(row.get("tests", ()))}) for row in entry.pop("row"))
        made[entry["standard"]] = Chapter(**entry, rows=rows)
    return made


def shown_by(standard: str, number: str) -> list[str]:
    """Tests of the section and its subsections, each once. KeyError: unknown standard."""
    rows = [row for row in chapters()[standard].rows if f"{row.number}.".startswith(f"{number}.")]
    return list(dict.fromkeys(test for row in rows for test in row.tests))


def page() -> str:
    """docs/CONFORMANCE.md."""
    preamble = tomllib.loads(SOURCE.read_text("utf-8"))["preamble"].strip()
    lines = [
        "# Conformance",
        "",
        "Made from [conformance.toml](conformance.toml) by `make docs`: change that file, not this one.",
    ]
    lines += ["", preamble]
    for chapter in chapters().values():
        counted = ((sum(row.status == status for row in chapter.rows), status) for status in STATUSES)
        lines += [
            "",
            f"## {chapter.title}",
            "",
            ", ".join(f"{number} {status}" for number, status in counted if number) + ".",
        ]
        lines += ["", "| section | status | tests | remark |", "|---|---|---|---|", *(row.line for row in chapter.rows)]
        notes = [_wrapped(f"- **{row.section}**: {row.note}") for row in chapter.rows if row.note]
        lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _wrapped(item: str) -> str:
    return textwrap.fill(item, LONGEST_ROW, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def main(arguments: list[str]) -> None:
    if arguments:
        print("\n".join(shown_by(*arguments)))
        return
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {sum(len(chapter.rows) for chapter in chapters().values())} sections")


if __name__ == "__main__":
    main(sys.argv[1:])
