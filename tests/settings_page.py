"""docs/SETTINGS.md, generated from the settings' schema by `python -m tests.settings_page` (`make docs`).

A field gives key, default and what is allowed (its description); the docstring below it says what it does. A document
named in such a text, as in "docs/OPERATIONS.md, Dialects", becomes a link.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ocs.settings.schema import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "SETTINGS.md"
INTRODUCTION = """\
# Settings

Made from the schema in `ocs/settings` by `make docs`: change that, not this page.

One TOML file: [config/ocs.toml](../config/ocs.toml) shows the keys with their defaults, and has a `[[peer]]` for each
network element of the simulator. `ocs init` writes such a file. A mistake stops the start and is named with file,
key, value and what is allowed; an unknown key is a mistake.

- The environment overrides a key: `OCS_<SECTION>_<KEY>`, such as `OCS_REDIS_URL` and `OCS_DIAMETER_LISTEN`. A list is
  comma-separated, a table a list of `key=value`. `[[peer]]`, `[profile.NAME]` and
  `[top_up_file.NAME]` cannot be set by the environment.
- A path in the file is relative to the file's folder, from wherever a command is called; a path in the environment is
  relative to the current folder.
- Catalogue and settings are read at start only: change them and restart. (Certificates are read again, see
  [TLS](OPERATIONS.md#tls).) Sessions go on over a restart; the price in force of a running service stays until its
  next grant.
"""
HEADINGS = {"peer": "[[peer]]", "profile": "[profile.NAME]", "top_up_file": "[top_up_file.NAME]"}
"""Headings of sections with several tables."""
_PAGE_NAMED = re.compile(r"docs/(\w+)\.md(?:, ([A-Z][\w ]*\w))?")


def sections() -> dict[str, type[BaseModel]]:
    """Name of a table → its model, in the order of the schema."""
    return {name: _model(field.annotation) for name, field in Settings.model_fields.items()}


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Key → docstring of its field, in one line. Keys without one are omitted."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        match node, after:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                found[key] = " ".join(text.split())
    return found


def default(field: FieldInfo) -> str:
    """The default in TOML; a required or optional key has none."""
    value = field.get_default(call_default_factory=True)
    if field.is_required() or value is None:
        return "must be given" if field.is_required() else "–"
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """A table inline, anything else as JSON has it too."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value)
    return f"{{ {', '.join(f'{key} = {_toml(inner)}' for key, inner in value.items())} }}"


def page() -> str:
    """docs/SETTINGS.md."""
    lines = [INTRODUCTION]
    for section, model in sections().items():
        texts = meanings(model)
        lines += [
            f"## `{HEADINGS.get(section, f'[{section}]')}`",
            "",
            _linked(inspect.cleandoc(model.__doc__ or "")),
            "",
        ]
        lines += ["| key | default | allowed | |", "|---|---|---|---|"]
        for key, field in model.model_fields.items():
            allowed = (field.description or "").replace("*", r"\*")
            lines.append(f"| `{section}.{key}` | {default(field)} | {allowed} | {_linked(texts.get(key, ''))} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _model(annotation: Any) -> type[BaseModel]:
    """The model of a table, or of the items of a list or table of tables."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and not get_args(kind)]
    return next(kind for kind in kinds if issubclass(kind, BaseModel))


def _linked(text: str) -> str:
    def link(found: re.Match[str]) -> str:
        name, title = found[1], found[2]
        return f"[{title}]({name}.md#{title.lower().replace(' ', '-')})" if title else f"[{name}]({name}.md)"

    return _PAGE_NAMED.sub(link, text)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {sum(len(model.model_fields) for model in sections().values())} keys")
