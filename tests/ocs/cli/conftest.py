"""Runs the `ocs` command in this process. A new process for each of hundreds of calls would take half a second. What
each call would build anew, the commands and the catalogue of an unchanged file, is built once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main

from ocs.catalogue import versions
from ocs.catalogue.catalogue import Catalogue, load_catalogue
from ocs.cli import main
from tests.catalogue import CATALOGUE

ROOT = Path(__file__).parents[3]


_command = cache(typer.main.get_command)
_compiled = lru_cache(8)(lambda path, text: load_catalogue(path))


def _catalogue(path: Path) -> Catalogue:
    return _compiled(path, path.read_bytes())


class Done(NamedTuple):
    """Result of a command."""

    returncode: int
    stdout: str
    stderr: str


Ocs = Callable[..., Done]


@pytest.fixture
def ocs_in(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ocs:
    """`ocs_in(*words, cwd=folder, OCS_…=…)` runs the command in the folder, with only those OCS_ variables. In the
    project's folder it has the catalogue of the tests.
    """
    for name in [name for name in os.environ if name.startswith("OCS_")]:
        monkeypatch.delenv(name)

    def call(*words: str, cwd: Path, **environment: str) -> Done:
        if cwd == ROOT:
            environment = {"OCS_SERVER_CATALOGUE": str(CATALOGUE), **environment}
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["ocs", *words])
            patch.setattr(typer.main, "get_command", _command)
            patch.setattr(versions, "load_catalogue", _catalogue)
            capsys.readouterr()
            return Done(main._status(), *capsys.readouterr())

    return call
