"""The file of recorded events that the ledger has lost (a replica that lagged took over): one JSON line for each
recovery of a partition. What was made of such events, and is not done yet, is not to be done (HOT-NOT-2).

    {"time": "2026-11-22T16:30:00Z", "events": ["p47-1235", …]}
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import orjson

from ocs.values.bounded_cache import BoundedCache
from ocs.values.moment import utc_text

MAX_EVENTS = 200_000
"""Ids that are known, the last ones of the file."""


def add_lost_events(path: Path, event_ids: Sequence[str], now: int) -> None:
    """Durable on return. OSError."""
    if not event_ids:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() and _last_octet(file) != b"\n":
            file.write(b"\n")  # a crash left the line before incomplete
        file.write(orjson.dumps({"time": utc_text(now), "events": list(event_ids)}) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _last_octet(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


class LostEvents:
    """Follows the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self.known: BoundedCache[str, bool] = BoundedCache(MAX_EVENTS)
        """All event ids so far."""

    def fresh(self) -> list[str]:
        """Event ids since the last call. OSError. Of a line that is being written, nothing yet."""
        if not self._path.exists() or self._path.stat().st_size <= self._offset:
            return []
        found: list[str] = []
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                found += _ids(line)
        for event_id in found:
            self.known.put(event_id, True)
        return found


def _ids(line: bytes) -> list[str]:
    """[] = a crash left the line incomplete."""
    try:
        return [str(each) for each in orjson.loads(line)["events"]]
    except (ValueError, KeyError, TypeError):
        return []
