"""Octets that a private Redis has written to its append-only file, from the files' sizes alone.

If Redis has rewritten the file meanwhile, sizes cannot be compared and there is no figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

AofFiles = Mapping[tuple[str, int], int]
"""(path, inode) → octets."""


def aof_files(data_dir: Path) -> dict[tuple[str, int], int]:
    found = {}
    for path in sorted(data_dir.rglob("*.aof")):
        try:
            stat = path.stat()
        except FileNotFoundError:  # removed by a rewrite
            continue
        found[str(path), stat.st_ino] = stat.st_size
    return found


def octets_written(before: AofFiles, after: AofFiles) -> int | None:
    """None if the file was rewritten in between, or there is none."""
    if not before or before.keys() != after.keys():
        return None
    grown = sum(after.values()) - sum(before.values())
    return grown if grown >= 0 else None
