"""Distribution of a parallel run: tests of files that share what is costly to start, and those of a file with module
fixtures, go to one process, all others one by one.

(pytest-xdist's own `--dist loadgroup` finds no groups with pytest 9.2.)
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
MADE_ONCE = 'scope="module"'
SHARED = ("one_server", "demo_played")
"""Fixtures that several files share: of tests/faults and tests/simulator."""


class Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        text = _text(file)
        shared = next((fixture for fixture in SHARED if fixture in text), None)
        return shared or (file if MADE_ONCE in text else nodeid)


@cache
def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")
