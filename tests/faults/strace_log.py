"""How much of a file was certainly on disk, from `strace -f -y -e trace=write,writev,pwrite64,fdatasync,fsync`.

A write counts once a sync that began after it has returned without an error. A power cut may lose everything later.
"""

from __future__ import annotations

import re
from pathlib import Path

CALLS = "trace=write,writev,pwrite64,fdatasync,fsync"
_LINE = re.compile(r"^(?:\[pid +)?(\d+)\]? +(.*)$")
_BEGUN = re.compile(r"^(write|writev|pwrite64|fdatasync|fsync)\(\d+<([^>]*)>")
_RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>")
_RESULT = re.compile(r"= (-?\d+)(?: \w+.*)?$")


def synced_octets(log: Path, name_part: str) -> int:
    """Octets of the file (its path contains `name_part`) that the last completed sync covers."""
    written = synced = 0
    under_way: dict[str, tuple[str, int]] = {}
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        parts = _LINE.match(line)
        if parts is None:
            continue
        thread, call = parts.groups()
        if begun := _BEGUN.match(call):
            if name_part not in begun[2]:
                continue
            under_way[thread] = (begun[1], written)
        elif not (_RESUMED.match(call) and thread in under_way):
            continue
        if call.endswith("<unfinished ...>") or (result := _RESULT.search(call)) is None:
            continue
        name, before = under_way.pop(thread)
        if name.endswith("sync"):
            if int(result[1]) == 0:
                synced = max(synced, before)
        elif int(result[1]) > 0:
            written += int(result[1])
    return synced
