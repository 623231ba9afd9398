"""Distribution of a parallel run: tests of files that share a server, and those of a file with module
fixtures, go to one process, all others one by one.

(pytest-xdist's own `--dist loadgroup` finds no groups with pytest 9.2.)
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
MADE_ONCE = 'scope="module"'
SHARED = "one_server"
"""The fixture of tests/faults that several files share."""


class Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        text = _text(file)
        return SHARED if SHARED in text else file if MADE_ONCE in text else nodeid


@cache
def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")
