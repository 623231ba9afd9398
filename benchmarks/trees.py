"""A checkout whose server is measured: how its programs are started so that only its own packages are imported.

The interpreter is ours. What is installed in its environment may be another checkout (an editable install), so no
installed script is used: the folder comes first on the path, and the entry point is read from its pyproject.toml.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tree:
    root: Path

    @property
    def catalogue(self) -> Path:
        return self.root / "config" / "catalogue.toml"

    @property
    def environment(self) -> dict[str, str]:
        """Environment for child processes and their children. Our own settings (OCS_…) are removed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
        return {**kept, "PYTHONPATH": str(self.root), "PYTHONUNBUFFERED": "1"}

    def ocs(self, *arguments: str) -> list[str]:
        """The tree's `ocs` command."""
        module, _, function = self._entry_point().partition(":")
        code = f"import sys; from {module} import {function}; sys.argv[0] = 'ocs'; sys.exit({function}())"
        return [sys.executable, "-c", code, *arguments]

    def module(self, name: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", name, *arguments]

    def _entry_point(self) -> str:
        path = self.root / "pyproject.toml"
        try:
            return str(tomllib.loads(path.read_text("utf-8"))["project"]["scripts"]["ocs"])
        except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: has no command ocs, so {self.root} is not a checkout ({error})") from error

    @property
    def commit(self) -> str:
        """Short name of the commit, with "+" if files differ from it; the folder's name if git fails."""
        command = ["git", "-C", str(self.root), "describe", "--always", "--abbrev=7", "--dirty=+"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else self.root.name


HERE = Tree(Path(__file__).resolve().parents[1])
"""The tree that measures: the load generator is always that of this tree."""
