"""Mistakes in the catalogue file: each with file, key, value and what is allowed, all reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_VALUE_LENGTH = 80
"""A longer value is cut in the message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in one file."""

    file: str
    key: str
    value: str
    """`repr` of the value, cut to MAX_VALUE_LENGTH; "" if there is none."""
    allowed: str
    """What is wrong or what is allowed."""

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where} = {self.value}: {self.allowed}" if self.value else f"{where}: {self.allowed}"


class CatalogueError(Exception):
    """The catalogue has mistakes, all of them in `problems`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Problems:
    """Collects the mistakes of one file."""

    file: str
    found: list[Problem] = field(default_factory=list)

    def add(self, key: str, allowed: str, value: object = None) -> None:
        text = "" if value is None else repr(value)
        if len(text) > MAX_VALUE_LENGTH:
            text = text[: MAX_VALUE_LENGTH - 3] + "..."
        self.found.append(Problem(self.file, key, text, allowed))

    def raise_if_any(self) -> None:
        if self.found:
            raise CatalogueError(self.found)


def key_path(*parts: str | int) -> str:
    """A key in TOML's spelling: rate."voice.home".price, destination.zone1.countries[3]."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part.replace("-", "").replace("_", "")
            word = part if bare.isascii() and bare.isalnum() else f'"{part}"'
            text += f".{word}" if text else word
    return text
