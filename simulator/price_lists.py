"""Versions of the catalogue for a scenario in which prices change: a folder with a file for each version."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from simulator.distributions import ScenarioError
from simulator.scenario import PriceChange

_VERSION = re.compile(r'^version = "(\d+)".*$', re.MULTILINE)


def write_price_lists(catalogue: Path, changes: Sequence[PriceChange], folder: Path) -> Path:
    """The catalogue itself without changes, else a folder with it and a version for each change. Raises ScenarioError:
    it has no such price.
    """
    if not changes:
        return catalogue
    folder.mkdir(parents=True)
    shutil.copy(catalogue, folder / "1.toml")
    text = catalogue.read_text("utf-8")
    for number, change in enumerate(sorted(changes, key=lambda each: each.begins), 2):
        text = _next_version(text, number, change)
        (folder / f"{number}.toml").write_text(text, "utf-8")
    return folder


def _next_version(text: str, number: int, change: PriceChange) -> str:
    begins = change.begins.isoformat(timespec="minutes")
    head = f'version = "{number}"\nvalid_from = "{begins}"'
    text = re.sub(r"^valid_from = .*\n", "", text, flags=re.MULTILINE)
    text, found = _VERSION.subn(head, text, count=1)
    if not found:
        raise ScenarioError("the catalogue has no version")
    for name, micro_eur in change.micro_eur.items():
        table = re.compile(rf"(^\[price\.{re.escape(name)}\][^\[]*?^micro_eur = )[\d_]+", re.MULTILINE)
        text, found = table.subn(rf"\g<1>{micro_eur}", text, count=1)
        if not found:
            raise ScenarioError(f"price_list: the catalogue has no price {name!r}")
    return text
