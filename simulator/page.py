"""A self-contained HTML page of tables and plots, for reports of load, replay and comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Table:
    """Texts; the first column is aligned left, the others right."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """A plot (an SVG element of our own making) or a table."""

    title: str
    table: Table | None = None
    plot: str = ""
    wide: bool = False


def render_page(*, title: str, subtitle: str, notes: Sequence[str], sections: Sequence[Section]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["markup"] = Markup
    template = environment.from_string((files("simulator") / "templates" / "page.html").read_text("utf-8"))
    return template.render(title=title, subtitle=subtitle, notes=notes, sections=sections)


def write_page(
    path: Path, *, title: str, subtitle: str, notes: Sequence[str] = (), sections: Sequence[Section]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(title=title, subtitle=subtitle, notes=notes, sections=sections), "utf-8")
