"""Distribution of a parallel run: tests of a file with module fixtures go to one process, all others one by one.

(pytest-xdist's own `--dist loadgroup` finds no groups with pytest 9.2.)
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
MADE_ONCE = 'scope="module"'


class Scheduling(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file, _, _ = nodeid.partition("::")
        return file if _has_fixtures_of_its_own(file) else nodeid


@cache
def _has_fixtures_of_its_own(file: str) -> bool:
    return MADE_ONCE in (ROOT / file).read_text(encoding="utf-8")
