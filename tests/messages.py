"""Every text in the source that an operator can see, in the log or of an exception, found in the syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("ocs", "protocol", "simulator")
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
PROGRAMMERS = {"KeyError", "AssertionError", "TypeError", "NotImplementedError", "ScriptError", "RuntimeError"}
"""Exceptions for mistakes in the source: they do not occur in service."""
TABLES = ("REFUSALS", "REFUSED", "WORDS", "LOST", "IN_ORDER")
"""Tables of reasons that are inserted into other texts."""
GAP = "…"
"""Placeholder for an inserted value."""


@dataclass(frozen=True, slots=True)
class Text:
    """`kind`: level of a log line, else the exception's name; `template`: the text, with `…` for inserted values."""

    place: str
    kind: str
    template: str
    arguments: tuple[str, ...] = ()
    """Source code of the arguments of a log line."""

    @property
    def logged(self) -> bool:
        return self.kind in LEVELS


@cache
def texts() -> tuple[Text, ...]:
    """Read at the first call: each process of a parallel run imports this module, and one of them calls it."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return tuple(text for path in paths for text in _texts_of(path))


def _texts_of(path: Path) -> Iterator[Text]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for name, table in constants.items():
        if name in TABLES and isinstance(table, ast.Dict):
            place = f"{path.relative_to(ROOT)}:{table.lineno}"
            yield from (Text(place, name, each) for value in table.values for each in _templates(value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Yield) and path.name == "start_warnings.py" and node.value is not None:
            yield from (
                Text(f"{path.relative_to(ROOT)}:{node.lineno}", "warning", each) for each in _templates(node.value)
            )
        if not isinstance(node, ast.Call):
            continue
        kind, parts = _kind(node), node.args
        if not kind or not parts:
            continue
        spoken = parts[:1] if kind in LEVELS else parts
        place = f"{path.relative_to(ROOT)}:{node.lineno}"
        for part in spoken:
            found = constants.get(part.id, part) if isinstance(part, ast.Name) else part
            for template in _templates(found):
                if any(character.isalpha() for character in template) and (kind in LEVELS or " " in template):
                    yield Text(place, kind, template, tuple(ast.unparse(each) for each in parts[1:]))


def _kind(call: ast.Call) -> str:
    """Kind of a call that logs or makes an exception; "" for other calls."""
    function = call.func
    if isinstance(function, ast.Attribute):
        owner = ast.unparse(function.value)
        if function.attr in LEVELS and owner in ("log", "logger"):
            return function.attr
        return "error" if function.attr == "_fault" else ""
    if isinstance(function, ast.Name):
        if function.id == "_refused":
            return "DiameterError"
        if function.id.endswith(("Error", "Unavailable", "Mistake", "Problem")) and function.id not in PROGRAMMERS:
            return function.id
    return ""


def _templates(node: ast.expr) -> list[str]:
    """Templates of an expression, both of a conditional one; [] if it has no text, as a variable."""
    if isinstance(node, ast.IfExp):
        return [*_templates(node.body), *_templates(node.orelse)]
    text = _written(node)
    return [] if text is None else [re.sub(rf"{GAP}(?:{GAP})+", GAP, text)]


def _written(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(?:\.\d+)?[sdrf]", GAP, node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_written(part) or GAP if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _written(node.left), _written(node.right)
        return None if left is None and right is None else (left or GAP) + (right or GAP)
    return None
