"""Runs the `ocs` command in this process. A new process for each of hundreds of calls would take half a second."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ocs.cli import main
from tests.catalogue import CATALOGUE

ROOT = Path(__file__).parents[3]


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
            capsys.readouterr()
            return Done(main._status(), *capsys.readouterr())

    return call
